"""`Solver.solve` believes nothing: what an engine claims is recomputed."""

import importlib
import inspect
import pkgutil
from threading import Event

import numpy as np
import pvq.solvers
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Enumeration, Order, Split
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Clock, Options, Solver, SolverUnavailable, UnsupportedProblem
from pvq.solvers.composite import Composite
from pvq.solvers.result import BoundKind, Fault, Outcome, Reason, Result, Status, status_of

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
    result = claiming(Outcome(BEST, OPTIMUM, Reason.FINISHED, 7)).solve(PROBLEM)
    assert result.status is Status.OPTIMAL
    assert result.lower <= OPTIMUM <= result.upper == pytest.approx(result.lower, rel=1e-13)
    assert result.nodes == 7


def test_an_optimal_claim_with_a_gap_is_not_passed_on():
    result = claiming(Outcome(BEST, OPTIMUM / 2)).solve(PROBLEM)
    assert result.status is Status.BOUND_ONLY
    assert result.lower == pytest.approx(OPTIMUM / 2, rel=1e-12)


def test_a_closed_gap_is_optimal_however_the_search_ended():
    result = claiming(Outcome(BEST, OPTIMUM, Reason.TIME)).solve(PROBLEM)
    assert result.status is Status.OPTIMAL


def test_a_lower_bound_above_a_feasible_point_proves_nothing():
    result = claiming(Outcome(BEST, OPTIMUM * 1.001)).solve(PROBLEM)
    assert result.status is Status.FAILED
    assert result.bound_kind is BoundKind.NONE
    assert result.lower == 0
    assert (result.reason, result.fault) == (Reason.FAILURE, Fault.BOUND)
    assert "above" in result.info["why"]


@pytest.mark.parametrize("bad", [np.full(N, 0.5), np.full(N, np.nan), np.ones(N + 1), None])
def test_an_infeasible_point_is_replaced(bad):
    result = claiming(Outcome(bad, 0.0, Reason.TIME)).solve(PROBLEM)
    assert PROBLEM.is_feasible(result.x)
    assert result.upper == PROBLEM.certified(result.x).upper


@pytest.mark.parametrize("lower", [np.nan, np.inf])
def test_a_lower_bound_that_is_no_number_proves_nothing(lower):
    result = claiming(Outcome(BEST, lower)).solve(PROBLEM)
    assert result.status is Status.FAILED
    assert result.lower == 0


def test_heuristics_prove_nothing():
    result = claiming(Outcome(BEST, 0.0)).solve(PROBLEM)
    assert result.status is Status.FEASIBLE_ONLY
    assert result.bound_kind is BoundKind.NONE


def test_an_error_of_zero_proves_itself():
    problem = Problem(np.ones(N), PROBLEM.gram, GRID)
    result = claiming(Outcome(np.ones(N), 0.0)).solve(problem)
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
    assert clock.ended() is Reason.INTERRUPT
    assert Clock(Options(time_limit=0.0)).ended() is Reason.TIME


def test_no_solver_calls_itself_rigorous():
    """Only the verifier does: neither an attribute nor a proof of something else makes a bound rigorous."""
    problem = Problem(np.array([0.3, 1.2]), Gram.from_array(np.eye(2)), None, Sparsity.row(2, 1))
    other = Enumeration(Order(np.arange(2), np.zeros((3, 2))), 0.05)  # proves it of fixed weights only
    for proof in (None, other):
        solver = claiming(Outcome(np.array([0.0, 1.2]), 0.09, Reason.FINISHED, proof=proof))
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
            return Outcome(BEST, 0.0, Reason.INTERRUPT)

    for _ in range(2):
        assert Stops().solve(PROBLEM).status is Status.INTERRUPTED
    assert seen == [False, False]


def test_no_default_holds_a_stop_event():
    """What is made once, when a function is, is shared by all its calls."""
    held, seen = [], 0
    for info in pkgutil.walk_packages(pvq.solvers.__path__, "pvq.solvers."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != info.name:
                continue
            functions = [value, *(vars(value).values() if isinstance(value, type) else ())]
            for function in filter(inspect.isfunction, functions):
                seen += 1
                defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
                held += [f"{info.name}.{name}" for value in defaults if isinstance(value, Options | Clock | Event)]
    assert seen > 500
    assert held == []


class Rounds(Solver):
    name = "rounds"
    summary = ""
    methods = frozenset({"quant"})

    def _solve(self, problem, options, start):
        return Outcome(BEST, OPTIMUM, Reason.NODES, 3)


HONEST = Result(BEST, OPTIMUM, OPTIMUM, Reason.FINISHED, BoundKind.RIGOROUS, "by hand", solved=True)


@pytest.mark.parametrize("name", ["solve", "solve_rows", "prepare", "prepare_once", "check"])
def test_no_solver_overrides_what_checks_it(name):
    def by_hand(self, *_):
        return HONEST

    with pytest.raises(TypeError, match=f"overrides `{name}`"):
        type("ByHand", (Rounds,), {name: by_hand})
    mixin = type("Mixin", (), {name: by_hand})
    with pytest.raises(TypeError, match=f"overrides `{name}`"):
        type("ByHand", (mixin, Rounds), {})


def test_a_result_made_by_hand_is_none_that_is_passed_on():
    with pytest.raises(TypeError, match="returns a Result and not an Outcome"):
        claiming(HONEST).solve(PROBLEM)
    # a method of an earlier name does nothing
    by_hand = type("ByHand", (Rounds,), {"_checked": lambda *_: HONEST, "bound_kind": BoundKind.RIGOROUS})
    assert by_hand().solve(PROBLEM).bound_kind is BoundKind.NUMERICAL


def composite(*members):
    class Both(Composite):
        name = "both"
        summary = ""
        methods = frozenset({"quant"})
        proves = "optimum"

        def parts(self, problem):
            return members

    return Both()


def test_a_composite_is_the_best_of_both_ends_and_each_part_is_checked():
    worse = np.ones(N)
    weak = claiming(Outcome(worse, OPTIMUM / 2))
    strong = claiming(Outcome(BEST, OPTIMUM / 3, Reason.NODES, 5))
    found = composite(weak, strong).solve(PROBLEM)
    assert (found.lower, found.upper) == pytest.approx((OPTIMUM / 2, OPTIMUM))
    assert (found.reason, found.status) == (Reason.NODES, Status.NODE_LIMIT)
    assert np.array_equal(found.x, BEST)
    wrong = claiming(Outcome(BEST, 2 * OPTIMUM))
    found = composite(weak, wrong).solve(PROBLEM)
    assert (found.status, found.fault) == (Status.FAILED, Fault.BOUND)
    assert found.lower <= OPTIMUM
    assert composite(claiming(Outcome(BEST, OPTIMUM)), wrong).solve(PROBLEM).status is Status.OPTIMAL  # not asked


def test_the_parts_of_a_composite_are_solvers():
    class Fake:
        name = "fake"

        def prepare_once(self, problem):
            pass

        def solve(self, problem, options, start):
            return HONEST

    itself = composite()
    for both in (composite(Fake()), composite(), composite(Rounds(), Fake())):
        with pytest.raises(TypeError, match="must be other solvers"):
            both.solve(PROBLEM)
    type(itself).parts = lambda self, problem: (Rounds(), self)
    with pytest.raises(TypeError, match="must be other solvers"):
        itself.solve(PROBLEM)


def test_a_composite_whose_time_is_up_says_so():
    late = composite(claiming(Outcome(BEST, OPTIMUM / 2)), Rounds())
    found = late.solve(PROBLEM, Options(time_limit=0.0))
    assert (found.reason, found.status) == (Reason.TIME, Status.TIME_LIMIT)
    assert found.lower == pytest.approx(OPTIMUM / 2)


@pytest.mark.parametrize(
    ("reason", "lower", "solved", "status"),
    [
        (Reason.FINISHED, 1.0, False, Status.BOUND_ONLY),
        (Reason.FINISHED, 0.0, False, Status.FEASIBLE_ONLY),
        (Reason.MEMORY, 1.0, False, Status.BOUND_ONLY),
        (Reason.TIME, 1.0, False, Status.TIME_LIMIT),
        (Reason.NODES, 0.0, False, Status.NODE_LIMIT),
        (Reason.INTERRUPT, 0.0, False, Status.INTERRUPTED),
        (Reason.FINISHED, 0.0, True, Status.OPTIMAL),
        (Reason.FAILURE, 0.0, True, Status.FAILED),
    ],
)
def test_the_word_for_a_reason_and_two_ends(reason, lower, solved, status):
    assert status_of(reason, lower, solved) is status


def test_a_failure_keeps_no_bound():
    found = claiming(Outcome(BEST, OPTIMUM / 2, Reason.FAILURE)).solve(PROBLEM)
    assert (found.status, found.lower, found.bound_kind) == (Status.FAILED, 0.0, BoundKind.NONE)


def test_an_outcome_has_a_reason():
    with pytest.raises(TypeError, match="has a Reason"):
        Outcome(BEST, 0.0, Status.BOUND_ONLY)


def test_seconds_are_those_of_the_search_and_verification_stands_beside():
    """The same for a solver and for a composite of it."""
    proof = Split(Below(np.full(N, 0.9)), np.zeros(N))
    alone = claiming(Outcome(BEST, OPTIMUM / 2, proof=proof))
    for solver in (alone, composite(alone)):
        found = solver.solve(PROBLEM)
        assert found.verify_seconds > 0
        assert "verify_seconds" not in found.info
    twice = composite(alone, alone).solve(PROBLEM)
    assert twice.verify_seconds > 0
    assert Rounds().solve(PROBLEM).verify_seconds == 0.0
