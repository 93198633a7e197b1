"""Clocks: what compiled loops and loops of long steps hear, and the time that is kept for a proof."""

import threading
import time

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split
from pvq.bounds.verify.row import lower_bound
from pvq.solvers import base, checked, compile_time, limits
from pvq.solvers.base import Solver
from pvq.solvers.bnb import BranchAndBound, enumeration, factors, plan
from pvq.solvers.bnb.enumeration import solve_grid
from pvq.solvers.layer import solve_layer
from pvq.solvers.limits import Cost, Pace, as_time_allows, heard, in_time, latest, proof_cost, with_share
from pvq.solvers.options import Clock, Options
from pvq.solvers.result import BoundKind, Outcome, Reason, Status
from pvq.solvers.rows import prepare


def rings(over):
    """Whether the bell rings within a minute."""
    end = time.monotonic() + 60
    while not over[0] and time.monotonic() < end:
        time.sleep(0.01)
    return bool(over[0])


def test_a_bell_rings_when_the_time_is_up_and_when_all_stops():
    with Clock(Options(time_limit=0.05)).bell() as over:
        assert rings(over)
    options = Options(time_limit=None)
    with Clock(options).bell() as over:
        assert not over[0]
        options.stop.set()
        assert rings(over)
    with Clock(Options(time_limit=0.0)).bell() as over:
        assert over[0]


def test_a_bell_leaves_no_thread():
    with Clock(Options(time_limit=600)).bell() as over:
        assert not over[0]
        assert any(thread.name == "bell" for thread in threading.enumerate())
    end = time.monotonic() + 60
    while any(thread.name == "bell" for thread in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(thread.name == "bell" for thread in threading.enumerate())


def test_a_step_that_would_overrun_is_not_begun(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(limits.time, "perf_counter", lambda: now[0])
    clock = Clock(Options(time_limit=10.0))
    pace = Pace(clock)
    for second in (4.0, 8.0):  # steps of four seconds; two are left, half a step
        now[0] = second
        assert not pace.ended()
    now[0] = 8.5
    assert not pace.ended()
    now[0] = 9.5  # a step of one second, half a second left
    assert not pace.ended()
    now[0] = 9.9
    assert pace.ended()


def test_a_proof_gets_its_time_from_the_search():
    ten = Options(time_limit=10.0)
    assert with_share(ten, Cost(0.0)).time_limit == 10.0
    assert with_share(ten, Cost(1.0)).time_limit == 10.0  # half of what may be overrun
    assert with_share(ten, Cost(4.0)).time_limit == pytest.approx(7.0)
    assert with_share(ten, Cost(1e9)).time_limit == pytest.approx(5.0)  # never more than half
    assert with_share(Options(time_limit=None), Cost(1e9)).time_limit is None


def test_the_cost_of_a_proof_is_known_for_each_gram_matrix():
    short, long = Gram.from_array(np.eye(8)), Gram.from_array(np.eye(300))
    assert proof_cost(short, "a").seconds == 0.0
    assert proof_cost(long, "a").seconds > 0.0
    proof_cost(long, "a").seconds = 3.0
    assert proof_cost(long, "a").seconds == 3.0
    assert proof_cost(long, "b").seconds != 3.0


def row(n):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((2 * n, n))
    grid = Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(n, np.int64))
    return Problem(rng.standard_normal(n), Gram.from_array(a.T @ a / len(a)), grid)


def is_below(found, m):
    """Whether the diagonal of a level is below H there, by eigenvalues."""
    least = np.linalg.eigvalsh(found.hessian[:m, :m] - np.diag(found.diagonal[m, :m]))[0]
    return least > 0.0 and (found.diagonal[m] >= 0.0).all() and not found.diagonal[m, m:].any()


def test_a_plan_that_is_cut_off_is_a_plan(monkeypatch):
    """Every level has a diagonal below its block of H: weaker, and still proven."""
    monkeypatch.setattr(plan, "QUICK", 4)
    problem = row(10)
    whole = solve_grid(problem, Options(), None)
    cut = row(10)
    with heard(Clock(Options(time_limit=0.0))):
        no_time = plan.layer_plan(cut)
    for m in range(2, 11):
        assert is_below(no_time, m)
        assert (no_time.diagonal[m, :m] > 0.0).all()
        assert no_time.diagonal[m].sum() < plan.layer_plan(problem).diagonal[m].sum()
    with heard(Clock(Options(time_limit=0.0))):
        found = solve_grid(cut, Options(), None)
    assert found.reason is whole.reason is Reason.FINISHED
    assert found.lower == pytest.approx(whole.lower, rel=1e-6)
    assert lower_bound(cut, found.proof) <= problem.certified(whole.x).upper


def test_a_row_without_time_has_the_bound_of_its_root(monkeypatch):
    """The layer's diagonal is below H in the row's order as well, and levels that are cut off inherit it."""
    monkeypatch.setattr(plan, "QUICK", 4)
    problem = row(10)
    optimum = solve_grid(problem, Options(), None)
    for known in (True, False):  # the layer's plan with time, and without
        cut = row(10)
        with heard(Clock(Options(time_limit=None if known else 0.0))):
            plan.layer_plan(cut)
        no_time = Options(time_limit=0.0, node_limit=1)
        with heard(Clock(no_time)):
            found = solve_grid(cut, no_time, None)
        assert 0.0 < found.lower <= optimum.lower * (1 + 1e-9)
        assert lower_bound(cut, found.proof) > 0.0


def test_levels_that_are_cut_off_on_the_way_inherit(monkeypatch):
    """What is true of a matrix is true of its leading blocks, and only of them."""

    class Cut:
        """Rings after the third level."""

        def __getitem__(self, i):
            return self.asked > 3

    h = row(10).hessian.copy()
    diagonal, over = np.zeros((11, 10)), Cut()
    over.asked = 0

    def counted(*words):
        over.asked += 1
        return is_below_of_level(*words)

    is_below_of_level = factors.is_below
    monkeypatch.setattr(factors, "is_below", counted)
    with np.errstate(all="raise"):
        factors.level_diagonals.py_func(h, np.ones(10), np.zeros(10), 1e-14, 2, 1, over, diagonal)
    for m in range(2, 11):
        assert np.linalg.eigvalsh(h[:m, :m] - np.diag(diagonal[m, :m]))[0] > 0.0
    assert over.asked == 4
    assert (diagonal[5, :5] == diagonal[7, :5]).all()
    assert (diagonal[7, :7] != diagonal[8, :7]).any()


def test_layer_wide_work_that_was_cut_off_is_done_again_for_who_has_longer():
    gram, seen = Gram.from_array(np.eye(3)), []

    def work(clock):
        seen.append(clock.left)
        return len(seen), clock.ended() is None

    def asked(seconds):
        with heard(Clock(Options(time_limit=seconds))):
            return as_time_allows(gram, asked, work)

    assert [asked(0.0), asked(0.0)] == [1, 1]
    assert asked(60.0) == 2  # in time, so whole
    assert [asked(3600.0), asked(None), as_time_allows(gram, asked, work)] == [2, 2, 2]
    assert as_time_allows(gram, asked, work, "another key") == 3
    assert seen[-1] == np.inf


def test_a_step_that_hears_no_clock_is_left_behind(monkeypatch):
    monkeypatch.setattr(limits, "GRACE", 0.1)
    never, went_on = threading.Event(), threading.Event()

    def step():
        never.wait(60)
        went_on.set()
        return "too late"

    no_time = latest(Options(time_limit=0.0))
    assert in_time(step, no_time, limits.LONG) is None
    never.set()
    assert went_on.wait(60)
    assert in_time(lambda: "in time", latest(Options(time_limit=60.0)), limits.LONG) == "in time"
    assert in_time(lambda: "no limit", latest(Options(time_limit=None)), limits.LONG) == "no limit"
    assert in_time(threading.current_thread, no_time, 8) is threading.current_thread()  # short rows: no thread
    with pytest.raises(ZeroDivisionError):
        in_time(lambda: 1 / 0, latest(Options(time_limit=60.0)), limits.LONG)


def test_new_work_waits_while_enough_is_left_behind():
    """It begins when one of them has ended, or not at all."""
    ends = [threading.Event() for _ in range(limits.MOST_LEFT)]
    began = []
    for end in ends:
        assert in_time(end.wait, latest(Options(time_limit=0.0)), limits.LONG) is None
    assert in_time(lambda: began.append(1), latest(Options(time_limit=0.0)), limits.LONG) is None
    assert not began
    threading.Timer(0.2, ends[0].set).start()
    assert in_time(lambda: "after it", latest(Options(time_limit=60.0)), limits.LONG) == "after it"
    ends[1].set()
    assert in_time(lambda: "short rows do not", latest(Options(time_limit=0.0)), 8) == "short rows do not"


def test_work_in_time_hears_the_clock_of_who_asks():
    with heard(Clock(Options(time_limit=0.0))):
        left = in_time(lambda: limits.layer_clock().left, latest(Options(time_limit=60.0)), limits.LONG)
    assert left <= 0.0


class Endless(Solver):
    """One step that hears nothing."""

    name = "endless"
    summary = ""
    methods = frozenset({"quant"})
    proves = "bound"
    go = threading.Event()

    def _solve(self, problem, options, start):
        self.go.wait(60)
        return Outcome(None, 1e9)


def test_a_row_whose_solver_was_left_behind_has_a_point_and_says_why(monkeypatch):
    monkeypatch.setattr(limits, "LONG", 4)
    monkeypatch.setattr(limits, "GRACE", 0.1)
    problem, mine = row(6), np.zeros(6)
    found = Endless().solve(problem, Options(time_limit=0.01), mine)
    Endless.go.set()
    assert (found.status, found.bound_kind, found.lower) == (Status.TIME_LIMIT, BoundKind.NONE, 0.0)
    assert (found.x == mine).all()
    assert "longer than the row may" in found.info["unproven"]


def test_a_clock_stands_still_while_numba_compiles():
    clock = Clock(Options(time_limit=60.0))
    compile_time.started()
    compile_time.started()  # a function that the first one calls
    time.sleep(0.2)
    compile_time.ended()
    before = clock.left
    time.sleep(0.2)
    assert clock.left == pytest.approx(before, abs=0.1)
    compile_time.ended()
    assert clock.left > 59.5
    time.sleep(0.1)
    assert clock.left < before - 0.05
    assert clock.within(5.0).left <= 5.0
    assert clock.within(1e9).left <= 60.0
    assert Clock(Options(time_limit=None)).within(np.inf).left == np.inf
    compile_time.ended()  # of what began before anybody listened
    assert clock.left < before


def layer_of(count, n):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((2 * n, n))
    return state_problem(rng.standard_normal((count, n)), a.T @ a / len(a), Setting("quant", 2))


def test_what_rows_share_is_cut_short_and_done_again_for_rows_with_more_time(monkeypatch):
    monkeypatch.setattr(plan, "QUICK", 4)
    solver, problem = BranchAndBound(), layer_of(2, 10)
    assert not prepare(problem, [solver], Options(time_limit=0.0))
    with heard(Clock(Options(time_limit=0.0))):
        short = plan.layer_plan(problem.row(0))
        assert plan.layer_plan(problem.row(1)) is short
    optimum = solve_layer(layer_of(2, 10), solver, Options(time_limit=None))
    for limit in (0.0, None):
        found = solve_layer(problem, solver, Options(time_limit=limit))
        assert found.lower <= optimum.upper * (1 + 1e-9)
        assert found.upper >= optimum.lower
    assert found.status is Status.OPTIMAL
    assert plan.layer_plan(problem.row(0)) is not short
    assert prepare(problem, [solver], Options(time_limit=0.0))


class Unprepared(Endless):
    """Prepares in one step that hears nothing."""

    name = "unprepared"
    begun = 0

    def _prepare(self, problems):
        Unprepared.begun += 1
        self.go.wait(60)

    def _solve(self, problem, options, start):
        return Outcome(None, 0.0)


def test_preparation_that_was_left_behind_is_not_waited_for_twice(monkeypatch):
    monkeypatch.setattr(limits, "LONG", 4)
    monkeypatch.setattr(limits, "GRACE", 0.1)
    Unprepared.go.clear()
    problem, no_time = layer_of(2, 6), Options(time_limit=0.01)
    assert not prepare(problem, [Unprepared()], no_time)
    assert prepare(problem, [Unprepared()], no_time)
    assert Unprepared.begun == 1
    Unprepared.go.set()
    assert prepare(problem, [Unprepared()], Options(time_limit=60.0))  # who has much longer asks again
    assert Unprepared.begun == 2


class Slow(Unprepared):
    """Neither its preparation nor its search ends."""

    name = "slow"

    def _solve(self, problem, options, start):
        self.go.wait(60)
        return Outcome(None, 0.0)


def test_preparation_search_and_proof_of_a_long_row_end_at_one_moment(monkeypatch):
    """Each with a moment of its own would overrun three times."""
    monkeypatch.setattr(limits, "LONG", 4)
    monkeypatch.setattr(base, "LONG", 4)
    monkeypatch.setattr(limits, "GRACE", 0.1)
    seen = []

    def recorded(work, end, inputs):
        seen.append(end)
        return in_time(work, end, inputs)

    monkeypatch.setattr(base, "in_time", recorded)
    Unprepared.go.clear()
    found = Slow().solve(row(6), Options(time_limit=0.01))
    Unprepared.go.set()
    assert found.reason is Reason.TIME
    assert len(seen) == 1 or seen[0] is seen[1]
    assert seen[0].left <= 0.0


def test_what_prepares_a_search_hears_the_clock_of_who_asks(monkeypatch):
    clocks = []

    def recorded(problem, clock, fine=False):
        clocks.append(clock.left)
        return plan.row_plan(problem, clock, fine)

    monkeypatch.setattr(enumeration, "row_plan", recorded)
    with heard(Clock(Options(time_limit=0.0))):
        enumeration.prepare_grid(layer_of(1, 10).row(0))
    enumeration.prepare_grid(layer_of(1, 10).row(0))
    assert clocks[0] <= 0.0
    assert clocks[1] == np.inf


class Proving(Endless):
    """Has a bound and a proof at once."""

    name = "proving"

    def _solve(self, problem, options, start):
        return Outcome(None, 1e-9, proof=Split(Below(np.zeros(problem.n)), np.zeros(problem.n)))


def test_a_proof_whose_step_takes_longer_than_the_row_may_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(limits, "LONG", 4)
    monkeypatch.setattr(limits, "GRACE", 0.1)
    Endless.go.clear()
    monkeypatch.setattr(checked, "_verified", lambda *words: Endless.go.wait(60) and 1.0)
    found = Proving().solve(row(6), Options(time_limit=0.01))
    Endless.go.set()
    assert found.bound_kind is not BoundKind.RIGOROUS
    assert found.proof is None
    assert "longer than the row may" in found.info["unproven"]
