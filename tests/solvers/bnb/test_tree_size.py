"""The sampled size of a tree against the search itself."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.base import fallback_point
from pvq.solvers.bnb.plan import row_plan
from pvq.solvers.bnb.restated import restate
from pvq.solvers.bnb.tree_size import sampled_nodes
from pvq.solvers.bnb.walk import Walk
from pvq.solvers.empirical.local_search import polish_grid
from pvq.solvers.options import Clock, Options


def restated(seed, n, levels=8, even=True, spread=1.0):
    """A row, and a threshold just below its optimum, which no leaf lowers."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n + 8, n))
    line = np.linspace(-1.0, 1.0, levels)
    values = 1.4 * (line if even else np.sign(line) * line**2)
    problem = Problem(
        spread * rng.standard_normal(n), Gram.from_array(a.T @ a / n), Grid(values[None], np.zeros(n, np.int64))
    )
    row = restate(problem, row_plan(problem, Clock(Options(time_limit=None))))
    walk, upper = Walk(row, 1.0), problem.error(polish_grid(problem, fallback_point(problem)))
    walk.take_root()
    walk.run(10**9, 2 * upper, 2 * upper)
    return row, float(walk.bounds[0]) * 0.9999


def visited(row, threshold):
    """Nodes of the search."""
    walk = Walk(row, 1.0)
    walk.take_root()
    assert walk.run(10**9, threshold, threshold)
    return walk.nodes


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_a_tree_that_fits_is_counted(even, spread):
    for seed in range(10):
        row, threshold = restated(seed, 8, 4, even, spread)
        assert sampled_nodes(row, threshold, kept=10**6) == visited(row, threshold)


@pytest.mark.parametrize(("n", "even"), [(44, True), (50, True), (48, False)])
def test_samples_are_right_on_average(n, even):
    """40 samples of 64 nodes a level: the mean within 25 %, most of them within a factor of two."""
    row, threshold = restated(n, n, even=even)
    nodes = visited(row, threshold)
    assert nodes > 4_000
    samples = np.array([sampled_nodes(row, threshold, 64, seed) for seed in range(40)])
    assert samples.mean() == pytest.approx(nodes, rel=0.25)
    assert np.mean((samples > nodes / 2) & (samples < 2 * nodes)) > 0.8


def test_a_threshold_below_the_root_has_its_children_only():
    row, threshold = restated(3, 12)
    assert sampled_nodes(row, 1e-12 * threshold) == visited(row, 1e-12 * threshold)
