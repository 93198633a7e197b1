"""Which engines a row is given to, and the search of long rows that a sample must promise to end."""

import numpy as np
import pytest
from pvq.benchmarks.made import made_layer
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.solvers.auto import LOOKED_AT, SEARCHED, Auto
from pvq.solvers.bnb import BranchAndBound, enumeration, promising
from pvq.solvers.bnb.promising import Promising
from pvq.solvers.options import Options
from pvq.solvers.result import Status


def row(inputs, setting, seed=0):
    layer = made_layer(f"made:{inputs}x2:{seed}")
    return state_problem(layer.weight, layer.grams, setting).row(0)


QUANT = Setting("quant", 3)


@pytest.mark.parametrize(
    ("inputs", "setting", "names"),
    [
        (20, QUANT, ["BranchAndBound"]),
        (100, QUANT, ["Bound", "BranchAndBound"]),
        (SEARCHED + 1, QUANT, ["Bound", "Promising"]),
        (LOOKED_AT, QUANT, ["Bound", "Promising"]),
        (LOOKED_AT + 1, QUANT, ["Bound"]),
        (SEARCHED + 1, Setting("prune", sparsity=0.5), ["Bound"]),
    ],
)
def test_parts(inputs, setting, names):
    assert [type(part).__name__ for part in Auto().parts(row(inputs, setting))] == names


def test_a_search_that_will_end_does():
    problem = row(24, QUANT)
    found, expected = Promising().solve(problem, Options(time_limit=None)), BranchAndBound().solve(problem)
    assert found.status is Status.OPTIMAL
    assert found.upper == pytest.approx(expected.upper, rel=1e-6)
    assert found.lower == pytest.approx(expected.lower, rel=1e-6)


def test_a_search_that_will_not_end_is_left(monkeypatch):
    solve = enumeration.solve_grid

    def never(problem, options, start):
        assert problem.n == 3, "only what compiles is searched"
        return solve(problem, options, start)

    monkeypatch.setattr(promising, "RATE", 1e-3)
    monkeypatch.setattr(enumeration, "solve_grid", never)
    problem = row(24, QUANT)
    start = problem.grid.levels[0, np.zeros(problem.n, np.int64)]
    found = Promising().solve(problem, Options(time_limit=5.0), start)
    assert found.lower == 0.0
    assert found.upper == problem.certified(start).upper
