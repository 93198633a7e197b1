"""The pruning engine against complete enumeration, on random and degenerate rows, from weak upper bounds."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.sparsity import Sparsity
from pvq.layers.format import load_layer
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound, masks
from pvq.solvers.brute import Brute
from pvq.solvers.result import Reason, Status

NO_LIMIT = Options(time_limit=None)


def pattern(kind, n, rng):
    if kind == "row":
        return Sparsity.row(n, int(rng.integers(1, n)))
    if kind == "nm":
        of = int(rng.choice([m for m in (2, 3, 4) if n % m == 0]))
        return Sparsity.nm(n, int(rng.integers(1, of)), of)
    size = int(rng.choice([m for m in (2, 3) if n % m == 0]))
    return Sparsity.blocks(n, size, int(rng.integers(1, n // size)))


def row(seed, kind):
    """A row of up to 12 inputs, every other one degenerate in some way."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([4, 6, 8, 9, 10, 12] if kind != "nm" else [4, 6, 8, 9, 12]))
    x = rng.normal(size=(n, int(rng.integers(1, n)) if seed % 5 == 1 else 4 * n))
    if seed % 5 == 2:  # condition 1e5 to 1e12
        x = np.diag(10.0 ** -rng.uniform(0, 6, n)) @ rng.normal(size=(n, n)) @ x
        x = np.linalg.qr(rng.normal(size=(n, n)))[0] @ x
    if seed % 3 == 1:  # duplicated, opposite and (nearly) dead inputs
        i, j, k = rng.permutation(n)[:3]
        x[i] = x[j] * rng.choice([-1, 1, 2])
        x[k] *= rng.choice([0.0, 1e-9])
    if seed % 7 == 3:  # LayerNorm: the inputs sum to zero
        x -= x.mean(axis=0)
    w = rng.normal(size=n) * np.exp(rng.normal(size=n))
    if seed % 4 == 3:  # ties
        x, w = np.linalg.qr(rng.normal(size=(n, n)))[0] * (seed % 8 == 3) + np.eye(n), np.sign(w)
    return Problem(w * 10.0 ** rng.integers(-3, 4), Gram.from_array(x @ x.T), None, pattern(kind, n, rng)), rng


def weakest_start(problem, rng):
    """A random mask, with the kept weights at their best: a poor upper bound that fixing must not rely on."""
    return optimal_on_support(problem, problem.sparsity.best_mask(rng.uniform(size=problem.n)))


def without_heuristics(monkeypatch):
    def upper(problem, start):
        return start if start is not None else np.zeros(problem.n)

    monkeypatch.setattr(masks, "_upper", upper)


def begin_with(monkeypatch, plain):
    """Searches that couple inputs after so many nodes, whatever the row."""
    monkeypatch.setattr(masks, "PLAIN_NODES", plain)
    monkeypatch.setattr(masks, "PLAIN_SHARE", -np.inf)


PLAIN = pytest.mark.parametrize("plain", [0, 2, 10**6])


@PLAIN
@pytest.mark.parametrize("kind", ["row", "nm", "block"])
def test_two_hundred_and_ten_rows_against_enumeration(kind, plain, monkeypatch):
    without_heuristics(monkeypatch)
    begin_with(monkeypatch, plain)
    for seed in range(210):
        problem, rng = row(seed, kind)
        truth = Brute().solve(problem)
        result = BranchAndBound().solve(problem, NO_LIMIT, weakest_start(problem, rng))
        slack = 1e-9 * truth.upper + 1e-11 * problem.reference
        assert result.lower <= truth.upper + slack, (seed, result, truth)
        assert result.upper <= truth.upper * (1 + 1e-6) + slack, (seed, result, truth)
        # on a Gram matrix of condition 1e15 the recomputed error of x itself is uncertain by about 1e-12 r
        closed = result.upper - result.lower <= 3e-12 * problem.reference
        assert result.status is Status.OPTIMAL or closed, (seed, result, truth)
        assert problem.is_feasible(result.x)


@PLAIN
@pytest.mark.parametrize("kind", ["row", "nm", "block"])
def test_every_node_limit_ends_in_an_interval_around_the_optimum(kind, plain, monkeypatch):
    without_heuristics(monkeypatch)
    begin_with(monkeypatch, plain)
    for seed in range(30):
        problem, rng = row(seed, kind)
        truth = Brute().solve(problem).upper
        start = weakest_start(problem, rng)
        slack = 1e-9 * truth + 1e-11 * problem.reference
        before = 0.0
        for limit in (1, 2, 5, 20):
            result = BranchAndBound().solve(problem, Options(None, node_limit=limit), start)
            assert before - slack <= result.lower <= truth + slack <= result.upper + 2 * slack, (
                seed,
                limit,
                result,
            )
            before = result.lower


def test_stopped_before_it_starts():
    problem, _ = row(0, "row")
    options = Options()
    options.stop.set()
    result = BranchAndBound().solve(problem, options)
    assert (result.reason, result.status) == (Reason.INTERRUPT, Status.INTERRUPTED)
    assert 0 <= result.lower <= result.upper


def large(n, k, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2 * n))
    x[1:] += 0.5 * x[:-1]
    return Problem(rng.normal(size=n), Gram.from_array(x @ x.T / (2 * n)), None, Sparsity.row(n, k))


def test_time_limit_keeps_a_valid_interval():
    problem = large(60, 20)
    optimum = BranchAndBound().solve(problem, NO_LIMIT)
    assert optimum.status is Status.OPTIMAL
    cut = BranchAndBound().solve(problem, Options(time_limit=1e-9))
    assert cut.status in (Status.TIME_LIMIT, Status.OPTIMAL)
    few = BranchAndBound().solve(problem, Options(None, node_limit=10))
    assert cut.lower <= few.lower <= optimum.upper * (1 + 1e-9) <= few.upper * (1 + 2e-9)


def test_order_scale_and_budget_change_the_answer_as_they_must():
    problem = large(30, 10)
    best = BranchAndBound().solve(problem, NO_LIMIT)
    order = np.random.default_rng(1).permutation(30)
    permuted = Problem(
        problem.weight[order] * 1e3, Gram.from_array(problem.hessian[np.ix_(order, order)]), None, problem.sparsity
    )
    again = BranchAndBound().solve(permuted, NO_LIMIT)
    assert again.upper == pytest.approx(1e6 * best.upper, rel=2e-6)
    more = BranchAndBound().solve(Problem(problem.weight, problem.gram, None, Sparsity.row(30, 11)), NO_LIMIT)
    assert more.upper <= best.upper * (1 + 1e-9)


def test_the_pool_grows_and_a_full_memory_ends_in_a_bound(monkeypatch):
    problem = large(64, 20, 3)
    monkeypatch.setattr(masks, "MEMORY", 0)
    result = BranchAndBound().solve(problem, NO_LIMIT)
    assert (result.reason, result.status) == (Reason.MEMORY, Status.BOUND_ONLY)
    assert 0 < result.lower < result.upper


@pytest.mark.parametrize("limit", [None, 30])
def test_inputs_are_coupled_after_the_same_nodes_however_quick_the_machine_is(limit, monkeypatch):
    problem, found = large(40, 13), []
    without_heuristics(monkeypatch)
    begin_with(monkeypatch, 20)
    for seconds in (1e-9, 1e-3, 10.0):
        monkeypatch.setattr(masks, "CHUNK_SECONDS", seconds)
        result = BranchAndBound().solve(problem, Options(None, node_limit=limit), np.zeros(40))
        found.append((result.nodes, result.lower, result.upper))
    assert found[0][0] > 20
    assert found[0] == found[1] == found[2]


def test_short_rows_begin_without_pairs_where_a_diagonal_holds_enough():
    begin = [masks.plain_nodes(large(n, n // 3)) for n in (12, masks.PLAIN_INPUTS, masks.PLAIN_INPUTS + 1)]
    assert begin == [masks.PLAIN_NODES, masks.PLAIN_NODES, 0]
    x = np.random.default_rng(0).normal(size=(12, 2)) @ np.random.default_rng(1).normal(size=(2, 40))
    x += 1e-3 * np.random.default_rng(2).normal(size=x.shape)
    assert masks.plain_nodes(Problem(np.ones(12), Gram.from_array(x @ x.T), None, Sparsity.row(12, 4))) == 0


@pytest.mark.parametrize(("number", "k"), [(11, 30), (154, 13), (172, 12)])
def test_fixing_more_inputs_than_the_budget_ends_a_node(number, k, expand40):
    """Three rows of a real layer on which a node that had k inputs fixed went on to keep one more."""
    layer = load_layer(expand40)
    gram = Gram.from_array(layer.grams[0] if layer.grams.ndim == 3 else layer.grams)
    problem = Problem(layer.weight[number], gram, None, Sparsity.row(40, k))
    result = BranchAndBound().solve(problem, NO_LIMIT)
    assert result.status is Status.OPTIMAL, result.info
    assert np.count_nonzero(result.x) == k


@PLAIN
@pytest.mark.parametrize("kind", ["row", "nm"])
def test_rows_of_correlated_inputs_against_enumeration(kind, plain, monkeypatch):
    """Inputs with strong correlations of both signs, which pair up, and all points of the curve of one row."""
    without_heuristics(monkeypatch)
    begin_with(monkeypatch, plain)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = 10 if kind == "row" else 12
        x = rng.normal(size=(n, 3)) @ rng.normal(size=(3, 40)) + rng.uniform(0.05, 1) * rng.normal(size=(n, 40))
        sparsity = Sparsity.row(n, 1 + seed % (n - 1)) if kind == "row" else Sparsity.nm(n, 1 + seed % 3, 4)
        problem = Problem(rng.normal(size=n), Gram.from_array(x @ x.T), None, sparsity)
        truth = Brute().solve(problem).upper
        result = BranchAndBound().solve(problem, NO_LIMIT, weakest_start(problem, rng))
        assert result.status is Status.OPTIMAL, (seed, result)
        assert result.upper == pytest.approx(truth, rel=2e-6), seed
