"""A row's quantization grid: the finite set of values each input may take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import ProblemError
from .gram import FloatArray, IntArray

MAX_LEVELS = 4096


@dataclass(frozen=True, eq=False)
class FreeScale:
    """The scale of a row is chosen with its weights: they are scale * codes in float64, for a scale of a range."""

    codes: FloatArray
    """(L,) the levels at scale 1."""
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Grid:
    """Input i of a row may take the values `levels[group[i]]`."""

    levels: FloatArray
    """(groups, L), every row strictly increasing. One row unless the scale differs between inputs."""
    group: IntArray
    """(n,) the row of `levels` that holds for each input."""
    scale: FloatArray | None = None
    """(groups,) scale of each group where levels = scale * (codebook - zero); None for levels given as such."""
    zero: FloatArray | None = None
    """(groups,) zero point of each group, a whole number; None where there is no scale."""
    free: FreeScale | None = None
    """Where `levels` are those of one of many scales; bounds that hold at it alone are then none."""

    def __post_init__(self) -> None:
        levels = np.ascontiguousarray(self.levels, dtype=np.float64)
        group = np.ascontiguousarray(self.group, dtype=np.int64)
        if levels.ndim != 2 or levels.shape[1] < 2:
            raise ProblemError("a grid needs at least 2 levels")
        if levels.shape[1] > MAX_LEVELS:
            raise ProblemError(f"a grid may have at most {MAX_LEVELS} levels, not {levels.shape[1]}")
        if not np.isfinite(levels).all():
            raise ProblemError("grid levels must be finite")
        if not (np.diff(levels, axis=1) > 0).all():
            raise ProblemError("grid levels must be strictly increasing (sorted, without duplicates)")
        if group.ndim != 1 or (len(group) and not 0 <= group.min() <= group.max() < len(levels)):
            raise ProblemError("grid groups must name a row of levels for each input")
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "group", group)

    @property
    def count(self) -> int:
        """Number of levels L."""
        return self.levels.shape[1]

    def take(self, inputs: IntArray) -> Grid:
        """The grid of a subset of the inputs."""
        return Grid(self.levels, self.group[inputs], self.scale, self.zero, self.free)

    def of(self, i: int) -> FloatArray:
        """(L,) levels of input i."""
        return self.levels[self.group[i]]

    def nearest(self, values: FloatArray) -> FloatArray:
        """Round (n,) values to the nearest level (ties to the lower one): round-to-nearest with clipping."""
        rounded = np.empty(len(values))
        for g, levels in enumerate(self.levels):
            of_group = self.group == g
            rounded[of_group] = levels[nearest_index(levels, values[of_group])]
        return rounded

    def contains(self, x: FloatArray) -> bool:
        """Whether every x_i is exactly one of its levels."""
        return bool(np.array_equal(self.nearest(x), x))


def nearest_index(levels: FloatArray, values: FloatArray) -> IntArray:
    """Index of the level nearest to each value; a value midway between two goes to the lower one."""
    midpoints = (levels[:-1] + levels[1:]) / 2
    return np.searchsorted(midpoints, values, side="left").astype(np.int64)
