"""The quick part of the fuzz of problems, and that it can see what is wrong."""

import dataclasses

import numpy as np
import problems
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options
from pvq.solvers.registry import get_solver
from pvq.solvers.result import BoundKind, Reason


@pytest.mark.parametrize("part", range(4))
def test_made_problems_are_answered_truly(part):
    assert problems.run(250, 250 * part) == 0


CASES = [92, 298, 303, 173355]
"""Numerical bounds of pruning that were above the optimum: free weights of next to singular matrices."""


@pytest.mark.parametrize("case", CASES)
def test_cases_that_were_wrong_are_right(case):
    assert problems.one_case(case)[1] == []


@pytest.mark.parametrize("solver", ["bnb", "bound"])
@pytest.mark.parametrize("seed", [416, 443, 572, 733, 881, 994, 1019, 1308])
def test_weights_of_ten_million_are_not_overlooked(seed, solver):
    """Rows with an input that is another's copy up to the noise of float32; bounds were up to 11 % too high."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((9, 6))
    a[:, 0] = a[:, -1] + 1e-7 * rng.standard_normal(9)
    problem = Problem(rng.standard_normal(6), Gram.from_array(a.T @ a), None, Sparsity.row(6, 3))
    result = get_solver(solver).solve(problem, Options(time_limit=None, node_limit=3000))
    assert 0 < result.lower <= problems.optimum(problem)


def test_a_false_result_is_seen():
    a = np.random.default_rng(0).standard_normal((9, 4))
    problem = Problem(np.array([0.3, -1.0, 0.7, 0.2]), Gram.from_array(a.T @ a), None, Sparsity.row(4, 2))
    options = Options(gap=1e-6)
    result, least = get_solver("bnb").solve(problem, options), problems.optimum(problem)
    assert problems.complaints(problem, result, least, options) == []
    above = float(least) * (1 + 1e-12)
    for false in (
        {"lower": above},
        {"proven": above},
        {"upper": result.upper * (1 - 1e-12)},
        {"lower": result.lower / 2},
        {"reason": Reason.FAILURE, "solved": False},
        {"bound_kind": BoundKind.NONE},
        {"x": np.ones(4)},
        {"x": np.zeros(4)},
        {"rounding": 1e-3 * result.upper},
    ):
        assert problems.complaints(problem, dataclasses.replace(result, **false), least, options), false


def test_the_optimum_is_the_least_of_all_points():
    row = problems.made_problem(np.random.default_rng(3))[2]
    assert problems.optimum(row) <= problems.exact(row, get_solver("auto").solve(row).x)
