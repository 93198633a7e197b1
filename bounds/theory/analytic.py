"""Expected squared error of quantizing or pruning weights of a known distribution (Kuzmin et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import optimize

from ..codebooks import FIXED_BITS, INT_GRIDS, Codebook, codebook
from ..errors import ProblemError
from ..gram import FloatArray
from ..ranges import fit_sorted
from ..sqnr import sqnr_db
from .distributions import Distribution, Empirical

FULL_BITS = 16
"""What a weight costs before compression; b bits are compared with sparsity 1 - b / 16."""
# Range search: the largest level, in units of sqrt(E[x^2]). At the lower end nearly all mass is clipped; at the
# upper end the step of even a 12-bit grid is several units, so that a plain grid rounds everything to 0.
LEAST_REACH, MOST_REACH = 1e-2, 1e4
PER_DECADE = 60
"""On a floating-point grid the error has a valley in each octave of the scale: 18 steps an octave see it."""
VALLEYS = 6
"""So many of the lowest local minima of the scan are refined."""


@dataclass(frozen=True, eq=False)
class FittedGrid:
    """A grid scale * (codebook - zero) with the least expected error among the scales tried."""

    scale: float
    zero: float
    levels: FloatArray
    error: float
    """E[(x - Q(x))^2], Q rounding to the nearest level."""


@dataclass(frozen=True)
class ExpectedErrors:
    """Quantization to b bits against pruning to sparsity 1 - b / 16."""

    bits: int
    quantized: FittedGrid
    sparsity: float
    threshold: float
    pruned_error: float
    quant_db: float | None
    """SQNR = 10 log10(E[x^2] / error); None for no error at all."""
    prune_db: float | None

    @property
    def compression(self) -> float:
        """16 / b."""
        return FULL_BITS / self.bits

    @property
    def advantage_db(self) -> float | None:
        """SQNR of quantization minus SQNR of pruning; None where either is infinite."""
        if self.quant_db is None or self.prune_db is None:
            return None
        return self.quant_db - self.prune_db


def sparsity_of(bits: float) -> float:
    """The sparsity that compresses as much as b of 16 bits: 1 - b / 16 (positions of the zeros not counted)."""
    return 1 - bits / FULL_BITS


def quantization_error(source: Distribution, levels: FloatArray) -> float:
    """E[(x - Q(x))^2] on increasing levels q_j: rounding and clipping error, exactly.

    Cell j lies between the midpoints around q_j, the outer two extend to infinity; each adds
    E[x^2; cell] - 2 q_j E[x; cell] + q_j^2 P(cell), from the partial moments of the distribution.
    """
    edges = np.concatenate([[-np.inf], (levels[:-1] + levels[1:]) / 2, [np.inf]])
    mass, first, second = np.diff(source.below(edges), axis=1)
    return max(0.0, float(np.sum(second - 2 * levels * first + levels**2 * mass)))


def shifted_errors(source: Distribution, scale: float, count: int) -> FloatArray:
    """(count,) error of the grid scale * ({0..count-1} - z) for every zero point z = 0..count-1.

    All these grids cut the line into the same cells, so that one prefix sum of the cells' errors and the errors
    of clipping at each end give all of them.
    """
    k = np.arange(1.0 - count, count)
    level = scale * k
    moments = source.below(np.concatenate([level - scale / 2, [level[-1] + scale / 2, np.inf]]))
    whole, moments = moments[:, -1:], moments[:, :-1]

    def weigh(part: FloatArray) -> FloatArray:
        return np.asarray(part[2] - 2 * level * part[1] + level**2 * part[0])

    inner = np.concatenate([[0.0], np.cumsum(weigh(np.diff(moments, axis=1)))])
    from_below = weigh(moments[:, 1:])  # everything up to the cell's end is rounded to this level
    from_above = weigh(whole - moments[:, :-1])
    zero = np.arange(count)
    first, last = count - 1 - zero, 2 * (count - 1) - zero
    return np.maximum(0.0, from_below[first] + (inner[last] - inner[first + 1]) + from_above[last])


def fit_range(source: Distribution, book: Codebook) -> FittedGrid:
    """The scale (and zero point) with the least expected error.

    The error is not unimodal in the scale (heavy tails, floating-point grids): a scan over logarithmic steps, then
    Brent's bounded search in the lowest valleys. Samples take the search that every weight tensor takes.
    """
    if isinstance(source, Empirical):
        scales, zeros = fit_sorted(source.values[None, :], book)
        scale, zero = float(scales[0]) * source.largest, float(zeros[0])
        levels = scale * (book.levels - zero)
        return FittedGrid(scale, zero, levels, source.rounding_error(levels))
    count = len(book.levels)

    def error_of(scale: float) -> float:
        if book.shifted:
            return float(shifted_errors(source, scale, count).min())
        return quantization_error(source, scale * book.levels)

    unit = math.sqrt(source.mean_square) / float(np.abs(_extent(book)).max())
    decades = math.log10(MOST_REACH / LEAST_REACH)
    scales = unit * np.geomspace(LEAST_REACH, MOST_REACH, round(decades * PER_DECADE) + 1)
    errors = np.array([error_of(scale) for scale in scales])
    padded = np.concatenate([[np.inf], errors, [np.inf]])
    valleys = np.flatnonzero((errors <= padded[:-2]) & (errors <= padded[2:]))
    best, least = float(scales[errors.argmin()]), float(errors.min())
    for i in valleys[np.argsort(errors[valleys], kind="stable")][:VALLEYS]:
        bracket = np.log([scales[max(i - 1, 0)], scales[min(i + 1, len(scales) - 1)]])
        found = optimize.minimize_scalar(
            lambda log_scale: error_of(math.exp(log_scale)),
            bounds=tuple(bracket),
            method="bounded",
            options={"xatol": 1e-7},  # the error is flat there: 1e-14 relative
        )
        if found.fun < least:
            best, least = math.exp(found.x), float(found.fun)
    zero = float(shifted_errors(source, best, count).argmin()) if book.shifted else 0.0
    levels = best * (book.levels - zero)
    return FittedGrid(best, zero, levels, quantization_error(source, levels))


def _extent(book: Codebook) -> FloatArray:
    """Levels whose largest magnitude says how far the grid reaches; with a zero point: half of them each side."""
    return book.levels - book.levels.mean() if book.shifted else book.levels


def compare(source: Distribution, grid: str, bits: int) -> ExpectedErrors:
    """Quantization at its best range against magnitude pruning, at equal compression."""
    fitted = fit_range(source, codebook(grid, None if grid in FIXED_BITS else bits))
    sparsity = sparsity_of(bits)
    threshold, pruned_error = source.prune(sparsity)
    reference = source.mean_square
    return ExpectedErrors(
        bits,
        fitted,
        sparsity,
        threshold,
        pruned_error,
        sqnr_db(reference, fitted.error),
        sqnr_db(reference, pruned_error),
    )


def bit_widths(grid: str, bits: tuple[int, int] | None) -> list[int]:
    """The bit widths to look at: those asked for; 2 to 8, or the one of a fixed format, if none are.

    Raises
    ------
    ProblemError
        A width the grid does not have, or that leaves nothing to prune.
    """
    if bits is None:
        if grid in FIXED_BITS:
            return [FIXED_BITS[grid]]
        if grid in INT_GRIDS:
            return list(range(2, 9))
        count = len(codebook(grid, None).levels)
        return [max(1, math.ceil(math.log2(count)))]
    widths = list(range(bits[0], bits[1] + 1))
    if widths[-1] >= FULL_BITS:
        raise ProblemError(f"`bits` must be below {FULL_BITS}, the size of an uncompressed weight")
    for width in widths:
        codebook(grid, width)  # raises for an impossible width before any work is done
    return widths


@dataclass(frozen=True)
class Crossing:
    """Where the two SQNR curves cross, between two neighbouring bit widths."""

    bits: float
    pruning_wins_below: bool
    """Whether pruning is the better one at fewer bits (more compression)."""

    @property
    def compression(self) -> float:
        return FULL_BITS / self.bits


def crossings(source: Distribution, rows: Sequence[ExpectedErrors]) -> list[Crossing]:
    """Where pruning and quantization change places, by real-valued bits b, from few bits to many.

    SQNR of quantization is taken linear in b between whole bit widths, where alone it is defined (it is close to
    linear, 6 dB a bit); pruning is evaluated at sparsity 1 - b / 16 exactly. Equal at both ends counts as none.
    """
    found = []
    for few, many in pairwise(rows):
        at_few, at_many = few.advantage_db, many.advantage_db
        if at_few is None or at_many is None or (at_few > 0) == (at_many > 0):
            continue
        difference = _difference(source, few, many)
        bits = optimize.brentq(difference, few.bits, many.bits, xtol=1e-9)
        found.append(Crossing(float(bits), pruning_wins_below=at_few <= 0))
    return found


def _difference(source: Distribution, few: ExpectedErrors, many: ExpectedErrors) -> Callable[[float], float]:
    assert few.quant_db is not None
    assert many.quant_db is not None
    low, high = few.quant_db, many.quant_db

    def difference(bits: float) -> float:
        quantized = low + (high - low) * (bits - few.bits) / (many.bits - few.bits)
        pruned = sqnr_db(source.mean_square, source.prune(sparsity_of(bits))[1])
        if pruned is None:
            return -math.inf  # pruning without error: some weights are exactly 0
        return quantized - pruned

    return difference


def verdict(source: Distribution, rows: Sequence[ExpectedErrors]) -> str:
    """One sentence: at which compression pruning overtakes quantization."""
    first, last = rows[0].bits, rows[-1].bits
    span = f"{first} bits" if first == last else f"{first}..{last} bits"
    advantages = [_sign(row) for row in rows]
    found = crossings(source, rows)
    if all(sign > 0 for sign in advantages):
        return f"Pruning overtakes never in {span}: quantization has the higher SQNR at each bit width."
    if all(sign <= 0 for sign in advantages):
        return f"Quantization is never ahead in {span}: pruning has at least its SQNR at each bit width."
    if not found:
        ahead = ", ".join(str(row.bits) for row, sign in zip(rows, advantages, strict=True) if sign <= 0)
        return f"Pruning has at least the SQNR of quantization at {ahead} bits."
    parts = [
        f"{'pruning' if c.pruning_wins_below else 'quantization'} overtakes at compression {c.compression:.2f} "
        f"({c.bits:.2f} bits, sparsity {sparsity_of(c.bits):.1%})"
        for c in reversed(found)
    ]
    return f"With growing compression, {'; '.join(parts)}; quantization interpolated between whole bits."


def _sign(row: ExpectedErrors) -> int:
    """1 where quantization has the higher SQNR, else -1 or (equal) 0."""
    return (row.quantized.error < row.pruned_error) - (row.quantized.error > row.pruned_error)
