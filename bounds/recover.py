"""The scales behind quantized weights, from their values alone.

Values of a group are s L_j (or s (q - z) with an integer zero point), each rounded to the type it was stored in.
The largest magnitude is s times some level: every level is tried in its place, from the top down, and the first s
that puts every value on a level within its rounding is taken: the finest step. Where the values of an integer grid
share a factor, a coarser one would explain them as well, and a zero point is known only if the values reach both
ends of the grid (else the smallest value, or 0, is taken for its lowest level).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .codebooks import INT_GRIDS, Codebook
from .errors import ProblemError
from .gram import BoolArray, FloatArray
from .grid import nearest_index
from .ranges import inputs_of_group

SINGLE = float(np.finfo(np.float32).eps)
STORED, COMPUTED = 2.0, 4.0
"""A value may differ from its level by `STORED` times the resolution of its type, relative to itself (the product
and the scale are rounded, each by half of it), and by `COMPUTED` float32 resolutions of the largest magnitude of
its group (s q - s z is computed in float32)."""
FULL = 0.25
"""Part of the distance of two levels that these roundings may reach; beyond it the values tell no levels apart."""


TYPES = (np.float64, np.float32, np.float16)
TRIED = 16
"""Quotients of a value and its level that are tried as scales."""


@dataclass(frozen=True, eq=False)
class Recovered:
    """Scales and zero points that explain quantized weights."""

    scale: FloatArray
    """(rows or 1, groups)"""
    zero: FloatArray
    ambiguous: int
    """Groups that another scale would explain as well: their values share a factor, or are all 0."""


def rounding(values: FloatArray, eps: float) -> FloatArray:
    """How far each value, (groups, n), may be from its level, see `STORED`."""
    most = np.abs(values).max(axis=-1, keepdims=True)
    return STORED * eps * np.abs(values) + COMPUTED * min(eps, SINGLE) * most


def recover_scales(weight: FloatArray, book: Codebook, granularity: str, eps: float) -> Recovered:
    """Scales and zero points of quantized weights (out, n).

    Parameters
    ----------
    eps : resolution of the type that the weights were stored in.

    Raises
    ------
    ProblemError
        A group that no scale puts on the codebook; the message names the first.
    """
    out, n = weight.shape
    size = inputs_of_group(granularity, n)
    groups = -(-n // size)
    rows = 1 if granularity == "tensor" else out
    scale, zero, ambiguous = np.ones((rows, groups)), np.zeros((rows, groups)), 0
    for g in range(groups):
        values = weight[:, g * size : (g + 1) * size].reshape(rows, -1)
        found, ambiguous_here = _group(values, book, eps, scale[:, g], zero[:, g])
        if not found.all():
            row = int(np.flatnonzero(~found)[0])
            where = "the weights" if granularity == "tensor" else f"row {row}, inputs {g * size}:{(g + 1) * size}"
            raise ProblemError(
                f"`scales`: no scale puts {where} on the {len(book.levels)} levels of {book.name} "
                f"per {granularity}; check `bits`, `grid` and `granularity`"
            )
        ambiguous += ambiguous_here
    return Recovered(scale, zero, ambiguous)


def _group(
    values: FloatArray, book: Codebook, eps: float, scale: FloatArray, zero: FloatArray
) -> tuple[BoolArray, int]:
    """Fill (rows,) scales and zero points; which rows have one, and how many have others as well."""
    slack = rounding(values, eps)
    low, high = np.minimum(values.min(axis=1), 0.0), np.maximum(values.max(axis=1), 0.0)
    found = low == high  # all 0: any scale does
    ambiguous = int(found.sum())
    largest = np.where(high >= -low, high, low)
    span = high - low
    for top in sorted(_tops(book), key=abs, reverse=True):
        if found.all():
            break
        step = span / top if book.shifted else largest / top
        left = np.flatnonzero(~found & (step > 0))
        if not len(left):
            continue
        s = step[left, None]
        index = values[left] / s
        z = np.round(-low[left] / step[left]) if book.shifted else np.zeros(len(left))
        level = _nearest(index + z[:, None], book) - z[:, None]
        near = (np.abs(values[left] - s * level) <= np.minimum(slack[left], FULL * s * _gap(book))).all(axis=1)
        hit = left[near]
        found[hit], zero[hit] = True, z[near]
        for r, k in zip(hit, level[near], strict=True):
            scale[r] = _exact(values[r], k, step[r], eps)
            if book.name in INT_GRIDS:
                ambiguous += int(np.gcd.reduce(np.abs(k).astype(np.int64)) > 1)
    return found, ambiguous


def _tops(book: Codebook) -> FloatArray:
    """Levels that the largest magnitude may be; with a zero point, numbers of steps that the values may span."""
    return book.levels[1:] if book.shifted else book.levels[book.levels != 0]


def _gap(book: Codebook) -> float:
    return float(np.diff(book.levels).min())


def _nearest(values: FloatArray, book: Codebook) -> FloatArray:
    return book.levels[nearest_index(book.levels, values.ravel())].reshape(values.shape)


def _exact(values: FloatArray, level: FloatArray, step: float, eps: float) -> float:
    """The scale among the candidates whose products, rounded to the type, are most often the values themselves."""
    used = level != 0
    fitted = float(values @ level / (level @ level))
    kind = next((kind for kind in TYPES if np.finfo(kind).eps == eps), None)
    if kind is None:  # bfloat16 and below, which numpy does not have: the least-squares scale
        return fitted
    ratios = np.unique(values[used] / level[used])[:TRIED]
    coarser = [kind for kind in (np.float16, np.float32) if np.finfo(kind).eps <= eps]  # of the scale itself
    stored = [float(kind(s)) for kind in coarser for s in (fitted, step)]
    best, most = fitted, -1
    for s in [*stored, step, fitted, *ratios]:
        same = int((np.asarray(s * level, dtype=kind) == values).sum()) if s > 0 else -1
        if same > most:
            best, most = float(s), same
    return best
