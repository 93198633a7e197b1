"""`Solver.solve` believes nothing: what an engine claims is recomputed."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration, Order
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options, Solver, SolverUnavailable, UnsupportedProblem
from pvq.solvers.result import BoundKind, Outcome, Status

N = 5
GRID = Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(N, int))
WEIGHT = np.array([0.3, -0.8, 1.4, 0.6, -0.1])
PROBLEM = Problem(WEIGHT, Gram.from_array(np.eye(N)), GRID)
BEST = GRID.nearest(WEIGHT)
OPTIMUM = PROBLEM.error(BEST)


def claiming(outcome):
    class Claims(Solver):
        name = "claims"
        summary = ""
        methods = frozenset({"quant", "prune", "joint"})

        def _solve(self, problem, options, start):
            return outcome

    return Claims()


def test_a_true_claim_is_accepted():
    result = claiming(Outcome(BEST, OPTIMUM, Status.OPTIMAL, 7)).solve(PROBLEM)
    assert result.status is Status.OPTIMAL
    assert result.lower <= OPTIMUM <= result.upper == pytest.approx(result.lower, rel=1e-13)
    assert result.nodes == 7


def test_an_optimal_claim_with_a_gap_is_not_passed_on():
    result = claiming(Outcome(BEST, OPTIMUM / 2, Status.OPTIMAL)).solve(PROBLEM)
    assert result.status is Status.BOUND_ONLY
    assert result.lower == pytest.approx(OPTIMUM / 2, rel=1e-12)


def test_a_closed_gap_is_optimal_however_the_search_ended():
    result = claiming(Outcome(BEST, OPTIMUM, Status.TIME_LIMIT)).solve(PROBLEM)
    assert result.status is Status.OPTIMAL


def test_a_lower_bound_above_a_feasible_point_proves_nothing():
    result = claiming(Outcome(BEST, OPTIMUM * 1.001, Status.OPTIMAL)).solve(PROBLEM)
    assert result.status is Status.FAILED
    assert result.bound_kind is BoundKind.NONE
    assert result.lower == 0
    assert "above" in result.info["problem"]


@pytest.mark.parametrize("bad", [np.full(N, 0.5), np.full(N, np.nan), np.ones(N + 1), None])
def test_an_infeasible_point_is_replaced(bad):
    result = claiming(Outcome(bad, 0.0, Status.TIME_LIMIT)).solve(PROBLEM)
    assert PROBLEM.is_feasible(result.x)
    assert result.upper == PROBLEM.certified(result.x).upper


@pytest.mark.parametrize("lower", [np.nan, np.inf])
def test_a_lower_bound_that_is_no_number_proves_nothing(lower):
    result = claiming(Outcome(BEST, lower, Status.OPTIMAL)).solve(PROBLEM)
    assert result.status is Status.FAILED
    assert result.lower == 0


def test_heuristics_prove_nothing():
    result = claiming(Outcome(BEST, 0.0, Status.FEASIBLE_ONLY)).solve(PROBLEM)
    assert result.status is Status.FEASIBLE_ONLY
    assert result.bound_kind is BoundKind.NONE


def test_an_error_of_zero_proves_itself():
    problem = Problem(np.ones(N), PROBLEM.gram, GRID)
    result = claiming(Outcome(np.ones(N), 0.0, Status.FEASIBLE_ONLY)).solve(problem)
    assert result.status is Status.OPTIMAL


def test_trivial_answers_need_no_solver():
    never = claiming(None)
    nothing_kept = never.solve(Problem(WEIGHT, PROBLEM.gram, None, Sparsity.row(N, 0)))
    assert (nothing_kept.status, nothing_kept.upper) == (Status.OPTIMAL, pytest.approx(WEIGHT @ WEIGHT))
    everything_kept = never.solve(Problem(WEIGHT, PROBLEM.gram, None, Sparsity.row(N, N)))
    assert (everything_kept.status, everything_kept.upper) == (Status.OPTIMAL, 0.0)
    dead = never.solve(Problem(WEIGHT, Gram.from_array(np.zeros((N, N))), GRID))
    assert (dead.status, dead.upper) == (Status.OPTIMAL, 0.0)
    assert np.array_equal(dead.x, BEST)


def test_missing_packages_are_said_in_one_line():
    class Missing(Solver):
        name = "missing"
        summary = ""
        methods = frozenset({"quant"})
        requires = ("no_such_module_at_all",)
        extra = "scip"

        def _solve(self, problem, options, start):
            raise AssertionError

    with pytest.raises(SolverUnavailable, match=r"pip install 'pvq-bound\[scip\]'"):
        Missing().solve(PROBLEM)
    Missing.requires = ()
    with pytest.raises(UnsupportedProblem, match="takes quant, not prune"):
        Missing().solve(Problem(WEIGHT, PROBLEM.gram, None, Sparsity.row(N, 2)))


def test_options_stop_is_shared_with_the_clock():
    from pvq.solvers.base import Clock

    options = Options(time_limit=None)
    clock = Clock(options)
    assert clock.ended() is None
    options.stop.set()
    assert clock.ended() is Status.INTERRUPTED
    assert Clock(Options(time_limit=0.0)).ended() is Status.TIME_LIMIT


def test_no_solver_calls_itself_rigorous():
    """Only the verifier does: neither an attribute nor a proof of something else makes a bound rigorous."""
    problem = Problem(np.array([0.3, 1.2]), Gram.from_array(np.eye(2)), None, Sparsity.row(2, 1))
    other = Enumeration(Order(np.arange(2), np.zeros((3, 2))), 0.05)  # proves it of fixed weights only
    for proof in (None, other):
        solver = claiming(Outcome(np.array([0.0, 1.2]), 0.09, Status.OPTIMAL, proof=proof))
        type(solver).bound_kind = BoundKind.RIGOROUS
        assert solver.solve(problem).bound_kind is BoundKind.NUMERICAL


def test_calls_without_options_share_no_stop_event():
    """One Ctrl-C inside a solver must not interrupt every later solve."""
    seen = []

    class Stops(Solver):
        name = "stops"
        summary = ""
        methods = frozenset({"quant"})

        def _solve(self, problem, options, start):
            seen.append(options.stop.is_set())
            options.stop.set()
            return Outcome(BEST, 0.0, Status.INTERRUPTED)

    for _ in range(2):
        assert Stops().solve(PROBLEM).status is Status.INTERRUPTED
    assert seen == [False, False]
