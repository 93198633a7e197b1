"""Models from every source; packages that are not installed here are stood in for."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pvq.layers import LayerError, load_layer, models
from pvq.layers.images import IMAGENET, Preprocess
from pvq.layers.models import load_model
from torch import nn

from extracting import extract

FACTORY = """
import torch

def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout())

def text():
    return "no module"

def broken():
    raise RuntimeError("first line\\nsecond line")

number = 3
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """Name of a module with factories in the working folder."""
    monkeypatch.chdir(tmp_path)
    name = f"factories_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(FACTORY)
    yield name
    sys.modules.pop(name, None)


def test_a_factory_in_the_working_folder(factory):
    before = list(sys.path)
    model = load_model(f"{factory}:build")
    assert sys.path == before
    assert model.name == "build"
    assert not model.module.training
    assert model.transform is IMAGENET


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_from_a_file(factory, tmp_path, suffix):
    from safetensors.torch import save_file

    state = {"0.weight": torch.full((2, 3), 5.0), "0.bias": torch.zeros(2)}
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    assert (load_model(f"{factory}:build", path).module[0].weight == 5).all()
    if suffix == ".pt":
        wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}
        torch.save(wrapped, path)
        assert (load_model(f"{factory}:build", path).module[0].weight == 5).all()


def test_weights_for_a_model_that_is_loaded_already(factory, tmp_path):
    torch.save({"0.weight": torch.full((2, 3), 7.0), "0.bias": torch.zeros(2)}, tmp_path / "weights.pt")
    np.save(tmp_path / "x.npy", np.eye(3))
    loaded = load_model(f"{factory}:build")
    (path,) = extract(loaded, "0", tmp_path / "x.npy", tmp_path, weights=tmp_path / "weights.pt")
    assert (load_layer(path).weight == 7).all()


class Payload:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_weights_that_cannot_be_used(factory, tmp_path, capsys):
    source = f"{factory}:build"
    cases = {
        "no such file": None,
        "not a state dict or safetensors": b"text",
        "which is never unpickled": {"0.weight": Payload()},
        "holds a list": [1, 2],
        r"no 0\.bias; unknown extra": {"0.weight": torch.zeros(2, 3), "extra": torch.zeros(1)},
        r"size mismatch for 0\.weight": {"0.weight": torch.zeros(9, 3), "0.bias": torch.zeros(2)},
    }
    for message, content in cases.items():
        path = tmp_path / "weights.pt"
        path.unlink(missing_ok=True)
        if isinstance(content, bytes):
            path.with_suffix(".safetensors").write_bytes(content)
            path = path.with_suffix(".safetensors")
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(LayerError, match=message) as caught:
            load_model(source, path)
        assert "\n" not in str(caught.value)
    assert "unpickled" not in capsys.readouterr().out


def test_sources_that_are_none(factory):
    for source, message in {
        "resnet18": "not a model source; expected zoo:",
        ":build": "not a model source",
        "zoo:resnet18": "not in the zoo; expected zoo:efficientnet-lite0",
        "no_such_module:build": "no module named 'no_such_module'",
        f"{factory}:missing": "has no callable 'missing'",
        f"{factory}:number": "has no callable 'number'",
        f"{factory}:text": "returned a str, expected a torch.nn.Module",
        f"{factory}:broken": "cannot be loaded: first line$",
    }.items():
        with pytest.raises(LayerError, match=message) as caught:
            load_model(source)
        assert "\n" not in str(caught.value)


def test_a_module_that_is_a_program_ends_nothing(tmp_path, monkeypatch):
    (tmp_path / "exits_here.py").write_text("import sys\nsys.exit(7)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LayerError, match=r"exits_here:model.*it ends the program \(exit code 7\)"):
        load_model("exits_here:model")


@pytest.mark.parametrize("package", ["torchvision", "timm", "transformers"])
def test_a_missing_package_is_named(monkeypatch, package):
    for name in (package, f"{package}.models"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LayerError, match=f"needs {package}: pip install {package}"):
        load_model(f"{package}:some")


def test_torchvision(monkeypatch):
    asked = []

    def get_model(name, weights):
        asked.append((name, weights))
        return nn.Conv2d(3, 4, 3)

    default = SimpleNamespace(transforms=lambda: "transform")
    fake = SimpleNamespace(get_model=get_model, get_model_weights=lambda _: SimpleNamespace(DEFAULT=default))
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=fake))
    monkeypatch.setitem(sys.modules, "torchvision.models", fake)
    model = load_model("torchvision:resnet18")
    assert asked == [("resnet18", default)]
    assert model.transform == "transform"
    assert not model.module.training


def test_timm(monkeypatch):
    data = SimpleNamespace(
        resolve_model_data_config=lambda _: {"size": 9},
        create_transform=lambda size, is_training: (size, is_training),
    )
    fake = SimpleNamespace(create_model=lambda name, pretrained: nn.Conv2d(3, 4, 3), data=data)
    monkeypatch.setitem(sys.modules, "timm", fake)
    assert load_model("timm:mobilenetv3").transform == (9, False)


class Language(nn.Module):
    """A model with the signature of a transformers model."""

    def __init__(self, config=None):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(128, 4)
        self.linear = nn.Linear(4, 4)

    @classmethod
    def from_pretrained(cls, path):
        return cls()

    def forward(self, input_ids, attention_mask):
        return self.linear(self.embed(input_ids))


class Tokenizer:
    """One token per character."""

    model_max_length = 10**30
    all_special_ids = ()

    def __call__(self, line, truncation, max_length):
        assert (truncation, max_length) == (True, 512)
        return {"input_ids": [ord(c) for c in line], "attention_mask": [1] * len(line)}


@pytest.fixture
def transformers(monkeypatch):
    fake = SimpleNamespace(
        AutoConfig=SimpleNamespace(from_pretrained=lambda _: SimpleNamespace(architectures=["Language"])),
        AutoTokenizer=SimpleNamespace(from_pretrained=lambda _: Tokenizer()),
        AutoModel=None,
        Language=Language,
    )
    monkeypatch.setitem(sys.modules, "transformers", fake)
    monkeypatch.setattr(models, "is_hub_reachable", lambda: True)


@pytest.mark.usefixtures("transformers")
def test_transformers_with_a_text_file(tmp_path):
    (tmp_path / "text.txt").write_text("abc\n\n  \nabcdefg\nh\n", encoding="utf-8")
    (path,) = extract("transformers:some/Mini-LM", "linear", tmp_path / "text.txt", tmp_path, batch_size=2)
    assert path.name == "Mini_LM.linear.npz"
    layer = load_layer(path)
    assert layer.samples == 3 + 7 + 1
    rows = Language().embed(torch.tensor([ord(c) for c in "abcabcdefgh"])).detach().double().numpy()
    np.testing.assert_allclose(layer.grams[0], rows.T @ rows / 11, rtol=1e-12)
    assert layer.meta["model"] == "transformers:some/Mini-LM"
    assert layer.meta["calibration"] == "text.txt"


@pytest.mark.usefixtures("transformers")
def test_a_local_folder_names_the_model(tmp_path):
    (tmp_path / "minilm").mkdir()
    assert load_model(f"transformers:{tmp_path / 'minilm'}").name == "minilm"


def test_lite0_recognises_a_photograph(lite0):
    """The preprocessing and the weights belong together."""
    from pvq.layers.photos import photo_path

    assert lite0.module._conv_stem.weight.dtype == torch.float64
    with Image.open(photo_path("skimage", "data/coffee.png")) as image, torch.no_grad():
        scores = lite0.module(lite0.transform(image)[None]).softmax(1)[0]
    assert scores.argmax() == 967  # espresso
    assert scores.max() > 0.9


def test_preprocessing_cuts_the_centre():
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:, 20:60] = (10, 20, 30)
    x = Preprocess(20, 20, (10.0, 10.0, 10.0), (2.0, 2.0, 2.0))(Image.fromarray(pixels))
    assert x.shape == (3, 20, 20)
    assert x.dtype == torch.float64
    assert torch.equal(x[:, 10, 10], torch.tensor([0.0, 5.0, 10.0]).double())


def test_long_lists_are_cut():
    assert models.shorten(list("abc"), 2) == "a, b, ... (1 more)"
    assert models.shorten(list("ab"), 2) == "a, b"
