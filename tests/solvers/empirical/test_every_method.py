"""Every empirical method on every kind of problem: feasible, never below the optimum, nothing claimed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options, Solver, UnsupportedProblem
from pvq.solvers.brute import Brute
from pvq.solvers.registry import get_solver, solver_class, solver_names
from pvq.solvers.result import Status

from .conftest import CONSTRAINTS, GRAMS, Make

METHODS = [name for name in solver_names() if solver_class(name).proves == "nothing"]

QUICK = ("rtn", "gptq", "gptq-order", "babai", "magnitude", "wanda", "sparsegpt")
"""Methods of one sweep, which take rows together or in turn."""


def taking(problem: Problem) -> list[Solver]:
    """The empirical methods that take a problem."""
    return [s for s in map(get_solver, METHODS) if s.why_unsupported(problem) is None]


@pytest.mark.parametrize(("gram_kind", "constraint"), list(itertools.product(GRAMS, CONSTRAINTS)))
def test_feasible_and_never_below_the_optimum(make: Make, gram_kind: str, constraint: str) -> None:
    for seed in range(2):
        problem = make(gram_kind, constraint, seed=seed)
        optimum = Brute().solve(problem, Options(time_limit=None)).upper
        solvers = taking(problem)
        assert len(solvers) >= 2
        for solver in solvers:
            result = solver.solve(problem)
            assert result.fault is None, solver.name  # its own point, not the one that stands in
            assert problem.is_feasible(result.x), solver.name
            # 1e-9 r: rounding of two least-squares solutions on an ill-conditioned H
            assert result.upper >= optimum - 1e-9 * problem.reference, solver.name
            if result.status is not Status.OPTIMAL:  # an error of 0 proves itself
                assert (result.status, result.lower) == (Status.FEASIBLE_ONLY, 0.0), solver.name


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_same_answer_twice(make: Make, constraint: str) -> None:
    problem = make("regular", constraint, n=12, seed=5)
    for solver in taking(problem):
        first, second = solver.solve(problem), solver.solve(problem)
        assert np.array_equal(first.x, second.x), solver.name


@pytest.mark.parametrize(("gram_kind", "constraint"), list(itertools.product(("regular", "dead"), CONSTRAINTS)))
def test_rows_together_are_the_rows_alone(make: Make, gram_kind: str, constraint: str) -> None:
    """To the last bit: 200 inputs are several blocks of a sweep and windows of a mask, each row has its levels."""
    whole, rng = make(gram_kind, constraint, n=200, seed=8), np.random.default_rng(8)
    rows = []
    for i in range(5):
        grid = whole.grid and Grid(whole.grid.levels * rng.uniform(0.5, 1.0), whole.grid.group)
        if i == 3 and grid is not None:  # with levels of another number it is a sweep of its own
            grid = Grid(np.concatenate([grid.levels, grid.levels[:, -1:] * 2 + 1], axis=1), grid.group)
        rows.append(Problem(rng.normal(size=200), whole.gram, grid, whole.sparsity))
    solvers = [solver for solver in taking(whole) if solver.name in QUICK]
    assert solvers
    for solver in solvers:
        alone = [solver.solve(row) for row in rows]
        together = solver.solve_rows(rows, Options(), [None] * len(rows))
        for one, other in zip(alone, together, strict=True):
            assert np.array_equal(one.x, other.x), solver.name
            assert other.upper == pytest.approx(one.upper, rel=1e-12)  # sums of products in another order
            assert other.fault is None, solver.name


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_rows(size: int) -> None:
    h = Gram.from_array(np.ones((size, size)))
    weight = np.linspace(-1, 1.3, size)
    grid = Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(size, np.int64))
    patterns = [None, Sparsity.row(size, 1), Sparsity.row(size, size - 1)]
    for problem_grid, sparsity in itertools.product((grid, None), patterns):
        if problem_grid is None and sparsity is None:
            continue
        problem = Problem(weight, h, problem_grid, sparsity)
        for solver in taking(problem):
            result = solver.solve(problem)
            assert problem.is_feasible(result.x), solver.name
            assert result.fault is None, solver.name


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@pytest.mark.parametrize("constraint", ["int", "row", "joint"])
def test_any_scale_of_weights_and_inputs(make: Make, constraint: str, scale: float) -> None:
    problem = make("regular", constraint, n=12, seed=3)
    grid = problem.grid and Grid(problem.grid.levels * scale, problem.grid.group)
    scaled = Problem(problem.weight * scale, Gram.from_array(problem.hessian / scale), grid, problem.sparsity)
    for solver in taking(scaled):
        result = solver.solve(scaled)
        assert result.fault is None, solver.name
        assert result.upper == pytest.approx(scale * solver.solve(problem).upper, rel=1e-3), solver.name


REFUSED = {
    "row-fixed": ("magnitude-ls", "sparsegpt", "obc"),
    "row": ("rtn", "gptq", "gptq-order", "obq"),
    "joint": ("rtn", "gptq", "gptq-order", "obq"),
    "int": ("magnitude", "magnitude-ls", "wanda", "sparsegpt", "obc", "alps"),
}


@pytest.mark.parametrize("constraint", REFUSED)
def test_wrong_problems_are_refused(make: Make, constraint: str) -> None:
    problem = make("regular", constraint)
    for name in REFUSED[constraint]:
        solver = get_solver(name)  # raises where no method has this name any more
        assert solver.proves == "nothing"
        says = "cannot keep the weights fixed" if constraint == "row-fixed" else f"not {problem.method}"
        assert says in (solver.why_unsupported(problem) or ""), name
        with pytest.raises(UnsupportedProblem):
            solver.solve(problem)
