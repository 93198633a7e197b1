"""What passes say of those that are left."""

import numpy as np
import pytest
from pvq.benchmarks.made import made_layer
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.bnb.growth import ON_THE_WAY, nodes_to_the_end
from pvq.solvers.result import Status


@pytest.mark.parametrize("power", [4.0, 11.0, 24.0])
def test_nodes_that_grow_like_a_power_go_on_so(power):
    passes = [(t, 1000.0 * t**power) for t in (0.3, 0.5, 0.6)]
    assert nodes_to_the_end(passes, 1.0) == pytest.approx(1000.0 * 0.6 ** (power - ON_THE_WAY * power))


@pytest.mark.parametrize(
    "passes",
    [
        [],
        [(0.5, 10.0)],
        [(0.5, 10.0), (0.6, 9.0)],
        [(0.0, 1.0), (0.5, 10.0)],
        [(0.5, 10.0), (1.1, 99.0)],
        [(1e-14, 3), (1.02e-14, 5)],
    ],
)
def test_nothing_is_said_where_nothing_tells(passes):
    assert nodes_to_the_end(passes, 1.0) is None


def test_a_search_that_is_cut_off_says_what_it_would_take():
    layer = made_layer("gaussian:56x8:1")
    problem = state_problem(layer.weight, layer.grams, Setting("quant", 3)).row(0)
    solver = BranchAndBound()
    whole = solver.solve(problem, Options(time_limit=None))
    assert whole.status is Status.OPTIMAL
    assert "nodes_ahead" not in whole.info
    part = solver.solve(problem, Options(time_limit=None, node_limit=whole.nodes // 3))
    assert part.status is Status.NODE_LIMIT
    assert np.log(part.info["nodes_ahead"] / whole.nodes) == pytest.approx(
        0, abs=np.log(4)
    )  # 1.3 was seen, 2 on other rows
