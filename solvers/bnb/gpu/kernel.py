# mypy: disable-error-code="no-untyped-def"
"""The search of many trees by all multiprocessors at once, in one launch.

Eight lanes are a *group* and walk one subtree, depth first, Schnorr-Euchner; four groups are a warp. Lane l keeps
the centres of positions 32 b + 4 l + 0 ... 3 in registers, in float32 numbers of one binade, so that

    down(c + a m)   and, to take it back,   up(c' - a m) = -down(a m - c')

are exact inverses (`numbers` says why, and what rounding costs). A step looks at the next two children of a node:
their moved centres, and error + sum_i d_i dist(centre_i, grid)^2 of both, in one pass over slopes and diagonals in
shared memory; it goes on with the first that stays below the threshold.

Work is shared at the root of a group's subtree: a group without work puts its name on the list of those that wait;
one with work looks at the list now and then, goes back to its root, and leaves the open nodes nearest to it in the
waiting groups' mailboxes. There are as many mailboxes as groups, so memory is bounded, and whoever gives a node
has the name of one that waits first.

A leaf below the threshold is written down and lowers it at once, for all.

`build` takes the functions of a device, or of a simulation, see `primitives`; no package is imported here.
"""

from __future__ import annotations

from typing import Any

from . import arithmetic, queue
from .queue import COUNTERS, END, PENDING, RECORD, WORKERS

LANES = 8
"""Lanes of a group."""

WARP = 32

NODES, LEAVES, STEPS, NUMBERS = range(4)
"""What a launch counts; steps are of warps."""

BOX, TREE, ROW, FIRST, WORDS = range(5)
"""What a group needs now and then: its record, the root that comes from, its row, undecided positions."""

LOOK = 15
"""Steps between two looks at the threshold, the list, and the order to stop, less one."""


def build(gpu: Any, quads: int) -> Any:
    """The kernel for rows of at most 32 `quads` inputs, as a plain function of its arguments."""
    cuda = gpu.cuda
    float32, int32, int64, uint8 = gpu.float32, gpu.int32, gpu.int64, gpu.uint8
    uint32, uint64 = gpu.uint32, gpu.uint64
    fma, fma_down = gpu.fma, gpu.fma_down
    start_of, value_after, child = arithmetic.build(gpu)
    take, should_give, offer = queue.build(gpu)
    root_of, as_float, as_int = gpu.root, gpu.as_float, gpu.as_int
    peek, fresh, shared_address, load_four = gpu.peek, gpu.fresh, gpu.shared_address, gpu.load_four
    FULL, MAGIC, ZERO, ONE = 0xFFFFFFFF, arithmetic.MAGIC, 0.0, 1.0
    BLOCK = 4 * LANES
    KEPT = 4 * quads

    def search(
        n, width, size, plans, groups_all, least, give, names, top, offset, grow,
        slope, diagonal, pivot, first, counters, waiting,
        box_centre, box_partial, box_value, box_level, box_root, box_full, box_pick,
        root_row, root_left, threshold, doubled, stop,
        leaf_count, leaf_row, leaf_cost, leaf_pick, stats,
    ):  # fmt: skip
        shared = cuda.shared.array(0, float32)
        bytes_ = cuda.shared.array(0, uint8)
        words = cuda.shared.array(0, int32)
        lane = int32(cuda.threadIdx.x) & int32(WARP - 1)
        mine = lane & int32(LANES - 1)
        base = lane & int32(~(LANES - 1))
        mask = uint32((1 << LANES) - 1) << uint32(base)
        in_block = int32(cuda.blockDim.x) // int32(LANES)
        group = int32(cuda.threadIdx.x) // int32(LANES)
        pivots = int32(2) * size
        # of each group: centres, errors and moves of the decided positions, a few words, and last values in bytes
        S = pivots + width + group * int32(3) * width
        PS, MS = S + width, S + int32(2) * width
        W = pivots + width + in_block * int32(3) * width + group * int32(WORDS)
        VS = int32(4) * (pivots + width + in_block * (int32(3) * width + int32(WORDS))) + group * width
        inverse = float32(ONE) / top
        minus = -offset / top
        back = float32(MAGIC) - offset
        me = int32(cuda.blockIdx.x) * in_block + group
        nodes = int32(0)
        steps = int32(0)
        leaves = int32(0)
        c = cuda.local.array(KEPT, float32)
        visit = int32(0)
        while visit < plans:
            plan = int32(cuda.blockIdx.x) + visit
            if plans > int32(cuda.gridDim.x):  # spread over all of them
                plan = int32(int64(cuda.blockIdx.x) * int64(plans) // int64(cuda.gridDim.x)) + visit
            plan = plan % plans
            visit += int32(1)
            at_counters = plan * int32(COUNTERS)
            left = cuda.syncthreads_or(peek(counters, uint32(at_counters + int32(PENDING))))
            if left == 0:
                continue
            t = int32(cuda.threadIdx.x)
            while t < size:
                shared[uint32(t)] = slope[uint32(plan * size + t)]
                shared[uint32(size + t)] = diagonal[uint32(plan * size + t)]
                t += int32(cuda.blockDim.x)
            t = int32(cuda.threadIdx.x)
            while t < width:
                shared[uint32(pivots + t)] = pivot[uint32(plan * width + t)]
                t += int32(cuda.blockDim.x)
            if int32(cuda.threadIdx.x) == int32(0):
                cuda.atomic.add(counters, uint32(at_counters + int32(WORKERS)), in_block)
            cuda.syncthreads()
            for r in range(KEPT):
                c[r] = offset
            m = int32(0)
            root = int32(0)
            count = int32(0)
            P = float32(ZERO)
            old = float32(ZERO)
            T = float32(ZERO)
            last = -float32(ONE)
            done = False
            listed = False
            while True:
                busy = cuda.ballot_sync(FULL, m > int32(0))
                if (not done) and m == int32(0) and (busy == 0 or (steps & int32(7)) == int32(0)):
                    state, box = int32(END), me
                    if mine == int32(0) and peek(stop, uint32(0)) == 0:
                        begin, end = first[uint32(plan)], first[uint32(plan + int32(1))]
                        state, taken, listed = take(
                            me, listed, counters, at_counters, end - begin, waiting, plan * names, names, box_full
                        )
                        if taken >= int32(0):
                            box = int32(groups_all + begin + taken)
                    state = int32(cuda.shfl_sync(mask, state, base))
                    if state == int32(RECORD):
                        cuda.threadfence()
                        box = int32(cuda.shfl_sync(mask, box, base))
                        m = int32(fresh(box_level, uint32(box)))
                        root = m
                        tree = int32(fresh(box_root, uint32(box)))
                        row = int32(root_row[uint32(tree)])
                        if mine == int32(0):
                            words[uint32(W + int32(BOX))] = box
                            words[uint32(W + int32(TREE))] = tree
                            words[uint32(W + int32(ROW))] = row
                            words[uint32(W + int32(FIRST))] = m
                        P = fresh(box_partial, uint32(box))
                        last = fresh(box_value, uint32(box))
                        T = as_float(int32(cuda.shfl_sync(mask, peek(threshold, uint32(row)), base)))
                        old = float32(ZERO)
                        count = int32(0)
                        for r in range(KEPT):
                            j = int32((r // 4) * BLOCK) + mine * int32(4) + int32(r % 4)
                            if j < m:
                                c[r] = fresh(box_centre, uint64(box) * uint64(width) + uint64(j))
                                shared[uint32(S + j)] = c[r]
                    elif state == int32(END):
                        done = True
                    elif busy == 0:
                        cuda.nanosleep(uint32(400))
                cuda.syncwarp(FULL)
                if cuda.all_sync(FULL, done):
                    break
                steps += int32(1)
                one, cost1, v1 = float32(ZERO), float32(ZERO), float32(ZERO)
                two, cost2, v2 = float32(ZERO), float32(ZERO), float32(ZERO)
                i, ok, both = int32(0), False, False
                if m > int32(0) and (steps & int32(LOOK)) == int32(0):
                    bits = int32(0)
                    asked = int32(0)
                    if mine == int32(0):
                        bits = int32(peek(threshold, uint32(words[uint32(W + int32(ROW))])))
                        if peek(stop, uint32(0)) != 0:
                            asked = int32(2)
                        elif count >= least and m < root and should_give(me, steps, counters, at_counters):
                            asked = int32(1)
                    T = as_float(int32(cuda.shfl_sync(mask, bits, base)))
                    asked = int32(cuda.shfl_sync(mask, asked, base))
                    if nodes > int32(1 << 30):
                        if mine == int32(0):
                            cuda.atomic.add(stats, NODES, int64(nodes))
                        nodes = int32(0)
                    if asked == int32(2):
                        done = True
                        m = int32(0)
                    elif asked == int32(1):
                        count = int32(0)
                        box = words[uint32(W + int32(BOX))]
                        tree = words[uint32(W + int32(TREE))]
                        top_level = words[uint32(W + int32(FIRST))]
                        l = m - int32(1)  # back to the root
                        move = old
                        while l < root:
                            at = start_of(l)
                            for r in range(KEPT):
                                j = int32((r // 4) * BLOCK) + mine * int32(4) + int32(r % 4)
                                if j < l:
                                    c[r] = -fma_down(shared[uint32(at + j)], move, -c[r])
                            l += int32(1)
                            if l < root:
                                move = shared[uint32(MS + l)]
                        old = float32(ZERO)
                        given = int32(0)
                        low = root
                        l = root
                        while l > m:  # and down again, giving away what is open on the way
                            i = l - int32(1)
                            if given < give:
                                s = shared[uint32(S + i)] - offset
                                v, inside = value_after(s, float32(bytes_[uint32(VS + i)]), top)
                                d = s - v
                                cost = fma(shared[uint32(pivots + i)] * d, d, shared[uint32(PS + i)])
                                if inside and cost < T:
                                    to = int32(-1)
                                    if mine == int32(0):
                                        to = offer(counters, at_counters, waiting, plan * names, names)
                                        if to >= int32(0):
                                            cuda.atomic.add(root_left, uint32(tree), 1)
                                    to = int32(cuda.shfl_sync(mask, to, base))
                                    if to < int32(0):
                                        given = give
                                    else:
                                        for r in range(KEPT):
                                            j = int32((r // 4) * BLOCK) + mine * int32(4) + int32(r % 4)
                                            if j < l:
                                                box_centre[uint64(to) * uint64(width) + uint64(j)] = c[r]
                                        j = l + mine
                                        while j < n:
                                            if j < top_level:
                                                x = shared[uint32(S + j)] - offset - shared[uint32(MS + j)]
                                                box_pick[uint64(to) * uint64(width) + uint64(j)] = uint8(int32(x))
                                            else:
                                                pick = fresh(box_pick, uint64(box) * uint64(width) + uint64(j))
                                                box_pick[uint64(to) * uint64(width) + uint64(j)] = pick
                                            j += int32(LANES)
                                        if mine == int32(0):
                                            box_partial[uint32(to)] = shared[uint32(PS + i)]
                                            box_level[uint32(to)] = l
                                            box_value[uint32(to)] = float32(bytes_[uint32(VS + i)])
                                            box_root[uint32(to)] = tree
                                        cuda.threadfence()
                                        cuda.syncwarp(mask)
                                        if mine == int32(0):
                                            cuda.atomic.exch(box_full, uint32(to), 1)
                                        given += int32(1)
                                        low = i
                                else:
                                    low = i
                            move = shared[uint32(MS + i)]
                            at = start_of(i)
                            for r in range(KEPT):
                                j = int32((r // 4) * BLOCK) + mine * int32(4) + int32(r % 4)
                                if j < i:
                                    c[r] = fma_down(shared[uint32(at + j)], move, c[r])
                            l -= int32(1)
                        root = low
                if m > int32(0):
                    s = shared[uint32(S + m - int32(1))] - offset
                    while True:  # the next child, or up where there is none
                        i = m - int32(1)
                        v1, inside = value_after(s, last, top)
                        one = s - v1
                        cost1 = fma(shared[uint32(pivots + i)] * one, one, P)
                        ok = inside and cost1 < T
                        if ok:
                            break
                        if old != float32(ZERO):
                            at = start_of(i)
                            for r in range(KEPT):
                                j = int32((r // 4) * BLOCK) + mine * int32(4) + int32(r % 4)
                                if j < i:
                                    c[r] = -fma_down(shared[uint32(at + j)], old, -c[r])
                            old = float32(ZERO)
                        if m == root:
                            m = int32(0)
                            if mine == int32(0):
                                cuda.atomic.add(root_left, uint32(words[uint32(W + int32(TREE))]), -1)
                                cuda.threadfence()
                                cuda.atomic.add(counters, uint32(at_counters + int32(PENDING)), -1)
                            break
                        P = shared[uint32(PS + m)]
                        old = shared[uint32(MS + m)]
                        last = float32(bytes_[uint32(VS + m)])
                        s = shared[uint32(S + m)] - offset
                        m += int32(1)
                    if ok:
                        v2, both = value_after(s, v1, top)
                        two = s - v2
                        cost2 = fma(shared[uint32(pivots + i)] * two, two, P)
                        both = both and cost2 < T
                        if not both:
                            cost2 = float32(3e38)
                if ok and i == int32(0):
                    at = int32(0)
                    row = words[uint32(W + int32(ROW))]
                    box = words[uint32(W + int32(BOX))]
                    top_level = words[uint32(W + int32(FIRST))]
                    if mine == int32(0):
                        r1 = root_of(cost1) + doubled[uint32(row)]
                        at = int32(cuda.atomic.add(leaf_count, 0, 1))
                        if at >= int32(leaf_cost.shape[0]):  # nothing is proven any more
                            cuda.atomic.exch(stop, 0, 1)
                        cuda.atomic.min(threshold, uint32(row), as_int(r1 * r1 * grow))
                    at = int32(cuda.shfl_sync(mask, at, base))
                    if at < int32(leaf_cost.shape[0]):
                        j = mine
                        while j < n:
                            x = v1
                            if j > int32(0):
                                if j < top_level:
                                    x = shared[uint32(S + j)] - offset - shared[uint32(MS + j)]
                                else:
                                    x = float32(fresh(box_pick, uint64(box) * uint64(width) + uint64(j)))
                            leaf_pick[uint64(at) * uint64(width) + uint64(j)] = uint8(int32(x))
                            j += int32(LANES)
                        if mine == int32(0):
                            leaf_cost[uint32(at)] = cost1
                            leaf_row[uint32(at)] = row
                    T = as_float(int32(cuda.shfl_sync(mask, peek(threshold, uint32(row)), base)))
                    leaves += int32(1)
                    nodes += int32(1)
                    last = v1
                cuda.syncwarp(FULL)
                bound = ok and i > int32(0)
                sum1 = float32(ZERO)
                sum2 = float32(ZERO)
                limit = i if bound else int32(0)
                at = start_of(i) if bound else int32(0)
                address = shared_address(shared, uint32(at)) + uint32(16) * uint32(mine)
                for b in range(quads):
                    if int32(b * BLOCK) + mine * int32(4) < limit:
                        a = load_four(address + uint32(b * BLOCK * 4))
                        w = load_four(address + uint32(4) * uint32(size) + uint32(b * BLOCK * 4))
                        x = -fma_down(a[0], old, -c[4 * b])
                        c[4 * b] = x
                        sum1 = child(a[0], w[0], one, x, sum1, top, inverse, minus, back)
                        sum2 = child(a[0], w[0], two, x, sum2, top, inverse, minus, back)
                        x = -fma_down(a[1], old, -c[4 * b + 1])
                        c[4 * b + 1] = x
                        sum1 = child(a[1], w[1], one, x, sum1, top, inverse, minus, back)
                        sum2 = child(a[1], w[1], two, x, sum2, top, inverse, minus, back)
                        x = -fma_down(a[2], old, -c[4 * b + 2])
                        c[4 * b + 2] = x
                        sum1 = child(a[2], w[2], one, x, sum1, top, inverse, minus, back)
                        sum2 = child(a[2], w[2], two, x, sum2, top, inverse, minus, back)
                        x = -fma_down(a[3], old, -c[4 * b + 3])
                        c[4 * b + 3] = x
                        sum1 = child(a[3], w[3], one, x, sum1, top, inverse, minus, back)
                        sum2 = child(a[3], w[3], two, x, sum2, top, inverse, minus, back)
                # half of the lanes add up one sum, half the other
                up = (mine & int32(LANES // 2)) != int32(0)
                keep = sum2 if up else sum1
                keep += cuda.shfl_xor_sync(FULL, sum1 if up else sum2, LANES // 2)
                keep += cuda.shfl_xor_sync(FULL, keep, 2)
                keep += cuda.shfl_xor_sync(FULL, keep, 1)
                other = cuda.shfl_xor_sync(FULL, keep, LANES // 2)
                sum1 = other if up else keep
                sum2 = keep if up else other
                if bound:
                    old = float32(ZERO)
                    live1, live2 = cost1 + sum1 < T, cost2 + sum2 < T
                    nodes += int32(1)
                    if both and not (live1 and live2):
                        nodes += int32(1)
                    last = v2 if both else v1
                    if live1 or live2:
                        move = one if live1 else two
                        if mine == int32(0):
                            shared[uint32(PS + i)] = P
                            shared[uint32(MS + i)] = move
                            bytes_[uint32(VS + i)] = uint8(int32(v1 if (live1 and live2) else last))
                        for b in range(quads):
                            q = int32(b * LANES) + mine
                            if q * int32(4) < i:
                                a = load_four(address + uint32(b * BLOCK * 4))
                                c[4 * b] = fma_down(a[0], move, c[4 * b])
                                c[4 * b + 1] = fma_down(a[1], move, c[4 * b + 1])
                                c[4 * b + 2] = fma_down(a[2], move, c[4 * b + 2])
                                c[4 * b + 3] = fma_down(a[3], move, c[4 * b + 3])
                                if q == (i - int32(1)) >> int32(2):
                                    shared[uint32(S + int32(4) * q)] = c[4 * b]
                                    shared[uint32(S + int32(4) * q + int32(1))] = c[4 * b + 1]
                                    shared[uint32(S + int32(4) * q + int32(2))] = c[4 * b + 2]
                                    shared[uint32(S + int32(4) * q + int32(3))] = c[4 * b + 3]
                        m = i
                        P = cost1 if live1 else cost2
                        last = -float32(ONE)
                    count += int32(1)
                cuda.syncwarp(FULL)
            if cuda.syncthreads_or(peek(stop, uint32(0))) != 0:
                visit = plans
            if int32(cuda.threadIdx.x) == int32(0):
                cuda.atomic.add(counters, uint32(at_counters + int32(WORKERS)), -in_block)
        if mine == int32(0):
            cuda.atomic.add(stats, NODES, int64(nodes))
            cuda.atomic.add(stats, LEAVES, int64(leaves))
        if lane == int32(0):
            cuda.atomic.add(stats, STEPS, int64(steps))

    return search
