"""Equal cost: what b bits pay for in sparsity, counted again from the definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting, kept, state_problem
from pvq.bounds.storage import CostModel, equal_cost_pair, pair_against, scale_count

PRUNE = Setting("prune", sparsity=0.5)


@pytest.mark.parametrize("bits", range(1, 13))
def test_the_defaults_are_the_papers(bits: int) -> None:
    pair = equal_cost_pair(7, 40, bits, CostModel(), Setting("quant"), PRUNE)
    assert pair.sparsity == pytest.approx(1 - bits / 16)
    assert pair.quant.bits == bits
    assert kept(40, pair.prune.sparsity) == math.floor(40 * bits / 16)
    assert pair.macs == math.floor(40 * bits / 16) / 40


def stored_bits(rows: int, n: int, keep: int, cost: CostModel, block: int, of: int | None) -> int:
    """Bits of a layer with `keep` units a row (or group), counted one by one."""
    groups = n // of if of else 1
    units = rows * keep * groups
    total = units * (1 if of else block) * cost.base
    if cost.mask == "bitmask":
        total += rows * n // block
    if cost.mask == "index":
        positions = of or n // block
        total += units * max(math.ceil(math.log2(positions)), 0)
    return total


@pytest.mark.parametrize(
    ("base", "mask", "scale_bits", "granularity", "shape"),
    list(
        itertools.product(
            (16, 32),
            ("none", "bitmask", "index"),
            (0, 16),
            ("tensor", "channel", "group:8"),
            ("row", "block", "nm"),
        )
    ),
)
def test_one_more_kept_weight_would_cost_more(
    base: int, mask: str, scale_bits: int, granularity: str, shape: str
) -> None:
    rows, n, cost = 6, 48, CostModel(base, mask, scale_bits)
    block, of = (4 if shape == "block" else 1), (16 if shape == "nm" else None)
    setting = Setting("prune", sparsity=0.5, block=4) if shape == "block" else PRUNE
    checked = 0
    for bits in range(1, 13):
        quant = Setting("quant", granularity=granularity, grid="int-asym")
        budget = rows * n * bits + scale_count(rows, n, granularity) * ((scale_bits + bits) if scale_bits else 0)
        try:
            pair = equal_cost_pair(rows, n, bits, cost, quant, setting, of)
        except ProblemError:
            assert stored_bits(rows, n, 1, cost, block, of) > budget or budget >= rows * n * base
            continue
        keep = pair.prune.nm[0] if of else kept(n // block, pair.prune.sparsity)
        assert stored_bits(rows, n, keep, cost, block, of) <= budget * (1 + 1e-9)
        if keep < (of or n // block):
            assert stored_bits(rows, n, keep + 1, cost, block, of) > budget
        assert pair.quant_bits * rows * n == pytest.approx(budget)
        assert pair.prune_bits * rows * n == pytest.approx(stored_bits(rows, n, keep, cost, block, of))
        checked += 1
    assert checked >= 3


def test_nm_at_its_real_cost() -> None:
    """2:4 stores two values and two 2-bit indices for four weights: 9 bits a weight of 16-bit values, not 8."""
    assert CostModel(mask="index").pruned(64, 0.5, of=4) == 9
    assert CostModel().pruned(64, 0.5, of=4) == 8
    pair = equal_cost_pair(4, 64, 8, CostModel(mask="index"), Setting("quant"), PRUNE, 4)
    assert pair.prune.nm == (1, 4)
    pair = equal_cost_pair(4, 64, 9, CostModel(mask="index"), Setting("quant"), PRUNE, 4)
    assert pair.prune.nm == (2, 4)


def test_a_pattern_that_is_given_has_its_own_cost() -> None:
    """3 bits beside 2:4: two 16-bit values and two 2-bit indices for four weights."""
    quant = Setting("quant", granularity="group:16")
    pair = pair_against(4, 64, 3, CostModel(mask="index", scale_bits=16), quant, Setting("prune", nm=(2, 4)))
    assert (pair.sparsity, pair.macs, pair.prune_bits, pair.quant_bits) == (0.5, 0.5, 9, 4)
    assert (pair.quant.bits, pair.prune.nm) == (3, (2, 4))
    pair = pair_against(5, 9, 4, CostModel(), Setting("quant"), Setting("prune", sparsity=0.5))
    assert (pair.sparsity, pair.macs, pair.prune_bits) == (0.5, 4 / 9, 16 * 4 / 9)
    shared = pair_against(5, 9, 4, CostModel(), Setting("quant"), Setting("prune", sparsity=0.5, scope="layer"))
    assert shared.macs == 22 / 45


def test_scope_layer_counts_over_all_rows() -> None:
    setting = Setting("prune", sparsity=0.5, scope="layer")
    pair = equal_cost_pair(5, 9, 3, CostModel(), Setting("quant"), setting)
    problem = state_problem(np.ones((5, 9)), np.eye(9), pair.prune)
    assert problem.budget == math.floor(45 * 3 / 16)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CostModel(base=8), "`base` must be"),
        (lambda: CostModel(mask="tree"), "`mask` must be"),
        (lambda: CostModel(scale_bits=-1), "`scale_bits` must be"),
        (lambda: equal_cost_pair(2, 3, 4, CostModel(), Setting("quant"), PRUNE), "none of 3 weights of a row"),
        (lambda: equal_cost_pair(2, 6, 8, CostModel(), Setting("quant"), PRUNE, 4), "no multiple of 4"),
        (
            lambda: pair_against(2, 6, 4, CostModel(), Setting("quant"), Setting("prune", nm=(2, 4))),
            "no multiple of 4",
        ),
        (
            lambda: pair_against(2, 6, 4, CostModel(), Setting("quant"), Setting("prune", nm=(0, 2))),
            "keeps nothing",
        ),
        (
            lambda: pair_against(2, 6, 4, CostModel(), Setting("quant"), Setting("prune", nm=(2, 2))),
            "keeps everything",
        ),
        (
            lambda: equal_cost_pair(2, 8, 1, CostModel(mask="bitmask"), Setting("quant"), PRUNE),
            "none of 8 weights",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(make, words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        make()
