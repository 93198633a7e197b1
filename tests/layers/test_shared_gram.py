"""Layers with the same inputs share one Gram matrix, in memory and on disk; what its file says is checked."""

import gc
import json
import os
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from pvq.layers import Layer, LayerError, load_layer, save_layer
from pvq.layers.extract import extract_layers
from pvq.layers.gram_file import save_gram
from pvq.layers.models import Model
from pvq.layers.sharing import Sums
from pvq.layers.together import save_layers, with_grams_of
from tiny_models import build
from torch import nn

from extracting import extract


class Branches(nn.Module):
    """q, k and v share their input; `turn` says in which calls k gets another, or none."""

    def __init__(self, turn=lambda call: "same"):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v, self.out = (nn.Linear(5, 4) for _ in range(4))
        self.turn, self.calls = turn, 0
        self.double()

    def forward(self, x):
        turn = self.turn(self.calls)
        self.calls += 1
        y = self.q(x) + self.v(x)
        if turn == "same":
            y = y + self.k(x)
        if turn == "other":
            y = y + self.k(2 * x)
        return self.out(torch.cat([y, y[..., :1]], dim=-1))


def batches(count=6):
    return [torch.from_numpy(np.random.default_rng(i).standard_normal((3, 5))) for i in range(count)]


def test_layers_with_the_same_input_share_an_array():
    layers = extract_layers(Branches(), "*", batches())
    assert layers["q"].grams is layers["k"].grams is layers["v"].grams
    assert layers["out"].grams is not layers["q"].grams
    x = torch.cat(batches()).numpy()
    np.testing.assert_allclose(layers["q"].grams[0], x.T @ x / len(x), rtol=1e-12)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "t5", "bart", "mixtral"])
def test_each_layer_has_the_matrix_that_it_has_by_itself(family):
    module = build(family)
    ids = [{"input_ids": torch.arange(first, first + 12).reshape(2, 6) % 15} for first in range(3)]
    if family == "t5":
        ids = [{**batch, "decoder_input_ids": batch["input_ids"]} for batch in ids]
    together = extract_layers(module, "*", ids)
    for name, layer in together.items():
        alone = extract_layers(module, name, ids)[name]
        assert np.array_equal(alone.grams, layer.grams)
        assert alone.samples == layer.samples
    shared = len(together) - len({id(layer.grams) for layer in together.values()})
    assert shared == {"gpt2": 0, "llama": 3, "bert": 2, "t5": 5, "bart": 5, "mixtral": 2}[family]


@pytest.mark.parametrize(
    "turn",
    [
        lambda call: "same" if call < 3 else "other",
        lambda call: "other" if call < 3 else "same",
        lambda call: "same" if call != 2 else "none",
        lambda call: "none" if call < 2 else "same",
        lambda call: ("same", "none", "other")[call % 3],
    ],
    ids=["later", "earlier", "once without", "late", "in turns"],
)
def test_a_layer_that_goes_its_own_way_has_its_own_matrix(turn):
    layers = extract_layers(Branches(turn), "*", batches(), keep_activations=7)
    for name in "qkv":
        alone = extract_layers(Branches(turn), name, batches(), keep_activations=7)[name]
        np.testing.assert_allclose(layers[name].grams, alone.grams, rtol=1e-12)
        assert layers[name].samples == alone.samples
        np.testing.assert_array_equal(layers[name].activations, alone.activations)
    assert layers["q"].grams is layers["v"].grams is not layers["k"].grams


def test_an_input_that_is_changed_in_place_is_another_one():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(5, 4).double(), nn.Linear(5, 4).double()

        def forward(self, x):
            x = x.clone()
            first = self.a(x)
            x.mul_(3)
            return first + self.b(x)

    layers = extract_layers(InPlace(), "*", batches())
    np.testing.assert_allclose(layers["b"].grams, 9 * layers["a"].grams, rtol=1e-12)


def test_memory_is_one_matrix_for_all_that_share():
    module = nn.ModuleDict({str(i): nn.Linear(400, 2) for i in range(6)})
    module.forward = lambda x: [part(x) for part in module.values()]
    layers = extract_layers(module, "*", [torch.ones(2, 400)])
    assert len({id(layer.grams) for layer in layers.values()}) == 1
    sums = Sums(0)
    assert sums.accumulator("0") is None


@pytest.fixture
def folder(tmp_path):
    """Files of the four layers."""
    np.save(tmp_path / "x.npy", torch.cat(batches()).numpy())
    extract(Model("test:m", "m 1", Branches()), "*", tmp_path / "x.npy", tmp_path / "out")
    return tmp_path / "out"


def test_the_files_share_one_and_are_the_same_layers(folder):
    names = sorted(path.name for path in folder.iterdir())
    (gram,) = (name for name in names if name.endswith(".gram"))
    assert [name for name in names if name != gram] == [f"m_1.{part}.npz" for part in ("k", "out", "q", "v")]
    layers = extract_layers(Branches(), "*", torch.cat(batches()).split(8))
    for name, layer in layers.items():
        found = load_layer(folder / f"m_1.{name}.npz")
        assert np.array_equal(found.grams, layer.grams)
        assert found.sha256 == layer.sha256
    with np.load(folder / "m_1.q.npz") as file:
        # who knows no Gram files says that there is none
        assert sorted(file) == ["meta", "samples", "weight"]
        pointer = json.loads(str(file["meta"]))["gram"]
    assert pointer["file"] == gram
    assert pointer["sha256"][:16] in gram


def test_again_the_same_bytes_and_other_data_beside(folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    extract(Model("test:m", "m 1", Branches()), "*", tmp_path / "x.npy", folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    np.save(tmp_path / "x.npy", torch.cat(batches(3)).numpy())
    extract(Model("test:m", "m 1", Branches()), ["q", "v"], tmp_path / "x.npy", folder)
    assert load_layer(folder / "m_1.k.npz").samples == 18  # what it points to is still there
    assert load_layer(folder / "m_1.q.npz").samples == 9


def test_saved_by_itself_it_has_its_matrix_inside(folder, tmp_path):
    layer = load_layer(folder / "m_1.q.npz")
    again = load_layer(save_layer(tmp_path / "moved.npz", layer))
    assert np.array_equal(again.grams, layer.grams)
    assert "gram" not in again.meta


def test_with_activations_it_is_inside(tmp_path):
    np.save(tmp_path / "x.npy", torch.cat(batches()).numpy())
    extract(Model("test:m", "m", Branches()), "*", tmp_path / "x.npy", tmp_path / "o", keep_activations=3)
    assert not list((tmp_path / "o").glob("*.gram"))
    assert load_layer(tmp_path / "o" / "m.q.npz").activations.shape == (3, 5)


def test_layers_that_are_read_share_an_array_as_long_as_one_of_them_lives(folder):
    paths = [folder / f"m_1.{name}.npz" for name in "qkv"]
    with ThreadPoolExecutor(3) as pool:
        q, k, v = pool.map(load_layer, paths)
    assert q.grams is k.grams is v.grams
    assert not q.grams.flags.writeable
    before = q.grams[0, 0, 0]
    q.grams.setflags(write=True)
    q.grams[0, 0, 0] += 1  # who writes all the same does not change what is read later
    assert load_layer(paths[0]).grams[0, 0, 0] == before
    gone = weakref.ref(q.grams)
    del q, k, v
    gc.collect()
    assert gone() is None


def rewrite(path, pointer):
    with np.load(path) as file:
        meta = {**json.loads(str(file["meta"])), "gram": pointer}
        np.savez(path, weight=file["weight"], samples=file["samples"], meta=np.array(json.dumps(meta)))


def refused(path):
    with pytest.raises(LayerError) as caught:
        load_layer(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_gram_file_that_is_not_what_was_meant(folder, tmp_path):
    path, (gram,) = folder / "m_1.q.npz", folder.glob("*.gram")
    whole = gram.read_bytes()
    gram.unlink()
    assert f"its Gram file {gram.name} is missing" in refused(path)
    os.mkfifo(gram)
    assert "is no regular file" in refused(path)
    gram.unlink()
    gram.write_bytes(whole[:200])
    assert "cannot be read: a damaged or incomplete npz file" in refused(path)
    for array, said in [
        (np.eye(5)[None], "has another matrix than when the layer was written"),
        (np.eye(5), "has no gram (groups, in, in)"),
        (np.full((1, 5, 5), np.nan), "NaN or infinite"),
        (np.array([[["x"]]]), "expected real numbers"),
    ]:
        with gram.open("wb") as file:
            np.savez(file, gram=array)
        assert said in refused(path)
    with gram.open("wb") as file:
        np.savez_compressed(file, gram=np.zeros((1, 9000, 9000)))
    assert "unpacks to" in refused(path)


@pytest.mark.parametrize(
    "pointer",
    [
        None,
        "a.gram",
        {"file": "../a.gram", "sha256": "0" * 64},
        {"file": "/etc/a.gram", "sha256": "0" * 64},
        {"file": "a.npz", "sha256": "0" * 64},
        {"file": ["a.gram"], "sha256": "0" * 64},
        {"file": "a.gram", "sha256": "0" * 63},
        {"file": "a.gram"},
        {"file": "a\n.gram", "sha256": "0" * 64},
    ],
)
def test_a_pointer_that_is_none(folder, pointer):
    rewrite(folder / "m_1.q.npz", pointer)
    assert "points to no Gram file: expected its name" in refused(folder / "m_1.q.npz")


def test_the_matrix_of_another_size_is_refused(folder):
    grams = np.eye(7)[None]
    rewrite(folder / "m_1.q.npz", save_gram(folder, "other", grams))
    assert "does not fit weight" in refused(folder / "m_1.q.npz")


def test_layers_that_are_equal_alone_share(tmp_path):
    rng = np.random.default_rng(0)
    one = Layer("a", rng.standard_normal((2, 3)), np.eye(3))
    two, three = Layer("b", one.weight, np.eye(3)), Layer("c", one.weight, 2 * np.eye(3))
    assert with_grams_of(two, one).grams is one.grams
    assert with_grams_of(three, one).grams is not one.grams
    paths, failed = save_layers({tmp_path / f"{each.name}.npz": each for each in (one, two, three)}, "m")
    assert [path.name for path in paths] == ["a.npz", "b.npz", "c.npz"]
    assert failed == []
    assert len(list(tmp_path.glob("*.gram"))) == 1
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "a.npz").mkdir()
    paths, failed = save_layers({tmp_path / "no" / f"{each.name}.npz": each for each in (one, two)}, "m")
    assert [path.name for path in paths] == ["b.npz"]
    assert len(failed) == 1
    assert load_layer(paths[0]).grams.shape == (1, 3, 3)
