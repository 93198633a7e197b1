"""All rows of a layer at once: the same answers as row by row, and masks across rows as published."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pvq.bounds.layer_problem import LayerProblem, Setting, kept, state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import optimal_on_support
from pvq.solvers.base import Options
from pvq.solvers.empirical.heuristic import row_problem
from pvq.solvers.empirical.layerwise import layer_point, row_errors, used_units
from pvq.solvers.empirical.obs import exact_removal, removal_mask
from pvq.solvers.layer import solve_layer
from pvq.solvers.registry import get_solver, solver_class, solver_names

from .conftest import GRAMS, gram

METHODS = [name for name in solver_names() if solver_class(name).proves == "nothing"]
SETTINGS = {
    "quant": Setting("quant", bits=2, granularity="group:4"),
    "prune": Setting("prune", sparsity=0.6),
    "nm": Setting("prune", nm=(1, 4)),
    "joint": Setting("joint", bits=2, sparsity=0.5),
}


def layer(kind: str, setting: Setting, rows: int = 4, n: int = 8, groups: int = 1, seed: int = 0) -> LayerProblem:
    rng = np.random.default_rng(seed)
    grams = np.array([gram(kind, n, rng) for _ in range(groups)])
    return state_problem(rng.normal(size=(rows, n)), grams, setting)


@pytest.mark.parametrize(("kind", "setting"), list(itertools.product(GRAMS, SETTINGS)))
def test_equals_the_method_row_by_row(kind: str, setting: str) -> None:
    problem = layer(kind, SETTINGS[setting], groups=2)
    for method in map(get_solver, METHODS):
        if method.why_unsupported(problem.row(0)):
            continue
        point = layer_point(method, problem)
        alone = [method.solve(problem.row(i)) for i in range(len(problem))]
        assert np.array_equal(point.x, [result.x for result in alone]), method.name
        # two orders of summation
        limit = 1e-12 * problem.row(0).reference
        assert point.errors == pytest.approx([result.upper for result in alone], rel=1e-9, abs=limit), method.name


@pytest.mark.parametrize("kind", GRAMS)
@pytest.mark.parametrize("block", [None, 2])
def test_a_shared_budget_is_kept_and_never_beats_the_optimum(kind: str, block: int | None) -> None:
    problem = layer(kind, Setting("prune", sparsity=0.7, scope="layer", block=block), rows=3, groups=3)
    optimum = solve_layer(problem, get_solver("bnb"), Options(time_limit=None))
    for method in map(get_solver, METHODS):
        if method.why_unsupported(problem.row(0)):
            continue
        point = layer_point(method, problem)
        assert used_units(problem, point.x) <= problem.budget, method.name
        # rounding of two least-squares solutions on an ill-conditioned H
        assert point.errors.sum() >= optimum.lower - 1e-9 * optimum.reference, method.name
        assert point.errors == pytest.approx(row_errors(problem, point.x)), method.name


def test_a_layer_wide_result_is_at_least_as_good_as_the_methods_compared() -> None:
    problem = layer("regular", Setting("prune", sparsity=0.7, scope="layer"), rows=5, n=16)
    methods = [get_solver(name) for name in ("obc", "magnitude", "sparsegpt")]
    result = solve_layer(problem, get_solver("bnb"), Options(node_limit=1), methods)
    assert set(result.empirical) == {"obc", "magnitude", "sparsegpt"}
    assert result.lower <= result.upper <= min(result.empirical.values()) * (1 + 1e-12)
    assert used_units(problem, result.weights) <= problem.budget


def test_magnitude_keeps_the_largest_weights_of_the_layer() -> None:
    problem = layer("regular", Setting("prune", sparsity=0.75, scope="layer"), rows=6)
    x = layer_point(get_solver("magnitude"), problem).x
    sizes = np.sort(np.abs(problem.weight), axis=None)
    assert np.array_equal(x != 0, np.abs(problem.weight) >= sizes[-kept(48, 0.75)])
    assert np.array_equal(x[x != 0], problem.weight[x != 0])


def test_obc_across_rows_is_the_cheapest_removal_of_the_layer_again_and_again() -> None:
    problem = layer("regular", Setting("prune", sparsity=0.6, scope="layer"), rows=3, groups=3, seed=4)
    rows = [problem.row(i) for i in range(3)]
    masks = np.ones((3, 8), dtype=bool)

    def cost(i: int, j: int) -> float:
        without = masks[i].copy()
        without[j] = False
        return rows[i].error(optimal_on_support(rows[i], without)) - rows[i].error(
            optimal_on_support(rows[i], masks[i])
        )

    while masks.sum() > problem.budget:
        masks[min(zip(*np.nonzero(masks), strict=True), key=lambda ij: cost(*ij))] = False
    x = layer_point(get_solver("obc"), problem).x
    assert np.array_equal(x != 0, masks)


# where inputs are dead they take a place in the stretches of the layer, and none in those of a row
@pytest.mark.parametrize("kind", [kind for kind in GRAMS if kind != "dead"])
@pytest.mark.parametrize("bits", [None, 2])
def test_sparsegpt_of_one_row_does_not_care_about_scope(kind: str, bits: int | None) -> None:
    wide = Setting("joint" if bits else "prune", bits=bits, sparsity=0.6, scope="layer")
    problem = layer(kind, wide, rows=1, n=12, seed=1)
    x = layer_point(get_solver("sparsegpt"), problem).x[0]
    alone = get_solver("sparsegpt").solve(row_problem(problem, 0)).x
    assert x == pytest.approx(alone, rel=1e-9, abs=1e-12)


def test_sparsegpt_shares_each_block_of_inputs_between_the_rows() -> None:
    """By its definition: scores w^2 / [H_F^-1]_jj on the inputs F left, one threshold for all rows of a block."""
    problem = layer("regular", Setting("prune", sparsity=0.5, scope="layer"), rows=3, n=160, seed=2)
    h = problem.grams[0].matrix
    h = h + 0.01 * np.diag(h).mean() * np.eye(160)
    w, keep = problem.weight.copy(), np.ones((3, 160), dtype=bool)
    for j in range(160):
        if j in (0, 128):
            end = min(j + 128, 160)
            pivots = [np.linalg.inv(h[i:, i:])[0, 0] for i in range(j, end)]
            score = w[:, j:end] ** 2 / pivots
            keep[:, j:end] = score > np.sort(score, axis=None)[score.size // 2 - 1]
        inverse = np.linalg.inv(h[j:, j:])
        step = np.where(keep[:, j], 0.0, w[:, j])
        w[:, j:] -= np.outer(step, inverse[0]) / inverse[0, 0]
        w[:, j] = np.where(keep[:, j], w[:, j], 0.0)
    assert layer_point(get_solver("sparsegpt"), problem).x == pytest.approx(w, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", GRAMS)
@pytest.mark.parametrize("block", [None, 2])
def test_one_obc_trace_serves_every_sparsity(kind: str, block: int | None) -> None:
    h = gram(kind, 12, np.random.default_rng(6))
    weight = np.random.default_rng(7).normal(size=(1, 12))
    first = state_problem(weight, h, Setting("prune", sparsity=0.5, block=block))
    for sparsity in (0.2, 0.5, 0.9):
        setting = Setting("prune", sparsity=sparsity, block=block)
        problem = state_problem(weight, h, setting, checked=first.grams).row(0)
        reduced = presolve(problem).problem
        assert reduced is not None
        assert np.array_equal(removal_mask(reduced), exact_removal(reduced)[0])
