"""Grids and patterns recognised from values: the ones that were used, and none where none was."""

import numpy as np
import pytest
from pvq.bounds.codebooks import codebook
from pvq.bounds.layer_problem import kept
from pvq.bounds.ranges import fit_grid
from pvq.bounds.recognise import recognise, sparsity_of

EPS = {kind: float(np.finfo(kind).eps) for kind in (np.float64, np.float32, np.float16)}
WEIGHT = np.random.default_rng(3).standard_normal((12, 96))
CASES = [
    ("ternary", None, "tensor"),
    ("int", 4, "tensor"),
    ("int", 8, "tensor"),
    ("int", 3, "channel"),
    ("int-asym", 4, "channel"),
    ("int", 4, "group:32"),
    ("int-asym", 3, "group:32"),
    ("nf4", None, "channel"),
]


def on_grid(weight, grid, bits, granularity, kind=np.float64):
    book = codebook(grid, bits)
    layer = fit_grid(weight, book, granularity, "minmax")
    object.__setattr__(layer, "scale", layer.scale.astype(kind).astype(np.float64))
    n = weight.shape[1]
    return np.array([layer.row(r, range(n)).nearest(weight[r]) for r in range(len(weight))]).astype(kind), layer


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize(("grid", "bits", "granularity"), CASES)
def test_the_grid_that_was_used(grid, bits, granularity, kind):
    values, layer = on_grid(WEIGHT, grid, bits, granularity, kind)
    found = recognise(WEIGHT, values.astype(np.float64), EPS[kind])
    assert (found.setting.method, found.setting.grid, found.setting.bits) == ("quant", grid, bits)
    assert found.setting.granularity == granularity
    assert found.grid.scale == pytest.approx(layer.scale, rel=1e-6)
    assert np.array_equal(found.grid.zero, layer.zero)


@pytest.mark.parametrize(("grid", "bits", "granularity"), [("int", 4, "channel"), ("int-asym", 3, "group:32")])
def test_weights_of_a_half_type_stored_in_a_longer_one(grid, bits, granularity):
    values, _ = on_grid(WEIGHT, grid, bits, granularity, np.float16)
    found = recognise(WEIGHT, values.astype(np.float64), EPS[np.float64])
    assert (found.setting.grid, found.setting.bits, found.setting.granularity) == (grid, bits, granularity)
    assert found.eps > EPS[np.float64]


def test_one_weight_off_the_grid_is_no_grid():
    values, _ = on_grid(WEIGHT, "int", 4, "channel")
    values[5, 7] *= 1 + 1e-6
    found = recognise(WEIGHT, values, EPS[np.float64])
    assert not found.setting.quantizes  # its zeros could still be pruning
    assert not found.unchanged


@pytest.mark.parametrize("kind", EPS)
def test_a_cast_is_no_change(kind):
    assert recognise(WEIGHT, WEIGHT.astype(kind).astype(np.float64), EPS[kind]).unchanged
    other = WEIGHT.copy()
    other[0, 0] *= 1 + 3 * EPS[kind]
    found = recognise(WEIGHT, other, EPS[kind])
    assert not found.unchanged
    assert found.setting is None


def pruned(kind):
    """Weights with zeros of a kind."""
    size = np.abs(WEIGHT)
    if kind == "2:4":
        order = np.argsort(size.reshape(12, -1, 4), axis=2)
        mask = np.zeros((12, 24, 4), bool)
        np.put_along_axis(mask, order[:, :, 2:], True, axis=2)
        return np.where(mask.reshape(12, 96), WEIGHT, 0)
    if kind == "row":
        return np.where(size >= np.sort(size, axis=1)[:, [36]], WEIGHT, 0)
    return np.where(size >= np.quantile(size, 0.75), WEIGHT, 0)


@pytest.mark.parametrize("update", [False, True])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("2:4", {"nm": (2, 4), "scope": "row", "sparsity": None}),
        ("row", {"nm": None, "scope": "row", "sparsity": 36 / 96}),
        ("layer", {"nm": None, "scope": "layer", "sparsity": 0.75}),
    ],
)
def test_the_pattern_of_the_zeros(kind, words, update):
    other = pruned(kind) * (1.1 if update else 1.0)
    found = recognise(WEIGHT, other, EPS[np.float64])
    assert found.setting.method == "prune"
    assert {name: getattr(found.setting, name) for name in words} == words
    assert found.setting.update is update
    # what is recognised is an answer to the problem: no more is kept than it allows
    if kind == "layer":
        assert np.count_nonzero(other) <= kept(12 * 96, found.setting.sparsity)


def test_a_few_zeros_are_no_pruning():
    other = WEIGHT * 1.1
    other[0, :5] = 0
    assert recognise(WEIGHT, other, EPS[np.float64]).setting is None


def test_both_at_once():
    values, _ = on_grid(pruned("2:4"), "int", 4, "channel")
    keep = pruned("2:4") != 0
    values[keep & (values == 0)] = np.abs(values[values != 0]).min()  # the least weights may round to 0
    rows = np.abs(values).max(axis=1, keepdims=True) / 8
    values = np.where(keep, np.clip(np.where(keep, np.round(WEIGHT / rows), 0), -8, 7) * rows, 0)
    values = np.where(keep & (values == 0), rows, values)
    found = recognise(WEIGHT, values, EPS[np.float64])
    assert (found.setting.method, found.setting.nm, found.setting.granularity) == ("joint", (2, 4), "channel")


def test_zeros_of_quantized_weights_are_a_level():
    values, _ = on_grid(WEIGHT, "ternary", None, "tensor")
    assert (values == 0).mean() > 0.3
    assert recognise(WEIGHT, values, EPS[np.float64]).setting.method == "quant"


@pytest.mark.parametrize("of", [3, 100, 12 * 96, 10**7 + 19])
def test_a_sparsity_keeps_what_it_is_of(of):
    for count in {1, of // 3, of // 2, of - 1}:
        assert kept(of, sparsity_of(count, of)) == count
