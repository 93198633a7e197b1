"""The measurement of limits: what it asks for is what the command line would."""

import numpy as np
import pvq
import pytest
import time_limits as limits


@pytest.mark.parametrize("kind", limits.KINDS)
def test_problems_are_those_of_the_options(kind):
    problem, words = limits.problem_of(limits.KINDS[kind]), limits.KINDS[kind]
    assert ("quant" in words) == isinstance(problem, pvq.Quant)
    assert ("joint" in words) == isinstance(problem, pvq.Joint)
    if isinstance(problem, pvq.Prune):
        assert problem.update == ("--no-update" not in words)
        assert problem.scope == ("layer" if "--scope" in words else "row")
        assert (problem.nm is not None) == ("--nm" in words)
    if isinstance(problem, pvq.Quant):
        assert (problem.bits, problem.range) == (4, "optimal" if "--range" in words else "mse")


def test_each_kind_is_asked_of_each_solver_that_takes_it():
    asked = list(limits.pairs(list(limits.KINDS), list(limits.SOLVERS)))
    assert len(asked) == len(limits.KINDS) * len(limits.SOLVERS) - 1
    assert ("range optimal", "bound") not in asked


def test_a_run_is_timed_in_two_parts():
    layer = limits.made_layer(12, 2)
    assert np.linalg.eigvalsh(layer.grams[0])[0] > 0
    took = limits.timed(layer, "prune", "bnb", 60.0, 2)
    assert took.preparation >= 0
    assert took.rows > 0
    assert took.ratio == pytest.approx(1.0)
    assert took.said == "optimal, numerical" or took.said == "optimal, rigorous"
