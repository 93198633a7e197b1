"""The ascent in D: derivatives by differences, near the semidefinite optimum, and what it must never do."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options
from pvq.solvers.outside.sdp import Sdp
from pvq.solvers.relax import pruning
from pvq.solvers.relax.central_path import ascend, curvature, log_det
from pvq.solvers.relax.node_perspective import pattern_of
from pvq.solvers.relax.row_perspective import relax

PATTERNS = [Sparsity.row(12, 4), Sparsity.nm(12, 2, 4), Sparsity.blocks(12, 2, 2)]


def row_of(sparsity, seed):
    rng = np.random.default_rng(seed)
    n = len(sparsity.unit)
    x = rng.normal(size=(4 * n, n)) @ (np.eye(n) + 0.4 * rng.normal(size=(n, n)))
    return Problem(rng.normal(size=n), Gram.from_array(x.T @ x / (4 * n)), None, sparsity)


def solved(problem, d, systems=3000):
    """The relaxation's point, shares and objective, to all digits."""
    h, w, sparsity = problem.hessian, problem.weight, problem.sparsity
    x, z, best = w.copy(), np.zeros(sparsity.units), np.zeros(len(w))
    q = h - np.diag(d)
    bound, value = relax(q, d, h @ w, problem.reference, pattern_of(sparsity), systems, 1e-13, x, z, best)
    return q, x, z, value, bound


@pytest.mark.parametrize("sparsity", PATTERNS, ids=lambda s: s.kind)
def test_derivatives_in_d_are_those_of_differences(sparsity):
    checked = 0
    for seed in range(12):
        problem = row_of(sparsity, seed)
        d = pruning.start_of(problem.gram)
        q, x, z, value, bound = solved(problem, d)
        if value - bound > 1e-8 * value or ((z > 0) & (z < 0.03)).any() or ((z > 0.97) & (z < 1)).any():
            continue  # not exact enough, or too near to another set for differences
        gradient, second, _, _, part = curvature(q, d, x, z, pattern_of(sparsity))
        for column, i in enumerate(part):
            step = 1e-3 * d[i]
            ends = []
            for sign in (1, -1):
                moved = d.copy()
                moved[i] += sign * step
                q2, x2, z2, value2, _ = solved(problem, moved)
                slope, *_ = curvature(q2, moved, x2, z2, pattern_of(sparsity))
                ends.append((value2, slope[part]))
            assert (ends[0][0] - ends[1][0]) / (2 * step) == pytest.approx(
                gradient[i], rel=1e-2, abs=1e-4 * gradient.max()
            )
            found = -(ends[0][1] - ends[1][1]) / (2 * step)
            np.testing.assert_allclose(found, second[:, column], rtol=0.05, atol=0.05 * np.abs(second).max())
            checked += 1
    assert checked > 10


def test_rows_of_k_weights_come_near_the_semidefinite_bound():
    ratios = []
    for seed in range(6):
        problem = row_of(Sparsity.row(16, 5), seed)
        upper = problem.error(pruning.upper_point(problem))
        row = pruning.PrunedRow.of(problem, upper)
        d, points, _ = ascend(
            problem.hessian,
            problem.weight[None],
            np.array([upper]),
            problem.sparsity,
            pruning.start_of(problem.gram),
        )
        found = pruning.relaxed(row, Below(pruning.proven(problem.gram, d)), points[0]).bound
        best = Sdp().solve(problem, Options(time_limit=None)).lower
        assert found <= best * (1 + 1e-4)  # the interior-point solver ends a little below its optimum
        ratios.append(found / best)
    assert min(ratios) > 0.96
    assert np.mean(ratios) > 0.98


@pytest.mark.parametrize("sparsity", PATTERNS, ids=lambda s: s.kind)
def test_the_ascent_stays_in_the_cone_and_never_ends_below_its_start(sparsity):
    for seed in range(20):
        problem = row_of(sparsity, 100 + seed)
        upper = problem.error(pruning.upper_point(problem))
        start = pruning.start_of(problem.gram)
        row = pruning.PrunedRow.of(problem, upper)
        weight, uppers = problem.weight[None], np.array([upper])
        d, points, ended = ascend(problem.hessian, weight, uppers, sparsity, start)
        assert ended
        assert (d > 0).all()
        assert log_det(problem.hessian, d) > -np.inf
        begin, end = pruning.relaxed(row, Below(start)).bound, pruning.relaxed(row, Below(d), points[0]).bound
        assert end >= begin - 2e-3 * upper  # what a step may lose
        assert end <= upper


def test_an_indefinite_matrix_is_said_to_be_one():
    h = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert log_det(h, np.zeros(2)) == -np.inf
    assert log_det(np.eye(2), np.array([0.5, 1.0])) == -np.inf
    assert log_det(np.eye(2), np.array([0.5, 0.5])) == pytest.approx(2 * np.log(0.5))
