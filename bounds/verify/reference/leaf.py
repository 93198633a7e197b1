"""Inequality (1), with some units decided, or with (t - a)(t - b) added."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ...gram import FloatArray, Gram
from ...problem import Problem
from ...proof import Below, Block, Enumeration, Split
from .limits import Limits, NotEstablished, need
from .rational import Vector, Whole, dot, matrix, over_one_denominator, solved, vector
from .search import least_form
from .semidefinite import Shifted
from .separable import least_separable

KEPT, PRUNED = 1, 2


class Shared:
    """What leaves, rows and claims of a certificate have in common; it lives no longer than their proofs."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._whole: dict[int, tuple[Gram, Whole]] = {}
        self._shifted: dict[tuple[int, int, bytes], tuple[Gram, Below, Shifted]] = {}

    def whole(self, gram: Gram) -> Whole:
        """H."""
        if id(gram) not in self._whole:
            self._whole[id(gram)] = gram, over_one_denominator(matrix(gram.matrix))
        return self._whole[id(gram)][1]

    def shifted(self, gram: Gram, below: Below, p: FloatArray | None = None) -> Shifted:
        """H + pp' - D."""
        key = id(gram), id(below), b"" if p is None else p.tobytes()
        if key not in self._shifted:
            self._shifted[key] = gram, below, Shifted(gram.matrix, below, p, self.limits)
        return self._shifted[key][2]


class Tilt:
    """An interval [a, b] of t = -p'u."""

    def __init__(self, p: FloatArray, a: Fraction, b: Fraction) -> None:
        self.floats, self.p, self.a, self.b = p, vector(p), a, b


def leaf_bound(
    problem: Problem, split: Split, state: dict[int, int], shared: Shared, tilt: Tilt | None = None
) -> Fraction:
    """The least of -v'Mv + u'Du + 2 g'u and of what the pruned inputs and the tilt add.

    With z = v at free inputs and -w at pruned ones, g = Hz - Dv at free ones: z'Hz of the pruned ones, their
    product with the free ones and -v'Mv come to sum_pruned z_i (Hz)_i - sum_free v_i g_i.

    Parameters
    ----------
    state : what a leaf has decided of units; the others are open.
    """
    n, w = problem.n, vector(problem.weight)
    check_split(problem, split, state)
    shared.limits.check()
    pattern = problem.sparsity
    free = [i for i in range(n) if pattern is None or state.get(int(pattern.unit[i])) != PRUNED]
    shifted = shared.shifted(problem.gram, split.below, None if tilt is None else tilt.floats)
    eps, d = shifted.eps(free), shifted.d
    inside = {i for block in split.below.blocks for i in block.inputs.tolist()}
    v = [Fraction(0)] * n
    for i in free:
        v[i] = Fraction(float(split.v[i]))
    z = [v[i] if i in set(free) else -w[i] for i in range(n)]
    hz = shared.whole(problem.gram).times(z)
    if tilt is not None:
        along = dot(tilt.p, z)
        hz = [value + p * along for value, p in zip(hz, tilt.p, strict=True)]
    less = [d[i][i] - (0 if i in inside else eps[i]) for i in range(n)]  # in a block D stays as it is
    g = [hz[i] - less[i] * v[i] for i in range(n)]
    for i, j in split.below.pairs.tolist():
        g[i] -= d[i][j] * v[j]
        g[j] -= d[i][j] * v[i]
    for block in split.below.blocks:
        for i in block.inputs.tolist():
            g[i] -= sum((d[i][j] * v[j] for j in block.inputs.tolist() if j != i), Fraction(0))
    total = Fraction(0)
    for i in range(n):
        total += -v[i] * g[i] if i in set(free) else z[i] * hz[i]
    if tilt is not None:
        total += tilt.a * tilt.b
        g = [value + (tilt.a + tilt.b) / 2 * p for value, p in zip(g, tilt.p, strict=True)]
    for block, search in zip(split.below.blocks, split.blocks, strict=True):
        total += _block(problem, block, search, g, v, eps, shared.limits)
    alone = [i for i in free if i not in inside]
    least = least_separable(problem, alone, split.below, less, g, state)
    if least is None:
        raise NotEstablished("minus infinity: a re-optimised input needs d > 0")
    return total + least


def _block(
    problem: Problem, block: Block, search: Enumeration, g: Vector, v: Vector, eps: Vector, limits: Limits
) -> Fraction:
    """Least of u'Au + 2 g'u over all values of a block, less the largest sum of eps_i (u_i - v_i)^2.

    u'Au + 2 g'u = (u + t)'A(u + t) - t'At with At = g.
    """
    inputs, a = block.inputs.tolist(), matrix(block.matrix)
    check_search(search, len(inputs))
    us = [[x - Fraction(float(problem.weight[i])) for x in values(problem, i)] for i in inputs]
    f = [g[i] for i in inputs]
    t = solved(a, f)
    if t is None:
        raise NotEstablished("a block of D is not positive definite")
    order = search.order.order.tolist()
    points = [[u + t[k] for u in us[k]] for k in order]
    least = least_form([[a[j][k] for k in order] for j in order], points, None, lambda _: True, limits)
    charge = sum((eps[i] * max((u - v[i]) ** 2 for u in choices) for i, choices in zip(inputs, us, strict=True)))
    return least - dot(t, f) - charge


def values(problem: Problem, i: int) -> Vector:
    """What an input may be where it is not free."""
    if problem.grid is None:
        return [Fraction(0), Fraction(float(problem.weight[i]))]
    levels = vector(problem.grid.of(i))
    return levels if problem.sparsity is None or 0 in levels else [*levels, Fraction(0)]


def check_search(search: Enumeration, m: int) -> None:
    """Refuse an enumeration that is not one of m inputs; its diagonals only say where to cut, and are not used."""
    order = search.order
    need(
        order.order.shape == (m,) and sorted(order.order.tolist()) == list(range(m)), "an order is no permutation"
    )
    need(order.diagonal.shape == (m + 1, m), "the diagonals of an order do not fit")
    need(np.isfinite(search.threshold) and search.threshold > 0, "a threshold is not positive")


def check_split(problem: Problem, split: Split, state: dict[int, int]) -> None:
    """Refuse a split that is not one of this kind of problem, or of this leaf."""
    n, below, pattern = problem.n, split.below, problem.sparsity
    need(below.d.shape == (n,) and split.v.shape == (n,), "D and v are not those of this row")
    need(below.pairs.shape == (len(below.across), 2), "pairs of D do not fit")
    need(np.isfinite([*below.d, *split.v, *below.across]).all(), "D or v is not finite")
    need(len(split.blocks) == len(below.blocks), "blocks of D and their proofs differ in number")
    inside: list[int] = []
    for block in below.blocks:
        m = len(block.inputs)
        need(problem.grid is not None and not len(below.pairs), "blocks of D need a grid, and no pairs")
        need(block.inputs.ndim == 1 and m > 0 and block.matrix.shape == (m, m), "a block does not fit")
        symmetric = np.isfinite(block.matrix).all() and (block.matrix == block.matrix.T).all()
        need(symmetric, "a block is not symmetric")
        inside += block.inputs.tolist()
    inside += below.pairs.ravel().tolist()
    need(all(0 <= i < n for i in inside) and len(set(inside)) == len(inside), "parts of D overlap")
    need(not any(below.d[i] for block in below.blocks for i in block.inputs.tolist()), "d is not 0 in a block")
    for i, j in below.pairs.tolist():
        single = pattern is not None and pattern.units == n and problem.free_weights
        need(single and pattern is not None and pattern.kind != "block", "pairs need re-optimised single weights")
        assert pattern is not None
        a, b = int(pattern.unit[i]), int(pattern.unit[j])
        need(pattern.group[a] == pattern.group[b], "a pair of two groups")
        need(a not in state and b not in state, "a pair that a leaf has decided")
