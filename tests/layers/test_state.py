"""Checkpoints as people have them: wrappers, prefixes, masks, norms, and tensors without plain values."""

import sys
import types

import numpy as np
import pytest
import torch
from pvq.layers import LayerError
from pvq.layers.models import load_weights
from pvq.layers.tensors import open_tensors
from safetensors.torch import save_file
from torch import nn


def net():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def filled():
    torch.manual_seed(3)
    return {name: torch.randn_like(value) for name, value in net().state_dict().items()}


def renamed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


CHECKPOINTS = {
    "plain": lambda s: s,
    "tutorial": lambda s: {"epoch": 3, "model_state_dict": s, "optimizer_state_dict": {"state": {}}},
    "lightning": lambda s: {"epoch": 3, "state_dict": renamed(s, "model."), "hparams": {}},
    "params": lambda s: {"params": s},
    "nested": lambda s: {"model": {"state_dict": s}},
    "compiled": lambda s: renamed(s, "_orig_mod."),
    "parallel": lambda s: renamed(s, "module."),
    "both": lambda s: renamed(s, "module._orig_mod."),
    "the other way": lambda s: renamed(s, "_orig_mod.module."),
    "averaged": lambda s: {"n_averaged": torch.tensor(3), **renamed(s, "module.")},
    "a compiled part": lambda s: {name.replace(".", "._orig_mod."): value for name, value in s.items()},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_wrappers_and_prefixes(tmp_path, kind):
    torch.save(CHECKPOINTS[kind](filled()), tmp_path / "a.pt")
    module = net()
    load_weights(module, tmp_path / "a.pt")
    assert all(torch.equal(value, filled()[name]) for name, value in module.state_dict().items())
    names, arrays = zip(*open_tensors(str(tmp_path / "a.pt")).arrays, strict=True)
    assert names == (("model.0.weight", "model.2.weight") if kind == "lightning" else ("0.weight", "2.weight"))
    assert [array.shape for array in arrays] == [(5, 6), (3, 5)]
    assert np.array_equal(arrays[0], filled()["0.weight"].double())


def test_a_wrapper_that_is_not_known_is_named(tmp_path):
    torch.save({"generator": filled(), "critic": filled()}, tmp_path / "a.pt")
    with pytest.raises(LayerError, match=r"known key \(found generator, critic\); save it alone"):
        load_weights(net(), tmp_path / "a.pt")


def test_a_part_of_the_model_may_be_called_module(tmp_path):
    whole = nn.ModuleDict({"module": net()})
    torch.save(renamed(filled(), "module."), tmp_path / "a.pt")
    load_weights(whole, tmp_path / "a.pt")
    assert torch.equal(whole["module"][0].weight, filled()["0.weight"])


def masked(module):
    from torch.nn.utils import prune

    prune.l1_unstructured(module, "weight", amount=0.5)
    return module


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "change",
    [
        masked,
        nn.utils.weight_norm,
        nn.utils.parametrizations.weight_norm,
        lambda m: nn.utils.parametrizations.weight_norm(m, dim=None),
        lambda m: nn.utils.parametrizations.weight_norm(m, dim=1),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_weight_is_the_effective_one(tmp_path, change, suffix):
    torch.manual_seed(0)
    changed = nn.Sequential(change(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3))
    changed(torch.zeros(1, 6))
    state = {name: value.clone() for name, value in changed.state_dict().items()}
    (save_file if suffix == ".safetensors" else torch.save)(state, tmp_path / f"a{suffix}")
    arrays = dict(open_tensors(str(tmp_path / f"a{suffix}")).arrays)
    assert sorted(arrays) == ["0.weight", "2.weight"]
    np.testing.assert_allclose(arrays["0.weight"], changed[0].weight.detach(), rtol=1e-6)
    module = net()
    load_weights(module, tmp_path / f"a{suffix}")
    torch.testing.assert_close(module[0].weight, changed[0].weight)


def test_names_that_end_alike_by_chance_stay(tmp_path):
    state = {"a_mask": torch.ones(2, 2), "b_g": torch.ones(2, 2), "c_orig": torch.ones(2, 2)}
    torch.save(state, tmp_path / "a.pt")
    assert [name for name, _ in open_tensors(str(tmp_path / "a.pt")).arrays] == list(state)


def test_tensors_without_plain_values(tmp_path):
    torch.save({"a.weight": torch.eye(3).to_sparse()}, tmp_path / "sparse.pt")
    ((_, array),) = open_tensors(str(tmp_path / "sparse.pt")).arrays
    assert np.array_equal(array, np.eye(3))
    torch.save({"a.weight": torch.empty(3, 3, device="meta")}, tmp_path / "meta.pt")
    with pytest.raises(LayerError, match=r"a\.weight has no values") as caught:
        open_tensors(str(tmp_path / "meta.pt"))
    assert "\n" not in str(caught.value)


def test_float8_counts_alike_in_both_formats(tmp_path):
    torch.manual_seed(0)
    state = {
        "a": torch.randn(4, 6).to(torch.float8_e4m3fn),
        "b": torch.randn(4, 6).to(torch.float8_e5m2),
        "c": torch.randn(4, 6).to(torch.bfloat16),
    }
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")
    found = [dict(open_tensors(str(tmp_path / name)).arrays) for name in ("a.safetensors", "a.pt")]
    assert list(found[0]) == list(found[1]) == list(state)
    for name, value in state.items():
        assert np.array_equal(found[0][name], value.double())
        assert np.array_equal(found[1][name], value.double())


def test_types_that_are_not_read_are_named_alike_in_both_formats(tmp_path):
    """Packed integers, as quantized checkpoints have, are weights too: not included, and said."""
    state = {
        "a.weight": torch.ones(3, 5),
        "a.bias": torch.ones(3),
        "b.qweight": torch.ones(4, 8, dtype=torch.int32),
        "b.order": torch.ones(4, dtype=torch.int32),
    }
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        found = open_tensors(str(tmp_path / name))
        assert [key for key, _ in found.arrays] == ["a.weight"]
        assert (found.count, found.left_out, found.other) == (1, 1, ("b.qweight",))
        assert found.share == pytest.approx(35 / 50)
        assert open_tensors(str(tmp_path / name), only=["a.weight"]).share == 0


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "change",
    [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.orthogonal],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_parts_that_only_the_model_can_put_together_are_named(tmp_path, change, suffix):
    torch.manual_seed(0)
    changed = nn.Sequential(change(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3))
    state = {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in changed.state_dict().items()
    }
    path = tmp_path / f"a{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    for read in (lambda: load_weights(net(), path), lambda: list(open_tensors(str(path)).arrays)):
        with pytest.raises(LayerError, match=r"0\.\S*weight\S* is a part of a weight") as caught:
            read()
        assert "\n" not in str(caught.value)
    load_weights(changed, path)  # its own model takes it


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize(
    "change",
    [
        masked,
        nn.utils.weight_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
        torch.compile,
    ],
)
@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel, torch.compile])
def test_live_modules_count_with_the_weight_they_use(tmp_path, monkeypatch, change, wrap):
    torch.manual_seed(0)
    inner = nn.Sequential(change(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3)).eval()
    if change is not torch.compile:  # hooks make the weight when the module runs; compiling takes long
        inner(torch.zeros(1, 6))
    module = types.ModuleType("a_live_model")
    module.make = lambda: wrap(inner)
    monkeypatch.setitem(sys.modules, "a_live_model", module)
    found = dict(open_tensors("a_live_model:make").arrays)
    assert sorted(found) == ["0.weight", "2.weight"]
    np.testing.assert_allclose(found["0.weight"], inner[0].weight.detach().numpy(), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_marks_inside_names_on_either_side(tmp_path):
    """Parts that are compiled or parallel leave a mark in the middle of their names."""
    for mark, wrap in (("_orig_mod", torch.compile), ("module", nn.DataParallel)):
        plain = {f"0.{name}": value for name, value in filled().items()}
        marked = {f"0.{mark}.{name}": value for name, value in filled().items()}
        for state, module in ((marked, nn.Sequential(net())), (plain, nn.Sequential(wrap(net())))):
            torch.save(state, tmp_path / "a.pt")
            load_weights(module, tmp_path / "a.pt")
            assert next(iter(module.state_dict().values())).equal(filled()["0.weight"])


def test_models_without_values_are_named(tmp_path, monkeypatch):
    for make, says in (
        (lambda: nn.LazyLinear(3), "weight has no shape yet"),
        (lambda: nn.Linear(3, 3, device="meta"), "weight has no values"),
    ):
        module = types.ModuleType("a_live_model")
        module.make = make
        monkeypatch.setitem(sys.modules, "a_live_model", module)
        with pytest.raises(LayerError, match=says):
            open_tensors("a_live_model:make")
