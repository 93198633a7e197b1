"""Klein, AdaRound, ALPS, coordinate descent and one-swap against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.grid import Grid
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options
from pvq.solvers.empirical.adaround import ITERATIONS, AdaRound, neighbours
from pvq.solvers.empirical.adaround_steps import REGULARISER, adam_steps
from pvq.solvers.empirical.alps import Alps, alps_mask
from pvq.solvers.empirical.descent import CoordinateDescent, OneSwap
from pvq.solvers.empirical.factors import damped, inverse_factor
from pvq.solvers.empirical.gptq import Gptq
from pvq.solvers.empirical.klein import Babai, Klein, sharpness
from pvq.solvers.empirical.klein_samples import sample_points
from pvq.solvers.empirical.obs import OptimalBrainCompression
from pvq.solvers.empirical.rtn import RoundToNearest

from .conftest import Make


def test_babai_is_nearest_plane_undamped(make: Make) -> None:
    for seed in range(10):
        problem = make("regular", "groups", n=16, seed=seed)
        assert problem.grid is not None
        r = np.linalg.cholesky(problem.hessian[::-1, ::-1])[::-1, ::-1]
        x = problem.weight.copy()
        for j in range(16):
            u = problem.weight[:j] - x[:j]
            levels = problem.grid.of(j)
            x[j] = levels[np.argmin(abs(levels - problem.weight[j] - r[:j, j] @ u / r[j, j]))]
        assert np.array_equal(Babai().solve(problem).x, x)


def test_klein_is_never_worse_than_gptq_and_follows_its_seed(make: Make) -> None:
    better = 0
    for seed in range(10):
        problem = make("regular", "groups", n=24, seed=seed)
        gptq, klein = Gptq().solve(problem), Klein().solve(problem, Options(seed=1))
        assert klein.upper <= gptq.upper
        assert np.array_equal(klein.x, Klein().solve(problem, Options(seed=1)).x)
        better += klein.upper < gptq.upper
    assert better >= 5


def test_klein_draws_from_its_distribution() -> None:
    """Two inputs: the first from its own distribution, the second from that of its compensated value."""
    h = Gram.from_array(np.array([[2.0, 0.7], [0.7, 1.5]]))
    u, c = inverse_factor(h), 0.8
    w, levels = np.array([0.3, -0.4]), np.array([[-1.0, 0.0, 1.5]])
    uniform = np.random.default_rng(0).random((20000, 2))
    points = sample_points(w, u, levels, np.zeros(2, np.int64), c, uniform)
    energy = np.exp(-c * ((w[0] - levels[0]) / u[0, 0]) ** 2)
    share = [(points[:, 0] == level).mean() for level in levels[0]]
    # three standard deviations of 20000 draws
    assert share == pytest.approx((energy / energy.sum()).tolist(), abs=0.011)
    given = points[points[:, 0] == 0]
    compensated = w[1] - w[0] / u[0, 0] * u[0, 1]
    energy = np.exp(-c * ((compensated - levels[0]) / u[1, 1]) ** 2)
    share = [(given[:, 1] == level).mean() for level in levels[0]]
    assert share == pytest.approx((energy / energy.sum()).tolist(), abs=0.016)


def test_klein_without_randomness_is_gptq(make: Make) -> None:
    problem = make("regular", "int", n=16)
    assert problem.grid is not None
    grid, uniform = problem.grid, np.random.default_rng(0).random((3, 16))
    points = sample_points(problem.weight, inverse_factor(problem.gram), grid.levels, grid.group, 1e9, uniform)
    assert (points == Gptq().solve(problem).x).all()


@pytest.mark.parametrize(("n", "samples"), [(40, 25), (1152, 25), (8, 1000), (1, 25)])
def test_sharpness_solves_its_equation(n: int, samples: int) -> None:
    rho = sharpness(n, samples)
    assert rho > 1
    # a single input cannot ask for more than e^(2 n) samples
    assert 2 * n / rho * np.log(np.e * rho) == pytest.approx(min(np.log(samples), 2 * n), rel=1e-6)


def test_adaround_gradient_is_that_of_its_objective(make: Make) -> None:
    problem = make("regular", "int", n=8, seed=1)
    assert problem.grid is not None
    low, high = neighbours(problem.grid, problem.weight)
    first, unit = 600, 0.37  # iteration 600 of 1000: half of the annealing, beta = 11
    v0 = np.linspace(-1.5, 1.4, 8)

    def objective(v: FloatArray) -> float:
        h = np.clip(1.2 / (1 + np.exp(-v)) - 0.1, 0, 1)
        regulariser = np.where(high > low, 1 - abs(2 * h - 1) ** 11, 0).sum()
        return problem.error(low + (high - low) * h) / unit + REGULARISER * regulariser

    momentum = np.zeros(8)
    adam_steps(
        problem.hessian, problem.weight, low, high, unit, v0.copy(), momentum, np.zeros(8), first, first + 1, 1000
    )
    numeric = [(objective(v0 + d) - objective(v0 - d)) / 2e-6 for d in 1e-6 * np.eye(8)]
    assert (10 * momentum).tolist() == pytest.approx(numeric, rel=1e-5, abs=1e-5)
    assert ITERATIONS == 1000


@pytest.mark.parametrize("constraint", ["int", "groups", "no-zero"])
def test_adaround_rounds_up_or_down(make: Make, constraint: str) -> None:
    ratios = []
    for seed in range(10):
        problem = make("regular", constraint, n=16, seed=seed)
        assert problem.grid is not None
        result = AdaRound().solve(problem)
        low, high = neighbours(problem.grid, problem.weight)
        assert ((result.x == low) | (result.x == high)).all()
        inside = high > low
        assert ((low <= problem.weight) & (problem.weight < high))[inside].all()
        assert np.array_equal(low[~inside], problem.grid.nearest(problem.weight)[~inside])
        ratios.append(result.upper / RoundToNearest().solve(problem).upper)
    assert np.median(ratios) < 0.7


def test_adaround_on_orthogonal_inputs_is_rounding(make: Make) -> None:
    problem = make("regular", "int", n=12, seed=4)
    diagonal = Problem(problem.weight, Gram.from_array(np.eye(12)), problem.grid)
    assert np.array_equal(AdaRound().solve(diagonal).x, RoundToNearest().solve(diagonal).x)


def test_adaround_on_the_grid_already() -> None:
    grid = Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(3, np.int64))
    result = AdaRound().solve(Problem(np.array([1.0, -1, 0]), Gram.from_array(np.eye(3)), grid))
    assert result.upper == 0


def alps(problem: Problem, kept: int) -> FloatArray:
    """The published iteration, with explicit inverses; the mask of its last x."""
    g = damped(problem.gram)
    norms = np.sqrt(np.diag(g))
    g, b = g / np.outer(norms, norms), problem.weight * norms

    def largest(values: FloatArray) -> FloatArray:
        z = np.zeros(len(values))
        chosen = np.argsort(-abs(values))[:kept]
        z[chosen] = values[chosen]
        return z

    z, v, rho, started = largest(b), np.zeros(len(b)), 0.1, False
    mask = z != 0
    for iteration in range(1, 301):
        x = np.linalg.solve(g + rho * np.eye(len(b)), g @ b - v + rho * z)
        z = largest(x + v / rho)
        v = v + rho * (x - z)
        if iteration % 3 == 0:
            change, mask = ((z != 0) != mask).sum() / kept, z != 0
            if change > 0.1:
                rho, started = 1.3 * rho, True
            elif change > 0.005:
                rho, started = 1.2 * rho, True
            elif change > 0 and started:
                rho *= 1.1
            elif started:
                break
            else:
                rho /= 5
                if change > 0:
                    z, v = largest(b), np.zeros(len(b))
    return np.asarray(largest(x) != 0)


@pytest.mark.parametrize(("n", "k"), [(16, 5), (48, 12), (48, 24)])
def test_alps_is_its_definition(n: int, k: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(3 * n, n)) @ (np.eye(n) + 0.2 * rng.normal(size=(n, n)))
        problem = Problem(rng.normal(size=n), Gram.from_array(x.T @ x / 3 / n), None, Sparsity.row(n, k))
        expected = alps(problem, k)
        assert np.array_equal(alps_mask(problem), expected)
        assert np.array_equal(Alps().solve(problem).x, optimal_on_support(problem, expected))


def test_alps_for_a_layer_is_its_definition_with_one_mask_for_all_rows() -> None:
    """A layer is a row whose H has a block for every row of the layer."""
    n, rows = 12, 4
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(3 * n, n)) @ (np.eye(n) + 0.2 * rng.normal(size=(n, n)))
        gram, weight = x.T @ x / 3 / n, rng.normal(size=(rows, n)) * np.arange(1, rows + 1)[:, None]
        layer = state_problem(weight, gram, Setting("prune", sparsity=0.75, scope="layer"))
        assert layer.budget == rows * n // 4
        long = Problem(
            weight.ravel(),
            Gram.from_array(np.kron(np.eye(rows), gram)),
            None,
            Sparsity.row(rows * n, layer.budget),
        )
        expected = alps(long, layer.budget)
        found = Alps().layer_points(layer, Options())
        assert len(set(np.count_nonzero(found, axis=1))) > 1  # not an even budget
        assert np.array_equal(found.ravel() != 0, expected)
        np.testing.assert_allclose(found.ravel(), optimal_on_support(long, expected), rtol=1e-9)


@pytest.mark.parametrize("constraint", ["int", "groups", "no-zero", "joint"])
def test_coordinate_descent_ends_where_no_single_change_helps(make: Make, constraint: str) -> None:
    for seed in range(5):
        problem = make("regular", constraint, n=12, seed=seed)
        assert problem.grid is not None
        result = CoordinateDescent().solve(problem)
        for i in range(12):
            for level in problem.grid.of(i):
                x = result.x.copy()
                x[i] = level
                if problem.is_feasible(x):
                    # rounding of the two errors
                    assert problem.error(x) >= result.upper - 1e-12 * problem.reference


@pytest.mark.parametrize("constraint", ["row", "nm", "block", "row-fixed"])
def test_one_swap_ends_where_no_swap_helps(make: Make, constraint: str) -> None:
    for seed in range(5):
        problem = make("regular", constraint, n=12, seed=seed)
        sparsity = problem.sparsity
        assert sparsity is not None
        result = OneSwap().solve(problem)
        mask = result.x != 0
        kept = np.unique(sparsity.unit[mask])
        for out in kept:
            for new in np.setdiff1d(np.arange(sparsity.units), kept):
                swapped = (mask & (sparsity.unit != out)) | (sparsity.unit == new)
                if sparsity.allows(swapped):
                    x = np.where(swapped, problem.weight, 0)
                    if sparsity.update:
                        x = optimal_on_support(problem, swapped)
                    # 1e-9 r: rounding of two least-squares solutions
                    assert problem.error(x) >= result.upper - 1e-9 * problem.reference
        if sparsity.update:
            assert result.upper <= OptimalBrainCompression().solve(problem).upper * (1 + 1e-9)
