# mypy: disable-error-code="no-untyped-def"
"""The search of many subtrees at once: each is one warp's, depth first, in float64.

A node of level m has decided its positions from m on; its children decide position m - 1. An item is a node with
children that are left: its level m, what has been decided, the least of these children and how many they are. A
warp takes one item after the other, and searches it until nothing is left, or until it has visited `spend` nodes:
then the nodes on its path that have children left stay in its memory, which are the items that it gives back. So
every child of an item is searched by its warp, or is in an item that comes back.

Lane l has the positions l, l + 32, ... of a node's centres. Everything else is the same number in all lanes: a sum
over lanes is added up in pairs, and the two of a pair add the same two numbers.

`build` takes the functions of a device, or of a simulation, see `primitives`; no package is imported here.
"""

from __future__ import annotations

from typing import Any

MAGIC = 6755399441055744.0
"""1.5 * 2^52: what is added to it is rounded to a whole number, ties to even."""
WIDER = 1e-12
"""How much wider the interval of a node's children is made: ten roundings are a thousandth of it."""


def build(gpu: Any, lanes: int = 32) -> Any:
    """The kernel as a plain function of its arguments, see `device.ARRAYS`."""
    inlined, take, meet, across, of_first = gpu.inlined, gpu.take, gpu.meet, gpu.across, gpu.of_first
    float64, int32, int64, uint8, uint64 = gpu.float64, gpu.int32, gpu.int64, gpu.uint8, gpu.uint64
    lane_of, warp_of, least_of, most_of = gpu.lane, gpu.warp, gpu.least, gpu.most
    size_of, root_of, floor, ceiling = gpu.size, gpu.root, gpu.floor, gpu.ceiling

    @inlined
    def row(m):
        """Where the m centres of level m begin."""
        return (m * (m - int64(1))) >> int64(1)

    @inlined
    def move(rows, source, to, slope, at, wide, moved, lane):
        """The centres of a child."""
        j = lane
        while j < wide:
            rows[uint64(to + j)] = rows[uint64(source + j)] + slope[uint64(at + j)] * moved
            j += int64(lanes)

    @inlined
    def ahead(rows, source, slope, diagonal, at, wide, moved, top, lane):
        """This lane's part of sum_{j < i} d_j dist(s_j, 0 ... top)^2, s the parent's centres + moved slope.

        Rounded after it is clipped: no number is too large for `MAGIC`.
        """
        total, j = float64(0.0), lane
        while j < wide:
            s = rows[uint64(source + j)] + slope[uint64(at + j)] * moved
            off = s - ((least_of(most_of(s, float64(0.0)), top) + MAGIC) - MAGIC)
            total += diagonal[uint64(at + j)] * off * off
            j += int64(lanes)
        return total

    def search(
        n, items, spend, top, threshold,
        pivot, inverse, slope, diagonal, start, rows, partial, least,
        level, first, rest, drawn, low, many, nodes, done,
        value, path,
    ):  # fmt: skip
        lane, warp, n = int64(lane_of()), int64(warp_of()), int64(n)
        base, at_level, at_path = warp * row(n + int64(1)), warp * (n + int64(1)), warp * n
        visited, spent, finished = int64(0), int64(0), int64(0)
        m, root, lowest, left = int64(1), int64(0), int64(0), int64(0)
        decided, centre = float64(0.0), float64(0.0)
        while spent < int64(spend):
            item = int32(0)
            if lane == int64(0):
                item = take(drawn)
            item = int64(of_first(item))
            if item >= int64(items):
                break
            meet()  # here and below: what others still read is not written over
            # the item's centres, by the operations that led to them the first time
            m, root, decided = n, int64(level[uint64(item)]), float64(0.0)
            j = lane
            while j < n:
                rows[uint64(base + row(n) + j)] = start[uint64(j)]
                path[uint64(at_path + j)] = value[uint64(item * n + j)]
                j += int64(lanes)
            meet()
            while m > root:
                i = m - int64(1)
                moved = rows[uint64(base + row(m) + i)] - float64(value[uint64(item * n + i)])
                decided = decided + pivot[uint64(i)] * (moved * moved)
                move(rows, base + row(m), base + row(i), slope, i * n, i, moved, lane)
                meet()
                m = i
            lowest, left = int64(first[uint64(item)]), int64(rest[uint64(item)])
            centre = rows[uint64(base + row(m) + m - int64(1))]
            replayed = n - root
            while True:
                if left == int64(0):
                    m += int64(1)
                    if m > root:
                        finished += int64(1)
                        break
                    lowest, left = int64(low[uint64(at_level + m)]), int64(many[uint64(at_level + m)])
                    decided, centre = partial[uint64(at_level + m)], rows[uint64(base + row(m) + m - int64(1))]
                    continue
                if spent >= int64(spend):
                    break
                i = m - int64(1)
                k = lowest
                moved = centre - float64(k)
                cost = decided + pivot[uint64(i)] * (moved * moved)
                lowest, left = lowest + int64(1), left - int64(1)
                visited += int64(1)
                spent += int64(1) + replayed
                replayed = int64(0)
                if i == int64(0):
                    threshold = least_of(threshold, cost)
                elif cost < threshold:
                    total = ahead(rows, base + row(m), slope, diagonal, i * n, i, moved, top, lane)
                    offset = lanes >> 1
                    while offset > 0:
                        total += across(total, offset)
                        offset = offset >> 1
                    if cost + total < threshold:
                        meet()
                        move(rows, base + row(m), base + row(i), slope, i * n, i, moved, lane)
                        if lane == int64(0):
                            partial[uint64(at_level + m)] = decided
                            low[uint64(at_level + m)] = int32(lowest)
                            many[uint64(at_level + m)] = int32(left)
                            path[uint64(at_path + i)] = uint8(k)
                        meet()
                        m, decided = i, cost
                        centre = rows[uint64(base + row(m) + m - int64(1))]
                        reach = most_of(threshold - decided, float64(0.0)) * inverse[uint64(m - int64(1))]
                        reach = root_of(reach) * (1 + WIDER) + WIDER * size_of(centre)
                        begin = least_of(most_of(ceiling(centre - reach), float64(0.0)), top + 1.0)
                        end = most_of(least_of(floor(centre + reach), top), begin - 1.0)
                        lowest, left = int64(begin), int64(end - begin) + int64(1)
        meet()
        # what is left of an item that is not finished: the levels m ... root
        j = lane + int64(1)
        while j <= n:
            if j < m or j > root:
                many[uint64(at_level + j)] = int32(0)
            elif j == m:
                low[uint64(at_level + j)], many[uint64(at_level + j)] = int32(lowest), int32(left)
            j += int64(lanes)
        if lane == int64(0):
            nodes[uint64(warp)], done[uint64(warp)], least[uint64(warp)] = (
                int32(visited),
                int32(finished),
                threshold,
            )

    return search
