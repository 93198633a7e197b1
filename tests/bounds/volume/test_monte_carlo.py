"""Rows of random weights whose optimum is enumerated: none undercuts the theorem's tail more often than it says.

Every grid and kind of scale that is covered, at sizes where everything is known. Small samples that a false bound
would still exceed: the twins at the end, where one condition is broken, are caught by the same counting.
"""

import itertools

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.volume.coverage import cover
from pvq.bounds.volume.density import NORMAL, log_factor
from pvq.bounds.volume.relax import decision_order, factor
from pvq.bounds.volume.row import Spectrum, Tilt, row_log_z
from scipy import stats

ODDS = (0.1, 0.01, 0.001)
ROWS = 600
LAWS = {"normal": (NORMAL, 1.0), "wide": (NORMAL, 6.0), "student 3": (3.0, 1.0)}


def hessian(rng, n, condition=20.0):
    q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return (q * np.geomspace(1, condition, n)) @ q.T


def draw(rng, law, shape):
    df, width = LAWS[law]
    return width * (rng.standard_normal(shape) if df == NORMAL else rng.standard_t(df, shape))


def optimum(h, w, levels):
    """Least error of a row: `levels` (n, L) of each input, all but the last half enumerated against each other."""
    n = len(w)
    half = (n + 1) // 2
    first = w[:half] - np.array(list(itertools.product(*levels[:half])))
    second = w[half:] - np.array(list(itertools.product(*levels[half:]))) if n > half else np.zeros((1, 0))
    one = np.einsum("pi,ij,pj->p", first, h[:half, :half], first)
    other = np.einsum("pi,ij,pj->p", second, h[half:, half:], second)
    cross = 2 * first @ h[:half, half:] @ second.T
    return float((one[:, None] + other + cross).min())


def tails(h, covered, law, lams, c=0.1, known=None):
    """(lams, rows) exp(lam opt) Z, at most 1, of each row, the density given; in units of the row's scale."""
    df, width = LAWS[law]
    spectrum = Spectrum.of(h)
    tilts = [Tilt(spectrum, lam, c) for lam in lams]
    known = covered.known if known is None else known
    found = np.empty((len(lams), len(covered.weight)))
    for r, w in enumerate(covered.weight):
        inside = np.flatnonzero(known[r])
        levels = covered.levels(r)
        own = np.array([[df, width / covered.unit[r]]])
        log_a = 0.0
        for g, count in enumerate(np.bincount(covered.group[~known[r]], minlength=len(levels))):
            if count:
                ends = covered.low[r, g], covered.high[r, g]
                log_a += count * float(log_factor(levels[g], *ends, 1.0, np.array([c]), own)[0])
        error = optimum(h, w, levels[covered.group])
        for k, tilt in enumerate(tilts):
            correction = tilt.log_correction(len(w) - len(inside))
            log_z = row_log_z(tilt, inside, log_a, w, levels[covered.group[inside]], correction)
            found[k, r] = np.exp(min(0.0, tilt.lam * error + log_z))
    return found


def too_often(p, odds, factor=1.0):
    """Whether more than `odds` of the rows have p <= odds, beyond what chance does once in 1e5."""
    return (p * factor <= odds).sum() > stats.binom.isf(1e-5, len(p), odds)


def check(h, covered, law, reached=0.2):
    reach = max(np.abs(covered.low).max(), np.abs(covered.high).max())
    found = tails(h, covered, law, (1.0, 4.0, 60.0, 2000.0), 0.2 / reach**2)
    assert not any(too_often(p, odds) for p in found for odds in ODDS)
    assert found.min() < reached  # tails are reached, so that a false bound would show


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
