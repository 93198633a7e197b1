"""What one launch is given and gives back: plans, rows and roots, as arrays in the memory of the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pvq.bounds.gram import BoolArray, FloatArray, IntArray

from .kernel import LANES, NUMBERS, WORDS
from .numbers import Numbers
from .precision import Precision, start_centres
from .queue import COUNTERS, PENDING

LEAVES = 64
"""Leaves of a row that are written down, on the average; each lowers the threshold, so there are about ten."""

MORE_LEAVES = 4096


@dataclass(frozen=True, eq=False)
class Root:
    """A node to search below."""

    centres: FloatArray
    """(m,) centres of the undecided positions."""
    partial: float
    """Error of the decided ones."""
    picks: IntArray
    """(n - m,) values of the decided ones."""


@dataclass(frozen=True, eq=False)
class DeviceRow:
    """A row to search, with errors in the units of its numbers."""

    numbers: Numbers
    threshold: float
    """T of `Precision.threshold`."""
    doubled: float
    """2 r."""
    roots: tuple[Root, ...]


@dataclass(frozen=True, eq=False)
class Field:
    """An array of the device."""

    kind: type[Any]
    count: int
    value: int | None = None
    """What it is filled with; None: nothing."""
    content: NDArray[Any] | None = None
    """Written at its end."""

    @property
    def nbytes(self) -> int:
        return self.count * np.dtype(self.kind).itemsize


@dataclass(frozen=True, eq=False)
class Found:
    """What a launch has found."""

    finished: BoolArray
    """(roots,) whether nothing is left below a root."""
    rows: IntArray
    """(leaves,) row of each leaf."""
    picks: IntArray
    """(leaves, n) its values, by position."""
    lost: bool
    """Whether there were more leaves than could be written down, so that nothing is proven."""
    counts: IntArray
    """(NUMBERS,) see `kernel`."""

    @property
    def complete(self) -> bool:
        """Whether every root is finished and every leaf written down."""
        return bool(self.finished.all()) and not self.lost


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a launch, sorted by plan, with errors in the units of their numbers."""

    plan: IntArray
    """(rows,) number of each one's plan."""
    threshold: FloatArray
    """(rows,) T of `Precision.threshold`."""
    doubled: FloatArray
    """(rows,) 2 r."""


@dataclass(frozen=True, eq=False)
class Roots:
    """The nodes to search below, sorted by row."""

    row: IntArray
    """(roots,)."""
    level: IntArray
    """(roots,) m, undecided positions."""
    centre: FloatArray
    """(roots, n) centres; what is decided is not read."""
    partial: FloatArray
    """(roots,) error of the decided ones."""
    pick: IntArray
    """(roots, n) values of the decided ones; what is undecided is not read."""


def work_of(rows: Sequence[DeviceRow], k: int) -> Work:
    """Of rows one by one, sorted by plan."""
    plans: list[Numbers] = []
    for row in rows:
        if not plans or plans[-1] is not row.numbers:
            plans.append(row.numbers)
    names = {id(plan): index for index, plan in enumerate(plans)}
    all_rows = Rows(
        np.array([names[id(row.numbers)] for row in rows]),
        np.array([row.threshold for row in rows]),
        np.array([row.doubled for row in rows]),
    )
    roots = [(index, root) for index, row in enumerate(rows) for root in row.roots]
    n, levels = plans[0].n, np.array([len(root.centres) for _, root in roots])
    centre, pick = np.zeros((len(roots), n)), np.zeros((len(roots), n), np.int64)
    for r, (_, root) in enumerate(roots):
        centre[r, : levels[r]], pick[r, levels[r] :] = root.centres, root.picks
    partial = np.array([root.partial for _, root in roots])
    of = np.array([index for index, _ in roots])
    return Work(plans, k, all_rows, Roots(of, levels, centre, partial, pick))


class Work:
    """Rows of the same length and grid, with `k` for all of them."""

    def __init__(self, plans: Sequence[Numbers], k: int, rows: Rows, roots: Roots) -> None:
        self.plans, self.rows, self.roots = plans, rows, roots
        self.precision = Precision(plans[0], k)
        one = plans[0]
        self.n, self.width, self.quads = one.n, one.width, one.quads

    @property
    def size(self) -> int:
        """Numbers of the slopes of one plan."""
        return len(self.plans[0].slope)

    @property
    def room(self) -> int:
        """Leaves that can be written down."""
        return LEAVES * len(self.rows.plan) + MORE_LEAVES

    def shared_bytes(self, threads: int) -> int:
        """Shared memory of a block."""
        groups = threads // LANES
        return 4 * (2 * self.size + self.width + groups * (3 * self.width + WORDS)) + groups * self.width

    def numbers(self, groups: int, least: int, give: int, names: int) -> list[int | float]:
        """The first arguments of the kernel: 8 whole numbers, 3 of float32."""
        whole = [self.n, self.width, self.size, len(self.plans), groups, least, give, names]
        return [*whole, self.plans[0].top, self.precision.offset, self.precision.grow]

    def fields(self, groups: int, names: int) -> dict[str, Field]:
        """The arrays, in the order of the kernel's arguments."""
        plans, rows, roots, width = self.plans, self.rows, self.roots, self.width
        count = len(roots.row)
        counters = np.zeros((len(plans), COUNTERS), np.int32)
        first = np.zeros(len(plans) + 1, np.int32)
        counters[:, PENDING] = np.bincount(rows.plan[roots.row], minlength=len(plans))
        first[1:] = np.cumsum(counters[:, PENDING])
        centre, pick = np.zeros((count, width), np.float32), np.zeros((count, width), np.uint8)
        pick[:, : self.n] = roots.pick
        for m in np.unique(roots.level):
            of = roots.level == m
            centre[of, :m] = start_centres(roots.centre[of, :m], self.precision.k, plans[0].top)
        down = roots.partial.astype(np.float32)
        down = np.where(down > roots.partial, np.nextafter(down, np.float32(0)), down)
        f, i, b = np.float32, np.int32, np.uint8

        def of_plans(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(plan, name) for plan in plans])

        def given(kind: type[Any], array: NDArray[Any], before: int = 0, value: int | None = None) -> Field:
            flat = np.ascontiguousarray(array, dtype=kind).ravel()
            return Field(kind, before + len(flat), value, flat)

        return {
            "slope": given(f, of_plans("slope")),
            "diagonal": given(f, of_plans("diagonal")),
            "pivot": given(f, of_plans("pivot")),
            "first": given(i, first),
            "counters": given(i, counters),
            "waiting": Field(i, len(plans) * names, -1),
            "box_centre": given(f, centre, groups * width),
            "box_partial": given(f, down, groups),
            "box_value": given(f, np.full(count, -1.0), groups),
            "box_level": given(i, roots.level, groups),
            "box_root": given(i, np.arange(count), groups),
            "box_full": Field(i, groups, 0),
            "box_pick": given(b, pick, groups * width),
            "root_row": given(i, roots.row),
            "root_left": Field(i, count, 1),
            "threshold": given(i, rows.threshold.astype(np.float32).view(np.int32)),
            "doubled": given(f, rows.doubled),
            "stop": Field(i, 1, 0),
            "leaf_count": Field(i, 1, 0),
            "leaf_row": Field(i, self.room),
            "leaf_cost": Field(f, self.room),
            "leaf_pick": Field(b, self.room * width),
            "stats": Field(np.int64, NUMBERS, 0),
        }

    def found(
        self, left: NDArray[Any], leaves: int, rows: NDArray[Any], picks: NDArray[Any], counts: IntArray
    ) -> Found:
        """From what the device has written, with picks as (leaves, width)."""
        return Found(
            left == 0, rows.astype(np.int64), picks[:, : self.n].astype(np.int64), leaves > self.room, counts
        )
