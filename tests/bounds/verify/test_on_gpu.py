"""Long searches by the kernel for a GPU, its own source in simulated warps: no point is missed, none invented."""

import numpy as np
import pytest
import warps
from pvq.bounds.cuda.driver import GpuError
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration, Order
from pvq.bounds.verify import enumeration
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.gpu import search as searches
from pvq.bounds.verify.gpu import searcher as searchers
from pvq.bounds.verify.gpu.search import search
from pvq.bounds.verify.gpu.searcher import Searcher, check
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.sweep import sweep
from pvq.solvers.brute import Brute

from row_cases import order_of


@pytest.fixture(autouse=True)
def from_the_first_node_on(monkeypatch):
    monkeypatch.setattr(enumeration, "FIRST", 0)


def problem_of(seed, n, top, near=0.5, mixed=True):
    """Centres within `near` of the values 0 ... top; inputs that are mixed make it hard."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((2 * n + 8, n))
    a = a @ (rng.standard_normal((n, n)) + (0 if n < 30 else np.sqrt(n) * np.eye(n))) if mixed else a
    weight = rng.integers(0, top + 1, n) + rng.uniform(-near, near, n)
    return Problem(weight, Gram.from_array(a.T @ a / n), Grid(np.arange(top + 1.0)[None], np.zeros(n, np.int64)))


class Both:
    """A search by simulated warps beside `sweep`, which is asked the same."""

    def __init__(self, launcher):
        self.launcher, self.seen = launcher, []

    def __call__(self, *given):
        mine, theirs = search(self.launcher, *given), sweep(*given)
        self.seen.append((given[5], mine, theirs))
        return mine

    def bound(self, problem, order, threshold):
        with limited(None, 10**9, sweep=self):
            return lower_bound(problem, Enumeration(order, threshold))


def best_of(problem, order):
    rounded = np.clip(np.rint(problem.weight), problem.grid.levels[0, 0], problem.grid.levels[0, -1])
    return lower_bound(problem, Enumeration(order, problem.error(rounded) * (1 + 1e-9)))


JUST = 1 - 1e-9, 1 + 1e-7
"""Parts of the optimum that a threshold is, just below and just above."""


def agree(problem, launcher, order=None, factors=(0.7, *JUST, 1.5)):
    """Node for node where nothing lies below; above, the least sum is found, and no more is proven."""
    order = order_of(problem.hessian) if order is None else order
    best, both = best_of(problem, order), Both(launcher)
    for factor in factors:
        found = both.bound(problem, order, best * factor)
        threshold, mine, theirs = both.seen[-1]
        assert mine[0] == pytest.approx(theirs[0], rel=1e-13)
        assert found <= best * (1 + 1e-9)
        if factor < 1:
            assert mine == theirs
            assert mine[0] == threshold
            assert found >= best * factor * (1 - 1e-6)
        else:  # a proof that is false: what is below the threshold is found
            assert mine[0] < threshold
            assert found >= best * (1 - 1e-6)
    return both


@pytest.mark.parametrize(
    ("n", "top"), [(1, 1), (1, 255), (2, 15), (7, 3), (31, 1), (32, 2), (33, 1), (64, 1), (65, 1)]
)
def test_warps_of_32_lanes_search_as_the_cpu_does(n, top):
    """Lanes have no position, one, or several; subtrees change hands at every launch."""
    problem, launcher = problem_of(n, n, top, 0.5 if n < 30 else 0.2, n < 30), warps.Launcher(3, spend=5)
    both = agree(problem, launcher, factors=JUST if n > 60 else (0.7, *JUST, 1.5))
    assert max(mine[1] for _, mine, _ in both.seen) >= (10 if n > 1 else 1)
    assert n < 30 or launcher.given > 50


@pytest.mark.parametrize("spend", [1, 7, 300])
@pytest.mark.parametrize(
    ("n", "top", "number"), [(3, 255, 1), (6, 15, 5), (14, 3, 7), (30, 1, 4), (40, 1, 64), (20, 2, 1)]
)
def test_one_lane_on_longer_searches(n, top, number, spend):
    launcher = warps.Launcher(number, lanes=1, spend=spend)
    both = agree(problem_of(n, n, top), launcher)
    assert spend > 1 or launcher.given >= max(mine[1] for _, mine, _ in both.seen[:2]) // 4


def test_a_hundred_thousand_nodes_without_diagonals(monkeypatch):
    """The budgets of the product, and a list that is longer than what a launch takes."""
    problem = problem_of(40, 40, 1)
    order = Order(order_of(problem.hessian).order, np.zeros((41, 40)))
    monkeypatch.setattr(searches, "MOST", 20)
    launcher = warps.Launcher(16, lanes=1)
    both = agree(problem, launcher, order)
    assert both.seen[1][1][1] > 100_000
    assert launcher.given > 1000


def test_few_items_a_launch_and_one_node_each(monkeypatch):
    monkeypatch.setattr(searches, "MOST", 2)
    launcher = warps.Launcher(2, spend=1)
    both = agree(problem_of(1, 14, 2), launcher, factors=(1 - 1e-9, 1.2))
    assert launcher.launches >= sum(mine[1] for _, mine, _ in both.seen) / 2


@pytest.mark.parametrize("lanes", [1, 32])
def test_ties(lanes):
    """Every point has the same sum: none lies below it, and all lie below the next number."""
    n = 6 if lanes == 1 else 4
    problem = Problem(np.full(n, 0.5), Gram.from_array(np.eye(n)), Grid(np.arange(2.0)[None], np.zeros(n, int)))
    order, both = Order(np.arange(n), np.zeros((n + 1, n))), Both(warps.Launcher(3, lanes, spend=5))
    both.bound(problem, order, n / 4)
    both.bound(problem, order, np.nextafter(n / 4, 9))
    (at, mine, theirs), (_, above, _) = both.seen
    assert mine == theirs
    assert mine[0] == at == n / 4
    assert above[0] == n / 4


def test_values_of_every_row_and_false_proofs_against_brute_force():
    rng = np.random.default_rng(2)
    for seed in range(40):
        n, top = int(rng.integers(1, 7)), int(rng.integers(1, 4))
        given = problem_of(seed, n, top, 1.0)
        scale, shift = rng.uniform(0.3, 2, n)[:, None], rng.uniform(-3, 3, n)[:, None]
        problem = Problem(
            (given.weight[:, None] * scale + shift).ravel(),
            given.gram,
            Grid(scale * np.arange(top + 1.0) + shift, np.arange(n)),
        )
        best, both = Brute().solve(problem).upper, Both(warps.Launcher(2, lanes=1, spend=3))
        for factor in (1 - 1e-9, 1 + 1e-9, 1.001, 1e3):
            found = both.bound(problem, order_of(problem.hessian), best * factor)
            assert min(factor, 1.0) * best * (1 - 1e-6) <= found <= best
        assert len(both.seen) == 4


def long_proof():
    n = 40
    problem = Problem(np.full(n, 0.4), Gram.from_array(np.eye(n)), Grid(np.arange(3.0)[None], np.zeros(n, int)))
    return problem, Enumeration(Order(np.arange(n), np.zeros((n + 1, n))), 6.3)


def test_a_search_is_ended_by_nodes_and_by_the_clock():
    problem, proof = long_proof()
    for sweeping, within in ((Both, "10,000"), (None, "10,000")):
        launcher = warps.Launcher(8, lanes=1)
        sweep = Searcher(launcher, "a simulation") if sweeping is None else sweeping(launcher)
        with limited(None, 10_000, sweep=sweep), pytest.raises(NotProven, match=f"within {within} nodes"):
            lower_bound(problem, proof)
        assert launcher.launches > 1
    with limited(0.5, 10**15, sweep=Searcher(launcher, "")), pytest.raises(NotProven, match=r"within 0.5 s"):
        lower_bound(problem, proof)


def test_time_that_is_over_between_two_launches_proves_nothing():
    problem, proof = long_proof()
    over = np.zeros(1, dtype=bool)

    class Ending(warps.Launcher):
        def run(self, *given):
            over[0] = self.launches == 3
            return super().run(*given)

    launcher, limit = Ending(4, lanes=1), 10**9

    def sweeping(*given):
        found = search(launcher, *given)
        assert found[1] >= limit  # also for who does not look at the clock
        return found

    with limited(None, limit, over, sweeping), pytest.raises(NotProven, match="before it was ended"):
        lower_bound(problem, proof)
    assert launcher.launches == 4


class Failing(warps.Launcher):
    """Loses what `how` says of its third launch."""

    def __init__(self, how):
        super().__init__(3, lanes=1, spend=20)
        self.how = how

    def run(self, *given):
        back = super().run(*given)
        if self.launches != 3:
            return back
        if self.how == "error":
            raise GpuError("out of order")
        if self.how == "nothing ran":
            return back._replace(drawn=0, many=0 * back.many, done=0 * back.done)
        many = back.many.copy()
        many[np.flatnonzero(many.any(axis=1))[0]] = 0
        return back._replace(many=many)


@pytest.mark.parametrize("how", ["error", "nothing ran", "a path"])
def test_where_a_launch_fails_the_cpu_begins_again(how):
    problem = problem_of(40, 40, 1)
    order = order_of(problem.hessian)
    best, launcher = best_of(problem, order), Failing(how)
    searcher = Searcher(launcher, "a simulation")
    with limited(None, 10**9, sweep=searcher):
        for factor in JUST:
            found = lower_bound(problem, Enumeration(order, best * factor))
            assert min(factor, 1.0) * best * (1 - 1e-6) <= found <= best * (1 + 1e-9)
    assert launcher.launches == 3  # it is not asked again
    assert searcher.searches == 0
    assert searcher.failed == ("out of order" if how == "error" else "the GPU has lost a part of the search")
    assert searcher.failed in searcher.notes[1]


def test_a_gpu_is_used_once_it_searches_as_the_cpu_does():
    check(lambda *given: search(warps.Launcher(7, lanes=1), *given))
    check(sweep)

    class Losing(warps.Launcher):
        """Does not come back to the last of the children that are left."""

        def run(self, items, *more):
            return super().run(items._replace(rest=np.maximum(items.rest - 1, 1)), *more)

    for wrong in (
        lambda *given: search(Losing(7, lanes=1), *given),
        lambda *given: (sweep(*given)[0], sweep(*given)[1] - 1),
        lambda *given: (given[5], sweep(*given)[1]),
    ):
        with pytest.raises(GpuError, match="does not search as the CPU does"):
            check(wrong)


def test_more_than_256_values_stay_on_the_cpu():
    launcher = warps.Launcher(1, lanes=1)
    searcher = Searcher(launcher, "a simulation")
    problem = problem_of(0, 2, 300)
    with limited(None, sweep=searcher):
        lower_bound(problem, Enumeration(order_of(problem.hessian), 1e-3))
    assert launcher.launches == 0


def test_without_numba_cuda(monkeypatch):
    monkeypatch.setattr(searchers, "missing", lambda: "numba-cuda is not installed")
    with pytest.raises(GpuError, match="numba-cuda is not installed"):
        searchers.on_gpu()
