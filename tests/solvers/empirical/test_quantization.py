"""RTN, GPTQ and OBQ against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.solvers.empirical.factors import CONDITION, damped, inverse_factor, inverse_of, regularised
from pvq.solvers.empirical.gptq import Gptq, GptqActivationOrder
from pvq.solvers.empirical.obs import OptimalBrainQuantizer
from pvq.solvers.empirical.rtn import RoundToNearest

from .conftest import GRAMS, Make


def babai(problem: Problem, order: FloatArray) -> FloatArray:
    """Babai's nearest plane on the damped H (1%), the inputs fixed in the given order.

    With H = L L' in the reverse of that order, e = sum_j (L_jj u_j + sum_{i > j} L_ij u_i)^2 is made small term by
    term, from the last of the reversed inputs to the first.
    """
    assert problem.grid is not None
    reverse = order[::-1]
    h = problem.hessian + 0.01 * np.diag(problem.hessian).mean() * np.eye(problem.n)
    lower = np.linalg.cholesky(h[np.ix_(reverse, reverse)])
    x, u = np.zeros(problem.n), np.zeros(problem.n)
    for j in range(problem.n - 1, -1, -1):
        i = reverse[j]
        centre = problem.weight[i] + lower[j + 1 :, j] @ u[j + 1 :] / lower[j, j]
        levels = problem.grid.of(i)
        x[i] = levels[np.argmin(abs(levels - centre))]
        u[j] = problem.weight[i] - x[i]
    return x


@pytest.mark.parametrize("constraint", ["int", "groups", "no-zero"])
@pytest.mark.parametrize("gram_kind", [g for g in GRAMS if g != "dead"])
def test_gptq_is_babai_in_reverse_order(make: Make, gram_kind: str, constraint: str) -> None:
    for seed in range(20):
        problem = make(gram_kind, constraint, n=16, seed=seed)
        assert np.array_equal(Gptq().solve(problem).x, babai(problem, np.arange(16)))
        by_activation = np.argsort(-np.diag(problem.hessian), kind="stable")
        assert np.array_equal(GptqActivationOrder().solve(problem).x, babai(problem, by_activation))


def test_gptq_as_written_in_the_paper(make: Make) -> None:
    """Algorithm 1 with the Cholesky factor of the explicit inverse, no blocks."""
    problem = make("regular", "int", n=20, seed=1)
    assert problem.grid is not None
    u = np.linalg.cholesky(np.linalg.inv(damped(problem.gram))).T
    assert np.allclose(inverse_factor(problem.gram), u, rtol=1e-9, atol=1e-12)
    w = problem.weight.copy()
    for j in range(20):
        levels = problem.grid.of(j)
        target = levels[np.argmin(abs(levels - w[j]))]
        w[j:] -= (w[j] - target) / u[j, j] * u[j, j:]
        w[j] = target
    assert np.array_equal(Gptq().solve(problem).x, w)


def test_round_to_nearest(make: Make) -> None:
    problem = make("dead", "groups", n=12)
    assert problem.grid is not None
    nearest = [problem.grid.of(i)[np.argmin(abs(problem.grid.of(i) - problem.weight[i]))] for i in range(12)]
    assert RoundToNearest().solve(problem).x.tolist() == nearest


def obq(problem: Problem) -> FloatArray:
    """The definition: quantize the weight that costs least after the other free ones are re-optimised."""
    assert problem.grid is not None
    h, x = problem.hessian, problem.weight.copy()
    free = list(range(problem.n))
    while free:
        sub = np.linalg.inv(h[np.ix_(free, free)])
        target = problem.grid.nearest(x)[free]
        error = abs(x[free] - target)
        step = problem.grid.of(0)[1] - problem.grid.of(0)[0]
        score = error**2 / np.diag(sub)
        p = int(np.argmax(error)) if (error > step / 2).any() else int(np.argmin(score))
        x[free] -= sub[:, p] * (x[free[p]] - target[p]) / sub[p, p]
        x[free[p]] = target[p]
        del free[p]
    return x


def test_obq_is_its_definition(make: Make) -> None:
    for seed in range(20):
        problem = make("regular", "int", n=12, seed=seed)
        assert np.array_equal(OptimalBrainQuantizer().solve(problem).x, obq(problem))


def test_obq_on_orthogonal_inputs_is_rounding(make: Make) -> None:
    problem = make("regular", "groups", n=12)
    diagonal = Problem(problem.weight, problem.gram.from_array(np.diag(np.arange(1.0, 13))), problem.grid)
    assert np.array_equal(OptimalBrainQuantizer().solve(diagonal).x, RoundToNearest().solve(diagonal).x)


@pytest.mark.parametrize("gram_kind", GRAMS)
def test_inverse_of_any_gram_matrix(make: Make, gram_kind: str) -> None:
    gram = make(gram_kind, "int", n=16).gram
    gram = gram.take(np.flatnonzero(gram.live))
    h = regularised(gram)
    assert np.linalg.cond(h) <= 1.01 * CONDITION
    if gram_kind == "regular":
        assert np.array_equal(h, gram.matrix)
    # the residual of an inverse is of size eps * condition
    assert np.allclose(inverse_of(gram) @ h, np.eye(len(h)), atol=1e-15 * CONDITION * len(h))
