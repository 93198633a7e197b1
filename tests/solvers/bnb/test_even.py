"""The search on evenly spaced values: nodes with more children than a batch holds, and searches in pieces."""

import itertools

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.bnb.even import BATCH, ROOM
from pvq.solvers.bnb.plan import layer_plan
from pvq.solvers.bnb.restated import restate
from pvq.solvers.bnb.walk import Walk

SHRINK = 1 - 1e-9


def row(rng, n, count, reach):
    """A row whose weights are inside, outside (reach > 1) and halfway between the values of an even grid."""
    a = rng.standard_normal((3 * n, n))
    grid = Grid(np.arange(count)[None, :] * 0.5, np.zeros(n, np.int64))
    w = rng.uniform(-reach, 1 + reach, n) * 0.5 * count
    w[0] = np.floor(w[0]) + 0.25
    return Problem(w, Gram.from_array(a.T @ a), grid)


def search(problem, budget):
    """The best grid point and the nodes visited, in pieces of `budget` nodes, from no upper bound at all."""
    walk = Walk(restate(problem, layer_plan(problem)), SHRINK)
    walk.take_root()
    upper, x = np.inf, None
    for _ in range(100_000):
        done = walk.run(budget, upper, SHRINK * upper)
        if walk.bounds[0] < upper:
            upper, x = float(walk.bounds[0]), walk.row.point(walk.picks)
        if done:
            return x, walk.nodes
    raise AssertionError("the search does not end")


@pytest.mark.parametrize(("n", "count"), [(1, 2), (1, 300), (2, 200), (3, 24), (5, 4)])
@pytest.mark.parametrize("reach", [0.0, 0.6, 20.0])
def test_the_best_of_all_points(n, count, reach):
    rng = np.random.default_rng([n, count, int(10 * reach)])
    for _ in range(4):
        problem = row(rng, n, count, reach)
        points = np.array(list(itertools.product(*(problem.grid.of(i) for i in range(n)))))
        u = points - problem.weight
        least = np.einsum("pi,ij,pj->p", u, problem.hessian, u).min()
        for budget in (1, 50, 10**6):
            x, _ = search(problem, budget)
            assert problem.is_feasible(x)
            assert problem.error(x) <= least * (1 + 1e-7)


def test_pieces_visit_the_same_nodes():
    """A search goes on where it stopped, in the middle of a node's children too."""
    rng = np.random.default_rng(0)
    for n, count in ((3, 64), (12, 16), (30, 4)):
        problem = row(rng, n, count, 0.3)
        nodes = {budget: search(problem, budget)[1] for budget in (1, 100, 10**9)}
        assert len(set(nodes.values())) == 1, nodes


def test_a_node_with_more_children_than_a_batch():
    """Without a threshold all values of an input are children; none may be lost between two batches."""
    problem = row(np.random.default_rng(1), 2, 3 * BATCH + 5, 0.0)
    walk = Walk(restate(problem, layer_plan(problem)), SHRINK)
    walk.take_root()
    visited = []
    while not walk.run(1, np.inf, 1e300):
        visited.append(walk.nodes)
        assert walk.nodes - (visited[-2] if len(visited) > 1 else 0) <= ROOM
    assert walk.nodes > 3 * BATCH + 5
