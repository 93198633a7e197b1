"""The compiled best-first search of the top of a tree, in bounded memory."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.apart import entry, inner
from ..kernels.sparing import ZERO, assign
from .uneven import choose, move, unchoose, use


class Frontier:
    """Open nodes of a tree, least bound first; see `grow`. A node is what it has decided, nothing else."""

    def __init__(self, n: int, capacity: int) -> None:
        self.bound = np.empty(capacity)
        """(capacity,) lower bound of what is below each node."""
        self.partial = np.empty(capacity)
        """Error of what it has decided."""
        self.level = np.empty(capacity, np.int64)
        """Undecided positions."""
        self.picks = np.zeros((capacity, n), np.int16)
        """Values at the decided positions."""
        self.heap = np.empty(capacity, np.int64)
        self.free = np.arange(capacity)
        self.size = np.array([0, capacity])
        """Open nodes, and unused places."""

    @property
    def arrays(self):  # type: ignore[no-untyped-def]
        """In the form the kernels take."""
        return self.bound, self.partial, self.level, self.picks, self.heap, self.free, self.size

    def __len__(self) -> int:
        return int(self.size[0])

    @property
    def nodes(self) -> IntArray:
        """Open nodes, least bound first."""
        nodes = self.heap[: len(self)]
        return nodes[np.argsort(self.bound[nodes], kind="stable")]

    def put_root(self, bound: float) -> None:
        """Start with the whole tree."""
        self.level[0], self.partial[0], self.bound[0] = self.picks.shape[1], 0.0, bound
        self.heap[0] = 0
        self.free[0] = self.free[-1]
        self.size[:] = 1, len(self.heap) - 1


@inner()
def _push(bound, heap, size, node):  # type: ignore[no-untyped-def]
    at = size[0]
    size[0] += 1
    while at > 0 and bound[heap[(at - 1) // 2]] > bound[node]:
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = node


@inner()
def _pop(bound, heap, size):  # type: ignore[no-untyped-def]
    least = heap[0]
    size[0] -= 1
    end = size[0]
    node = heap[end]
    at = 0
    while 2 * at + 1 < end:
        child = 2 * at + 1
        if child + 1 < end and bound[heap[child + 1]] < bound[heap[child]]:
            child += 1
        if bound[heap[child]] >= bound[node]:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = node
    return least


@entry()
def centres_of(level: int, picks: IntArray, weight: FloatArray, plan, grid, out: FloatArray) -> float:  # type: ignore[no-untyped-def]
    """Centres of the undecided positions 0 ... level - 1 of a node, and the error of the decided ones."""
    pivot, slope, _ = plan
    values, _, group, _ = grid
    partial = 0.0
    assign(out, weight)
    for i in range(len(weight) - 1, level - 1, -1):
        difference = out[i] - values[group[i], picks[i]]
        partial += pivot[i] * difference * difference
        for j in range(i):
            out[j] += slope[i, j] * difference
    return partial


@entry()
def grow(budget, bounds, frontier, best, weight, plan, grid, pattern, spare, shrink):  # type: ignore[no-untyped-def]
    """Replace the open node of least bound by its children until there is no room; returns the nodes visited.

    Parameters
    ----------
    budget : most nodes to visit.
    bounds : [upper, threshold], as for `search_even`; leaves found here lower both and set `best`.
    frontier : `Frontier.arrays`. Empty afterwards: nothing is left below the threshold.
    weight : (n,) the row.
    plan, grid, pattern, spare, shrink : as for `search_uneven`.
    """
    pivot, slope, diagonal = plan
    values, count, group, _ = grid
    key, partial, level, picks, heap, free, size = frontier
    most = ZERO
    for values_of in count:
        most = max(most, values_of)
    centres, child = np.empty(slope.shape[1]), np.empty(slope.shape[1])
    visited = 0
    while size[0] > 0 and size[1] >= most and visited < budget:
        node = _pop(key, heap, size)
        if key[node] >= bounds[1]:
            size[0] = 0
            break
        m = level[node]
        i = m - 1
        g = group[i]
        use(m, picks[node], grid, pattern)
        centres_of(m, picks[node], weight, plan, grid, centres)
        for pick in range(count[g]):
            difference = centres[i] - values[g, pick]
            cost = partial[node] + pivot[i] * difference * difference
            if cost >= bounds[1] or not choose(i, values[g, pick], pattern):
                continue
            visited += 1
            if i == 0:
                bounds[0], bounds[1] = cost, shrink * cost
                assign(best, picks[node])
                best[0] = pick
                unchoose(i, values[g, pick], pattern)
                continue
            bound = cost + move(i, centres, child, slope[i], difference, diagonal[i], grid, pattern, spare)
            unchoose(i, values[g, pick], pattern)
            if bound < bounds[1]:
                size[1] -= 1
                new = free[size[1]]
                key[new], partial[new], level[new] = max(bound, key[node]), cost, i
                assign(picks[new], picks[node])
                picks[new, i] = pick
                _push(key, heap, size, new)
        free[size[1]] = node
        size[1] += 1
    return visited
