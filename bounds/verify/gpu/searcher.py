"""What stands in for `sweep` where a GPU is asked for: the GPU, and `sweep` itself once the GPU has failed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...cuda.driver import GpuError
from ...cuda.image import missing
from ..sweep import sweep
from ..visit import Factors, filled
from .device import Device
from .search import LAST, Launcher, search


class Searcher:
    """Searches of one verification, with what has become of them."""

    def __init__(self, launcher: Launcher, name: str) -> None:
        self._launcher, self.name = launcher, name
        self.searches, self.nodes = 0, 0
        """That the GPU has repeated."""
        self.failed = ""
        """What it said when it failed."""

    def __call__(self, *given: Any) -> tuple[float, int]:
        """As `sweep`."""
        if given[4] <= LAST and not self.failed:
            try:
                found = search(self._launcher, *given)
            except GpuError as error:  # nothing is known of this search
                self.failed = str(error)
            else:
                self.searches += 1
                self.nodes += found[1]
                return found
        return sweep(*given)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was repeated where, in lines."""
        said = f"{self.searches} searches were repeated on the GPU ({self.name}), {self.nodes:,} nodes"
        failed = f"the GPU has failed, and the CPU has repeated the rest: {self.failed}"
        return (said, *([failed] if self.failed else []))


def on_gpu() -> Searcher:
    """The GPU of this machine, once it has repeated a search whose result the CPU knows.

    Raises
    ------
    GpuError
        There is none that can be used.
    """
    why = missing()
    if why is not None:
        raise GpuError(why)
    device = Device()
    check(lambda *given: search(device, *given))
    return Searcher(device, device.name)


def check(searching: Callable[..., tuple[float, int]]) -> None:
    """Raise `GpuError` unless this searches two small trees as `sweep` does, one of them without a point below."""
    n, top = 40, 3.0
    fraction = np.modf(np.arange(1.0, n * n + 1) * 0.6180339887498949)[0].reshape(n, n)
    slope = filled(np.tril(fraction - 0.5, -1))
    diagonal = filled(np.tril(np.full((n + 1, n), 0.04), -1))  # .046 is the least eigenvalue
    factors = Factors(0.5 + fraction[0], slope, diagonal)
    given = 4 * fraction[1] - 0.5, factors, np.zeros(n), np.ones(n), top
    for threshold in (3.0, 4.0):  # the least sum is 3.1395
        more = threshold, 10**9, np.zeros(1, dtype=bool)
        mine, theirs = sweep(*given, *more), searching(*given, *more)
        same = mine[1] == theirs[1] or mine[0] < threshold  # with a point below, the order counts
        if not (same and math.isclose(mine[0], theirs[0], rel_tol=1e-12)):
            raise GpuError("the GPU does not search as the CPU does")
