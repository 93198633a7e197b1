"""Proofs of every shape for a small row: true, nearly true and wrong, also of kinds that prove nothing of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Basis, Below, Block, Boxes, Cover, Enumeration, Order, Proof, Reduced, Split, Tree
from pvq.bounds.verify.split import values_of

SHAPES = ("split", "blocks", "pairs", "enumeration", "tree", "cover")
SHARES = (0, 1e-9, 0.5, 1 - 1e-9, 1, 1, 1 + 1e-15, 1 + 1e-13, 1 + 1e-9, 1.01, 3)
"""Of the largest D of its kind that leaves H - D semidefinite."""
NEARLY = (0.5, 1 - 1e-12, 1, 1 + 1e-9, 2)


def shaped(rng: np.random.Generator, row: Problem, u: np.ndarray, best: float) -> Proof:
    """A proof of a random shape.

    Parameters
    ----------
    u : x - w of a good x: v that makes bounds tight.   best : the optimum, roughly.
    """
    shape = str(rng.choice(SHAPES))
    if shape == "enumeration" and row.grid is not None and rng.random() < 0.5:
        return _reduced(rng, row, best)
    if shape == "enumeration":
        return _search(rng, row.n, row.hessian, best)
    if shape == "tree" and not row.free_weights and rng.random() < 0.5:
        return _boxes(rng, row, u)
    if shape == "tree" and row.sparsity is not None:
        splits = [_split(rng, row, u, str(rng.choice(["split", "split", "split", "pairs"]))) for _ in range(2)]
        if rng.random() < 0.5:  # all leaves share D
            splits[1] = Split(splits[0].below, splits[1].v)
        code = _subtree(rng, list(range(row.sparsity.units)), int(rng.integers(1, 5)))
        if rng.random() < 0.1:
            code = [code[1:], [*code, -1], [*code[:-1], -9], [0, *code]][rng.integers(4)]
        return Tree(np.array(code, np.int64), tuple(splits))
    if shape == "cover":
        return _cover(rng, row, u)
    return _split(rng, row, u, shape if shape in ("blocks", "pairs") else "split")


def _boxes(rng: np.random.Generator, row: Problem, u: np.ndarray) -> Boxes:
    """Now and then of a D with blocks or pairs, or with a branch or a leaf that is none."""
    shape = str(rng.choice(["split"] * 8 + ["blocks", "pairs"]))
    below, vectors = _split(rng, row, u, shape).below, int(rng.integers(1, 5))
    lists = [np.unique(values) for values in values_of(row)]
    code: list[tuple[int, int]] = []

    def grow(box: list[tuple[int, int]], depth: int) -> None:
        open_inputs = [i for i, (lo, hi) in enumerate(box) if lo < hi]
        if not open_inputs or not depth or rng.random() < 0.15:
            code.append((-1, int(rng.integers(vectors))))
            return
        i = int(rng.choice(open_inputs))
        lo, hi = box[i]
        k = int(rng.integers(lo, hi))
        code.append((i, k))
        grow([*box[:i], (lo, k), *box[i + 1 :]], depth - 1)
        grow([*box[:i], (k + 1, hi), *box[i + 1 :]], depth - 1)

    grow([(0, len(values) - 1) for values in lists], int(rng.integers(1, 7)))
    if rng.random() < 0.1:
        code = [code[1:], [*code, (-1, 0)], [*code[:-1], (-1, 9)], [code[0], *code]][rng.integers(4)]
    v = np.array([_vector(rng, row, u) for _ in range(vectors)])
    return Boxes(np.array(code, np.int64).reshape(-1, 2), below, v)


def _search(rng: np.random.Generator, n: int, a: np.ndarray, around: float) -> Enumeration:
    order, diagonal = rng.permutation(n), np.zeros((n + 1, n))
    for k in range(1, n + 1):
        if rng.random() < 0.5:
            part = a[np.ix_(order[:k], order[:k])]
            diagonal[k, :k] = max(_least(part), 0.0) * rng.choice([0.9, 1, 1 + 1e-12, 1.1])
    threshold = float(around * rng.choice(NEARLY))
    return Enumeration(Order(order, diagonal), threshold if 0 < threshold < np.inf else 1.0)


def _reduced(rng: np.random.Generator, row: Problem, best: float) -> Reduced:
    """Any unimodular basis; diagonals that are below its matrix, or nearly."""
    n = row.n
    t, inverse = np.eye(n, dtype=np.int64), np.eye(n, dtype=np.int64)
    for _ in range(int(rng.integers(0, 3 * n + 1))):
        i, j = rng.integers(n, size=2).tolist()
        times = int(rng.integers(-2, 3))
        if i != j:  # column j gets so many times column i
            t[:, j] += times * t[:, i]
            inverse[i] -= times * inverse[j]
    step = np.ones(n) if row.grid is None else np.ptp(row.grid.levels, axis=1)[row.grid.group]
    a = row.hessian * np.outer(step, step) / (step.max() or 1.0) ** 2
    diagonal = np.zeros((n + 1, n))
    for k in range(1, n + 1):
        if rng.random() < 0.5:
            part = (t.T @ a @ t)[:k, :k]
            diagonal[k, :k] = max(_least((part + part.T) / 2), 0.0) * rng.choice([0.9, 1, 1 + 1e-12, 1.1])
    threshold = float(best * rng.choice(NEARLY))
    return Reduced(Basis(t, inverse, diagonal), threshold if 0 < threshold < np.inf else 1.0)


def _least(h: np.ndarray) -> float:
    """Least eigenvalue, roughly, also of numbers near the ends of float64."""
    size = float(np.abs(h).max())
    return float(np.linalg.eigvalsh(h / size)[0]) * size if size else 0.0


def _split(rng: np.random.Generator, row: Problem, u: np.ndarray, shape: str) -> Split:
    n, h = row.n, row.hessian
    groups = [[i] for i in range(n)]
    if shape != "split" and n > 1:
        inputs, groups = rng.permutation(n).tolist(), []
        while inputs:
            size = int(rng.integers(1, 3 if shape == "pairs" else 4))
            groups.append(inputs[:size])
            inputs = inputs[size:]
        if row.free_weights and row.sparsity is not None and rng.random() < 0.7:  # pairs within groups
            of = row.sparsity.group[row.sparsity.unit]
            groups = [part for g in groups for part in ([g] if len({*of[g]}) == 1 else [[i] for i in g])]
    d = np.zeros((n, n))
    for g in groups:
        part = h[np.ix_(g, g)]
        mixed = rng.choice([0.0, 0.5, 1.0])
        d[np.ix_(g, g)] = mixed * part + (1 - mixed) * np.diag(part.diagonal())
    d *= _largest_multiple(h, d) * rng.choice(SHARES)
    d[np.diag_indices(n)] += rng.choice([0, 0, 1e-13]) * h.diagonal()
    v = _vector(rng, row, u)
    diagonal = d.diagonal().copy()
    if shape == "pairs":
        pairs = [sorted(g) for g in groups if len(g) == 2]
        across = [d[i, j] for i, j in pairs]
        return Split(Below(diagonal, (), np.array(pairs, np.int64).reshape(-1, 2), np.array(across)), v)
    blocks, searches = [], []
    for g in groups if shape == "blocks" else []:
        if len(g) > 1 or rng.random() < 0.1:
            block = Block(g, d[np.ix_(g, g)])
            blocks.append(block)
            searches.append(_search(rng, len(g), block.matrix, 100 * float(h.diagonal().sum())))
            diagonal[g] = 0
    return Split(Below(diagonal, tuple(blocks)), v, tuple(searches))


def _largest_multiple(h: np.ndarray, d: np.ndarray) -> float:
    """t with H - tD singular, roughly."""
    size = np.sqrt(h.diagonal())
    size[size == 0] = 1.0
    values, vectors = np.linalg.eigh(h / size[:, None] / size)
    root = vectors / np.sqrt(np.maximum(values, 1e-18))
    most = float(np.linalg.eigvalsh(root.T @ (d / size[:, None] / size) @ root)[-1])
    return 1 / most if most > 0 else 0.0


def _vector(rng: np.random.Generator, row: Problem, u: np.ndarray) -> np.ndarray:
    how, size = int(rng.integers(6)), float(np.abs(u).max(initial=0.0)) or 1.0
    if how == 0:
        return np.zeros(row.n)
    if how == 1:
        return rng.standard_normal(row.n) * size
    if how == 2:
        return u + rng.standard_normal(row.n) * size * 10.0 ** rng.uniform(-9, 0)
    return u * (1.0 if how < 5 else rng.uniform(0, 2))


def _cover(rng: np.random.Generator, row: Problem, u: np.ndarray) -> Cover:
    h, size = row.hessian, float(np.abs(row.hessian).max())
    values, vectors = np.linalg.eigh(h / size)
    p = vectors[:, 0] * np.sqrt(size) * 10.0 ** rng.uniform(-1, 0.5)
    floor = float(max(values[0], 0.0) * size / (p @ p)) * rng.choice([0, 0.9, 1, 1.1])
    reach = float(np.abs(p) @ np.abs(row.weight) + abs(p @ u)) * 2 or 1.0
    inner = np.sort(rng.uniform(-reach, reach, int(rng.integers(0, 3))))
    edges = np.concatenate([[-reach], inner, [reach if rng.random() < 0.9 else -0.1 * reach]])
    tilted = replace(row, gram=Gram(h + np.outer(p, p)))
    shape = "pairs" if rng.random() < 0.2 else "split"
    first = _split(rng, tilted, u, shape)
    splits = [first] + [Split(first.below, _vector(rng, row, u)) for _ in edges[2:]]
    return Cover(p, floor, edges, tuple(splits))


def _subtree(rng: np.random.Generator, units: list[int], depth: int) -> list[int]:
    if not units or not depth or rng.random() < 0.15:
        return [-1 - int(rng.integers(2))]
    unit = int(rng.choice(units))
    rest = [u for u in units if u != unit]
    return [unit, *_subtree(rng, rest, depth - 1), *_subtree(rng, rest, depth - 1)]
