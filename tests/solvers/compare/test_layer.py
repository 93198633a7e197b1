"""The pairs of one layer: verdicts and intervals against exact optima, whatever the layer is like."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.storage import CostModel
from pvq.layers.format import Layer, load_layer
from pvq.solvers import base
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.compare.column import Column
from pvq.solvers.compare.layer import compare_layer
from pvq.solvers.compare.verdict import OPEN, PRUNE, QUANT, Interval, margin_db, opening, sentence, verdict
from pvq.solvers.empirical.layerwise import layer_point
from pvq.solvers.registry import get_solver

from compare_cases import KINDS, comparison, random_layer


def optima(layer: Layer, pair: dict, quant: Setting) -> tuple[float, float]:
    """Least errors of both sides of a pair, by enumeration."""
    pattern = Setting("prune", **{name: pair["prune"]["pattern"][name] for name in ("sparsity", "scope")})
    grids = state_problem(layer.weight, layer.grams, replace(quant, bits=pair["bits"]))
    masks = state_problem(layer.weight, layer.grams, pattern)
    rows = range(layer.out)
    least = sum(least_on_grid(grids.row(i)) for i in rows)
    most = int(masks.sparsity.keep[0]) if masks.budget is None else masks.budget
    curves = [least_with(masks.row(i), most) for i in rows]
    if masks.budget is None:
        return least, sum(curve[most] for curve in curves)
    budgets = [k for k in itertools.product(range(most + 1), repeat=layer.out) if sum(k) == most]
    return least, min(sum(curve[k] for curve, k in zip(curves, ks, strict=True)) for ks in budgets)


def least_on_grid(problem: Problem) -> float:
    """min e(x) over all grid points."""
    levels = [problem.grid.of(i) for i in range(problem.n)]
    u = np.stack(np.meshgrid(*levels, indexing="ij"), axis=-1).reshape(-1, problem.n) - problem.weight
    return max(float(((u @ problem.hessian) * u).sum(axis=1).min()), 0.0)


def least_with(problem: Problem, most: int) -> list[float]:
    """min e(x) with at most k non-zeros, for k = 0 ... most."""
    least = []
    for k in range(most + 1):
        errors = [problem.reference]
        for kept in itertools.combinations(range(problem.n), min(k, problem.n)):
            mask = np.isin(np.arange(problem.n), kept)
            errors.append(problem.error(optimal_on_support(problem, mask)))
        least.append(min(errors))
    return np.minimum.accumulate(least).tolist()


@pytest.mark.parametrize(
    ("quant", "prune", "expected"),
    [
        ((1, 2), (3, 4), QUANT),
        ((3, 4), (1, 2), PRUNE),
        ((1, 3), (2, 4), OPEN),
        ((0, 2), (2, 2), OPEN),
        ((0, 2), (2 * (1 + 5e-10), 3), OPEN),  # within what float64 bounds may be wrong by
        ((0, 0), (1e-30, 1), QUANT),
        ((0, 0), (0, 0), OPEN),
        ((0, math.inf), (0, math.inf), OPEN),
    ],
)
def test_only_intervals_apart_are_a_verdict(quant, prune, expected) -> None:
    pair = Interval(*quant), Interval(*prune)
    assert verdict(*pair) == expected
    margin = margin_db(*pair)
    assert margin is None or (margin > 0) == (expected != OPEN) or abs(margin) < 1e-8
    assert json.dumps(margin, allow_nan=False)
    words = sentence(opening(4, 0.75), 10.0, *pair)
    assert words.startswith("At 4 bits against 75% sparsity")
    assert ("is better" in words) == (expected != OPEN) or expected == OPEN


@pytest.mark.parametrize(("kind", "scope"), list(itertools.product(KINDS, ("row", "layer"))))
def test_verdicts_and_intervals_hold_on_degenerate_layers(kind: str, scope: str, monkeypatch) -> None:
    """Decided, complete and hardly started: never against the optima of enumeration."""
    monkeypatch.setattr("pvq.solvers.compare.layer.SHORT", 6)  # rows of 8 inputs go through the relaxations
    prune = Setting("prune", sparsity=0.5, scope=scope)
    cases = [(8, 2, "tensor", 0), (8, 2, "channel", 16), (6, 3, "channel", 16)]
    seeds = (1, 0, 1) if scope == "row" else (0, 1, 0)  # both scopes have layers of one group and of three
    for seed, (n, bits, granularity, scale_bits) in zip(seeds, cases, strict=True):
        layer = random_layer(kind, seed, n=n, groups=1 + 2 * (seed % 2))
        quant, cost = Setting("quant", granularity=granularity), CostModel(scale_bits=scale_bits)
        shared = {"quant": quant, "prune": prune, "cost": cost}
        runs = [comparison(range(bits, bits + 1), full=full, **shared) for full in (False, True)]
        runs.append(comparison(range(bits, bits + 1), time_limit=1e-9, **shared))
        (quick, exact, started) = (next(compare_layer(layer, what)) for what in runs)
        best = optima(layer, exact, quant)
        floor = 1e-11 * exact["quant"]["reference"]  # rounding of the errors themselves
        for pair in (quick, exact, started):
            for side, optimum in zip((pair["quant"], pair["prune"]), best, strict=True):
                assert side["lower"] <= optimum * (1 + 1e-9) + floor
                assert optimum <= side["upper"] * (1 + 1e-9) + floor
            if pair["verdict"] != OPEN and abs(best[0] - best[1]) > floor:
                assert (pair["verdict"] == QUANT) == (best[0] < best[1])
        # the engine takes the rounding of its own factors off, more where H is singular
        assert exact["quant"]["lower"] == pytest.approx(best[0], rel=1e-3, abs=floor)
        assert exact["prune"]["lower"] == pytest.approx(best[1], rel=1e-3, abs=floor)
        if abs(best[0] - best[1]) > 3e-3 * max(best) + floor:
            assert exact["verdict"] == quick["verdict"] != OPEN  # without a time limit it goes on until it knows


def test_a_bound_above_a_feasible_error_is_thrown_away(expand40, monkeypatch) -> None:
    """Twice the optimum, from a solver whose claims nobody else has checked."""
    honest = base.checked

    def believed(solver, *words):
        result = honest(solver, *words)
        if solver != "liar":
            return result
        return replace(result, upper=3 * result.upper, x=0 * result.x, lower=2 * result.upper)

    class Liar(BranchAndBound):
        name = "liar"

    monkeypatch.setattr(base, "checked", believed)
    pair = next(compare_layer(load_layer(expand40), comparison(range(2, 3), engines=[Liar()], time_limit=2.0)))
    assert pair["prune"]["failed_rows"]
    assert pair["prune"]["rows_bounded"] == 0
    assert (pair["prune"]["lower"], pair["verdict"]) == (0, OPEN)


def test_a_solver_that_breaks_on_a_row_does_not_end_the_comparison(expand40) -> None:
    class Broken(BranchAndBound):
        """Divides by zero."""

        def _solve(self, problem, options, start):
            raise ZeroDivisionError

    pair = next(compare_layer(load_layer(expand40), comparison(range(2, 3), engines=[Broken()], time_limit=2.0)))
    assert pair["prune"]["failed_rows"]
    assert (pair["prune"]["lower"], pair["verdict"]) == (0, OPEN)


def test_a_verdict_takes_only_the_rows_it_needs(expand40) -> None:
    """At 8 bits few rows of pruning exceed all of quantization."""
    pair = next(compare_layer(load_layer(expand40), comparison(range(8, 9))))
    assert pair["verdict"] == QUANT
    assert 0 < pair["prune"]["rows_bounded"] <= 24
    assert pair["quant"]["rows_bounded"] == 0
    assert pair["quant"]["lower"] == 0


@pytest.mark.parametrize("scope", ["row", "layer"])
def test_more_bits_never_lose_what_a_sparser_pair_has_found(scope: str) -> None:
    """Magnitude pruning alone, on correlated inputs, gets worse with more kept weights now and then."""
    alone = 0
    for seed in range(20):
        layer = random_layer("duplicated", seed, rows=4, n=12)
        masks = Setting("prune", sparsity=0.5, scope=scope)
        quick = [get_solver("rtn"), get_solver("magnitude")]
        what = comparison(range(2, 13), prune=masks, quick=quick, close=[], time_limit=0.0)
        uppers = [pair["prune"]["upper"] for pair in compare_layer(layer, what)]
        # rounding of two evaluations of the same error
        assert all(later <= earlier * (1 + 1e-9) + 1e-15 for earlier, later in itertools.pairwise(uppers)), uppers
        magnitude = []
        for bits in what.bits:
            setting = replace(masks, sparsity=1 - bits / 16)
            point = layer_point(quick[1], state_problem(layer.weight, layer.grams, setting), Options())
            magnitude.append(point.errors.sum())
        alone += any(later > earlier * (1 + 1e-9) for earlier, later in itertools.pairwise(magnitude))
    assert alone > 5


def test_a_stopped_comparison_still_holds(expand40) -> None:
    layer = load_layer(expand40)
    what = comparison(range(2, 5))
    pairs = compare_layer(layer, what)
    first = next(pairs)
    what.options.stop.set()
    assert first["status"] == "done"
    assert list(pairs) == []
    old = {**first, "status": "interrupted"}
    assert list(compare_layer(layer, what, known={Column(2): old})) == [old]


def test_an_open_pair_says_who_reaches_an_error_of_0():
    """Rank 4 of 8 inputs, 4 kept: pruning reaches 0 but for the shift; whether a fine grid does is not decided."""
    layer = random_layer("singular", 0)
    terms = comparison([8], against="0.5", time_limit=1e-9)
    pair = next(iter(compare_layer(layer, terms)))
    zero = {name: pair[name]["zero_without_shift"] for name in ("quant", "prune")}
    assert zero["prune"] == {"answer": "yes", "bound_kind": "numerical"}
    assert zero["quant"] == {"answer": "not decided", "bound_kind": "none"}
    said = "pruning reaches an error of 0 but for rounding; of quantization that is not decided."
    assert pair["verdict"] == OPEN
    assert pair["words"].endswith(f"Without the shift of H, {said}")
