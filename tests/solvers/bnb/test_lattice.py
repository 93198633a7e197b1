"""The search in a reduced basis against its definition and against the plain search."""

from pathlib import Path

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Reduced
from pvq.layers.format import load_layer
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound, enumeration
from pvq.solvers.bnb.lattice import LatticeWalk, reduce_basis, reduced, row_lattice
from pvq.solvers.bnb.plan import layer_plan
from pvq.solvers.bnb.restated import restate
from pvq.solvers.brute import Brute
from pvq.solvers.result import BoundKind, Status

STEM = Path(__file__).parents[3] / "benchmarks" / "instances" / "efficientnet_lite0.conv_stem.npz"


def ill_conditioned(rng, n, levels=4, outside=1.0):
    """Nearly one direction, far from axes: what reduction is for."""
    a = rng.standard_normal((n + 3, n)) * 10.0 ** rng.uniform(-2, -0.5)
    a[0] += rng.standard_normal(n) * 3
    groups = int(rng.integers(1, 3))
    grid = Grid(
        np.arange(-levels // 2, levels // 2) * rng.uniform(0.3, 1, (groups, 1)), rng.integers(0, groups, n)
    )
    return Problem(outside * rng.standard_normal(n), Gram.from_array(a.T @ a / n), grid)


@pytest.mark.parametrize("outside", [0.5, 1.0, 4.0])
def test_the_minimum_is_that_of_all_points(outside):
    rng = np.random.default_rng(0)
    used = 0
    for _ in range(80):
        problem = ill_conditioned(rng, int(rng.integers(2, 7)), outside=outside)
        row = restate(problem, layer_plan(problem))
        step = np.empty(problem.n)
        step[row.plan.order] = row.step / row.step.max()
        lattice = reduced(problem.hessian, step)
        optimum = Brute().solve(problem)
        if lattice is None:
            continue
        walk = LatticeWalk(row, lattice, 1 - 5e-7)
        start = problem.error(problem.grid.nearest(problem.weight)) * (1 + 1e-6) + 1e-9
        assert walk.slack(start) < 1e-6 * start
        if not walk.run(50_000, start, start):
            continue  # far more lattice points than grid points: the plain search wins such rows
        used += 1
        assert walk.bounds[0] == pytest.approx(optimum.upper, rel=1e-6)
        assert problem.error(row.point(walk.picks)) == pytest.approx(optimum.upper, rel=1e-6)
        assert walk.bounds[1] - walk.slack(start) <= optimum.upper
    assert used > 40


def test_reduction_keeps_the_lattice():
    rng = np.random.default_rng(1)
    for n in (2, 5, 12):
        r = np.triu(rng.standard_normal((n, n))) + np.diag(10.0 ** rng.uniform(-3, 1, n))
        z, inverse = np.eye(n, dtype=np.int64), np.eye(n, dtype=np.int64)
        new = r.copy()
        assert reduce_basis(new, z, inverse, 10_000)
        assert (z @ inverse == np.eye(n)).all()
        assert np.allclose(new.T @ new, z.T @ (r.T @ r) @ z, atol=1e-9 * np.abs(r).max() ** 2)
        size = np.abs(np.diag(new))
        assert (np.abs(new) <= 0.51 * size[:, None] + np.diag(np.full(n, np.inf))).all()
        assert (size[1:] ** 2 >= 0.24 * size[:-1] ** 2).all()  # delta - 1/4, in units of the one before


def test_real_rows_agree_with_the_plain_search(monkeypatch):
    layer = load_layer(STEM)
    problem = state_problem(layer.weight, layer.grams, Setting("quant", 3, inputs=(0, 14), rows=(0, 12)))
    for i in range(12):
        row = problem.row(i)
        found = BranchAndBound().solve(row, Options(time_limit=None))
        with monkeypatch.context() as patch:
            patch.setattr(enumeration, "row_lattice", lambda row: None)
            plain = BranchAndBound().solve(row, Options(time_limit=None))
        assert found.status is plain.status is Status.OPTIMAL
        assert found.upper == pytest.approx(plain.upper, rel=1e-6)


def test_a_row_that_needs_reduction(monkeypatch):
    """Without a reduced basis this real row takes more than ten million nodes."""
    layer = load_layer(STEM)
    row = state_problem(layer.weight, layer.grams, Setting("quant", 4)).row(0)
    assert row_lattice(restate(row, layer_plan(row))) is not None
    found = BranchAndBound().solve(row, Options(time_limit=None))
    assert found.status is Status.OPTIMAL
    assert found.nodes < 100_000
    assert found.bound_kind is BoundKind.RIGOROUS
    assert isinstance(found.proof, Reduced)
    assert found.info["eta"] < 1e-7 * found.upper
