"""Output error of plain rounding and magnitude pruning on a layer, beside the rate-distortion limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..codebooks import FIXED_BITS, codebook
from ..errors import ProblemError
from ..gram import FloatArray
from ..grid import nearest_index
from ..ranges import fit_grid
from ..sqnr import sqnr_db
from .analytic import sparsity_of
from .rate_distortion import water_filling


@dataclass(frozen=True)
class OutputRow:
    """SQNR of a layer's output; None for no error."""

    bits: int
    rounding_db: float | None
    """Rounding to nearest, one range of least squared error for the tensor."""
    magnitude_db: float | None
    """The k = floor(n b / 16) largest weights of each row kept as they are."""
    limit_db: float
    """Reverse water-filling at b bits a weight: the average over Gaussian weights, no bound for these."""


def output_rows(weight: FloatArray, grams: FloatArray, grid: str, widths: Sequence[int]) -> list[OutputRow]:
    """For each bit width; e = sum over rows of (w - x)' H (w - x).

    Parameters
    ----------
    weight : (out, n).
    grams : (groups, n, n); group g holds for the g-th of equal parts of the rows.

    Raises
    ------
    ProblemError
        The layer has no output: its weights or its inputs are 0.
    """
    limit = water_filling(grams)
    reference = _error(weight, grams)
    if reference <= 0:
        raise ProblemError("the layer's output is 0: nothing to compare")
    rows = []
    for bits in widths:
        book = codebook(grid, None if grid in FIXED_BITS else bits)
        fitted = fit_grid(weight, book)
        ratio = weight / fitted.scale + fitted.zero
        rounded = (book.levels[nearest_index(book.levels, ratio)] - fitted.zero) * fitted.scale
        rows.append(
            OutputRow(
                bits,
                sqnr_db(reference, _error(weight - rounded, grams)),
                sqnr_db(reference, _error(_smallest(weight, sparsity_of(bits)), grams)),
                limit.limit_db(bits),
            )
        )
    return rows


def _smallest(weight: FloatArray, sparsity: float) -> FloatArray:
    """Of each row the weights that magnitude pruning removes, 0 elsewhere."""
    n = weight.shape[1]
    kept = math.floor(n * (1 - sparsity) + 1e-9)
    removed = weight.copy()
    order = np.argsort(-np.abs(weight), axis=1, kind="stable")
    np.put_along_axis(removed, order[:, :kept], 0.0, axis=1)
    return removed


def _error(difference: FloatArray, grams: FloatArray) -> float:
    parts = np.split(difference, len(grams))
    return max(0.0, sum(float(np.sum((u @ h) * u)) for u, h in zip(parts, grams, strict=True)))
