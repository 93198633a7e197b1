"""The compiled depth-first search where every input takes the values 0, 1, ..., top."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.apart import MATRIX, NUMBERS, REAL, VECTOR, WHOLE, apart, inner, named, several
from ..kernels.sparing import assign
from ..kernels.tiles import address
from .vectors import aligned, move_four, padded

BATCH = 64
"""Children found before they are bounded. 16: a fifth slower; 128: no faster, and caches are small."""
ROOM = BATCH + 4
"""Places of a batch: a node may add three children to the last free place, and they are bounded in fours."""


class Batches(NamedTuple):
    """The nodes that wait, one batch for every number m of undecided positions. Lists of m start at m ROOM."""

    centres: FloatArray
    """The centres of each node of each m, `padded(m)` numbers; float64, or float32 (see `single`)."""
    start: IntArray
    """(n + 2,) where those of each m start."""
    partial: FloatArray
    """Error of what each node has decided."""
    parent: IntArray
    """Its parent's place in the batch of m + 1."""
    pick: FloatArray
    """The value it has decided last, that of position m."""
    alive: IntArray
    """Places of nodes below the threshold."""
    kept: IntArray
    """(n + 1,) how many there are."""
    done: IntArray
    """(n + 1,) how many of them have been taken."""
    turn: FloatArray
    """(n + 1,) the next distance from the nearest value for the children of the next one, 0 if it has none yet."""
    moves: FloatArray
    """(ROOM,) how far the last batch's decisions are from their centres."""
    fixed: IntArray
    """(n,) values at the positions that are decided above the subtree."""

    @classmethod
    def empty(cls, n: int, real: type[np.floating[Any]] = np.float64) -> Batches:
        """Places for a row of n inputs, with centres of a type."""
        start = np.cumsum([0] + [ROOM * padded(m, real) for m in range(n + 1)])
        places = (n + 1) * ROOM
        lists = np.zeros(places), np.zeros(places, np.int64), np.zeros(places), np.zeros(places, np.int64)
        ends = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64), np.zeros(n + 1)
        return cls(aligned(int(start[-1]), real=real), start, *lists, *ends, np.zeros(ROOM), np.zeros(n, np.int64))


BATCHES = named(
    [VECTOR, NUMBERS, VECTOR, NUMBERS, VECTOR, NUMBERS, NUMBERS, NUMBERS, VECTOR, VECTOR, NUMBERS], Batches
)
FACTORS = several((VECTOR, MATRIX, MATRIX))
"""Their type in compiled code, and that of a plan."""


@apart(None, WHOLE, NUMBERS, VECTOR, BATCHES, NUMBERS, FACTORS, REAL, REAL, fastmath={"contract"})
def search_even(budget, where, bounds, batches, best, plan, top, shrink):  # type: ignore[no-untyped-def]
    """Depth-first Schnorr-Euchner search below the node in `where`; run again to go on.

    It goes down a batch at a time: children of as many nodes of a level as it takes, first found, then bounded.
    One after the other, every child would wait for the bound of the one before, since no processor can guess
    whether it stays below the threshold.

    Parameters
    ----------
    budget : nodes to visit before it returns, up to ROOM more.
    where : [undecided positions m, m of the subtree's root, nodes, done].
    bounds : [upper, threshold]; pruned at partial error + bound ahead >= threshold = shrink * upper.
    batches : `Batches`.
    best : (n,) values of the best leaf.
    plan : pivot (n,), slope (n, width), diagonal (n + 1, width), zero where undefined.
    """
    m, root, nodes = where[0], where[1], where[2]
    end = nodes + budget
    while nodes < end:
        if batches.done[m] == batches.kept[m]:
            if m == root:
                where[3] = 1
                break
            m += 1
            continue
        found = find(m, batches, plan[0][m - 1], top, bounds[1])
        nodes += found
        if m == 1:
            _finish(found, root, batches, bounds, best, shrink)
        elif bound(m - 1, found, batches, plan, top, bounds[1]) > 0:
            m -= 1
    where[0], where[2] = m, nodes


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, inline="always")
def find(m, batches, pivot, top, threshold):  # type: ignore[no-untyped-def]
    """Fill the batch of m - 1 with children whose decided error is below the threshold; how many.

    A node's children are tried at the value nearest to its centre, then at distance 1, 2, ... on both sides. A
    child that is above the threshold is overwritten by the next: a branch would be guessed wrong too often.
    Indices are unsigned because numba tests signed ones for wrapping around, and this is inlined because a call
    counts references to every array.
    """
    centres, partial, parent, pick, alive, moves = (
        batches.centres,
        batches.partial,
        batches.parent,
        batches.pick,
        batches.alive,
        batches.moves,
    )
    first, begin, out = m * ROOM, batches.start[m], (m - 1) * ROOM
    length = (batches.start[m + 1] - begin) // ROOM
    done, many, turn = batches.done[m], batches.kept[m], batches.turn[m]
    found = 0
    while done < many and found <= BATCH:
        slot = alive[np.uintp(first + done)]
        base, centre = (
            partial[np.uintp(first + slot)],
            np.float64(centres[np.uintp(begin + slot * length + m - 1)]),
        )
        near = np.rint(centre)
        near = near if near > 0.0 else 0.0
        near = near if near < top else top
        off = centre - near
        side = 1.0 if off > 0.0 else -1.0
        if turn == 0.0:
            child, cost = np.uintp(out + found), base + pivot * off * off
            partial[child], parent[child], pick[child], moves[np.uintp(found)] = cost, slot, near, off
            found += cost < threshold
            turn = 1.0
        while True:
            value, move = near + side * turn, off - side * turn
            child, cost = np.uintp(out + found), base + pivot * move * move
            partial[child], parent[child], pick[child], moves[np.uintp(found)] = cost, slot, value, move
            found += (value >= 0.0) & (value <= top) & (cost < threshold)
            value, move = near - side * turn, off + side * turn
            child, cost = np.uintp(out + found), base + pivot * move * move
            partial[child], parent[child], pick[child], moves[np.uintp(found)] = cost, slot, value, move
            more = (value >= 0.0) & (value <= top) & (cost < threshold)
            found += more
            turn += 1.0
            value, move = near + side * turn, off - side * turn
            if (value >= 0.0) & (value <= top):  # the centre's own side is nearer, as long as it has values
                more = base + pivot * move * move < threshold
            if not more:
                done += 1
                turn = 0.0
                break
            if found > BATCH:
                break
    batches.done[m], batches.turn[m] = done, turn
    return found


@numba.njit(cache=True, nogil=True, inline="always")
def bound(i, found, batches, plan, top, threshold):  # type: ignore[no-untyped-def]
    """Centres and bounds of the batch of i, which was just found; how many stay below the threshold."""
    slope, diagonal = plan[1], plan[2]
    start, partial, parent, alive, moves = (
        batches.start,
        batches.partial,
        batches.parent,
        batches.alive,
        batches.moves,
    )
    first, begin = i * ROOM, start[i + 1]
    for c in range(found, (found + 3) // 4 * 4):
        parent[first + c], partial[first + c], moves[c] = 0, np.inf, 0.0
    size = batches.centres.itemsize
    data, row = address(batches.centres), size * slope.shape[1]
    here, length = data + size * begin, size * ((start[i + 2] - begin) // ROOM)
    out, step = data + size * start[i], size * ((begin - start[i]) // ROOM)
    along, weight = address(slope) + i * row, address(diagonal) + i * row
    errors, moved, below = address(partial) + 8 * first, address(moves), address(alive) + 8 * first
    kept = 0
    for c in range(0, found, 4):
        four = parent[first + c], parent[first + c + 1], parent[first + c + 2], parent[first + c + 3]
        sources = (
            here + four[0] * length,
            here + four[1] * length,
            here + four[2] * length,
            here + four[3] * length,
        )
        to = out + c * step
        outs = to, to + step, to + 2 * step, to + 3 * step
        limits, chosen = (top, threshold), (c, below + 8 * kept)
        ways, known = moved + 8 * c, errors + 8 * c
        kept += move_four(batches.centres, sources, along, weight, outs, i, ways, known, limits, chosen)
    batches.kept[i], batches.done[i], batches.turn[i] = kept, 0, 0.0
    return kept


@inner()
def _finish(found, root, batches, bounds, best, shrink):  # type: ignore[no-untyped-def]
    """Take the least of the leaves just found."""
    for c in range(found):
        error = batches.partial[c]
        if error < bounds[1]:
            bounds[0], bounds[1] = error, shrink * error
            values_of(c, root, batches, best)


@inner()
def values_of(slot, root, batches, out):  # type: ignore[no-untyped-def]
    """The values of a leaf of the last batch, out."""
    assign(out, batches.fixed)
    for m in range(root):
        out[m] = int(batches.pick[m * ROOM + slot])
        slot = batches.parent[m * ROOM + slot]
