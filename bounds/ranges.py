"""Choose the scales of a layer's quantization grid: min-max, least squared error, or least layer error."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from .codebooks import Codebook
from .compiling import compiled
from .errors import ProblemError
from .gram import FloatArray, Gram, IntArray
from .grid import FreeScale, Grid, nearest_index

GIVEN = "given"
"""The range of a problem whose scales are somebody's own."""
OPTIMAL = "optimal"
"""The range of a problem whose scales are searched."""
RANGES = ("mse", "minmax", "gram", OPTIMAL, "none")
WIDEST = 4.0
"""They are searched from 1 / WIDEST to WIDEST times the one of least squared rounding error."""
# Candidate scales as fractions of the min-max scale: coarse, then twice around the best. Above 1 a wider grid can
# still round better; far below 5% the best one lies for weights with a few outliers: in MiniLM's `output.dense`
# layers (kurtosis up to 1600) stopping at 5% costs 4.7 to 6.4 dB at 2 bits.
OUTLIERS = 0.05
COARSE = np.concatenate([np.linspace(OUTLIERS, 1.2, 116), np.geomspace(1e-4, OUTLIERS, 66)[:-1]])
FINE = (np.linspace(-0.01, 0.01, 21), np.linspace(-0.001, 0.001, 21))
GRAM_STEPS = (np.linspace(0.2, 1.1, 46), np.linspace(-0.02, 0.02, 9))


@dataclass(frozen=True, eq=False)
class LayerGrid:
    """Grids of all rows of a layer: levels = scale * (codebook - zero), one scale per row and group of inputs."""

    codebook: Codebook
    scale: FloatArray
    """(rows or 1, groups), positive; a single row holds for all."""
    zero: FloatArray
    """Same shape; integers, 0 unless the codebook is shifted."""
    group_size: int
    """Consecutive inputs that share a scale."""
    span: tuple[FloatArray, FloatArray] | None = None
    """Least and largest scale, of the shape of `scale`, where it is searched."""

    def row(self, r: int, inputs: range) -> Grid:
        """The grid of row r (number in the whole layer) on a range of inputs."""
        r = r if len(self.scale) > 1 else 0
        of_input = np.asarray(inputs) // self.group_size
        used, group = np.unique(of_input, return_inverse=True)
        scale, zero = self.scale[r, used], self.zero[r, used]
        levels = scale[:, None] * (self.codebook.levels[None, :] - zero[:, None])
        free = None
        if self.span is not None:  # one group
            low, high = (float(ends[r, 0]) for ends in self.span)
            free = FreeScale(self.codebook.levels - zero[0], low, high)
        return Grid(levels, group, scale, zero, free)


def fit_grid(
    weight: FloatArray,
    codebook: Codebook,
    granularity: str = "tensor",
    method: str = "mse",
    grams: tuple[Gram, ...] = (),
    gram_of_row: IntArray | None = None,
) -> LayerGrid:
    """Choose the scales of a weight tensor (out, n).

    Parameters
    ----------
    granularity : tensor (one scale), channel (one per row) or group:G (one per G consecutive inputs of a row).
    method : minmax covers every weight without clipping; mse minimises the sum of squared rounding errors over
        the weights that share the scale; gram minimises the layer error e of rounding to nearest (for group:G with
        the group's own block of H); optimal leaves the scale to the solver, which starts from mse; none takes the
        codebook as it is.
    grams, gram_of_row : the Gram matrices, for method gram only.

    Raises
    ------
    ProblemError
        Unknown granularity or range.
    """
    out, n = weight.shape
    group_size = inputs_of_group(granularity, n)
    if method not in RANGES:
        raise ProblemError(f"`range` must be one of {', '.join(RANGES)}, not '{method}'")
    groups = -(-n // group_size)
    rows = 1 if granularity == "tensor" else out
    if method == "none":
        return LayerGrid(codebook, np.ones((1, groups)), np.zeros((1, groups)), group_size)
    scale, zero = np.ones((rows, groups)), np.zeros((rows, groups))
    for g in range(groups):
        inputs = slice(g * group_size, min((g + 1) * group_size, n))
        blocks = weight[:, inputs].reshape(rows, -1)
        if method == "gram":
            assert gram_of_row is not None
            pair = _gram_search(weight[:, inputs], codebook, blocks, grams, gram_of_row, inputs)
        elif method in ("mse", OPTIMAL):
            pair = fit_sorted(np.sort(blocks, axis=1), codebook)
        else:
            pair = candidate(codebook, blocks.min(axis=1), blocks.max(axis=1), np.ones(rows))
        scale[:, g], zero[:, g] = pair
    span = None
    if method == OPTIMAL:
        if granularity not in ("tensor", "channel"):
            raise ProblemError(
                "`range` optimal takes `granularity` tensor or channel; groups have scales of their own"
            )
        with np.errstate(over="ignore"):
            span = scale / WIDEST, scale * WIDEST
    return LayerGrid(codebook, scale, zero, group_size, span)


def given_grid(
    shape: tuple[int, ...], book: Codebook, granularity: str, scale: FloatArray, zero: FloatArray
) -> LayerGrid:
    """The grid of given scales and zero points, (out, groups); one row of them where it is the same for all.

    Raises
    ------
    ProblemError
        Another shape, a scale that is not positive, a zero point that is no integer or not 0 where there is none.
    """
    out, n = shape
    size = inputs_of_group(granularity, n)
    expected = (1 if granularity == "tensor" else out, -(-n // size))
    if scale.shape != expected or zero.shape != expected:
        raise ProblemError(f"`scales` of shape {scale.shape} do not fit {granularity} of {out} x {n}: {expected}")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ProblemError("`scales` must be positive")
    whole = bool((zero == np.round(zero)).all()) if book.shifted else not zero.any()
    if not np.isfinite(zero).all() or not whole:
        raise ProblemError("`scales`: zero points are whole numbers, 0 unless the grid is int-asym")
    return LayerGrid(book, scale, zero, size)


def at_scales(grid: LayerGrid, scale: FloatArray, zero: FloatArray) -> LayerGrid:
    """A grid whose scales are searched, at some that were found; its zero points are not searched.

    Raises
    ------
    ProblemError
        Another shape, a scale out of its range, or another zero point.
    """
    if scale.shape != grid.scale.shape or grid.span is None or not np.array_equal(zero, grid.zero):
        raise ProblemError("`scales` are not those of this grid")
    low, high = grid.span
    if not ((low <= scale) & (scale <= high)).all():
        raise ProblemError("`scales` are not in the range that is searched")
    return replace(grid, scale=scale)


def fit_sorted(values: FloatArray, codebook: Codebook) -> tuple[FloatArray, FloatArray]:
    """(rows,) scales and zero points of least squared rounding error for (rows, n) values, each row sorted."""
    scale, zero = _mse_search(values, codebook.levels, codebook.shifted, COARSE, *FINE)
    return scale, zero


def inputs_of_group(granularity: str, n: int) -> int:
    """Consecutive inputs of a row that share a scale: at most the n there are."""
    if granularity in ("tensor", "channel"):
        return n
    kind, _, size = granularity.partition(":")
    if kind != "group" or not re.fullmatch(r"0*[1-9]\d{0,17}", size):
        raise ProblemError(
            f"`granularity` must be tensor, channel or group:G (group:128), not '{granularity[:60]}'"
        )
    return min(int(size), n)


def candidate(
    book: Codebook, least: FloatArray, most: FloatArray, fraction: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Scale and zero point that cover a fraction of the range [least, most] of each group; 1 covers all of it."""
    pairs = [_cover(book.levels, book.shifted, *group) for group in zip(least, most, fraction, strict=True)]
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])


@compiled()
def _cover(levels, shifted, least, most, fraction):  # type: ignore[no-untyped-def]
    """Smallest scale whose levels cover fraction * [least, most], and its zero point."""
    low, high = min(least, 0.0) * fraction, max(most, 0.0) * fraction
    if shifted:
        scale = (high - low) / (levels[-1] - levels[0])
        if scale <= 0.0 or not np.isfinite(scale):
            return 1.0, 0.0
        return scale, min(max(np.rint(-low / scale), levels[0]), levels[-1])
    scale = 0.0
    if high > 0 and levels[-1] > 0:
        scale = high / levels[-1]
    if low < 0 and levels[0] < 0:
        scale = max(scale, low / levels[0])
    if scale <= 0.0:  # all weights 0, or on the side where the codebook has no levels
        scale = max(high, -low) / max(abs(levels[0]), abs(levels[-1]))
    return (scale if scale > 0.0 else 1.0), 0.0


@compiled(no_cpython_wrapper=True)
def _squared_error(values, sum1, sum2, levels, scale, zero):  # type: ignore[no-untyped-def]
    """Sum of squared rounding errors of sorted values, by cells from prefix sums, O(L log N), or by values.

    A value midway between two levels goes to the lower one.
    """
    total = 0.0
    start = 0
    count = len(levels)
    if len(values) <= 4 * count:  # few values: one walk along both, O(L + N), is quicker
        level = scale * (levels[0] - zero)
        for value in values:
            while start + 1 < count:
                above = scale * (levels[start + 1] - zero)
                if value <= (level + above) / 2:
                    break
                level = above
                start += 1
            total += (value - level) ** 2
        return total
    for j in range(count):
        level = scale * (levels[j] - zero)
        end = len(values)
        if j + 1 < count:
            middle = (level + scale * (levels[j + 1] - zero)) / 2
            low = start
            while low < end:  # numba's own search takes half a second to compile
                at = (low + end) // 2
                if values[at] <= middle:
                    low = at + 1
                else:
                    end = at
        if end > start:
            first, second = sum1[end] - sum1[start], sum2[end] - sum2[start]
            total += second - 2 * level * first + level * level * (end - start)
            start = end
    return total


@compiled()
def _mse_search(blocks, levels, shifted, coarse, fine, finest):  # type: ignore[no-untyped-def]
    """Best scale and zero point of each row of sorted values over the candidate fractions of min-max."""
    rows, size = blocks.shape
    scales, zeros = np.empty(rows), np.empty(rows)
    sum1, sum2 = np.empty(size + 1), np.empty(size + 1)
    for r in range(rows):
        values = blocks[r]
        scales[r], zeros[r] = 1.0, 0.0
        sum1[0], sum2[0] = 0.0, 0.0
        for i in range(size):
            sum1[i + 1] = sum1[i] + values[i]
            sum2[i + 1] = sum2[i] + values[i] * values[i]
        best, best_fraction = np.inf, 1.0
        for stage in range(3):
            centre = 0.0 if stage == 0 else best_fraction
            steps = coarse if stage == 0 else (fine if stage == 1 else finest)
            shrink = min(1.0, centre / OUTLIERS) if stage else 1.0  # below 5% the steps are relative
            for unit in steps:
                step = unit * shrink
                scale, middle = _cover(levels, shifted, values[0], values[-1], centre + step)
                reach = 2.0 if shifted else 0.0
                zero = max(middle - reach, levels[0]) if shifted else 0.0
                last = min(middle + reach, levels[-1]) if shifted else 0.0
                while zero <= last:
                    error = _squared_error(values, sum1, sum2, levels, scale, zero)
                    if error < best:
                        best, best_fraction, scales[r], zeros[r] = error, centre + step, scale, zero
                    zero += 1.0
    return scales, zeros


def _gram_search(
    weight: FloatArray,
    book: Codebook,
    blocks: FloatArray,
    grams: tuple[Gram, ...],
    gram_of_row: IntArray,
    cut: slice,
) -> tuple[FloatArray, FloatArray]:
    """Scales with the least layer error of rounding to nearest: fractions of min-max, then around the best.

    Starts from the scales of least squared rounding error, so the layer error is never above theirs.
    """
    least, most = blocks.min(axis=1), blocks.max(axis=1)
    scale, zero = fit_sorted(np.sort(blocks, axis=1), book)
    best = _layer_error(weight, book, scale, zero, grams, gram_of_row, cut)
    fraction = np.ones(len(best))
    for stage in GRAM_STEPS:
        centre = fraction.copy() if stage[0] < 0 else np.zeros(len(best))
        for step in stage:
            tried = centre + step
            scales, zeros = candidate(book, least, most, tried)
            error = _layer_error(weight, book, scales, zeros, grams, gram_of_row, cut)
            better = error < best
            best[better], scale[better], zero[better] = error[better], scales[better], zeros[better]
            fraction[better] = tried[better]
    return scale, zero


def _layer_error(
    weight: FloatArray,
    book: Codebook,
    scale: FloatArray,
    zero: FloatArray,
    grams: tuple[Gram, ...],
    gram_of_row: IntArray,
    cut: slice,
) -> FloatArray:
    """(scales,) error e of rounding to nearest, summed over the rows that share a scale."""
    per_row = np.broadcast_to(scale, len(weight))[:, None]
    ratio = weight / per_row + np.broadcast_to(zero, len(weight))[:, None]
    difference = (ratio - book.levels[nearest_index(book.levels, ratio)]) * per_row
    error = np.zeros(len(weight))
    for g, gram in enumerate(grams):
        u = difference[gram_of_row == g]
        error[gram_of_row == g] = np.einsum("ri,ri->r", u @ gram.matrix[cut, cut], u)
    return error if len(scale) > 1 else np.array([error.sum()])
