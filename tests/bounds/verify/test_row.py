"""The verifier's float64 bounds against rational arithmetic, and both against the optimum by brute force."""

import itertools
import math
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from numba import njit
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Block, Cover, Enumeration, Order, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify import row, visit
from pvq.bounds.verify.exact import exact_lower_bound, exact_upper_bound, is_psd
from pvq.bounds.verify.row import SAFETY, NotProven, lower_bound, matrix_of, shift_to_psd
from pvq.bounds.verify.split import upper_bound
from pvq.solvers.brute import Brute
from pvq.solvers.kernels.diagonal import largest_diagonal

from row_cases import KINDS, allowed, below, gram, grid, order_of, problems


@pytest.mark.parametrize("kind", KINDS)
def test_split_is_below_its_exact_value_and_that_below_the_optimum(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    finite = 0
    for _ in range(5):
        for problem in problems(rng, 4 + 2 * int(rng.integers(2)), kind):
            best = Brute().solve(problem)
            for v in (best.x - problem.weight, rng.standard_normal(problem.n), np.zeros(problem.n)):
                proof = Split(below(problem), v)
                try:
                    exact = exact_lower_bound(problem, proof)
                except NotProven:
                    with pytest.raises(NotProven):
                        lower_bound(problem, proof, 1.0)
                    continue
                assert exact <= best.upper + allowed(problem)
                try:
                    strict, safe = lower_bound(problem, proof, 1.0), lower_bound(problem, proof)
                except NotProven:
                    continue  # rounding may turn a bound that is finite into none
                assert safe <= strict <= exact
                size = problem.reference + abs(exact) + np.abs(v) @ np.abs(problem.hessian) @ np.abs(v)
                if kind in ("regular", "dead", "huge", "tiny"):  # else a tiny d magnifies what is rounded
                    assert safe >= exact - 1e-9 * size
                finite += 1
    assert finite > 40


@pytest.mark.parametrize("kind", KINDS)
def test_upper_end_is_rounded_up(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(30):
        n = int(rng.integers(1, 8))
        h = gram(rng, n, kind)
        problem = Problem(rng.standard_normal(n), h, None, Sparsity.row(n, n))
        x = problem.weight + rng.standard_normal(n) * 10.0 ** rng.uniform(-18, 0)
        u = [Fraction(a) - Fraction(b) for a, b in zip(problem.weight.tolist(), x.tolist(), strict=True)]
        exact = sum(
            u[i] * Fraction(float(h.matrix[i, j])) * u[j] for i, j in itertools.product(range(n), repeat=2)
        )
        once = exact_upper_bound(problem, x)
        assert math.nextafter(once, -math.inf) < exact <= once
        assert once <= upper_bound(problem, x, 1.0) <= upper_bound(problem, x, 4.0)
        assert upper_bound(problem, x, 4.0) <= float(exact) * (1 + 1e-9) + 1e-11 * problem.reference + 1e-300


@pytest.mark.parametrize("kind", KINDS)
def test_enumeration_proves_the_minimum_and_no_more(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(6):
        for problem in problems(rng, 6, kind):
            if problem.grid is None and problem.sparsity.update:
                continue
            best = Brute().solve(problem).upper
            order = order_of(problem.hessian)
            for threshold in (best * (1 - 1e-9), best * 0.5, best * 3 + 1e-3 * problem.reference):
                if threshold <= 0:
                    continue
                try:
                    found = lower_bound(problem, Enumeration(order, threshold))
                except NotProven:  # rounding alone is of the size of the threshold
                    assert kind in ("singular", "duplicated", "ill-conditioned") or best < allowed(problem)
                    continue
                assert found <= min(threshold, best) + allowed(problem)
                if kind in ("regular", "dead", "huge", "tiny"):
                    assert found >= min(threshold, best) * (1 - 1e-9) - allowed(problem)


def test_false_diagonals_are_not_used():
    rng = np.random.default_rng(0)
    for _ in range(20):
        problem = Problem(rng.standard_normal(5), gram(rng, 5, "regular"), grid(rng, 5))
        best = Brute().solve(problem).upper
        order = order_of(problem.hessian)
        order = Order(order.order, order.diagonal * rng.uniform(1, 3) + np.tri(6, 5, -1))
        assert lower_bound(problem, Enumeration(order, 2 * best)) <= best * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["regular", "ill-conditioned", "duplicated"])
def test_blocks(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(20):
        n = 6
        problem = Problem(rng.standard_normal(n), gram(rng, n, kind), grid(rng, n))
        h = problem.hessian
        inputs = rng.permutation(n)
        first, second = inputs[:3], inputs[3:5]
        matrices = [0.3 * h[np.ix_(i, i)] + 1e-13 * np.diag(h.diagonal()[i]) for i in (first, second)]
        d = np.zeros(n)
        d[inputs[5]] = 0.3 * np.linalg.eigvalsh(h)[0]
        searches = tuple(Enumeration(order_of(matrix), 1e3) for matrix in matrices)
        proof = Split(
            Below(d, (Block(first, matrices[0]), Block(second, matrices[1]))),
            rng.standard_normal(n) * 0.1,
            searches,
        )
        try:
            found = lower_bound(problem, proof)
        except NotProven:
            assert kind == "duplicated"
            continue
        assert found <= Brute().solve(problem).upper
        big = np.zeros((n, n))
        big[np.ix_(first, first)], big[np.ix_(second, second)], big[inputs[5], inputs[5]] = *matrices, d[inputs[5]]
        mv = (h - big) @ proof.v
        total = -proof.v @ mv
        for block in (first, second, inputs[5:]):
            choices = itertools.product(*(problem.grid.of(i) - problem.weight[i] for i in block))
            total += min(
                np.array(u) @ big[np.ix_(block, block)] @ np.array(u) + 2 * mv[block] @ np.array(u)
                for u in choices
            )
        if kind != "duplicated":  # a singular block is searched with errors of the size of its bound
            assert found == pytest.approx(total, rel=1e-8, abs=1e-9 * problem.reference)
        assert exact_lower_bound(problem, proof) >= found


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_of_a_direction(kind):
    """Any direction and any edges: never above the optimum, and where nothing is tiny the formula's value."""
    rng = np.random.default_rng(KINDS.index(kind))
    found = 0
    for _ in range(5):
        for problem in problems(rng, 6, kind):
            n, h = problem.n, problem.hessian
            best = Brute().solve(problem)
            scale = float(np.sqrt(h.diagonal().max()))
            p = scale * rng.standard_normal(n) * 10.0 ** rng.integers(-2, 2)
            floor = 0.0 if kind in ("singular", "duplicated") else 0.9 / float(p @ np.linalg.solve(h, p))
            stiff = h + np.outer(p, p)
            below = Below(largest_diagonal(stiff, accuracy=0.05) * (1 - 1e-7) + 1e-14 * h.diagonal())
            size = np.abs(p) @ np.abs(problem.weight)
            edges = np.sort([*-rng.uniform(0, 3, 2) * size, *rng.uniform(0, 3, 2) * size])
            splits = [Split(below, (best.x - problem.weight) * rng.uniform(0.5, 1.5)) for _ in range(3)]
            proof = Cover(p, floor, edges, tuple(splits))
            try:
                strict, safe = lower_bound(problem, proof, 1.0), lower_bound(problem, proof)
            except NotProven:
                continue
            found += 1
            assert safe <= strict <= best.upper + allowed(problem)
            values = [floor * min(-edges[0], edges[-1]) ** 2]
            m = stiff - np.diag(below.d)
            for (a, b), split in zip(itertools.pairwise(edges), splits, strict=True):
                g = m @ split.v + (a + b) / 2 * p
                values.append(a * b - split.v @ m @ split.v + separable(problem, below.d, g))
            total = problem.reference + np.abs(values).max() + np.abs(edges).max() ** 2
            assert strict <= min(values) + 1e-9 * total
            if kind in ("regular", "huge", "tiny"):
                assert safe >= min(values) - 1e-8 * total
    assert found > 5


def separable(problem, d, g):
    """Least sum of d_i u_i^2 + 2 g_i u_i by patterns and values."""
    w, sparsity = problem.weight, problem.sparsity
    pruned = d * w**2 - 2 * g * w
    if problem.grid is not None:
        u = problem.grid.levels[problem.grid.group] - w[:, None]
        kept = (d[:, None] * u**2 + 2 * g[:, None] * u).min(axis=1)
    else:
        kept = -g * (g / d) if sparsity.update else np.zeros(problem.n)
    if sparsity is None:
        return kept.sum()
    saving = np.bincount(sparsity.unit, np.maximum(pruned - kept, 0), sparsity.units)
    best = sum(
        np.sort(saving[sparsity.group == group])[::-1][:keep].sum() for group, keep in enumerate(sparsity.keep)
    )
    return pruned.sum() - best


BAD_SPLITS = {
    "another size": lambda n: Split(Below(np.zeros(n + 1)), np.zeros(n)),
    "not finite": lambda n: Split(Below(np.full(n, np.nan)), np.zeros(n)),
    "far from semidefinite": lambda n: Split(Below(np.full(n, 1e9)), np.zeros(n)),
    "huge": lambda n: Split(Below(np.full(n, 1e300)), np.full(n, 1e300)),
    "huge v": lambda n: Split(Below(np.zeros(n)), np.full(n, 1e300)),
    "overlapping blocks": lambda n: block_split(n, np.eye(2), [0, 1], [1, 2]),
    "repeated input": lambda n: block_split(n, np.eye(2), [1, 1]),
    "outside": lambda n: block_split(n, np.eye(2), [0, n]),
    "negative input": lambda n: block_split(n, np.eye(2), [-1, 0]),
    "asymmetric block": lambda n: block_split(n, np.array([[1e-6, 1e-20], [0, 1e-6]]), [0, 1]),
    "block without a search": lambda n: Split(Below(np.zeros(n), (Block([0, 1], np.eye(2) * 1e-6),)), np.zeros(n)),
    "indefinite block": lambda n: block_split(n, -1e-6 * np.eye(2), [0, 1]),
    "a block of NaN": lambda n: block_split(n, np.full((2, 2), np.nan), [0, 1]),
}


def block_split(n, matrix, *inputs):
    search = Enumeration(Order([0, 1], np.zeros((3, 2))), 1.0)
    return Split(Below(np.zeros(n), tuple(Block(i, matrix) for i in inputs)), np.zeros(n), (search,) * len(inputs))


@pytest.mark.parametrize("name", BAD_SPLITS)
def test_what_is_no_proof(name):
    rng = np.random.default_rng(0)
    problem = Problem(rng.standard_normal(5), gram(rng, 5, "regular"), grid(rng, 5))
    for check in (lower_bound, exact_lower_bound):
        try:
            assert check(problem, BAD_SPLITS[name](5)) < 0
        except NotProven:
            continue
    pruned = Problem(problem.weight, problem.gram, None, Sparsity.row(5, 2))
    with pytest.raises(NotProven):
        assert lower_bound(pruned, BAD_SPLITS[name](5)) >= 0


def test_what_is_no_enumeration():
    rng = np.random.default_rng(0)
    problem = Problem(rng.standard_normal(4), gram(rng, 4, "regular"), grid(rng, 4))
    diagonal = np.zeros((5, 4))
    for order, threshold in (
        ([0, 1, 2, 2], 1.0),
        ([0, 1, 2], 1.0),
        ([0, 1, 2, 4], 1.0),
        ([3, 2, 1, 0], np.nan),
        ([3, 2, 1, 0], np.inf),
        ([3, 2, 1, 0], -1.0),
    ):
        with pytest.raises(NotProven):
            lower_bound(problem, Enumeration(Order(order, diagonal), threshold))
    with pytest.raises(NotProven):
        lower_bound(problem, Enumeration(Order([0, 1, 2, 3], np.full((4, 4), np.nan)), 1.0))


def test_denormal_numbers():
    """Below the normal range float64 keeps absolute errors only; the bounds still hold."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        h = Gram.from_array(gram(rng, 4, "regular").matrix * 1e-310)
        problem = Problem(rng.standard_normal(4), h, grid(rng, 4))
        proof = Split(Below(0.1 * h.matrix.diagonal()), rng.standard_normal(4))
        try:
            found = lower_bound(problem, proof)
        except NotProven:
            continue
        assert found <= exact_lower_bound(problem, proof) <= exact_upper_bound(problem, Brute().solve(problem).x)


def test_products_that_underflow_are_charged():
    """-v'Mv is about -1e-830 here, which float64 takes for 0."""
    h = Gram.from_array(gram(np.random.default_rng(0), 3, "regular").matrix * 1e-187)
    problem = Problem(np.zeros(3), h, None, Sparsity.blocks(3, 3, 1, update=False))
    proof = Split(Below(1e-3 * h.matrix.diagonal()), np.array([1.6e-322, 0, 0]))
    assert lower_bound(problem, proof, 1.0) <= exact_lower_bound(problem, proof) < 0
    for search in (Split(Below(np.zeros(3)), np.zeros(3)), Enumeration(order_of(h.matrix), 1e-300)):
        assert 0 <= lower_bound(problem, search, 1.0) <= exact_lower_bound(problem, search) <= 1e-300


def test_distances_from_even_values_are_never_too_large():
    """(k - zero) scale, as float64 has it: the sum over one input is below the square of the exact distance."""
    rng, ahead = np.random.default_rng(5), njit(lambda *given: visit.even_ahead(*given))
    for _ in range(300):
        count, zero = int(rng.integers(2, 300)), float(rng.integers(-40, 300))
        scale = float(2.0 ** rng.integers(-200, 200) * rng.uniform(1, 2))
        values = ((np.arange(count) - zero) * scale)[None]
        at = [*rng.choice(values[0], 4), *rng.uniform(values.min(), values.max(), 4), 1e6 * scale, -1e9 * scale]
        at += (rng.choice(values[0, :-1], 4) + scale / 2).tolist()  # ties
        for s in map(float, at):
            _, even, _ = visit.values_for(values, visit.steps_of(values), np.array([abs(s)]))
            assert even is not None
            assert even.shape == (4, visit.WIDTH)
            centre, ones = visit.filled(np.array([[0.0], [0.0], [s]])), visit.filled(np.array([[0.0], [1.0]]))
            found = ahead(centre, 0 * ones, ones, even, count - 1.0, 1, 1.0)
            exact = min(abs(Fraction(s) - Fraction(float(value))) for value in values[0]) ** 2
            assert found <= exact * (1 + Fraction(1, 2**50))
            assert found >= exact * (1 - Fraction(1, 10**6)) - Fraction(1e-20) * Fraction(scale) ** 2
    uneven = np.array([[0.0, 1.0, 2.0, 3.0, 4.0 + 1e-7], [0.0, 1.0, 2.0, 3.0, np.inf]])
    tiny = np.arange(9.0)[None] * 2.0**-1060  # 1 / step is infinite
    for values in (uneven[:1], uneven[1:], tiny):
        assert visit.steps_of(visit.in_order(values)) is None


def test_rows_side_by_side_wait_for_one_factorisation(monkeypatch):
    h = Gram.from_array(np.diag([2.0, 3.0, 4.0]))
    shared, nothing, calls = Below(np.zeros(3), (Block(np.arange(3), np.eye(3)),)), np.zeros(3, bool), []

    def slow(*given):
        calls.append(1)
        time.sleep(0.1)
        return defect(*given)

    defect = row.defect
    monkeypatch.setattr(row, "defect", slow)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: shift_to_psd(h, shared, nothing, SAFETY), range(4)))
    assert len(calls) == 1
    assert all(eps is found[0] for eps in found)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_added_makes_h_minus_d_semidefinite_in_rational_arithmetic(seed):
    """Where D is next to its limit, on both sides: of what is subtracted only the entries of D are rounded."""
    rng, added = np.random.default_rng(seed), []
    for _ in range(40):
        n = int(rng.integers(2, 8))
        x = rng.standard_normal((n, 3 * n)) * np.exp(rng.normal(scale=2, size=(n, 1)))
        if rng.random() < 0.5:
            x[1] = x[0]  # next to no room in one direction
        h = Gram.from_array(x @ x.T)
        pairs = np.array([[0, 1]]) if rng.random() < 0.5 else np.empty((0, 2), np.int64)
        d = rng.uniform(0.5, 2, n) * h.matrix.diagonal()
        across = rng.uniform(-0.7, 0.7, len(pairs)) * np.sqrt(d[0] * d[1])
        root = np.linalg.cholesky(matrix_of(Below(d, (), pairs, across)))
        limit = 1 / np.linalg.eigvalsh(root.T @ np.linalg.inv(h.matrix) @ root)[-1]
        for beside in (0.5, 0.999, 1 - 1e-12, 1 - 1e-15, 1.0, 1 + 1e-15, 1 + 1e-13):
            under = Below(beside * limit * d, (), pairs, beside * limit * across)
            fixed = rng.random(n) < 0.2
            if fixed[pairs].any():
                fixed[:] = False
            eps = shift_to_psd(h, under, fixed, 1.0)
            added.append(float(eps.max()))
            if np.isfinite(eps).all():
                free = np.flatnonzero(~fixed)
                less = h.matrix.tolist(), matrix_of(under).tolist()
                exact = [[Fraction(less[0][i][j]) - Fraction(less[1][i][j]) for j in free] for i in free]
                for s, i in enumerate(free):
                    exact[s][s] += Fraction(float(eps[i]))
                assert is_psd(exact)
    assert 0.0 in added
    assert any(0.0 < most < np.inf for most in added)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_said_of_the_rounding_of_h_minus_d_is_true(seed, monkeypatch):
    """Entries that D leaves alone have none."""
    rng, given = np.random.default_rng(seed), []
    monkeypatch.setattr(row, "defect", lambda *numbers: given.append(numbers) or np.zeros(len(numbers[0])))
    x = rng.standard_normal((8, 24)) * np.exp(rng.normal(scale=3, size=(8, 1)))
    h, size = Gram.from_array(x @ x.T), rng.uniform(0, 0.3, 8)
    d = size * np.diag(h.matrix)
    block = Block(np.arange(5, 8), 0.3 * h.matrix[5:, 5:])
    pairs, across = np.array([[0, 1], [2, 4]]), 0.3 * np.sqrt(d[[0, 2]] * d[[1, 4]])
    d[5:] = 0.0
    under, fixed = Below(d, (block,), pairs, across), np.arange(8) == 3
    shift_to_psd(h, under, fixed, 1.0)
    (m, error, _), free = given[0], np.flatnonzero(~fixed)
    true = matrix_of(under)
    for (s, i), (t, j) in itertools.product(enumerate(free), repeat=2):
        off = Fraction(float(h.matrix[i, j])) - Fraction(float(true[i, j])) - Fraction(float(m[s, t]))
        assert abs(off) <= Fraction(float(error[s, t]))
    assert (error[true[np.ix_(free, free)] == 0] == 0).all()
