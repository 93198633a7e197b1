"""The row and layer theorems, the chain and their parts, against closed forms, integrals and enumerated optima."""

import itertools
import math

import numpy as np
import pytest
from pvq.bounds.volume.chain import chain, median_level, sphere_level
from pvq.bounds.volume.density import NORMAL, log_factor
from pvq.bounds.volume.layer import layer_level
from pvq.bounds.volume.relax import decision_order, factor, relaxed
from pvq.bounds.volume.row import Spectrum, Tilt, row_log_z
from pvq.bounds.volume.tail import log_largest_density
from scipy import integrate, special, stats

NONE = np.empty(0, dtype=np.int64)
INT2, TERNARY = np.arange(-2.0, 2.0), np.array([-1.0, 0.0, 1.0])
UNEVEN = np.array([-2.0, -0.8, 0.0, 0.7, 2.1])


def hessian(rng, n, condition=30.0):
    q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return (q * np.geomspace(1, condition, n)) @ q.T


def optimum(h, w, levels):
    """Least error of rows (rows, n) by enumeration."""
    points = np.array(list(itertools.product(levels, repeat=w.shape[1])))
    best = np.empty(len(w))
    for start in range(0, len(w), 500):
        u = w[start : start + 500, None, :] - points
        best[start : start + 500] = np.einsum("rpi,ij,rpj->rp", u, h, u, optimize=True).min(axis=1)
    return best


def no_more_often(share, p, draws):
    """Whether a share is at most p up to a binomial deviation that chance exceeds once in 1e6."""
    return share * draws <= stats.binom.isf(1e-6, draws, p)


@pytest.mark.parametrize("n", [4, 20])
def test_without_damping_and_known_weights_the_theorem_is_the_tilted_sphere_bound(n):
    h = hessian(np.random.default_rng(n), n)
    lam = 0.7
    z = row_log_z(Tilt(Spectrum.of(h), lam, 0.0), NONE, 0.0, np.zeros(n), np.arange(2.0), 0.0)
    # the integral of exp(-lam u'Hu)
    assert z == pytest.approx(n / 2 * math.log(math.pi / lam) - np.linalg.slogdet(h)[1] / 2, rel=1e-12)
    # the volume of u'Hu <= t is below exp(lam t) times it, and is one at t = GH
    level = sphere_level(np.diag(np.linalg.cholesky(h)) ** 2)
    ball = n / 2 * math.log(math.pi * level) - special.gammaln(n / 2 + 1) - np.linalg.slogdet(h)[1] / 2
    assert ball == pytest.approx(0, abs=1e-10)
    assert lam * level + z >= 0


@pytest.mark.parametrize("k", [3, 5, 12])
def test_f_is_above_the_largest_density_and_close_to_it(k):
    h = np.geomspace(1, 20, k)
    lam, c = 0.6, 0.05
    a = h / (lam * h + c)

    def phase(t, e):
        return (np.exp(-1j * t * e) * np.prod((1 - 1j * t * a) ** -0.5)).real / math.pi

    found = np.exp(log_largest_density(h, lam, c))
    inversion = max(
        integrate.quad(phase, 0, 200, args=(e,), limit=2000)[0] for e in np.linspace(0.1, 1, 12) * a.sum()
    )
    modulus = integrate.quad(lambda t: np.prod((1 + (t * a) ** 2) ** -0.25), 0, np.inf, limit=2000)[0] / math.pi
    assert inversion <= found
    assert modulus <= found <= 1.05 * modulus


@pytest.mark.parametrize("k", [1, 2])
def test_f_is_infinite_for_two_directions_or_fewer(k):
    assert math.isinf(log_largest_density(np.array([0.0] + [1.0] * k), 1.0, 0.1))


@pytest.mark.parametrize("levels", [INT2, TERNARY, np.array([-3.0, -0.5, 0.2, 4.0])])
@pytest.mark.parametrize("cut", [(-0.7, 0.9), (-2.6, 3.1)])
def test_a_is_the_supremum_of_the_sum(levels, cut):
    law = stats.norm(0, 0.8)
    c = np.array([0.0, 0.1, 0.5])
    found = log_factor(levels, *cut, 0.8, c, laws=np.array([[NORMAL, 0.8]]))
    u = np.linspace(cut[0] - levels[-1], cut[1] - levels[0], 200001)
    x = u[:, None] + levels
    k = (law.pdf(x) * ((x >= cut[0]) & (x <= cut[1]))).sum(axis=1) / np.diff(law.cdf(cut))
    with np.errstate(divide="ignore"):
        brute = (np.log(k)[:, None] + np.outer(u * u, c)).max(axis=0)
    assert (found >= brute).all()
    assert found == pytest.approx(brute, abs=2e-3)


@pytest.mark.parametrize("far", [False, True])
def test_the_product_over_known_inputs_is_above_the_exact_sum(far):
    rng = np.random.default_rng(1)
    n, levels = 5, np.arange(-2.0, 2.0)
    h = hessian(rng, n)
    w = rng.normal(0, 1, n)
    known = np.array([0, 2, 3])
    w[known] += np.array([60.0, -50.0, 40.0]) if far else np.array([2.5, -2.0, 0.3])  # exp(-u'Bu) underflows
    lam, c = 0.9, 0.2
    tilt = Tilt(Spectrum.of(h), lam, c)
    m = lam * h + c * np.eye(n)
    b = np.linalg.inv(np.linalg.inv(m)[np.ix_(known, known)]) - c * np.eye(3)
    inside = np.setdiff1d(np.arange(n), known)
    u = w[known] - np.array(list(itertools.product(levels, repeat=3)))
    sums = special.logsumexp(-np.einsum("pi,ij,pj->p", u, b, u))
    exact = math.log(math.pi) - np.linalg.slogdet(m[np.ix_(inside, inside)])[1] / 2 + sums
    found = row_log_z(tilt, known, 0.0, w, levels, 0.0)
    assert np.isfinite(found)
    assert exact <= found + 1e-9
    assert found <= exact + (0.05 * abs(exact) if far else 2.0)
    every = (tilt.spectrum.vectors / tilt.diagonal) @ tilt.spectrum.vectors.T
    assert row_log_z(tilt, known, 0.0, w, levels, 0.0, every) == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("levels", [INT2, TERNARY, UNEVEN])
@pytest.mark.parametrize("clipped", [False, True])
def test_rows_undercut_their_level_no_more_often_than_the_theorem_says(n, levels, clipped):
    rng = np.random.default_rng(n)
    draws = 600
    h = hessian(rng, n)
    low, high = levels[0] - 0.4 * (levels[1] - levels[0]), levels[-1] + 0.4 * (levels[-1] - levels[-2])
    law = stats.truncnorm(low, high)
    w = law.rvs((draws, n), random_state=rng)
    known = np.array([0]) if clipped and n > 1 else NONE
    if len(known):
        w[:, 0] = high + 0.3
    errors = optimum(h, w, levels)
    m = n - len(known)
    for lam in (0.5, 2.0, 8.0):
        for c in (0.0, 0.2):
            tilt = Tilt(Spectrum.of(h), lam / h.trace() * n, c)
            a = float(log_factor(levels, low, high, 1.0, np.array([c]), laws=np.array([[NORMAL, 1.0]]))[0])
            z = row_log_z(tilt, known, m * a, w[0], levels, tilt.log_correction(m))
            p = np.exp(tilt.lam * errors + z)
            for odds in (0.1, 0.01, 0.001):
                assert no_more_often(np.mean(p <= odds), odds, draws)


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_sums_of_rows_undercut_the_layers_level_as_seldom_as_it_says(spread):
    rng = np.random.default_rng(3)
    draws, rows = 20000, 8
    lam = np.geomspace(1, spread, rows)
    t1 = rng.uniform(5, 6, rows)
    # the extreme case that the theorem allows: opt = t1 - exponential
    totals = (t1 - rng.exponential(1, (draws, rows)) / lam).sum(axis=1)
    for odds in (0.1, 0.01, 0.001):
        level = layer_level(t1, lam, math.log(odds))
        assert no_more_often(np.mean(totals <= level), odds, draws)
        mu = np.linspace(0, lam.min(), 100001)[1:-1]
        best = ((np.log(odds) + sum(np.log1p(-mu / each) for each in lam)) / mu).max()
        assert level == pytest.approx(t1.sum() + best, rel=1e-3)


@pytest.mark.parametrize("order", ["natural", "reversed", "decision"])
def test_the_chain_is_above_the_distribution_of_the_optimum_in_any_order(order):
    rng = np.random.default_rng(7)
    n, draws = 4, 3000
    h = hessian(rng, n, 100.0)
    orders = {"natural": np.arange(n), "reversed": np.arange(n)[::-1], "decision": decision_order(h)}
    pivots = factor(h, orders[order]).diagonal() ** 2
    # uniform over one cell of the unbounded grid: kappa 1
    errors = optimum(h, rng.uniform(-0.5, 0.5, (draws, n)), np.arange(-2.0, 3.0))
    t, f = chain(pivots, 1.0, 3 * sphere_level(pivots))
    share = np.searchsorted(np.sort(errors), t, side="right") / draws
    assert (share <= f + 5 * np.sqrt(np.maximum(f * (1 - f), 1 / draws) / draws)).all()
    assert median_level(pivots) <= np.median(errors) * 1.05
    assert median_level(pivots) >= 0.5 * np.median(errors)


def test_the_chain_of_one_input_is_its_distribution():
    t, f = chain(np.array([2.0]), 1.0, 1.0, 400)
    assert f == pytest.approx(np.minimum(1, 2 * np.sqrt(t / 2)), abs=1e-9)


def test_a_relaxed_input_costs_nothing_and_needs_no_inverse():
    rng = np.random.default_rng(5)
    a = rng.standard_normal((4, 7))
    h = a.T @ a  # rank 4: H_RR of five inputs is singular
    keep = np.array([1, 4])
    c = relaxed(h, keep)
    rest = np.setdiff1d(np.arange(7), keep)
    for u in rng.standard_normal((20, 2)):
        best = np.linalg.lstsq(a[:, rest], -a[:, keep] @ u, rcond=None)[0]
        error = np.sum((a[:, keep] @ u + a[:, rest] @ best) ** 2)
        assert u @ c @ u == pytest.approx(error, abs=1e-9)
