"""The test of random weights: exact uniformity under the model, alarms where the model is false."""

import numpy as np
import pytest
from pvq.bounds.volume.babai import babai_test, remainders, sums, wave
from pvq.bounds.volume.relax import decision_order, factor
from scipy import stats


def correlated(rng, n):
    a = rng.standard_normal((3 * n, n)) @ (np.eye(n) + 0.5 * rng.standard_normal((n, n)))
    return a.T @ a / len(a)


def test_the_error_is_the_sum_over_pivots_in_blocks_too():
    rng = np.random.default_rng(0)
    n = 150
    h = correlated(rng, n)
    order = decision_order(h)
    lower = factor(h, order)
    w = rng.normal(0, 3, (5, n))
    y = remainders(w, lower, order)
    pivots = np.empty(n)
    pivots[order[::-1]] = lower.diagonal() ** 2
    # the same by one row and one input at a time
    for row, of_row in zip(w, y, strict=True):
        x = np.zeros(n)
        u = np.zeros(n)
        decided = []
        for k, i in enumerate(order):
            column = lower[:, n - 1 - k]
            moved = sum(column[n - 1 - order.tolist().index(j)] * u[j] for j in decided) / column[n - 1 - k]
            x[i] = np.round(row[i] + moved)
            u[i] = row[i] - x[i]
            decided.append(i)
        assert u @ h @ u == pytest.approx(float((pivots * of_row**2).sum()), rel=1e-8)


def test_false_alarms_come_at_their_stated_rate():
    rng = np.random.default_rng(1)
    h = correlated(rng, 8)
    order = decision_order(h)
    runs = 600
    z, harmonic, ks = [], [], []
    for _ in range(runs):
        test = babai_test([sums(rng.uniform(-3, 3, (20, 8)), np.ones((20, 8), dtype=bool), h, order)])
        z.append(test.z), harmonic.append(test.harmonic), ks.append(test.ks)
    assert abs(np.mean(z)) < 5 / np.sqrt(runs)
    assert np.std(z) == pytest.approx(1, abs=0.1)
    assert np.mean(np.array(harmonic) > 1.5) == pytest.approx(np.exp(-(1.5**2)), abs=0.04)
    assert np.mean(np.array(ks) < 0.1) == pytest.approx(0.1, abs=0.04)


def test_known_inputs_are_left_out_of_the_sums_and_stay_in_the_recursion():
    rng = np.random.default_rng(2)
    h = correlated(rng, 8)
    order = decision_order(h)
    w = rng.uniform(-3, 3, (400, 8))
    known = np.zeros(w.shape, dtype=bool)
    known[:, order[0]] = True
    w[:, order[0]] = 0.25  # far from random, and decided first
    assert not babai_test([sums(w, ~known, h, order)]).refuses
    assert babai_test([sums(w, ~known | True, h, order)]).refuses


@pytest.mark.parametrize("mesh", [0.93, 1.0])
def test_weights_on_a_mesh_near_the_spacing_raise_the_alarm(mesh):
    rng = np.random.default_rng(3)
    h = correlated(rng, 16)
    w = mesh * np.round(rng.normal(0, 2, (200, 16)) / mesh)
    assert babai_test([sums(w, w != 0, h, decision_order(h))]).refuses


@pytest.mark.parametrize(("df", "sigma"), [(4, 0.5), (4, 1.0), (np.inf, 0.5)])
def test_the_wave_is_the_first_harmonic_of_the_worst_density(df, sigma):
    law = stats.norm(0, 0.9 * sigma) if df == np.inf else stats.t(df, 0, sigma * np.sqrt((df - 2) / df))
    x = np.linspace(-400, 400, 400_001)
    harmonic = abs(np.trapezoid(law.pdf(x) * np.cos(2 * np.pi * x), x))
    assert wave(np.array([sigma]))[0] >= harmonic * (1 - 1e-6)
    if df == 4:
        assert wave(np.array([sigma]))[0] == pytest.approx(harmonic, rel=1e-3)


def test_densities_that_are_not_flat_over_a_step_raise_no_alarm_where_the_model_has_them():
    rng = np.random.default_rng(4)
    h = np.eye(16)  # nothing averages the wave out
    w = stats.t(4, 0, 0.7 * np.sqrt(0.5)).rvs((20000, 16), random_state=rng)
    everything = np.ones(w.shape, dtype=bool)
    order = decision_order(h)
    assert babai_test([sums(w, everything, h, order)]).refuses
    waves = np.broadcast_to(wave(np.array([0.7])), w.shape)
    assert not babai_test([sums(w, everything, h, order, waves=waves)]).refuses


def test_groups_of_their_own_step_are_rounded_to_it():
    rng = np.random.default_rng(5)
    h = correlated(rng, 12)
    spacing = np.repeat(rng.uniform(0.5, 2, (300, 3)), 4, axis=1)
    w = spacing * rng.uniform(-3, 3, (300, 12))
    everything = np.ones(w.shape, dtype=bool)
    order = decision_order(h)
    assert not babai_test([sums(w, everything, h, order, spacing)]).refuses
    planted = spacing * (np.round(w / spacing) + 0.1)
    assert babai_test([sums(planted, everything, h, order, spacing)]).refuses
    # one group is the scale of one row
    lower = factor(h, order)
    same = np.full((300, 12), 1.7)
    assert remainders(w, lower, order, same) == pytest.approx(remainders(w / 1.7, lower, order))
