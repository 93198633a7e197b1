"""The search of `sweep` in launches of a GPU: subtrees handed out, and what is left of them taken back.

What `least_on_grids` says of `sweep` holds of this word for word: the same restated numbers, float64, sums of the
same terms in another order, and thresholds that are never below the one that is returned.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple, Protocol

import numpy as np

from ...cuda.driver import GpuError
from ...gram import BoolArray, FloatArray, IntArray
from ..visit import Factors
from .kernel import WIDER

LAST = 255
"""Largest number of a value: they are bytes."""
MOST, BYTES = 2**18, 2**26
"""Items of a launch, and bytes of their values, at most; the others wait."""
FEW = 256
"""Nodes that a warp visits in a launch as long as there are few items: what it gives back are more of them."""
ENOUGH = 2
"""Items a warp that are not few."""
LONG = 0.2
"""Seconds of a launch at most, about."""
IDLE, BUSY = 0.25, 0.5
"""Part of what all warps might have visited: below and above, they may visit half and twice as many nodes in the
next launch. Some subtrees are large and most are small, and long launches wait for the large ones."""
LIMIT = 2**24
"""Nodes that a warp visits in a launch at most."""


class Numbers(NamedTuple):
    """A row in steps, as the kernel takes it."""

    pivot: FloatArray
    """(n,)"""
    inverse: FloatArray
    """(n,) of the pivots."""
    slope: FloatArray
    """(n, n) row i: what deciding i moves the centres of j < i by."""
    diagonal: FloatArray
    """(n, n) row i: what is proven to lie below the first i inputs."""
    start: FloatArray
    """(n,) centres."""
    top: float
    """The last value of 0, 1, ..."""


class Items(NamedTuple):
    """Nodes with children that are left, see `kernel`."""

    value: IntArray
    """(items, n) bytes, of the decided positions; what is undecided is not read."""
    level: IntArray
    first: IntArray
    """(items,) the least of the children that are left."""
    rest: IntArray
    """(items,) how many these are."""

    def at(self, places: IntArray) -> Items:
        """Those at some places."""
        return Items(*(array[places] for array in self))


class Back(NamedTuple):
    """What a launch leaves in the memory of its warps."""

    drawn: int
    """Items that warps have asked for."""
    low: IntArray
    """(warps, n + 1) the least of the children that are left, by level."""
    many: IntArray
    """(warps, n + 1) how many are; level 0 is none."""
    path: IntArray
    """(warps, n) bytes: the values that led there."""
    nodes: IntArray
    done: IntArray
    """(warps,) items that are finished."""
    least: FloatArray
    """(warps,) the threshold, or the least sum found below it."""


class Launcher(Protocol):
    """Runs the kernel."""

    def begin(self, numbers: Numbers, most: int) -> int:
        """Be ready for this row, and at most so many items a launch; the number of warps."""

    def run(self, items: Items, threshold: float, spend: int) -> Back:
        """One launch.

        Raises
        ------
        GpuError
            The device has failed.
        """


def restated(start: FloatArray, factors: Factors, first: FloatArray, step: FloatArray, top: float) -> Numbers:
    """A row in steps, by the operations of `sweep`."""
    n = len(start)
    pivot = factors.pivot * (step * step)
    slope = factors.slope[:n, :n] * step[:, None] / step
    return Numbers(
        pivot, 1 / pivot, slope, factors.diagonal[:n, :n] * (step * step), (start - first) / step, float(top)
    )


def root_of(numbers: Numbers, threshold: float) -> Items:
    """The root of the tree, with all of its children."""
    n, s = len(numbers.start), float(numbers.start[-1])
    reach = math.sqrt(threshold / float(numbers.pivot[-1])) * (1 + WIDER) + WIDER * abs(s)
    low = max(math.ceil(s - reach), 0)
    many = max(min(math.floor(s + reach), int(numbers.top)) - low + 1, 0)
    # a node without children has none that is left
    kept = np.array([[low, many]] if many else np.zeros((0, 2)), np.int64)
    return Items(np.zeros((len(kept), n), np.uint8), np.full(len(kept), n), kept[:, 0], kept[:, 1])


def search(
    launcher: Launcher,
    start: FloatArray,
    factors: Factors,
    first: FloatArray,
    step: FloatArray,
    top: float,
    threshold: float,
    limit: int,
    over: BoolArray,
) -> tuple[float, int]:
    """As `sweep`, with at most `LAST` for `top`; a search that is not finished has visited `limit` nodes at least.

    Items with the most decided are handed out first: those of a level become more only where none below is left
    that a launch would not take, so that there are never many times as many as a launch gives back.

    Raises
    ------
    GpuError
        The device has failed, and nothing is known.
    """
    numbers = restated(start, factors, first, step, top)
    most = max(1, min(MOST, BYTES // len(start)))
    warps = launcher.begin(numbers, most)
    items, nodes, often = root_of(numbers, threshold), 0, FEW
    while len(items.level) and nodes < limit and not over[0]:
        order = np.argsort(items.level, kind="stable")
        now = items.at(order[:most])
        many = len(order) >= ENOUGH * warps
        spend = often if many else FEW
        began = time.perf_counter()
        back = launcher.run(now, threshold, spend)
        seconds = time.perf_counter() - began
        warp, level = np.nonzero(back.many)
        taken = min(back.drawn, len(now.level))
        if taken < 1 or int(back.done.sum()) + len(np.unique(warp)) != taken:
            raise GpuError("the GPU has lost a part of the search")
        threshold = min(threshold, float(back.least.min()))
        visited = int(back.nodes.sum())
        nodes += visited
        given = back.path[warp], level, back.low[warp, level], back.many[warp, level]
        left = items.at(order[taken:])
        items = Items(*(np.concatenate(pair) for pair in zip(left, given, strict=True)))
        part = visited / (spend * warps)
        if many and (part < IDLE or seconds > LONG):
            often = max(often // 2, FEW)
        elif many and part > BUSY and seconds < LONG / 2:
            often = min(2 * often, LIMIT)
    return threshold, nodes if not len(items.level) else max(nodes, limit)
