"""The compiled depth-first search where every input takes the values 0, 1, ..., top."""

from __future__ import annotations

import numba
import numpy as np

from .vectors import move_one, move_two


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def search_even(budget, where, bounds, state, best, plan, top, shrink):  # type: ignore[no-untyped-def]
    """Depth-first Schnorr-Euchner search below the node in `where`; run again to go on.

    Children are looked at two at a time, the next two of the zigzag: both bounds come from one pass over the
    centres. The second waits in `later` until the first one's subtree is done.

    Parameters
    ----------
    budget : nodes to visit before it returns.
    where : [undecided positions m, m of the subtree's root, nodes, done].
    bounds : [upper, threshold]; pruned at partial error + bound ahead >= threshold = shrink * upper.
    state : centres (n + 1, 2, width), partial (n + 1,), zigzag (2, n + 1) next values on both sides,
        slot (n + 1,) which of the two centres is current, later (2, n + 1) error and bound of the waiting child
        (bound infinite: none), index (2, n) value at each position, and the waiting one.
    best : (n,) values of the best leaf.
    plan : pivot (n,), slope (n, width), diagonal (n + 1, width), zero where undefined.
    """
    pivot, slope, diagonal = plan
    centres, partial, zigzag, slot, later, index = state
    # one-dimensional and unsigned: an index that may be negative or has two parts costs as much as the arithmetic;
    # the nearer side is a minimum, not a branch, since no processor can guess it
    lefts, rights, errors, bounds_ahead = zigzag[0], zigzag[1], later[0], later[1]
    picks, waiting, flat, width = index[0], index[1], centres.reshape(-1), slope.shape[1]
    m, root, nodes = where[0], where[1], where[2]
    end = nodes + budget
    last = int(top)
    threshold = bounds[1]
    row = width * 8
    at_centres, at_slope, at_diagonal = centres.ctypes.data, slope.ctypes.data, diagonal.ctypes.data
    while nodes < end:
        i = m - 1
        um, ui = np.uintp(m), np.uintp(i)
        if bounds_ahead[um] < threshold:
            bounds_ahead[um] = np.inf
            partial[ui], picks[ui], slot[ui] = errors[um], waiting[ui], 1
        else:
            centre = flat[np.uintp((2 * m + slot[um]) * width + i)]
            l, r = lefts[um], rights[um]
            below = centre - l if l >= 0 else np.inf
            above = r - centre if r <= last else np.inf
            down = below <= above
            away = min(below, above)
            pick, a = (l, away) if down else (r, -away)
            cost = partial[um] + pivot[ui] * away * away
            if not cost < threshold:  # values further away cost more: this level is done
                if m == root:
                    where[3] = 1
                    break
                m += 1
                continue
            l, r = (l - 1, r) if down else (l, r + 1)
            if m == 1:
                nodes += 1
                picks[0] = pick
                lefts[um], rights[um] = l, r
                threshold = shrink * cost
                bounds[0], bounds[1] = cost, threshold
                best[:] = picks
                continue
            below = centre - l if l >= 0 else np.inf
            above = r - centre if r <= last else np.inf
            down = below <= above
            away = min(below, above)
            second, b = (l, away) if down else (r, -away)
            other = partial[um] + pivot[ui] * away * away
            lefts[um], rights[um] = (l - 1, r) if down else (l, r + 1)
            out = at_centres + 2 * i * row
            here, along, weight = at_centres + (2 * m + slot[um]) * row, at_slope + i * row, at_diagonal + i * row
            if other < threshold:
                nodes += 2
                ahead, ahead_other = move_two(here, along, weight, out, out + row, i, a, b, top)
                errors[um], bounds_ahead[um], waiting[ui] = other, other + ahead_other, second
            else:
                nodes += 1
                ahead = move_one(here, along, weight, out, i, a, top)
            if not cost + ahead < threshold:
                continue
            partial[ui], picks[ui], slot[ui] = cost, pick, 0
        m = i
        bounds_ahead[ui] = np.inf
        near = np.rint(flat[np.uintp((2 * i + slot[ui]) * width + i - 1)])
        near = near if near > 0.0 else 0.0
        lefts[ui] = int(near if near < top else top)
        rights[ui] = lefts[ui] + 1
    where[0], where[2] = m, nodes
