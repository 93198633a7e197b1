"""What a proof proves of a row, in rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np

from ...problem import Problem
from ...proof import Basis, Boxes, Cover, Enumeration, Order, Proof, Reduced, Scales, Split, Tree
from .boxes import least_of_boxes
from .leaf import KEPT, PRUNED, Shared, Tilt, check_search, leaf_bound, values
from .limits import INPUTS, LEAVES, Limits, need
from .rational import Matrix, Vector, eliminated, matrix, over_one_denominator, vector
from .scales import AtScales, Scaled, least_of
from .search import least_form


def reference_bound(problem: Problem, proof: Proof, scope: str = "row", shared: Shared | None = None) -> Fraction:
    """A number that min e(x) is not below, for a row without dead inputs.

    Raises
    ------
    NotEstablished
        The proof proves nothing about this kind of problem, is not one, or takes more than the limits allow.
    """
    shared = shared or Shared(Limits())
    if isinstance(proof, Scales):
        need(scope == "row", "no such scope")
        return least_of([at_scales(problem, proof, shared)], shared.limits)
    _check_kind(problem, False)
    pattern = problem.sparsity
    need(scope == "row" or (scope == "layer" and pattern and pattern.kind != "nm"), "no such scope")
    if isinstance(proof, Enumeration):
        need(not problem.free_weights, "re-optimised weights cannot be enumerated")
        return _enumerated(problem, proof, shared.limits)
    if isinstance(proof, Reduced):
        return _enumerated(problem, _any_order(problem, proof), shared.limits)
    if isinstance(proof, Split):
        return leaf_bound(problem, proof, {}, shared)
    if isinstance(proof, Boxes):
        return least_of_boxes(problem, proof, shared)
    paired = problem.free_weights and problem.n == (pattern.units if pattern else 0)
    for split in proof.splits:
        need(not split.below.blocks and not split.blocks, "no blocks of D within a tree or a cover")
        allowed = paired and pattern is not None and pattern.kind != "block"
        need(allowed or not len(split.below.pairs), "pairs need re-optimised single weights")
    if isinstance(proof, Tree):
        need(pattern, "a tree needs a sparsity pattern")
        return _tree(problem, proof, shared)
    return _cover(problem, proof, shared)


def _check_kind(problem: Problem, scales: bool) -> None:
    need(problem.n <= INPUTS, f"not established: rows of more than {INPUTS} inputs are too long for this checker")
    free = problem.grid is not None and problem.grid.free is not None
    need(scales == free, "a proof by scales is of rows whose scale is free, and no other is")


def at_scales(problem: Problem, proof: Scales, shared: Shared) -> AtScales:
    """What a proof proves of a row whose scale is free, interval by interval."""
    _check_kind(problem, True)
    scaled = Scaled(problem, proof, shared)
    at_codes, found = scaled.at_codes(), list[Fraction]()
    for k, (interval, search) in enumerate(zip(scaled.intervals, scaled.searches, strict=True)):
        shared.limits.check()
        if isinstance(search, Boxes):
            rounded, off = scaled.rounded(k)
            found += interval.at_ends(least_of_boxes(rounded, search, shared) - off)
            continue
        plain = _any_order(at_codes, search) if isinstance(search, Reduced) else search
        m = _enumerated(at_codes, plain, shared.limits, scaled.matrix(k), scaled.weights(k))
        found += interval.at_ends(m)
    return AtScales(tuple(proof.edges.tolist()), found, scaled.moved())


def _any_order(problem: Problem, proof: Reduced) -> Enumeration:
    """The same search of the points themselves."""
    need(problem.grid is not None and problem.sparsity is None, "a reduced basis needs a grid and no pattern")
    check_basis(proof.basis, problem.n)
    order = Order(np.arange(problem.n), np.zeros((problem.n + 1, problem.n)))
    return Enumeration(order, proof.threshold)


def check_basis(basis: Basis, n: int) -> None:
    """Refuse a basis that is none: the search below needs no basis, and takes points one by one."""
    t, inverse = basis.matrix.tolist(), basis.inverse.tolist()
    need(basis.matrix.shape == basis.inverse.shape == (n, n), "a basis is not one of this row")
    need(basis.diagonal.shape == (n + 1, n), "the diagonals of a basis do not fit")
    for i, row in enumerate(t):
        products = [sum(a * b[j] for a, b in zip(row, inverse, strict=True)) for j in range(n)]
        need(products == [int(i == j) for j in range(n)], "a basis and its inverse do not belong together")


def _enumerated(
    problem: Problem, proof: Enumeration, limits: Limits, h: Matrix | None = None, w: Vector | None = None
) -> Fraction:
    """Of H and w, or of others than those of the row."""
    n, pattern = problem.n, problem.sparsity
    h, w = h or matrix(problem.hessian), w or vector(problem.weight)
    check_search(proof, n)
    order = proof.order.order.tolist()
    choices = [values(problem, i) for i in order]
    points = [[x - w[i] for x in xs] for i, xs in zip(order, choices, strict=True)]

    def allowed(chosen: list[int]) -> bool:
        if pattern is None:
            return True
        start = n - len(chosen)
        used = {int(pattern.unit[order[start + j]]) for j, k in enumerate(chosen) if choices[start + j][k]}
        groups = [int(pattern.group[unit]) for unit in used]
        return all(groups.count(g) <= keep for g, keep in enumerate(pattern.keep.tolist()))

    a = [[h[i][j] for j in order] for i in order]
    return least_form(a, points, Fraction(proof.threshold), allowed, limits)


def _tree(problem: Problem, tree: Tree, shared: Shared) -> Fraction:
    """The least bound of the leaves of a record that is exactly one tree."""
    pattern = problem.sparsity
    assert pattern is not None
    units_of = [np.flatnonzero(pattern.group == g).tolist() for g in range(len(pattern.keep))]
    own = problem.grid is None and not pattern.update and pattern.units == problem.n
    need(tree.code.ndim == 1, "the record of a tree is no list")
    need(tree.leaves <= LEAVES, f"not established: a tree has at most {LEAVES} leaves")
    code, at, bounds = tree.code, 0, []
    todo: list[dict[int, int]] = [{}]
    while todo:
        shared.limits.check()
        need(at < len(code), "the tree ends before its last leaf")
        state, number = todo.pop(), int(code[at])
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
            bounds.append(leaf_bound(problem, tree.splits[-1 - number], state, shared))
    need(at == len(code) and bounds, "the tree goes on after its last leaf")
    return min(bounds)


def _cover(problem: Problem, cover: Cover, shared: Shared) -> Fraction:
    n, edges = problem.n, cover.edges
    need(cover.p.shape == (n,) and edges.shape == (len(cover.splits) + 1,), "the intervals do not fit the row")
    need(np.isfinite([*cover.p, *edges, cover.floor]).all() and cover.floor >= 0, "not finite, or a floor below 0")
    a, p, floor = vector(edges), vector(cover.p), Fraction(cover.floor)
    need(a[0] < 0 < a[-1] and all(x < y for x, y in pairwise(a)), "the edges do not ascend over 0")
    h = matrix(problem.hessian)
    rest = [[h[i][j] - floor * p[i] * p[j] for j in range(n)] for i in range(n)]
    need(
        eliminated(over_one_denominator(rest).rows, shared.limits.check) is not None,
        "H - floor pp' is not positive semidefinite",
    )
    bounds = [floor * min(a[0] ** 2, a[-1] ** 2)]
    for (left, right), split in zip(pairwise(a), cover.splits, strict=True):
        bounds.append(leaf_bound(problem, split, {}, shared, Tilt(cover.p, left, right)))
    return min(bounds)
