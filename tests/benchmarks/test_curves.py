"""Scores, targets, performance profiles and gaps over time, on runs made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pvq.benchmarks.curves import gap_steps, mean_gaps, performance_profile
from pvq.benchmarks.runner import Run
from pvq.benchmarks.summary import bound_ratio, geometric_mean, measure, scores, speedup
from pvq.benchmarks.tasks import Entry, Instance, Limits, Task
from pvq.bounds.layer_problem import Setting

LIMIT = 10.0
SOLVED, LATE, LICENCE, WRONG = "optimal", "time_limit", "licence", "wrong"


def table(rows):
    """Tasks and runs from {solver: [(outcome, seconds, lower), ...]}, the best error of every instance being 1."""
    tasks, runs = [], []
    for solver, results in rows.items():
        for i, (outcome, seconds, lower) in enumerate(results):
            instance = Instance(f"i{i}", "case", Path("x.npz"), Setting("quant", bits=2), i)
            tasks.append(Task(instance, Entry(solver, solver), Limits(time_limit=LIMIT)))
            runs.append(
                Run(f"i{i}", solver, 0, outcome, seconds=seconds, lower=lower, upper=1.0, nodes=10, name=solver)
            )
    return tasks, runs, {f"i{i}": 1.0 for i in range(max(map(len, rows.values())))}


@pytest.fixture
def example():
    return table(
        {
            "fast": [(SOLVED, 0.01, 1.0), (SOLVED, 1.0, 1.0), (LATE, 10.0, 0.5), (WRONG, 0.1, 2.0)],
            "slow": [(SOLVED, 1.0, 1.0), (SOLVED, 0.5, 1.0), (LICENCE, None, None), (SOLVED, 2.0, 1.0)],
        }
    )


def test_scores_count_the_limit_where_nothing_is_solved(example):
    tasks, runs, best = example
    found = {(s.instance, s.solver): s for s in scores(runs, tasks, best)}
    assert [found[f"i{i}", "fast"].seconds for i in range(4)] == [0.01, 1.0, LIMIT, LIMIT]
    assert [found[f"i{i}", "fast"].gap for i in range(4)] == [0, 0, 0.5, 1]  # what is wrong has proven nothing
    assert found["i2", "slow"].refused


def test_speedup_is_the_ratio_of_geometric_means_where_both_take_part(example):
    tasks, runs, best = example
    some = scores(runs, tasks, best)
    ratio, on = speedup(some, "fast", "slow")
    assert on == 3  # without the refused one
    assert ratio == pytest.approx((1.0 * 0.5 * 2.0) ** (1 / 3) / (0.01 * 1.0 * LIMIT) ** (1 / 3))
    assert measure(some, {"solver": "fast", "measure": "speedup:slow"}) == ratio
    assert measure(some, {"solver": "slow", "measure": "solved"}) == 1.0
    assert measure(some, {"solver": "fast", "measure": "within:0.5"}) == 0.25
    assert measure(some, {"solver": "fast", "measure": "closed"}) == 0.0
    assert measure(some, {"solver": "fast", "measure": "max"}) == LIMIT
    assert measure(some, {"solver": "nobody", "measure": "max"}) is None
    assert bound_ratio(some, "fast", "slow") == 1.0


def test_repetitions_are_joined_by_their_median_and_all_must_be_solved():
    tasks, runs, best = table({"a": [(SOLVED, 1.0, 1.0)]})
    tasks = [replace(tasks[0], repetition=r) for r in range(3)]
    runs = [replace(runs[0], repetition=r, seconds=s) for r, s in enumerate((1.0, 5.0, 2.0))]
    assert scores(runs, tasks, best)[0].seconds == 2.0
    runs[0] = replace(runs[0], outcome=LATE, lower=0.25)
    (joined,) = scores(runs, tasks, best)
    assert (joined.solved, joined.seconds, joined.gap) == (False, 5.0, 0.75)


def test_what_only_bounds_counts_the_time_it_took():
    tasks, runs, best = table({"a": [("node_limit", 0.5, 0.9)]})
    assert scores(runs, tasks, best)[0].seconds == LIMIT
    tasks = [replace(tasks[0], entry=Entry("a", "a", node_limit=1))]
    assert scores(runs, tasks, best)[0].seconds == 0.5


def test_shifted_geometric_mean():
    assert geometric_mean([1.0, 100.0]) == pytest.approx(10)
    assert geometric_mean([3.0, 3.0], shift=0.1) == pytest.approx(3)
    assert geometric_mean([0.0, 0.3], shift=0.1) == pytest.approx(0.1)


def test_profile_is_the_share_solved_within_tau(example):
    tasks, runs, best = example
    fast, slow = performance_profile(scores(runs, tasks, best))
    assert fast.label == "fast (2 solved)"
    assert slow.label == "slow (3 solved, 1 refused)"

    def at(curve, tau):
        return curve.y[np.searchsorted(curve.x, tau, side="right") - 1]

    assert at(fast, 1.0) == 0.25
    assert at(fast, 2.0) == at(fast, 99) == 0.5
    assert at(slow, 1.0) == 0.5
    assert at(slow, 99.9) == 0.5
    assert at(slow, 100.0) == 0.75
    assert fast.x[-1] == slow.x[-1] > 100


def test_gaps_over_time_fall_and_end_at_what_was_judged(example):
    tasks, runs, best = example
    steps = ((0.5, -1.0, 2.0), (1.0, 0.2, 1.0), (2.0, 0.1, 1.0), (3.0, 0.7, 1.0), (11.0, 0.9, 1.0))
    run = replace(runs[2], steps=steps)
    times, gaps = gap_steps(run, 1.0, LIMIT)
    assert times == [0.0, 1.0, 3.0, 10.0]
    assert gaps == [1.0, 0.8, 0.5, 0.5]  # never better than what it proved in the end
    assert gap_steps(replace(run, outcome=WRONG), 1.0, LIMIT) == ([0.0], [1.0])
    assert gap_steps(replace(run, outcome="crashed", seconds=None, lower=None), 1.0, LIMIT)[1][-1] == 1.0
    fast, slow = mean_gaps(runs, tasks, best)
    assert slow.label == "slow (without 1 it refused)"
    assert fast.y[0] == slow.y[0] == 1.0
    assert fast.y[-1] == pytest.approx((0 + 0 + 0.5 + 1) / 4)
    assert slow.y[-1] == 0.0
    assert all(np.diff(curve.y).max() <= 0 for curve in (fast, slow))
