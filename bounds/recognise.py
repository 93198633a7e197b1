"""What was done to somebody's weights, from their values alone: which grid they lie on, which zeros they have.

Fewest bits first, at one scale for all, then one a row, then one for each group of inputs: the grid of fewest
bits that has every weight, up to the rounding of the type it was stored in, is taken. Zeros are a pattern where
they are N of every M inputs, or as many in each row; others are of the layer, but a level of quantized weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .codebooks import codebook
from .errors import ProblemError
from .gram import BoolArray, FloatArray
from .layer_problem import Setting, kept
from .ranges import GIVEN, inputs_of_group
from .recover import Recovered, recover_scales

GROUPS = (256, 128, 64, 32, 16)
"""Inputs that share a scale, in the order in which they are tried."""
GRIDS = (("ternary", 2), ("int", 2), ("int-asym", 2), ("int", 3), ("int-asym", 3), ("int", 4), ("int-asym", 4),
         ("nf4", 4), ("fp4-e2m1", 4), ("int", 5), ("int-asym", 5), ("int", 6), ("int-asym", 6), ("int", 7),
         ("int-asym", 7), ("int", 8), ("int-asym", 8), ("fp8-e4m3", 8))  # fmt: skip
"""Grids and their bits, fewest first."""
INTEGER = ("int", "int-asym")
PATTERNS = (4, 8, 16, 32)
"""M of the N:M patterns that are looked for."""
FULL = 0.95
"""Of the weights that a pattern may keep, so many are kept: else a smaller pattern or none was meant."""
PRUNED = 0.01
"""Share of new zeros from which weights are pruned."""
LOOK = 4
"""Rows on which a grid is tried before all."""


@dataclass(frozen=True, eq=False)
class Recognised:
    """The problem that somebody's weights are an answer to."""

    setting: Setting | None
    """None: the weights are others than they were, on no grid and without a pattern."""
    grid: Recovered | None = None
    """Its scales and zero points, where there is a grid."""
    eps: float = 0.0
    """Resolution at which the weights are on it: that of their type, or of a coarser one that has them all."""
    unchanged: bool = False
    """Whether the weights are what they were, up to the rounding of their type."""


Known = tuple[dict[str, Any], Recovered]
"""Words of a grid, and its scales."""


def recognise(weight: FloatArray, other: FloatArray, eps: float, known: Known | None = None) -> Recognised:
    """What was done to weights (out, n).

    Parameters
    ----------
    weight : as they were.
    other : as they are now, finite.
    eps : resolution of the type that these were stored in.
    known : the grid, where a file says it.
    """
    if known is None and same(weight, other, eps):
        return Recognised(None, unchanged=True)
    pattern = _pattern(weight, other, eps)
    found = _grid(other, eps) if known is None else (*known, eps)
    if found is None:
        return Recognised(None if pattern is None else Setting("prune", **pattern), eps=eps)
    words, grid, used = found
    if pattern is None or pattern.get("scope") == "layer":
        return Recognised(Setting("quant", **words, range=GIVEN), grid, used)
    return Recognised(Setting("joint", **words, range=GIVEN, **{**pattern, "update": True}), grid, used)


def same(weight: FloatArray, other: FloatArray, eps: float) -> bool:
    """Whether weights are what they were but for a rounding to a type of this resolution."""
    return bool((np.abs(weight - other) <= eps * np.abs(weight) + np.finfo(np.float64).tiny).all())


def coarser(other: FloatArray, eps: float) -> list[float]:
    """Resolutions to try: the type's own, and that of the coarsest type that has every value as it is."""
    singles = other.astype(np.float32)
    tried = [eps]
    if np.array_equal(singles, other):
        halves = (
            2.0**-7 if not (np.ascontiguousarray(singles).view(np.uint32) & 0xFFFF).any() else None
        )  # bfloat16
        if halves is None and np.abs(singles).max() < 6e4 and np.array_equal(singles.astype(np.float16), other):
            halves = 2.0**-10
        tried.append(halves or 2.0**-23)
    return [value for value in dict.fromkeys(tried) if value >= eps]


def _grid(other: FloatArray, eps: float) -> tuple[dict[str, Any], Recovered, float] | None:
    """The grid of fewest bits, at the coarsest granularity that has one."""
    best: tuple[int, dict[str, Any], Recovered, float] | None = None
    for granularity in _granularities(other.shape):
        most = 9 if best is None else best[0]
        for resolution in coarser(other, eps):
            for name, bits in GRIDS:
                if bits >= most:
                    break
                grid = _fitted(other, name, bits, granularity, resolution)
                if grid is not None:
                    given = bits if name in INTEGER else None
                    best = bits, {"bits": given, "grid": name, "granularity": granularity}, grid, resolution
                    break
            if best is not None and best[0] < most:
                break
    return None if best is None else best[1:]


def _granularities(shape: tuple[int, ...]) -> Iterator[str]:
    yield "tensor"
    if shape[0] > 1:
        yield "channel"
    yield from (f"group:{size}" for size in GROUPS if size < shape[1])


def _fitted(other: FloatArray, name: str, bits: int, granularity: str, eps: float) -> Recovered | None:
    """Scales that put every weight on a grid, None where there are none."""
    book = codebook(name, bits if name in INTEGER else None)
    size = inputs_of_group(granularity, other.shape[1])
    if granularity == "tensor" and len(np.unique(other[:, : 4 * len(book.levels)])) > len(book.levels):
        return None
    try:
        if granularity != "tensor" and len(other) > LOOK:
            rows = np.unique(np.linspace(0, len(other) - 1, LOOK).astype(int))
            recover_scales(other[rows, :size], book, "channel", eps)
        return recover_scales(other, book, granularity, eps)
    except ProblemError:
        return None


def _pattern(weight: FloatArray, other: FloatArray, eps: float) -> dict[str, Any] | None:
    """Words of the pattern that the zeros have, and whether the kept weights are what they were."""
    mask: BoolArray = other != 0
    if float(((weight != 0) & ~mask).mean()) < PRUNED:
        return None
    update = not same(np.where(mask, weight, 0.0), other, eps)
    out, n = mask.shape
    for size in PATTERNS:
        if n % size or n == size:
            continue
        count = mask.reshape(out, -1, size).sum(axis=2)
        most = int(count.max())
        if 0 < most < size and count.mean() >= FULL * most:
            return {"nm": (most, size), "update": update}
    each = mask.sum(axis=1)
    most = int(each.max())
    if 0 < most < n and each.mean() >= FULL * most and (each == most).mean() >= FULL:
        return {"sparsity": sparsity_of(most, n), "update": update}
    if not most:
        return None
    return {"sparsity": sparsity_of(int(each.sum()), out * n), "scope": "layer", "update": update}


def sparsity_of(count: int, of: int) -> float:
    """The sparsity at which so many units are kept, whatever its rounding."""
    sparsity = 1 - count / of
    return sparsity if kept(of, sparsity) == count else 1 - (count + 0.25) / of
