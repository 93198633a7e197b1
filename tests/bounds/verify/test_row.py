"""The verifier's float64 bounds against rational arithmetic, and both against the optimum by brute force."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import FREE, KEPT, PRUNED, Below, Block, Cover, Enumeration, Order, Split, Tree
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.exact import exact_lower_bound, exact_upper_bound, is_psd
from pvq.bounds.verify.psd import defect
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.split import upper_bound
from pvq.bounds.verify.tree import covers
from pvq.solvers.brute import Brute
from pvq.solvers.kernels.diagonal import largest_diagonal

KINDS = ("regular", "singular", "duplicated", "dead", "ill-conditioned", "huge", "tiny")


def gram(rng, n, kind):
    a = rng.standard_normal((max(1, n - 2) if kind == "singular" else 30, n))
    if kind == "duplicated":
        a[:, 0] = a[:, -1]
    if kind == "dead":
        a[:, rng.integers(n)] = 0
    if kind == "ill-conditioned":
        a *= 10.0 ** rng.uniform(-4, 0, n)
    a *= {"huge": 1e150, "tiny": 1e-140}.get(kind, 1.0)
    return Gram.from_array(a.T @ a / len(a))


def grid(rng, n):
    groups = int(rng.integers(1, 3))
    levels = np.sort([rng.choice(np.arange(-9, 9) * 0.37, 4, replace=False) for _ in range(groups)], axis=1)
    return Grid(levels, rng.integers(0, groups, n))


def problems(rng, n, kind):
    """One problem of every method and pattern, without dead inputs."""
    h = gram(rng, n, kind)
    w = rng.standard_normal(n)
    k = int(rng.integers(0, n + 1))
    for problem in (
        Problem(w, h, grid(rng, n)),
        Problem(w, h, None, Sparsity.row(n, k)),
        Problem(w, h, None, Sparsity.row(n, k, update=False)),
        Problem(w, h, None, Sparsity.nm(n, 1, 2)),
        Problem(w, h, None, Sparsity.blocks(n, 2, n // 4)),
        Problem(w, h, grid(rng, n), Sparsity.row(n, k)),
    ):
        reduced = presolve(problem).problem
        if reduced is not None:
            yield reduced


def below(problem):
    d = largest_diagonal(problem.hessian, accuracy=0.05)
    return Below(np.maximum(d * (1 - 1e-9), 1e-13 * problem.hessian.diagonal()))


def order_of(matrix):
    """An order, and diagonals below its leading blocks."""
    n = len(matrix)
    order = np.argsort(matrix.diagonal())
    permuted = matrix[np.ix_(order, order)]
    diagonal = np.zeros((n + 1, n))
    for m in range(1, n + 1):
        diagonal[m, :m] = largest_diagonal(np.ascontiguousarray(permuted[:m, :m])) * (1 - 1e-9)
    return Order(order, diagonal)


def allowed(problem):
    """Error to which the optimum by brute force is known."""
    return 1e-11 * problem.reference


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
def test_defect_makes_any_matrix_semidefinite(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(20):
        h = gram(rng, int(rng.integers(1, 9)), kind).matrix
        for a in (h, h - np.diag(rng.uniform(0, 1e-3, len(h)) * h.diagonal()), -h, h[::-1, ::-1] - h):
            eps = defect(a)
            if np.isfinite(eps).all():
                assert (eps >= 0).all()
                assert is_psd(
                    [
                        [
                            Fraction(float(a[i, j])) + (Fraction(float(eps[i])) if i == j else 0)
                            for j in range(len(a))
                        ]
                        for i in range(len(a))
                    ]
                )
        assert not defect(h).any()  # shifted where it was singular, a Gram matrix is proven as it stands
        live = h[np.ix_(h.diagonal() > 0, h.diagonal() > 0)]
        assert not len(live) or not np.isfinite(defect(live - np.diag(1.1 * live.diagonal()))).all()


def test_rational_semidefiniteness():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, rank = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        a = rng.integers(-3, 4, (rank, n))
        h = a.T @ a
        entries = [[Fraction(int(value)) for value in row] for row in h]
        assert is_psd(entries)
        entries[-1][-1] -= Fraction(1, 10**30)
        singular = np.linalg.matrix_rank(h) < n and np.linalg.matrix_rank(h[:-1, :-1]) == np.linalg.matrix_rank(h)
        assert is_psd(entries) is not singular


def test_matrices_that_are_indefinite_by_rounding():
    """Indefinite by 1e-12 of its size: what is missing is found, and the bound stays below the optimum."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = 6
        h = gram(rng, n, "regular")
        problem = Problem(rng.standard_normal(n), h, grid(rng, n))
        value, vector = np.linalg.eigh(h.matrix)
        d = np.full(n, value[0] + 1e-12 * value[-1])
        proof = Split(Below(d), vector[:, 0] * 1e3)
        found = lower_bound(problem, proof)
        assert found <= exact_lower_bound(problem, proof) <= Brute().solve(problem).upper
        assert not is_psd(
            [[Fraction(float(h.matrix[i, j] - (i == j) * d[i])) for j in range(n)] for i in range(n)]
        )


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


def with_pairs(problem, below, rng):
    """D with some pairs of one group, as far as H - D stays semidefinite."""
    group = problem.sparsity.group[problem.sparsity.unit]
    pairs, left = [], list(rng.permutation(problem.n))
    while left:
        i = left.pop()
        partner = next((j for j in left if group[j] == group[i]), None)
        if partner is not None and rng.random() < 0.8:
            left.remove(partner)
            pairs.append((i, partner))
    pairs = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    d = below.d * rng.uniform(0.3, 1)
    across = rng.uniform(-0.95, 0.95, len(pairs)) * np.sqrt(d[pairs]).prod(axis=1)
    return Below(d / 2, (), pairs, across / 2)  # |u'Eu| <= u'diag(d)u, so that half of both is below diag(d)


def least_by_pairs(problem, below, g):
    """Least u'Du + 2 g'u over patterns that keep a number of inputs of each pair, the numbers relaxed per pair."""
    w, d, n = problem.weight, np.diag(below.d), problem.n
    d[below.pairs[:, 0], below.pairs[:, 1]] = d[below.pairs[:, 1], below.pairs[:, 0]] = below.across
    single = np.setdiff1d(np.arange(n), below.pairs)
    total, increments = 0.0, [[] for _ in problem.sparsity.keep]
    for inputs in [*below.pairs.tolist(), *([i] for i in single.tolist())]:
        least = [np.inf] * (len(inputs) + 1)
        for mask in itertools.product([False, True], repeat=len(inputs)):
            kept = np.array([i for i, keep in zip(inputs, mask, strict=True) if keep], dtype=int)
            u = np.zeros(n)
            u[inputs] = -w[inputs]
            u[kept] = 0
            u[kept] = -np.linalg.solve(d[np.ix_(kept, kept)], g[kept] + d[kept] @ u)
            least[sum(mask)] = min(least[sum(mask)], u @ d @ u + 2 * g[inputs] @ u[inputs])
        total += least[0]
        saved = least[0] - np.array(least)
        first = max(saved[1], saved[-1] / 2)
        group = problem.sparsity.group[problem.sparsity.unit[inputs[0]]]
        increments[group] += [first, saved[-1] - first][: len(inputs)]
    return total - sum(
        sum(sorted(mine)[::-1][:keep]) for mine, keep in zip(increments, problem.sparsity.keep, strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_pairs(kind):
    """Below the optimum, the value of the formula, and rational arithmetic in between."""
    rng = np.random.default_rng(KINDS.index(kind))
    found = 0
    for _ in range(8):
        for problem in problems(rng, 6, kind):
            if not problem.free_weights or problem.sparsity.units < problem.n:
                continue
            best, h = Brute().solve(problem), problem.hessian
            paired = with_pairs(problem, below(problem), rng)
            for v in (best.x - problem.weight, rng.standard_normal(problem.n)):
                proof = Split(paired, v)
                try:
                    strict, safe = lower_bound(problem, proof, 1.0), lower_bound(problem, proof)
                except NotProven:
                    continue  # a d of rounding size
                exact = exact_lower_bound(problem, proof)
                assert safe <= strict <= exact <= best.upper + allowed(problem)
                d = np.diag(paired.d)
                d[paired.pairs[:, 0], paired.pairs[:, 1]] = paired.across
                d[paired.pairs[:, 1], paired.pairs[:, 0]] = paired.across
                mv = (h - d) @ v
                value = least_by_pairs(problem, paired, mv) - v @ mv
                size = problem.reference + abs(exact) + np.abs(v) @ np.abs(h) @ np.abs(v)
                assert strict <= value + 1e-9 * size
                if kind in ("regular", "dead", "huge", "tiny"):
                    assert safe >= value - 1e-9 * size
                found += 1
    assert found > (3 if kind in ("singular", "duplicated") else 20)  # there D is next to nothing


def test_pairs_that_are_none():
    rng = np.random.default_rng(3)
    h, w = gram(rng, 4, "regular"), rng.standard_normal(4)
    d, v = np.full(4, 0.1 * np.linalg.eigvalsh(h.matrix)[0]), np.zeros(4)
    row = Problem(w, h, None, Sparsity.row(4, 2))
    pair = [[0, 1]]

    def split(pairs, across):
        return Split(Below(d, (), pairs, across), v)

    assert lower_bound(row, split(pair, [0.5 * d[0]])) <= Brute().solve(row).upper
    other = Sparsity.nm(4, 1, 2)
    for problem, proof, words in (
        (row, split(pair, [d[0]]), "minus infinity"),  # not definite
        (row, split([[0, 0]], [0.0]), "overlap"),
        (row, split([[0, 1], [1, 2]], [0.0, 0.0]), "overlap"),
        (row, split([[0, 4]], [0.0]), "not of this row"),
        (row, split(pair, [0.0, 0.0]), "do not fit"),
        (row, split(pair, [np.inf]), "do not fit"),
        (Problem(w, h, None, other), split([[0, 2]], [0.0]), "two groups"),
        (Problem(w, h, None, Sparsity.blocks(4, 2, 1)), split(pair, [0.0]), "pattern block"),
        (Problem(w, h, None, Sparsity.row(4, 2, update=False)), split(pair, [0.0]), "fixed weights"),
        (Problem(w, h, grid(rng, 4)), split(pair, [0.0]), "about quantization"),
    ):
        for bound in (lower_bound, exact_lower_bound):
            with pytest.raises(NotProven, match=words):
                bound(problem, proof)
    state = np.array([[KEPT, FREE, FREE, FREE], [PRUNED, FREE, FREE, FREE]])
    for bound in (lower_bound, exact_lower_bound):
        with pytest.raises(NotProven, match="has fixed"):
            bound(row, Tree(state, [0, 0], (split(pair, [0.0]),)))


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


def every_pattern(problem):
    """The tree of all maximal patterns, each solved."""
    n, sparsity = problem.n, problem.sparsity
    states, splits = [], []
    for mask in map(np.array, itertools.product([False, True], repeat=sparsity.units)):
        used = np.bincount(sparsity.group[mask], minlength=len(sparsity.keep))
        size = np.bincount(sparsity.group, minlength=len(sparsity.keep))
        if not (used == np.minimum(sparsity.keep, size)).all():
            continue
        states.append(np.where(mask, KEPT, PRUNED))
        d = np.full(n, 1e-12) * problem.hessian.diagonal()
        splits.append(Split(Below(d), optimal_on_support(problem, mask[sparsity.unit]) - problem.weight))
    return Tree(np.array(states), np.arange(len(states)), tuple(splits))


@pytest.mark.parametrize("kind", ["regular", "ill-conditioned", "dead"])
def test_a_tree_of_every_pattern_proves_the_optimum(kind):
    rng = np.random.default_rng(0)
    for _ in range(4):
        for problem in problems(rng, 6, kind):
            if problem.method != "prune" or not problem.sparsity.update:
                continue
            tree, best = every_pattern(problem), Brute().solve(problem).upper
            exact = exact_lower_bound(problem, tree)
            assert lower_bound(problem, tree) <= exact <= best + allowed(problem)
            assert lower_bound(problem, tree) >= best * (1 - 1e-9) - 1e-9 * problem.reference
            for leaf in range(len(tree.state)):
                rest = np.arange(len(tree.state)) != leaf
                with pytest.raises(NotProven, match=r"cover|names splits"):
                    lower_bound(problem, Tree(tree.state[rest], tree.split[rest], tree.splits))


@pytest.mark.parametrize("maximal", [True, False])
def test_covers_agrees_with_its_definition(maximal):
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(400):
        units = int(rng.integers(1, 6))
        sparsity = rng.choice([Sparsity.row(units, int(rng.integers(units + 1))), Sparsity.nm(units, 1, units)])
        state = rng.choice([FREE, KEPT, PRUNED], (int(rng.integers(1, 8)), units), p=[0.6, 0.2, 0.2])
        keep = min(int(sparsity.keep[0]), units)
        expected = all(
            any(all(s == FREE or (s == KEPT) == (u in pattern) for u, s in enumerate(leaf)) for leaf in state)
            for size in range(keep if maximal else 0, keep + 1)
            for pattern in itertools.combinations(range(units), size)
        )
        assert covers(state, sparsity, maximal) is expected
        outcomes.add(expected)
    assert outcomes == {True, False}


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
