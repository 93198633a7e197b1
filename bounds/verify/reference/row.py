"""What a proof proves of a row, in rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np

from ...problem import Problem
from ...proof import Below, Block, Cover, Enumeration, Proof, Split, Tree
from .matrices import Matrix, Vector, dot, eliminated, matrix, solved, vector
from .search import TooLong, least_form
from .separable import least_separable

NODES = 200_000
"""Nodes after which a search is given up."""
KEPT, PRUNED = 1, 2


class NotEstablished(Exception):
    """The proof does not hold, or takes longer than the checker may; one line."""


def need(condition: object, why: str) -> None:
    """Raise `NotEstablished` unless the condition holds."""
    if not condition:
        raise NotEstablished(why)


def reference_bound(problem: Problem, proof: Proof, scope: str = "row", nodes: int = NODES) -> Fraction:
    """A number that min e(x) is not below, for a row without dead inputs.

    Raises
    ------
    NotEstablished
        The proof proves nothing about this kind of problem, is not one, or needs too many nodes.
    """
    pattern = problem.sparsity
    need(scope == "row" or (scope == "layer" and pattern and pattern.kind != "nm"), "no such scope")
    try:
        if isinstance(proof, Enumeration):
            need(not problem.free_weights, "re-optimised weights cannot be enumerated")
            return _enumerated(problem, proof, nodes)
        if isinstance(proof, Split):
            return _Leaf(problem, proof, {}, nodes).bound()
        for split in proof.splits:
            need(not split.below.blocks and not split.blocks, "no blocks of D within a tree or a cover")
        if isinstance(proof, Tree):
            need(pattern, "a tree needs a sparsity pattern")
            return _tree(problem, proof, nodes)
        return _cover(problem, proof, nodes)
    except TooLong:
        raise NotEstablished(f"not established within {nodes} nodes") from None


def values(problem: Problem, i: int) -> Vector:
    """What an input may be where it is not free."""
    if problem.grid is None:
        return [Fraction(0), Fraction(float(problem.weight[i]))]
    levels = vector(problem.grid.of(i))
    return levels if problem.sparsity is None or 0 in levels else [*levels, Fraction(0)]


def _enumerated(problem: Problem, proof: Enumeration, nodes: int) -> Fraction:
    n, w, pattern = problem.n, vector(problem.weight), problem.sparsity
    order = proof.order.order.tolist()
    need(sorted(order) == list(range(n)), "its order is no permutation")
    need(proof.order.diagonal.shape == (n + 1, n), "its diagonals do not fit")
    need(math.isfinite(proof.threshold) and proof.threshold > 0, "its threshold is not positive")
    h = matrix(problem.hessian[np.ix_(order, order)])
    factors = eliminated(h)
    if factors is None:
        raise NotEstablished("H is not positive semidefinite")
    choices = [values(problem, i) for i in order]
    points = [[x - w[i] for x in xs] for i, xs in zip(order, choices, strict=True)]

    def allowed(chosen: list[int]) -> bool:
        if pattern is None:
            return True
        start = n - len(chosen)
        used = {int(pattern.unit[order[start + j]]) for j, k in enumerate(chosen) if choices[start + j][k]}
        groups = [int(pattern.group[unit]) for unit in used]
        return all(groups.count(g) <= keep for g, keep in enumerate(pattern.keep.tolist()))

    found = least_form(*factors, points, Fraction(proof.threshold), allowed, nodes)
    assert found is not None
    return found


def _tree(problem: Problem, tree: Tree, nodes: int) -> Fraction:
    """The least bound of the leaves of a record that is exactly one tree."""
    pattern = problem.sparsity
    assert pattern is not None
    units_of = [np.flatnonzero(pattern.group == g).tolist() for g in range(len(pattern.keep))]
    own = problem.grid is None and not pattern.update and pattern.units == problem.n
    code, at, bounds = tree.code.tolist(), 0, []
    todo: list[dict[int, int]] = [{}]
    while todo:
        need(at < len(code), "the tree ends before its last leaf")
        state, number = todo.pop(), code[at]
        at += 1
        if number >= 0:
            need(number < pattern.units and number not in state, "a unit that is none, or is decided twice")
            todo += [state | {number: PRUNED}, state | {number: KEPT}]
            continue
        need(-1 - number < len(tree.splits), "a leaf names a split that is not there")
        possible = True
        for units, keep in zip(units_of, pattern.keep.tolist(), strict=True):
            kept = [u for u in units if state.get(u) == KEPT]
            free = [u for u in units if u not in state]
            possible = possible and len(kept) <= keep
            if len(kept) >= keep:
                state = state | dict.fromkeys(free, PRUNED)
            elif not own and len(kept) + len(free) <= keep:
                state = state | dict.fromkeys(free, KEPT)
        if possible:
            bounds.append(_Leaf(problem, tree.splits[-1 - number], state, nodes).bound())
    need(at == len(code) and bounds, "the tree goes on after its last leaf, or has none")
    return min(bounds)


def _cover(problem: Problem, cover: Cover, nodes: int) -> Fraction:
    n, edges = problem.n, cover.edges
    need(cover.p.shape == (n,) and edges.shape == (len(cover.splits) + 1,), "the intervals do not fit the row")
    need(np.isfinite([*cover.p, *edges, cover.floor]).all() and cover.floor >= 0, "not finite, or a floor below 0")
    a, p, floor = vector(edges), vector(cover.p), Fraction(cover.floor)
    need(a[0] < 0 < a[-1] and all(x < y for x, y in pairwise(a)), "the edges do not ascend over 0")
    h = matrix(problem.hessian)
    rest = [[h[i][j] - floor * p[i] * p[j] for j in range(n)] for i in range(n)]
    need(eliminated(rest), "H - floor pp' is not positive semidefinite")
    bounds = [floor * min(a[0] ** 2, a[-1] ** 2)]
    for (left, right), split in zip(pairwise(a), cover.splits, strict=True):
        bounds.append(_Leaf(problem, split, {}, nodes, (p, left, right)).bound())
    return min(bounds)


class _Leaf:
    """Inequality (1) with some units fixed, or with (t - a)(t - b) added."""

    def __init__(
        self,
        problem: Problem,
        split: Split,
        state: dict[int, int],
        nodes: int,
        tilt: tuple[Vector, Fraction, Fraction] | None = None,
    ) -> None:
        self.problem, self.split, self.state, self.nodes, self.tilt = problem, split, state, nodes, tilt
        _check(problem, split, state)
        n, pattern = problem.n, problem.sparsity
        fixed = set() if pattern is None else {i for i in range(n) if state.get(int(pattern.unit[i])) == PRUNED}
        self.free = [i for i in range(n) if i not in fixed]
        self.fixed = sorted(fixed)

    def bound(self) -> Fraction:
        """-v'Mv + least of u'Du + 2 g'u, with what the fixed inputs and the tilt add."""
        n, free, fixed, split = self.problem.n, self.free, self.fixed, self.split
        h, w, v = matrix(self.problem.hessian), vector(self.problem.weight), vector(split.v)
        constant = Fraction(0)
        if self.tilt is not None:
            p, a, b = self.tilt
            h = [[h[i][j] + p[i] * p[j] for j in range(n)] for i in range(n)]
            constant += a * b
        d, m = _shifted(h, split.below, free)
        mv = {i: dot(m[k], [v[j] for j in free]) for k, i in enumerate(free)}
        slope = {i: mv[i] - sum((h[i][j] * w[j] for j in fixed), Fraction(0)) for i in free}
        if self.tilt is not None:
            slope = {i: g + (a + b) / 2 * p[i] for i, g in slope.items()}
        constant += sum((w[i] * h[i][j] * w[j] for i in fixed for j in fixed), Fraction(0))
        constant -= sum((v[i] * mv[i] for i in free), Fraction(0))
        for block in split.below.blocks:
            constant += self._block(block, d, slope, w)
        inside = {i for block in split.below.blocks for i in block.inputs.tolist()}
        alone = [i for i in free if i not in inside]
        pairs = [(i, j) for i, j in split.below.pairs.tolist()]
        least = least_separable(self.problem, alone, pairs, d, slope, self.state)
        if least is None:
            raise NotEstablished("minus infinity: a re-optimised input needs d > 0")
        return constant + least

    def _block(self, block: Block, d: Matrix, slope: dict[int, Fraction], w: Vector) -> Fraction:
        """Least of u'(A - E)u + 2 g'u over all values of a block, A its matrix and E = diag(eps).

        It is u'Au + 2 (g - Ev)'u + v'Ev - (u - v)'E(u - v), whose last term counts with the largest it can be;
        u'Au + 2 f'u = (u + t)'A(u + t) - t'At with At = f.
        """
        inputs, a, v = block.inputs.tolist(), matrix(block.matrix), vector(self.split.v)
        factors = eliminated(a)
        if factors is None or not all(factors[0]):
            raise NotEstablished("a block of D is not positive definite")
        eps = {i: a[k][k] - d[i][i] for k, i in enumerate(inputs)}
        us = [[x - w[i] for x in values(self.problem, i)] for i in inputs]
        f = [slope[i] - eps[i] * v[i] for i in inputs]
        t = solved(*factors, f)
        points = [[u + s for u in choices] for choices, s in zip(us, t, strict=True)]
        found = least_form(*factors, points, None, lambda _: True, self.nodes)
        assert found is not None
        for i, choices in zip(inputs, us, strict=True):
            found += eps[i] * (v[i] ** 2 - max((u - v[i]) ** 2 for u in choices))
        return found - dot(t, f)


def _shifted(h: Matrix, below: Below, free: list[int]) -> tuple[Matrix, Matrix]:
    """D - diag(eps) on all inputs and M = H - D + diag(eps) on the free ones, which is positive semidefinite.

    eps = 0 is tried first, then the least power of two from 2^-56 to 2^-30 of each input's own size that will do:
    whatever it is, the inequality holds with it.
    """
    n = len(h)
    d = [[Fraction(0)] * n for _ in range(n)]
    for i, value in enumerate(vector(below.d)):
        d[i][i] = value
    for (i, j), value in zip(below.pairs.tolist(), vector(below.across), strict=True):
        d[i][j] = d[j][i] = value
    for block in below.blocks:
        for i, row in zip(block.inputs.tolist(), matrix(block.matrix), strict=True):
            for j, value in zip(block.inputs.tolist(), row, strict=True):
                d[i][j] = value
    size = [h[i][i] + abs(d[i][i]) for i in range(n)]
    for relative in (Fraction(0), *(Fraction(1, 2**k) for k in range(56, 29, -1))):
        for i in free:
            d[i][i] -= relative * size[i]
        m = [[h[i][j] - d[i][j] for j in free] for i in free]
        if eliminated(m) is not None:
            return d, m
        for i in free:
            d[i][i] += relative * size[i]
    raise NotEstablished("H - D is not positive semidefinite, by far more than rounding")


def _check(problem: Problem, split: Split, state: dict[int, int]) -> None:
    """Refuse a split that is not one of this kind of problem, or of this leaf."""
    n, below, pattern = problem.n, split.below, problem.sparsity
    need(below.d.shape == (n,) and split.v.shape == (n,), "D and v are not those of this row")
    need(np.isfinite([*below.d, *split.v, *below.across]).all(), "D or v is not finite")
    need(len(split.blocks) == len(below.blocks), "blocks of D and their proofs differ in number")
    inside: list[int] = []
    for block in below.blocks:
        m = len(block.inputs)
        need(problem.grid is not None and not len(below.pairs), "blocks of D need a grid, and no pairs")
        need(block.inputs.ndim == 1 and m > 0 and block.matrix.shape == (m, m), "a block does not fit")
        need(
            np.isfinite(block.matrix).all() and (block.matrix == block.matrix.T).all(), "a block is not symmetric"
        )
        inside += block.inputs.tolist()
    need(below.pairs.shape == (len(below.across), 2), "pairs of D do not fit")
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
