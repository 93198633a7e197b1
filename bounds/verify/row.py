"""What a proof proves of a row, whoever made it: lower bounds for solvers, and whole certificates for users.

This folder imports the problem, the proof data and the file reader only: no solver, no relaxation. The
arithmetic is float64 with a bound for every rounding error; for rows of at most `EXACT` inputs a certificate is
checked in rational arithmetic as well.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from fractions import Fraction
from threading import Lock
from weakref import WeakKeyDictionary
from weakref import ref as weakref

import numpy as np

from ..gram import FloatArray, Gram
from ..problem import Problem
from ..proof import FREE, Below, Boxes, Cover, Enumeration, Proof, Reduced, Scales, Split, Tree
from .blocks import block_parts
from .boxes import check_boxes, least_of_boxes
from .budget import check_time
from .enumeration import least_on_grid
from .psd import TINY, U, defect, is_psd
from .reduced import least_in_basis
from .refusal import NotProven as NotProven  # raised here, caught by name from here
from .remembered import leaf_terms
from .scales import AtScales, at_scales, least_alone
from .split import Tilt, down, keeps_weights, least, pruned_inputs, terms
from .table import why_refused
from .tree import leaves_of

SAFETY = 4.0
"""Factor on all rounding errors when a solver asks, so that the verifier agrees on any machine with any BLAS."""

QUICK = 200
"""Inputs up to which the quick test of semidefiniteness comes first: its margin grows with their square."""

SplitBounds = Callable[[Problem, Split, np.ndarray, float], list[float]]


def lower_bound(
    problem: Problem,
    proof: Proof,
    margin: float = SAFETY,
    bounds: SplitBounds | None = None,
    scope: str = "row",
) -> float:
    """What a proof proves: a number that min e(x) is not below, whatever was rounded on the way.

    Parameters
    ----------
    problem : a row without its dead inputs (`presolve(problem).problem`).
    proof : see `proof`.
    margin : 1 for the verifier; solvers keep the default.
    bounds : how splits are evaluated, default `split_bounds`.
    scope : row, or layer where the row's budget is one of several that are added up, see `table`.

    Returns
    -------
    The bound; it may be negative.

    Raises
    ------
    NotProven
        The proof proves nothing, or the table has no theorem for it.
    """
    refused = why_refused(problem, proof, scope)
    if refused is not None:
        raise NotProven(refused)
    with np.errstate(all="ignore"):
        if isinstance(proof, Enumeration):
            bound = least_on_grid(problem, proof, margin)
            if not math.isfinite(bound):
                raise NotProven(
                    "the enumeration cannot be repeated: its order, its threshold or its size is wrong"
                )
            return bound
        if isinstance(proof, Reduced):
            return least_in_basis(problem, proof, margin)
        if isinstance(proof, Scales):
            return least_alone(at_every_scale(problem, proof, margin, scope))
        if isinstance(proof, Tree):
            return _tree_bound(problem, proof, margin, bounds or split_bounds)
        if isinstance(proof, Boxes):
            return _boxes_bound(problem, proof, margin)
        if isinstance(proof, Cover):
            return _cover_bound(problem, proof, margin)
        units = 0 if problem.sparsity is None else problem.sparsity.units
        return (bounds or split_bounds)(problem, proof, np.full((1, units), FREE, np.int8), margin)[0]


def at_every_scale(problem: Problem, proof: Scales, margin: float = SAFETY, scope: str = "row") -> AtScales:
    """What a proof says of a row at every scale, for rows that share it: see `scales.least_together`.

    Raises
    ------
    NotProven
        As `lower_bound`.
    """
    refused = why_refused(problem, proof, scope)
    if refused is not None:
        raise NotProven(refused)
    with np.errstate(all="ignore"):
        return at_scales(problem, proof, margin, lower_bound)


def split_bounds(problem: Problem, split: Split, states: np.ndarray, margin: float) -> list[float]:
    """Lower bounds at leaves, (leaves, units) states, that share a split: (1) with some units fixed."""
    check_shapes(problem, split)
    check_states(problem, split, states)
    fixed = [pruned_inputs(problem, state) for state in states]
    eps = shift_to_psd(problem.gram, split.below, np.logical_and.reduce(fixed), margin)
    if not np.isfinite(eps).all():
        raise NotProven("H - D is not positive semidefinite, by far more than rounding")
    bounds = []
    for state, pruned in zip(states, fixed, strict=True):
        check_time()
        found = leaf_terms(problem, split, pruned, eps, margin)
        parts = [least(problem, found, state, margin)]
        if split.blocks:
            parts += block_parts(problem, split, found.slope, found.radius, margin)
        bounds.append(down(*parts) if len(parts) > 1 else parts[0])
    if not np.isfinite(bounds).all():
        raise NotProven("the bound is minus infinity: a re-optimised input needs d > 0, a block a full search")
    return bounds


def _tree_bound(problem: Problem, tree: Tree, margin: float, split_bounds: SplitBounds) -> float:
    """Least bound of the leaves, which cover every pattern."""
    if problem.sparsity is None:
        raise NotProven("the tree is not one of this row's units")
    if (tree.code < -len(tree.splits)).any():  # also at leaves that no pattern reaches
        raise NotProven("the tree names splits that it does not have")
    states, split_of = leaves_of(tree.code, problem.sparsity, maximal=not keeps_weights(problem))
    belows = [split.below for split in tree.splits]
    if len(belows) > 1 and all(below is belows[0] for below in belows):  # one proof for all leaves
        check_shapes(problem, tree.splits[0])
        shift_to_psd(problem.gram, belows[0], np.zeros(problem.n, dtype=bool), margin)
    bounds: list[float] = []
    for i in np.unique(split_of).tolist():  # a tree may have many more splits than it uses
        bounds += split_bounds(problem, tree.splits[i], states[split_of == i], margin)
    return min(bounds)


def _boxes_bound(problem: Problem, boxes: Boxes, margin: float) -> float:
    """Least bound of the leaves, which cover every point."""
    check_boxes(problem, boxes)
    eps = shift_to_psd(problem.gram, boxes.below, np.zeros(problem.n, dtype=bool), margin)
    if not np.isfinite(eps).all():
        raise NotProven("H - D is not positive semidefinite, by far more than rounding")
    return least_of_boxes(problem, boxes, eps, margin)


def _cover_bound(problem: Problem, cover: Cover, margin: float) -> float:
    """Least bound of the intervals, and of what is outside."""
    n, p, edges = problem.n, cover.p, cover.edges
    if p.shape != (n,) or edges.shape != (len(cover.splits) + 1,) or not np.isfinite([*p, *edges]).all():
        raise NotProven("the intervals are not those of this row")
    if not (edges[0] < 0 < edges[-1] and (np.diff(edges) > 0).all() and 0 <= cover.floor < math.inf):
        raise NotProven("the intervals do not cover what they should")
    outer = np.outer(p, p)
    direction = p.tobytes(), cover.floor, margin  # the same for all rows of a layer
    lacks = problem.gram.memo(Cover, lambda: defect(*_sum(problem, -cover.floor * outer), margin), *direction)
    if lacks.any():
        raise NotProven("H - floor pp' is not positive semidefinite")
    state = np.full(0 if problem.sparsity is None else problem.sparsity.units, FREE, np.int8)
    nothing = np.zeros(n, dtype=bool)
    shifts: dict[int, FloatArray] = {}
    outside = Fraction(cover.floor) * Fraction(min(-edges[0], edges[-1])) ** 2
    bounds = [math.nextafter(float(min(outside, Fraction(sys.float_info.max))), -math.inf)]
    for a, b, split in zip(edges[:-1].tolist(), edges[1:].tolist(), cover.splits, strict=True):
        check_time()
        check_shapes(problem, split)
        if split.blocks:
            raise NotProven("intervals have no blocks")
        key = id(split.below)
        if key not in shifts:
            shifts[key] = _shift_with(problem, outer, split.below, direction)
        found = terms(problem, split, nothing, shifts[key], margin, Tilt(p, a, b))
        bounds.append(least(problem, found, state, margin))
    if not np.isfinite([*bounds, *(value for eps in shifts.values() for value in eps)]).all():
        raise NotProven("the bound is minus infinity: H + pp' - D is not positive semidefinite, or D not positive")
    return min(bounds)


_tilted: WeakKeyDictionary[Below, tuple[weakref[Gram], tuple[bytes, float, float], FloatArray]] = (
    WeakKeyDictionary()
)


def _shift_with(
    problem: Problem, outer: FloatArray, below: Below, direction: tuple[bytes, float, float]
) -> FloatArray:
    """(n,) eps with H + pp' - D + diag(eps) positive semidefinite; done once for all rows that share D and p."""
    known = _tilted.get(below)
    if known is not None and known[0]() is problem.gram and known[1] == direction:
        return known[2]
    eps = defect(*_sum(problem, outer, -matrix_of(below)), direction[2])
    _tilted[below] = weakref(problem.gram), direction, eps
    return eps


def _sum(problem: Problem, *others: FloatArray) -> tuple[FloatArray, FloatArray]:
    """H + others, each of which has entries with at most two roundings, and how far the sum may be off."""
    total, error = problem.hessian, np.full_like(problem.hessian, TINY)
    for other in others:
        total = total + other
        error += U * np.abs(total) + 3 * U * np.abs(other)
    return total, error * (1 + 8 * U)


def matrix_of(below: Below) -> FloatArray:
    """(n, n) D; its parts are disjoint, so that no entry is rounded."""
    d = np.diag(below.d)
    i, k = below.pairs.T
    d[i, k] = d[k, i] = below.across
    for block in below.blocks:
        d[np.ix_(block.inputs, block.inputs)] = block.matrix
    return d


def check_states(problem: Problem, split: Split, states: np.ndarray) -> None:
    """Raise `NotProven` where leaves, (leaves, units) states, fix inputs of blocks or pairs."""
    if split.blocks and (states != FREE).any():
        raise NotProven("leaves of a tree have no blocks of D")
    pairs, sparsity = split.below.pairs, problem.sparsity
    if len(pairs) and sparsity is not None and (states[:, sparsity.unit[pairs]] != FREE).any():
        raise NotProven("D couples inputs that a leaf has fixed")


def check_shapes(problem: Problem, split: Split) -> None:
    """Raise `NotProven` for a split that is not one of this row."""
    n, below = problem.n, split.below
    if below.d.shape != (n,) or split.v.shape != (n,) or len(split.blocks) != len(below.blocks):
        raise NotProven(f"D and v are not those of a row of {n} inputs")
    if not (np.isfinite(below.d).all() and np.isfinite(split.v).all()):
        raise NotProven("D or v is not finite")
    if below.blocks and problem.grid is None:
        raise NotProven("blocks of D need a grid")
    _check_blocks(below, n)
    pairs, sparsity = below.pairs, problem.sparsity
    if pairs.shape != (len(below.across), 2) or not np.isfinite(below.across).all():
        raise NotProven("pairs of D do not fit the row")
    if len(pairs):
        if sparsity is None or not problem.free_weights or sparsity.units < n:
            raise NotProven("pairs of D need re-optimised weights, pruned one by one")
        if pairs.min() < 0 or pairs.max() >= n or len(np.unique(pairs)) < pairs.size:
            raise NotProven("pairs of D overlap, or are not of this row")
        of_group = sparsity.group[sparsity.unit[pairs]]
        if (of_group[:, 0] != of_group[:, 1]).any():
            raise NotProven("pairs of D have inputs of two groups")


_fitting: WeakKeyDictionary[Below, int] = WeakKeyDictionary()


def _check_blocks(below: Below, n: int) -> None:
    """The same for the blocks of a D; done once for the rows that share it."""
    if _fitting.get(below) == n:
        return
    used = np.zeros(n, np.int64)
    for block in below.blocks:
        i, m = block.inputs, len(block.inputs)
        if i.ndim != 1 or m == 0 or i.min() < 0 or i.max() >= n or block.matrix.shape != (m, m):
            raise NotProven("a block of D does not fit the row")
        np.add.at(used, i, 1)
        if not (np.isfinite(block.matrix).all() and np.array_equal(block.matrix, block.matrix.T)):
            raise NotProven("a block of D is not symmetric and finite")
        if below.d[i].any():
            raise NotProven("D has diagonal entries at inputs of a block")
    if (used > 1).any():
        raise NotProven("blocks of D overlap")
    _fitting[below] = n


_shifts: WeakKeyDictionary[Below, tuple[weakref[Gram], np.ndarray, float, FloatArray]] = WeakKeyDictionary()
_one: WeakKeyDictionary[Below, Lock] = WeakKeyDictionary()
_ones = Lock()


def shift_to_psd(gram: Gram, below: Below, fixed: np.ndarray, margin: float) -> FloatArray:
    """(n,) eps with H - D + diag(eps) positive semidefinite on inputs that are not fixed; done once per D.

    Rows side by side wait for the first: of 4096 inputs it takes 12 s and six matrices of that size.
    """
    if fixed.any():
        return _shift_to_psd(gram, below, fixed, margin)
    with _ones:
        one = _one.setdefault(below, Lock())
    with one:
        return _shift_to_psd(gram, below, fixed, margin)


def _shift_to_psd(gram: Gram, below: Below, fixed: np.ndarray, margin: float) -> FloatArray:
    known = _shifts.get(below)
    if (
        known is not None
        and known[0]() is gram
        and known[2] == margin
        # where nothing is missing on more inputs, nothing is on fewer
        and (np.array_equal(known[1], fixed) or not (known[3].any() or (known[1] & ~fixed).any()))
    ):
        return known[3]
    free = np.flatnonzero(~fixed)
    d = matrix_of(below)[np.ix_(free, free)]
    m = gram.matrix[np.ix_(free, free)] - d
    eps = np.zeros(len(gram))
    if below.blocks or len(m) > QUICK or not is_psd(m):
        # each entry of D that is not 0 has been subtracted with one rounding, the others without any
        rounding = U * np.abs(m)
        rounding[d == 0.0] = 0.0
        del d  # of 4096 inputs it is 134 MB
        eps[free] = defect(m, rounding, margin)
    _shifts[below] = weakref(gram), fixed, margin, eps
    return eps
