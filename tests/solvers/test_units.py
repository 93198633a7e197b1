"""Rows whose numbers are far from order 1: the same answers, and proofs that hold of the rows as they are."""

from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.certified import exact_error
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.row import lower_bound
from pvq.solvers.base import Options
from pvq.solvers.registry import get_solver
from pvq.solvers.result import BoundKind, Status
from pvq.solvers.units import OutOfRange, Units, times

N = 7
KINDS = ["quant", "prune", "fixed", "joint"]


def row(kind, of_h=0, of_w=0):
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((20, N)), rng.standard_normal(N)
    h = np.ldexp(a.T @ a / 20, of_h)
    h.setflags(write=False)
    levels = np.ldexp(np.arange(-2.0, 3)[None] * 0.5, of_w)
    grid = Grid(levels, np.zeros(N, int)) if kind in ("quant", "joint") else None
    sparsity = None if kind == "quant" else Sparsity.row(N, 3, update=kind != "fixed")
    return Problem(np.ldexp(w, of_w), Gram(h, 0.0, N), grid, sparsity)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["bnb", "bound", "auto"])
@pytest.mark.parametrize(("of_h", "of_w"), [(-930, 0), (-601, 3), (300, -100), (101, 200), (-400, -200)])
def test_scaled_rows_have_the_same_answer(kind, solver, of_h, of_w):
    options = Options(time_limit=None, prove=True, node_limit=2000)
    problem, plain = row(kind, of_h, of_w), row(kind)
    found, same = get_solver(solver).solve(problem, options), get_solver(solver).solve(plain, options)
    error = of_h + 2 * of_w
    assert found.status is same.status is not Status.FAILED
    assert found.bound_kind is same.bound_kind is BoundKind.RIGOROUS
    assert np.ldexp(found.lower, -error) == pytest.approx(same.lower, rel=1e-9)
    assert Fraction(found.upper) >= exact_error(problem.gram, problem.weight, found.x)
    assert found.lower <= found.upper
    assert found.proof is not None  # of the row as it is
    assert lower_bound(presolve(problem).problem, found.proof) >= found.proven


def test_ordinary_rows_stay_as_they_are():
    problem = row("joint", -20, 10)
    assert Units.of(problem).problem is problem


def test_rows_share_the_matrix_in_units():
    first = row("quant", -700)
    second = Problem(first.weight * 2.0**50, first.gram, first.grid)
    assert Units.of(first).problem.gram is Units.of(second).problem.gram
    assert Units.of(first).of_w != Units.of(second).of_w
    assert 0.1 < Units.of(first).problem.hessian.max() < 10


def test_numbers_that_would_lose_digits_are_refused():
    assert times(np.array([3.0, 0.0]), -1000)[0] == np.ldexp(3.0, -1000)
    with pytest.raises(OutOfRange):
        times(np.array([1.0 + 2.0**-52]), -1070)
    with pytest.raises(OutOfRange):
        times(np.array([1.0]), 1024)


def test_listeners_hear_errors_of_the_row_itself():
    heard = []
    problem = row("prune", -700)
    result = get_solver("bnb").solve(problem, Options(report=lambda lower, upper: heard.append(upper)))
    assert heard
    assert all(0.5 * result.upper <= upper < 1e3 * result.upper for upper in heard)


@pytest.mark.parametrize(("of_h", "of_w"), [(-930, 0), (300, -100), (0, 0)])
def test_splits_for_other_budgets_are_of_the_row_itself(of_h, of_w):
    problem, plain = row("prune", of_h, of_w), row("prune")
    found, same = (get_solver("bound").solve(p, Options(time_limit=None)) for p in (problem, plain))
    assert isinstance(found.elsewhere, Split)
    bound = lower_bound(problem, found.elsewhere)
    assert bound > 0.0
    assert np.ldexp(bound, -of_h - 2 * of_w) == pytest.approx(lower_bound(plain, same.elsewhere))
