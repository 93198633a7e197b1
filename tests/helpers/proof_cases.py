"""Proofs of every shape of every kind of small problem: true, near the truth, and wrong; and the exact optimum."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Block, Cover, Enumeration, Order, Split, Tree
from pvq.bounds.sparsity import Sparsity

GRAMS = ("regular", "singular", "duplicated", "dead", "ill-conditioned")


def problem(rng):
    """A row without dead inputs, of at most 4 inputs; H scaled by a power of two."""
    while True:
        n = int(rng.choice([2, 4]))
        kind = rng.choice(GRAMS)
        a = rng.standard_normal((1 if kind == "singular" else 8, n))
        if kind == "duplicated":
            a[:, 0] = a[:, -1]
        if kind == "dead":
            a[:, rng.integers(n)] = 0
        if kind == "ill-conditioned":
            a = a * 10.0 ** rng.uniform(-6, 0, n)
        gram = Gram.from_array(np.ldexp(a.T @ a, int(rng.choice([0, 0, 0, -300, 300]))))
        grid = Grid(np.sort(rng.choice(np.arange(-4, 5) * 0.37, 3, replace=False))[None], np.zeros(n, np.int64))
        update, k = bool(rng.integers(2)), int(rng.integers(n + 1))
        pattern = (
            Sparsity.row(n, k, update),
            Sparsity.nm(n, int(rng.integers(3)), 2, update),
            Sparsity.blocks(n, 2, int(rng.integers(n // 2 + 1)), update),
        )[rng.integers(3)]
        method = rng.integers(3)
        row = Problem(rng.standard_normal(n), gram, None if method == 1 else grid, pattern if method else None)
        reduced = presolve(row).problem
        if reduced is not None:
            return reduced


def optimum(row):
    """The least error, as a fraction, by trying every point or every set of kept inputs."""
    n, pattern = row.n, row.sparsity
    h = [[Fraction(value) for value in line] for line in row.hessian.tolist()]
    w = [Fraction(value) for value in row.weight.tolist()]
    if row.free_weights:
        masks = itertools.product([False, True], repeat=n)
        return min(_with_kept(h, w, mask) for mask in masks if pattern.allows(np.array(mask)))
    if row.grid is None:
        values = [[0.0, value] for value in row.weight.tolist()]
    else:
        values = [row.grid.of(i).tolist() + ([] if pattern is None else [0.0]) for i in range(n)]
    best = None
    for x in itertools.product(*values):
        if pattern is None or pattern.allows(np.array(x) != 0):
            u = [a - Fraction(b) for a, b in zip(w, x, strict=True)]
            error = sum(u[i] * h[i][j] * u[j] for i in range(n) for j in range(n))
            best = error if best is None else min(best, error)
    return best


def _with_kept(h, w, mask):
    """w_R'(H_RR - H_RK H_KK^+ H_KR)w_R: the kept inputs eliminated one after the other."""
    h, left = [line[:] for line in h], list(range(len(w)))
    for k in np.flatnonzero(mask).tolist():
        left.remove(k)
        for i in left:
            if h[k][k]:
                ratio = h[i][k] / h[k][k]
                for j in left:
                    h[i][j] -= ratio * h[k][j]
    return sum(w[i] * h[i][j] * w[j] for i in left for j in left)


def proof(rng, row):
    """A proof of a kind drawn at random, also of kinds that prove nothing about this row."""
    n, kind = row.n, rng.choice(["split", "blocks", "pairs", "enumeration", "tree", "cover"])
    if kind == "enumeration":
        return _search(rng, n, float(optimum(row)))
    if kind == "tree" and row.sparsity is not None:
        splits = tuple(_split(rng, row, rng.choice(["split", "pairs"], p=[0.8, 0.2])) for _ in range(2))
        code = _subtree(rng, list(range(row.sparsity.units)), 3)
        if rng.random() < 0.2:
            code = [code[1:], [*code, -1], [*code[:-1], -9], [0, *code]][rng.integers(4)]
        return Tree(np.array(code, np.int64), splits)
    if kind == "cover":
        p = np.linalg.eigh(row.hessian)[1][:, 0] * np.sqrt(np.trace(row.hessian) / n)
        floor = float(np.linalg.eigvalsh(row.hessian)[0] / max(p @ p, 1e-300)) * rng.choice([0, 0.9, 1, 1.1])
        reach = float(np.abs(p).sum()) * 4
        edges = [-reach, 0.1 * reach, reach] if rng.random() < 0.8 else [-reach, -0.1 * reach]
        tilted = replace(row, gram=Gram(row.hessian + np.outer(p, p)))
        splits = tuple(_split(rng, tilted, "split") for _ in edges[1:])
        return Cover(p, max(floor, 0.0), edges, splits)
    return _split(rng, row, kind if kind in ("blocks", "pairs") else "split")


def _search(rng, n, around):
    factor = rng.choice([0.5, 1 - 1e-12, 1, 1 + 1e-9, 2])
    return Enumeration(Order(rng.permutation(n), np.zeros((n + 1, n))), float(around * factor) or 1.0)


def _split(rng, row, kind):
    """D is a share of the largest multiple of the diagonal: 0 to just too much."""
    n, h = row.n, row.hessian
    size = np.sqrt(h.diagonal())
    least = max(float(np.linalg.eigvalsh(h / size[:, None] / size)[0]), 0.0)
    share = rng.choice([0, 0.5, 1 - 1e-9, 1, 1 + 1e-14, 1.01, 3])
    d = least * share * h.diagonal() + rng.choice([0, 1e-13]) * h.diagonal()
    v = rng.choice([0.0, 1.0]) * rng.standard_normal(n) * rng.choice([1e-3, 1])
    if kind == "split" or n < 2:
        return Split(Below(d), v)
    a, b = rng.permutation(n)[:2].tolist()
    across = 0.3 * np.sqrt(d[a] * d[b]) * rng.choice([-1, 1, 5], p=[0.45, 0.45, 0.1])
    if kind == "pairs":
        return Split(Below(d, (), [[a, b]], [across]), v)
    block = Block([a, b], np.array([[d[a], across], [across, d[b]]]))
    d[[a, b]] = 0
    return Split(Below(d, (block,)), v, (_search(rng, 2, float(h.diagonal().sum()) * 100),))


def _subtree(rng, units, depth):
    if not units or not depth or rng.random() < 0.2:
        return [-1 - int(rng.integers(2))]
    unit = int(rng.choice(units))
    rest = [u for u in units if u != unit]
    return [unit, *_subtree(rng, rest, depth - 1), *_subtree(rng, rest, depth - 1)]
