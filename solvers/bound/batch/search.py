"""The least of (t - x)' D_b (t - x) over the grid of a block, for every row and block: short searches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray

from ...kernels.sparing import assign, assign_matrix
from ...kernels.vector_code import WIDTH
from .box import box_minimum
from .layer import Parts
from .levels import Levels, nearest

OUTSIDE = 0.6
"""Inputs that the box holds so many steps from where they would be come first: that saves most of the nodes."""

TRIES, LOWER = 3, 0.5
"""Thresholds tried where a search does not end, each so much lower; then the block has its root bound."""


class Work(NamedTuple):
    """What one search needs, by level; made once for a chunk."""

    t: FloatArray
    grid: FloatArray
    """(SIZE, L) levels."""
    per_step: FloatArray
    even: FloatArray
    """(3, width) first level, step and its inverse where all levels are even; what is filled up weighs nothing."""
    position: IntArray
    """(SIZE,) position in the row."""
    pivot: FloatArray
    slope: FloatArray
    diagonal: FloatArray
    matrix: FloatArray
    out: FloatArray
    """(SIZE,) steps outside of the box, as `box_minimum` has them."""
    centre: FloatArray
    partial: FloatArray
    pick: IntArray
    best: IntArray


@njit(cache=True, nogil=True, error_model="numpy")
def lowered(value: float, base: float, shrink: float) -> float:
    """A value less a part of what it has above the base; itself where that is above it: descent ended early."""
    return value - (1.0 - shrink) * max(value - base, 0.0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _even_ahead(
    i: int, far: float, centre: FloatArray, slope: FloatArray, diagonal: FloatArray, even: FloatArray, last: float
) -> float:
    """What the undecided j < i cost at least, whose centres are written; eight at a time, levels being even."""
    ahead = 0.0
    for j in range((i + WIDTH - 1) // WIDTH * WIDTH):
        s = centre[i + 1, j] + slope[i, j] * far
        centre[i, j] = s
        k = min(max(np.floor((s - even[0, j]) * even[2, j] + 0.5), 0.0), last)
        away = s - (even[0, j] + k * even[1, j])
        ahead += diagonal[i, j] * away * away
    return ahead


@njit(cache=True, nogil=True, error_model="numpy")
def _search(
    m: int, work: Work, is_even: bool, threshold: float, base: float, shrink: float, budget: int
) -> tuple[bool, float, int]:
    """Depth-first below a threshold, nearest values first: whether it ended, the threshold then, nodes.

    A leaf lowers the threshold to its value less a part of what that has above the base, so that at the end no
    point is below it.
    """
    t, grid, per_step, pivot, slope, diagonal = (
        work.t, work.grid, work.per_step, work.pivot, work.slope, work.diagonal,
    )  # fmt: skip
    centre, partial, pick, best, even = work.centre, work.partial, work.pick, work.best, work.even
    last = grid.shape[1] - 1
    for j in range(m):
        centre[m, j] = t[j]
    partial[m] = 0.0
    nodes, i = 0, m - 1
    pick[i, 0] = nearest(grid[i], per_step[i], t[i])
    pick[i, 1], pick[i, 2] = pick[i, 0] - 1, pick[i, 0] + 1
    while True:
        k, c = pick[i, 0], centre[i + 1, i]
        below = np.inf
        if k >= 0:
            far = c - grid[i, k]
            below = partial[i + 1] + pivot[i] * far * far
        if not below < threshold:  # the next values of this level are farther away
            i += 1
            if i == m:
                return True, threshold, nodes
        else:
            nodes += 1
            if nodes >= budget:
                return False, threshold, nodes
            if i == 0:
                threshold = min(threshold, lowered(below, base, shrink))
                for j in range(m):
                    best[j] = pick[j, 0]
            else:
                ahead = 0.0
                if is_even:
                    ahead = _even_ahead(i, far, centre, slope, diagonal, even, float(last))
                else:
                    for j in range(i):
                        s = centre[i + 1, j] + slope[i, j] * far
                        centre[i, j] = s
                        away = s - grid[j, nearest(grid[j], per_step[j], s)]
                        ahead += diagonal[i, j] * away * away
                if below + ahead < threshold:
                    partial[i] = below
                    i -= 1
                    pick[i, 0] = nearest(grid[i], per_step[i], centre[i + 1, i])
                    pick[i, 1], pick[i, 2] = pick[i, 0] - 1, pick[i, 0] + 1
                    continue
        c, low, high = centre[i + 1, i], pick[i, 1], pick[i, 2]
        if low < 0 and high > last:
            pick[i, 0] = -1
        elif high > last or (low >= 0 and c - grid[i, low] <= grid[i, high] - c):
            pick[i, 0] = low
            pick[i, 1] = low - 1
        else:
            pick[i, 0] = high
            pick[i, 2] = high + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _new_work(size: int, count: int) -> Work:
    width = (size + WIDTH - 1) // WIDTH * WIDTH
    work = Work(
        np.empty(size), np.empty((size, count)), np.empty(size), np.empty((3, width)), np.empty(size, np.int64),
        np.empty(size), np.empty((size, width)), np.empty((size + 1, width)), np.empty((size, size)),
        np.empty(size), np.empty((size + 1, width)), np.empty(size + 1), np.empty((size, 3), np.int64),
        np.empty(size, np.int64),
    )  # fmt: skip
    for j in range(width):
        for i in range(size):
            work.slope[i, j] = work.diagonal[i, j] = work.centre[i, j] = 0.0
        work.diagonal[size, j] = work.centre[size, j] = 0.0
        work.even[0, j], work.even[1, j], work.even[2, j] = 0.0, 1.0, 1.0
    return work


@njit(cache=True, nogil=True, error_model="numpy")
def _held_first(m: int, work: Work, other: Work) -> bool:
    """The same search with the inputs that the box holds decided first, the furthest at once, in `other`.

    A level's proven diagonal stays one: a leading block of the new order is a principal submatrix of the least
    leading block of the old order that has all its inputs.
    """
    order = other.best  # free until the search
    inside = 0
    for j in range(m):
        if work.out[j] <= OUTSIDE:
            order[inside] = j
            inside += 1
    if inside == m:
        return False
    end = inside
    for j in range(m):
        over = work.out[j]
        if over > OUTSIDE:
            i = end
            while i > inside and work.out[order[i - 1]] > over:
                order[i] = order[i - 1]
                i -= 1
            order[i] = j
            end += 1
    need = 0
    for i in range(m):
        k = order[i]
        other.t[i], other.per_step[i], other.position[i] = work.t[k], work.per_step[k], work.position[k]
        assign(other.grid[i], work.grid[k])
        for e in range(3):
            other.even[e, i] = work.even[e, k]
        for j in range(m):
            other.matrix[i, j] = work.matrix[k, order[j]]
        need = max(need, k + 1)
        for j in range(m):
            other.diagonal[i + 1, j] = 0.0
        for j in range(i + 1):
            other.diagonal[i + 1, j] = work.diagonal[need, order[j]]
    r = other.centre  # free until the search
    for i in range(m):
        for j in range(i, m):
            s = other.matrix[i, j]
            for k in range(i):
                s -= r[k, i] * r[k, j]
            r[i, j] = s if j == i else s / r[i, i]
            if j == i:
                r[i, i] = np.sqrt(s)
    for i in range(m):
        other.pivot[i] = r[i, i] * r[i, i]
        for j in range(i - 1, -1, -1):  # slope[i, :i] solves R[:i, :i] y = R[:i, i]
            s = r[j, i]
            for k in range(j + 1, i):
                s -= r[j, k] * other.slope[i, k]
            other.slope[i, j] = s / r[j, j]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _load_block(b: int, parts: Parts, work: Work) -> int:
    """What block b is for every row, in the order of the layer; its size."""
    m = parts.size[b]
    for j in range(m):
        work.position[j] = parts.start[b] + parts.order[b, j]
    assign(work.pivot, parts.pivot[b])
    assign_matrix(work.slope, parts.slope[b])
    assign_matrix(work.diagonal, parts.diagonal[b])
    assign_matrix(work.matrix, parts.matrix[b])
    return int(m)


@njit(cache=True, nogil=True, error_model="numpy")
def _load_row(m: int, target: FloatArray, of: int, levels: Levels, work: Work) -> bool:
    """What it is for a row with levels number `of`; whether they are all even."""
    last, is_even = levels.values.shape[2] - 1, True
    for j in range(m):
        position = work.position[j]
        g = levels.group[position]
        per_step = levels.per_step[of, g]
        work.t[j], work.per_step[j] = target[position], per_step
        assign(work.grid[j], levels.values[of, g])
        is_even = is_even and per_step > 0.0
        work.even[0, j], work.even[2, j] = work.grid[j, 0], per_step
        work.even[1, j] = (work.grid[j, last] - work.grid[j, 0]) / max(last, 1)
    return is_even


@njit(cache=True, nogil=True, error_model="numpy")
def orders_of_row(
    target: FloatArray, of: int, levels: Levels, parts: Parts, position: IntArray, diagonal: FloatArray
) -> np.ndarray:
    """(blocks,) whether a row's search of a block has an order of its own, which is written then.

    position : (blocks, SIZE) positions of the row in that order.
    diagonal : (blocks, SIZE + 1, SIZE) its proven diagonals.
    """
    plain = _new_work(parts.pivot.shape[1], levels.values.shape[2])
    moved = _new_work(parts.pivot.shape[1], levels.values.shape[2])
    own = np.zeros(len(parts.size), np.bool_)
    for b in range(len(parts.size)):
        m = _load_block(b, parts, plain)
        _load_row(m, target, of, levels, plain)
        box_minimum(m, plain.matrix, plain.t, plain.grid, plain.out)
        if _held_first(m, plain, moved):
            own[b] = True
            assign(position[b], moved.position[:m])
            assign_matrix(diagonal[b], moved.diagonal[: m + 1, :m])
    return own


@njit(cache=True, nogil=True, error_model="numpy")
def _ends(m: int, work: Work, index: np.ndarray, e: FloatArray) -> tuple[float, float, float]:
    """Of a block and a row: its root bound, the error of the point in `index`, the least value on its box."""
    root, upper = 0.0, 0.0
    for j in range(m):
        e[j] = work.t[j] - work.grid[j, index[work.position[j]]]
        away = work.t[j] - work.grid[j, nearest(work.grid[j], work.per_step[j], work.t[j])]
        root += work.diagonal[m, j] * away * away
    for i in range(m):
        s = 0.0
        for j in range(m):
            s += work.matrix[i, j] * e[j]
        upper += e[i] * s
    return root, upper, box_minimum(m, work.matrix, work.t, work.grid, work.out)


@njit(cache=True, nogil=True, error_model="numpy")
def ends_of_blocks(
    targets: FloatArray, index: np.ndarray, levels: Levels, parts: Parts, root: FloatArray, upper: FloatArray,
    base: FloatArray,
) -> None:  # fmt: skip
    """root, upper, base : (rows, blocks), written: what `block_minima` begins with."""
    work, e = _new_work(parts.pivot.shape[1], levels.values.shape[2]), np.empty(parts.pivot.shape[1])
    for b in range(len(parts.size)):
        m = _load_block(b, parts, work)
        for r in range(len(targets)):
            _load_row(m, targets[r], r if len(levels.values) > 1 else 0, levels, work)
            root[r, b], upper[r, b], base[r, b] = _ends(m, work, index[r], e)


@njit(cache=True, nogil=True, error_model="numpy")
def block_minima(
    targets: FloatArray,
    index: np.ndarray,
    levels: Levels,
    parts: Parts,
    shrink: float,
    budget: int,
    low: FloatArray,
    nodes: IntArray,
    done: np.ndarray,
) -> None:
    """low[r, b]: no level of block b has less than it at the target of row r; index: points, in and out.

    Parameters
    ----------
    targets : (rows, n) by position.
    index : (rows, n) int16 level of a point to start from; written where a search finds a better one in a block.
    shrink : part of the least error known that a search looks below.
    budget : nodes of one search.
    low : (rows, blocks), written.
    nodes : (rows,), added to.
    done : (rows, blocks) whose `low` is known and stays.
    """
    size, count = parts.pivot.shape[1], levels.values.shape[2]
    plain, moved = _new_work(size, count), _new_work(size, count)
    e = np.empty(size)
    for b in range(len(parts.size)):
        m = _load_block(b, parts, plain)
        for r in range(len(targets)):
            if done[r, b]:
                continue
            is_even = _load_row(m, targets[r], r if len(levels.values) > 1 else 0, levels, plain)
            root, upper, base = _ends(m, plain, index[r], e)
            work = moved if _held_first(m, plain, moved) else plain
            bound, threshold = root, lowered(upper, base, shrink)
            for _ in range(TRIES):
                if not threshold > bound:
                    break
                ended, reached, spent = _search(m, work, is_even, threshold, base, shrink, budget)
                nodes[r] += spent
                if reached < threshold:  # a point was found
                    for j in range(m):
                        index[r, work.position[j]] = work.best[j]
                if ended:
                    bound = max(bound, reached)
                    break
                threshold = lowered(min(threshold, reached), base, LOWER)
            low[r, b] = bound
