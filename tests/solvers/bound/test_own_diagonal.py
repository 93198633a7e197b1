"""A long pruned row with a diagonal of its own: never worse than with its layer's, below the optimum, proven."""

import threading

import numpy as np
import pytest
from pvq.benchmarks.made import made_layer
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify import NotProven, lower_bound
from pvq.solvers.base import Clock, Options
from pvq.solvers.bound import rows as long_rows
from pvq.solvers.bound.batch import own as own_diagonal
from pvq.solvers.bound.batch import pruned
from pvq.solvers.bound.batch.own import with_own_diagonal
from pvq.solvers.brute import Brute
from pvq.solvers.relax import pruning
from pvq.solvers.result import Reason

OPTIONS = Options(time_limit=None)


def rows(n, count, pattern, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((4 * n, n)) + rng.standard_normal((4 * n, 1))
    a *= 10.0 ** rng.uniform(-1, 0, n)
    h = Gram.from_array(a.T @ a / len(a))
    return [Problem(rng.standard_t(3, n), h, None, pattern) for _ in range(count)]


@pytest.mark.parametrize("pattern", [Sparsity.row(10, 3), Sparsity.nm(12, 2, 4)], ids=["row", "n:m"])
def test_it_holds_and_is_proven(pattern):
    problems = rows(pattern.units, 6, pattern)
    layer = pruned.pruned_layer(problems)
    raised = []
    for problem, found in zip(problems, pruned.bound_rows(problems, layer, OPTIONS, [None] * 6), strict=True):
        own = with_own_diagonal(problem, layer, found, Clock(OPTIONS))
        best = Brute().solve(problem).upper
        assert found.lower <= own.lower <= best * (1 + 1e-9)
        assert problem.is_feasible(own.x)
        assert best * (1 - 1e-9) <= problem.error(own.x) <= problem.error(found.x)
        proven = lower_bound(problem, own.proof)
        assert own.lower * (1 - 1e-5) <= proven <= best * (1 + 1e-12)
        raised.append(own.lower / found.lower)
        # the same v with a D that is larger by a tenth proves nothing, or less than the optimum
        false = Split(Below(1.1 * own.proof.below.d), own.proof.v)
        try:
            assert lower_bound(problem, false) <= best * (1 + 1e-12)
        except NotProven:
            continue
    assert max(raised) > 1.01


@pytest.mark.parametrize("pattern", [Sparsity.row(48, 12), Sparsity.nm(48, 2, 4)], ids=["row", "n:m"])
def test_sweeps_come_as_far_as_newton_steps_on_the_central_path(pattern):
    layer = made_layer("made:48x4:3")
    gram = Gram.from_array(layer.grams[0])
    problems = [Problem(w, gram, None, pattern) for w in layer.weight]
    shared = pruned.pruned_layer(problems)
    raised = []
    for problem, found in zip(problems, pruned.bound_rows(problems, shared, OPTIONS, [None] * 4), strict=True):
        own = with_own_diagonal(problem, shared, found, Clock(OPTIONS))
        row = pruning.PrunedRow.of(problem, problem.error(own.x))
        best = pruning.bound_by_diagonal(row, Clock(OPTIONS))[1].bound
        assert own.lower > 0.97 * best
        raised.append(own.lower / found.lower)
    assert min(raised) > 1.03


def test_without_time_the_row_stays_as_it_is():
    problems = rows(10, 2, Sparsity.row(10, 3))
    layer = pruned.pruned_layer(problems)
    found = pruned.bound_rows(problems, layer, OPTIONS, [None] * 2)[0]
    stop = threading.Event()
    stop.set()
    for clock in (Clock(Options(time_limit=0.0)), Clock(Options(time_limit=None, stop=stop))):
        assert with_own_diagonal(problems[0], layer, found, clock) is found


def test_sweeps_that_were_cut_short_are_no_end(monkeypatch):
    class Short:
        def __init__(self, clock):
            self.asked = 0

        def ended(self):
            self.asked += 1
            return self.asked > 3

    problems = rows(10, 2, Sparsity.row(10, 3))
    layer = pruned.pruned_layer(problems)
    found = pruned.bound_rows(problems, layer, OPTIONS, [None] * 2)[0]
    assert found.reason is with_own_diagonal(problems[0], layer, found, Clock(OPTIONS)).reason is Reason.FINISHED
    monkeypatch.setattr(own_diagonal, "Pace", Short)
    cut = with_own_diagonal(problems[0], layer, found, Clock(OPTIONS))
    assert cut.reason is Reason.TIME
    assert found.lower < cut.lower <= Brute().solve(problems[0]).upper


def test_a_row_alone_has_it_and_rows_together_do_not(monkeypatch):
    monkeypatch.setattr(long_rows, "LONG", 20)
    problems = rows(32, 3, Sparsity.row(32, 8))
    assert long_rows.prepare_together(problems)
    together = long_rows.bound_together(problems, OPTIONS, [None] * 3)
    alone = [long_rows.bound_alone(problem, OPTIONS, None) for problem in problems]
    layer = pruned.layer_of(problems)
    assert all(outcome.proof.below is layer.below for outcome in together)
    assert all(one.lower >= other.lower for one, other in zip(alone, together, strict=True))
    assert any(outcome.proof.below is not layer.below for outcome in alone)
    assert all(lower_bound(p, outcome.proof) > 0 for p, outcome in zip(problems, alone, strict=True))
