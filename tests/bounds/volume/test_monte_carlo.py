"""Rows of random weights whose optimum is enumerated: none undercuts the theorem's tail more often than it says.

Every grid and kind of scale that is covered, at sizes where everything is known. Small samples that a false bound
would still exceed: the twins at the end, where one condition is broken, are caught by the same counting.
"""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.volume.coverage import cover
from pvq.bounds.volume.density import NORMAL
from pvq.bounds.volume.relax import decision_order, factor
from scipy import stats
from volume_cases import LAWS, ODDS, check, draw, hessian, optimum, tails, too_often

ROWS = 600


GRIDS = {
    "int": {"grid": "int", "bits": 2},
    "int-sym": {"grid": "int-sym", "bits": 2},
    "int-asym": {"grid": "int-asym", "bits": 2},
    "ternary": {"grid": "ternary"},
}


@pytest.mark.parametrize("grid", list(GRIDS))
@pytest.mark.parametrize("law", list(LAWS))
def test_min_max_scales_of_rows(grid, law):
    rng = np.random.default_rng(3)
    n = 5
    h = hessian(rng, n)
    w = draw(rng, law, (ROWS // 3, n))
    problem = state_problem(w, h, Setting("quant", granularity="channel", range="minmax", **GRIDS[grid]))
    covered = cover(problem, w)
    assert (covered.binding.sum(axis=1) >= 1).all()  # C is never empty
    check(h, covered, law)


@pytest.mark.parametrize("grid", [{"grid": "int", "bits": 2}, {"grid": "nf4"}, {"grid": "fp4-e2m1"}])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_levels_as_they_are_with_weights_outside_them(grid, n):
    rng = np.random.default_rng(n)
    h = hessian(rng, n)
    book = {"int": 1.0, "nf4": 0.4, "fp4-e2m1": 3.0}[grid["grid"]]
    w = book * rng.standard_normal((ROWS, n))
    LAWS["scaled"] = (NORMAL, book)
    problem = state_problem(w, h, Setting("quant", granularity="channel", range="none", **grid))
    covered = cover(problem, w)
    assert covered.known.any()  # clipped weights are in C
    assert not covered.known.all()
    check(h, covered, "scaled")


@pytest.mark.parametrize("bits", [2, 3])
def test_min_max_scales_of_groups(bits):
    rng = np.random.default_rng(7)
    n = 6 if bits == 2 else 4
    h = hessian(rng, n)
    w = rng.standard_normal((ROWS // 3, n))
    setting = Setting("quant", grid="int", bits=bits, granularity=f"group:{n // 2}", range="minmax")
    covered = cover(state_problem(w, h, setting), w)
    assert (covered.binding.sum(axis=1) == 2).all()
    check(h, covered, "normal")


@pytest.mark.parametrize("method", ["mse", "gram"])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_scales_that_were_searched_pay_for_the_search(method, granularity):
    rng = np.random.default_rng(9)
    n = 5
    h = hessian(rng, n)
    w = rng.standard_normal((ROWS // 5, n))
    setting = Setting("quant", grid="int", bits=2, granularity=granularity, range=method)
    covered = cover(state_problem(w, h, setting), w)
    p = tails(h, covered, "normal", (2000.0,))[0]
    candidates = np.exp(covered.log_candidates)
    assert candidates > 1e4
    assert not any(too_often(p, odds, candidates) for odds in ODDS)


def test_a_false_twin_is_caught_weights_that_set_the_scale_taken_for_random():
    rng = np.random.default_rng(11)
    h = np.eye(1)
    w = rng.standard_normal((ROWS, 1))
    problem = state_problem(w, h, Setting("quant", grid="int", bits=2, granularity="channel", range="minmax"))
    covered = cover(problem, w)
    # every weight is a level of its own grid: the optimum is 0
    p = tails(h, covered, "normal", (2000.0,), 0.0, known=np.zeros_like(covered.known))
    assert too_often(p[0], 0.1)


def test_a_false_twin_is_caught_planted_optima():
    rng = np.random.default_rng(13)
    n = 4
    h = hessian(rng, n)
    w = np.clip(np.round(rng.standard_normal((ROWS, n))), -2, 1) + 0.05 * rng.standard_normal((ROWS, n))
    problem = state_problem(w, h, Setting("quant", grid="int", bits=2, granularity="tensor", range="none"))
    assert too_often(tails(h, cover(problem, w), "normal", (40.0,))[0], 0.1)


@pytest.mark.parametrize("seed", range(4))
def test_the_chain_holds_for_any_order_of_pivots_in_any_shape(seed):
    from pvq.bounds.volume.chain import chain, sphere_level

    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    h = hessian(rng, n, 10.0 ** rng.uniform(0, 3))
    order = rng.permutation(n) if seed % 2 else decision_order(h)
    pivots = factor(h, order).diagonal() ** 2
    # uniform weights and a grid with room at its ends: kappa is 1
    levels = np.tile(np.arange(-2.0, 3.0), (n, 1))
    errors = np.sort([optimum(h, w, levels) for w in rng.uniform(-0.5, 0.5, (400, n))])
    t, f = chain(pivots, 1.0, 3 * sphere_level(pivots))
    count = np.searchsorted(errors, t, side="right")
    assert (count <= stats.binom.isf(1e-7, len(errors), np.minimum(f, 1 - 1e-12))).all()
