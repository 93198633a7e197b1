"""`pvq score`: dense, pruned and packed models against the proven intervals."""

import json
import sys

import numpy as np
import pvq
import pytest
import torch
from safetensors.torch import save_file

from packing import gptq

MODEL = """
import torch
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8)).double()
"""
QUICK = ("--time-limit", "60", "--quiet")  # all rows are solved long before


@pytest.fixture
def made(cli, tmp_path, monkeypatch):
    """Layer files of a model, by module, and its weights."""
    (tmp_path / "scored_here.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "scored_here", raising=False)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((200, 16)))
    data = ("--calibration", tmp_path / "x.npy", "--quiet")
    ended = cli("extract", "scored_here:model", "--layer", "*", *data, "-o", tmp_path / "layers")
    assert ended.code == 0, ended.err
    return {(layer := pvq.load_layer(file)).meta["module"]: layer for file in ended.out.split()}


def error_of(layer, x):
    u = layer.weight - x
    return float(np.einsum("ri,ij,rj->", u, layer.grams[0], u))


def scored(cli, model, other, *words):
    """The document, its layers by name."""
    ended = cli("score", model, other, *QUICK, "--json", "-", *words)
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    return document, {layer["name"].rpartition(".")[2]: layer for layer in document["layers"]}


def on_channel(weight, bits=4):
    scale = np.abs(weight).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.round(weight / scale) * scale


def test_a_dense_model_of_the_users_own(cli, tmp_path, made):
    state = {f"net.{name}.weight": torch.tensor(on_channel(layer.weight)) for name, layer in made.items()}
    state["net.2.weight"] = torch.tensor(made["2"].weight)
    state["net.0.bias"] = torch.zeros(8)
    save_file(state, tmp_path / "mine.safetensors")
    document, layers = scored(cli, tmp_path / "layers", tmp_path / "mine.safetensors")
    first = layers["0"]
    assert (first["kind"], first["form"], first["feasible"]) == ("quant", "dense", True)
    assert first["words"] == "4 bits int, scale per channel"
    assert first["error"] == pytest.approx(error_of(made["0"], on_channel(made["0"].weight)), rel=1e-9)
    assert 0 < first["lower"] <= first["upper"] < first["error"]
    assert 0 < first["above_optimum_min_db"] <= first["above_optimum_max_db"]
    assert first["bound_kind"] == "rigorous"
    assert layers["2"]["kind"] == "unchanged"
    assert document["total"]["bounded"] == 1
    assert document["total"]["lower"] == first["lower"]
    # from the model itself: the same layers, by another way
    again, others = scored(
        cli, "scored_here:model", tmp_path / "mine.safetensors", "--calibration", tmp_path / "x.npy"
    )
    assert others["0"]["error"] == pytest.approx(first["error"], rel=1e-9)
    assert again["model"] == "scored_here:model"


def test_the_best_weights_are_no_db_from_the_best(cli, tmp_path, made):
    scale = np.abs(made["0"].weight).max(axis=1, keepdims=True) / 3
    given = {"scale": scale, "zero": np.zeros_like(scale)}
    best = pvq.bound(made["0"], pvq.Quant(3, granularity="channel"), scales=given)
    assert best.is_optimal
    save_file({"0.weight": torch.tensor(best.weights)}, tmp_path / "mine.safetensors")
    document, layers = scored(cli, tmp_path / "layers", tmp_path / "mine.safetensors")
    assert layers["0"]["setting"]["bits"] == 3
    assert layers["0"]["above_optimum_max_db"] < 1e-4
    assert layers["2"]["kind"] == "missing"


@pytest.mark.parametrize("update", [False, True])
def test_a_pruned_model(cli, tmp_path, made, update):
    weight = made["0"].weight
    blocks = np.abs(weight).reshape(8, -1, 4)
    mask = (blocks >= np.sort(blocks, axis=2)[:, :, 2:3]).reshape(weight.shape)
    other = np.where(mask, weight * (1.01 if update else 1), 0)
    save_file({"0.weight": torch.tensor(other)}, tmp_path / "mine.safetensors")
    _, layers = scored(cli, tmp_path / "layers", tmp_path / "mine.safetensors", "--time-limit", "5")
    assert layers["0"]["kind"] == "prune"
    assert layers["0"]["words"] == ("2:4" if update else "2:4, kept weights as they were")
    assert layers["0"]["feasible"]
    assert layers["0"]["lower"] <= layers["0"]["error"]
    assert layers["0"]["estimate"] is None


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_gptq_checkpoint(cli, tmp_path, made, version, ordered):
    folder = tmp_path / "packed"
    folder.mkdir()
    order = np.random.default_rng(0).permutation(16) if ordered else None
    tensors, errors = {}, {}
    for name, layer in made.items():
        arrays, stands_for = gptq(
            layer.weight, 4, 8, version=version, symmetric=name == "0", order=order if layer.inputs == 16 else None
        )
        tensors |= {f"model.{name}.{key}": torch.from_numpy(array) for key, array in arrays.items()}
        errors[name] = error_of(layer, stands_for)
    save_file(tensors, folder / "model.safetensors")
    words = {"bits": 4, "group_size": 8, "checkpoint_format": "gptq_v2" if version == "v2" else "gptq"}
    (folder / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "gptq", **words}}))
    document, layers = scored(cli, tmp_path / "layers", folder)
    for name, error in errors.items():
        found = layers[name]
        assert found["error"] == pytest.approx(error, rel=1e-9)
        assert (found["form"], found["feasible"]) == (f"gptq {version}", True)
        assert found["setting"]["granularity"] == ("group:8" if name == "0" else "channel")
        assert 0 < found["lower"] <= found["upper"] <= found["error"] * (1 + 1e-9)
    assert layers["0"]["setting"]["grid"] == "int"
    assert document["total"]["error"] == pytest.approx(sum(errors.values()), rel=1e-9)


def test_a_compressed_tensors_checkpoint(cli, tmp_path, made):
    pytest.importorskip("compressed_tensors", exc_type=ImportError)
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    folder, tensors, errors = tmp_path / "packed", {}, {}
    folder.mkdir()
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 8}
    config = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    scheme = QuantizationConfig.model_validate(config).config_groups["group_0"]
    for name, layer in made.items():
        weight = torch.tensor(layer.weight, dtype=torch.float32)
        scale = (weight.reshape(len(weight), -1, 8).abs().amax(2) / 7).to(torch.bfloat16)
        given = {"weight": weight.to(torch.bfloat16), "weight_scale": scale}
        packed = BaseCompressor.get_value_from_registry("pack-quantized").compress(given, scheme)
        tensors |= {f"{name}.{key}": value.contiguous() for key, value in packed.items()}
        each = scale.double().repeat_interleave(8, dim=1)
        errors[name] = error_of(layer, (torch.round(given["weight"].double() / each).clamp(-8, 7) * each).numpy())
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    _, layers = scored(cli, tmp_path / "layers", folder)
    for name, error in errors.items():
        assert layers[name]["form"] == "compressed-tensors"
        # the library rounds the quotient in bfloat16: single weights may go to the other neighbour
        assert layers[name]["error"] == pytest.approx(error, rel=0.05)
        assert layers[name]["feasible"]
        assert layers[name]["setting"]["grid"] == "int"


def test_table_figure_and_modules(cli, tmp_path, made):
    model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(on_channel(made["0"].weight)))
    found = pvq.score_model(made, model, time_limit=60)  # random weights of the second layer are no grid
    assert list(found.scores) == ["0"]
    assert {layer["name"]: layer["kind"] for layer in found.document["layers"]}["2"] == "not recognised"
    assert "1 of 2 layers" in repr(found)
    assert "4 bits int" in found._repr_html_()
    torch.save(model.state_dict(), tmp_path / "mine.pt")
    figure = tmp_path / "score.png"
    ended = cli("score", tmp_path / "layers", tmp_path / "mine.pt", "--figure", figure, *QUICK)
    assert ended.code == 0, ended.err
    assert "4 bits int, scale per channel" in ended.out
    assert "dB above the least that there is" in ended.out
    assert figure.stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("{tmp}/layers", "{tmp}/none.pt"), "no such file or folder"),
        (("{tmp}/layers", "{tmp}/x.npy", "--calibration", "x"), "are for a model"),
        (("scored_here:model", "{tmp}/x.npy"), "--calibration is needed"),
        (("{tmp}/nothing", "{tmp}/x.npy"), "no such layer file or folder"),
        (
            ("{tmp}/layers", "{tmp}/other.safetensors"),
            "has no layer of the model, as 0.weight, 2.weight",
        ),
        (
            ("{tmp}/layers", "{tmp}/shape.safetensors"),
            "0.weight is of 3 x 3 weights, the layer",
        ),
        (("{tmp}/layers", "{tmp}/nan.safetensors"), "has 128 NaN or infinite weights"),
        (("{tmp}/layers", "{tmp}/whole.safetensors"), "holds int8 and no scales"),
        (("{tmp}/layers", "{tmp}/layers"), "no weights in this folder"),
        (("{tmp}/layers", "{tmp}/x.npy", "--time-limit", "0"), "--time-limit must be above 0"),
        (("{tmp}/layers", "{tmp}/nan.safetensors", "--json", "{tmp}/nan.safetensors"), "is the same file"),
    ],
)
def test_bad_input_is_one_line(cli, tmp_path, made, words, says):
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    save_file({"0.weight": torch.zeros(3, 3)}, tmp_path / "shape.safetensors")
    save_file({"0.weight": torch.full((8, 16), torch.nan)}, tmp_path / "nan.safetensors")
    save_file({"0.weight": torch.zeros(8, 16, dtype=torch.int8)}, tmp_path / "whole.safetensors")
    ended = cli("score", *[word.format(tmp=tmp_path) for word in words], "--quiet")
    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1
