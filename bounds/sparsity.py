"""Sparsity constraints of a row: k non-zeros, N of every M, or blocks, in one description."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import ProblemError
from .gram import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Sparsity:
    """In each group of units at most `keep[group]` units may be non-zero.

    A *unit* is the set of inputs that are pruned together (one input, or a block); a *group* is the set of units
    that share a budget (all of them, or M consecutive ones for N:M).
    """

    unit: IntArray
    """(n,) unit of each input, 0 ... units - 1."""
    group: IntArray
    """(units,) group of each unit, 0 ... groups - 1."""
    keep: IntArray
    """(groups,) units that may stay non-zero."""
    update: bool = True
    """Kept weights are free (re-optimised); False: they stay what they are in w. Irrelevant with a grid."""
    kind: str = "row"
    """row | nm | block."""

    @classmethod
    def row(cls, n: int, k: int, update: bool = True) -> Sparsity:
        """At most k of n inputs non-zero."""
        if not 0 <= k <= n:
            raise ProblemError(f"kept inputs must be between 0 and {n}, not {k}")
        return cls(np.arange(n), np.zeros(n, np.int64), np.array([k]), update, "row")

    @classmethod
    def nm(cls, n: int, kept: int, of: int, update: bool = True) -> Sparsity:
        """At most `kept` of every `of` consecutive inputs non-zero (2:4 is kept=2, of=4)."""
        if not 0 <= kept <= of or of < 1:
            raise ProblemError(f"N:M sparsity needs 0 <= N <= M, not {kept}:{of}")
        if n % of:
            raise ProblemError(f"{kept}:{of} sparsity needs a multiple of {of} inputs, not {n}")
        return cls(np.arange(n), np.arange(n) // of, np.full(n // of, kept), update, "nm")

    @classmethod
    def blocks(cls, n: int, size: int, kept_blocks: int, update: bool = True) -> Sparsity:
        """At most `kept_blocks` blocks of `size` consecutive inputs non-zero."""
        if size < 1 or n % size:
            raise ProblemError(f"blocks of {size} do not divide {n} inputs; choose a divisor of {n}")
        units = n // size
        if not 0 <= kept_blocks <= units:
            raise ProblemError(f"kept blocks must be between 0 and {units}, not {kept_blocks}")
        return cls(np.arange(n) // size, np.zeros(units, np.int64), np.array([kept_blocks]), update, "block")

    def __post_init__(self) -> None:
        for name in ("unit", "group", "keep"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.int64))

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.group)

    @property
    def unit_size(self) -> int:
        """Largest number of inputs in a unit: 1 unless pruning in blocks."""
        return int(np.bincount(self.unit).max()) if len(self.unit) else 0

    @property
    def binding(self) -> bool:
        """Whether some group has more units than it may keep."""
        return bool((np.bincount(self.group, minlength=len(self.keep)) > self.keep).any())

    def take(self, inputs: IntArray) -> Sparsity:
        """The constraint on a subset of the inputs, the others being 0: budgets stay, empty units go."""
        kept_units, unit = np.unique(self.unit[inputs], return_inverse=True)
        kept_groups, group = np.unique(self.group[kept_units], return_inverse=True)
        sizes = np.bincount(group, minlength=len(kept_groups))
        keep = np.minimum(self.keep[kept_groups], sizes)
        return Sparsity(unit, group, keep, self.update, self.kind)

    def allows(self, mask: BoolArray) -> bool:
        """Whether a (n,) mask of non-zeros satisfies every budget."""
        unit_used = np.zeros(self.units, dtype=bool)
        unit_used[self.unit[mask]] = True
        used = np.bincount(self.group[unit_used], minlength=len(self.keep))
        return bool((used <= self.keep).all())

    def best_mask(self, score: FloatArray) -> BoolArray:
        """(n,) mask that keeps, in each group, the units with the largest summed score (ties: lower index)."""
        total = np.bincount(self.unit, weights=score, minlength=self.units)
        order = np.lexsort((np.arange(self.units), -total, self.group))
        starts = np.searchsorted(self.group[order], np.arange(len(self.keep)))
        rank = np.arange(self.units) - starts[self.group[order]]
        chosen = np.zeros(self.units, dtype=bool)
        chosen[order[rank < self.keep[self.group[order]]]] = True
        return chosen[self.unit]
