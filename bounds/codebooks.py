"""Codebooks: the levels of a quantization format before they are multiplied by a scale."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pvq.layers.reading import read_text
from scipy.special import ndtri

from .errors import ProblemError
from .gram import FloatArray
from .grid import MAX_LEVELS

MAX_BITS = 12  # 2^12 = MAX_LEVELS
FIXED_BITS = {"ternary": 2, "fp4-e2m1": 4, "fp8-e4m3": 8, "nf4": 4}
INT_GRIDS = ("int", "int-sym", "int-asym")
GRIDS = (*INT_GRIDS, *FIXED_BITS)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Unscaled levels; a grid is scale * (levels - zero)."""

    name: str
    levels: FloatArray
    """(L,), strictly increasing."""
    shifted: bool = False
    """Whether an integer zero point is chosen with the scale (int-asym)."""


def codebook(grid: str, bits: int | None) -> Codebook:
    """The codebook of a format name or of a file of levels.

    int = {-2^(b-1), ..., 2^(b-1)-1}, int-sym = {-(2^(b-1)-1), ..., 2^(b-1)-1}, int-asym = {0, ..., 2^b-1} - zero,
    ternary = {-1, 0, 1}, fp4-e2m1 and fp8-e4m3 (OCP: no infinities, largest 6 and 448), nf4 (QLoRA, Dettmers et
    al. 2023). Any other name is a file with one level a line (or .npy).

    Raises
    ------
    ProblemError
        Unknown name, missing or impossible bits, a file whose levels are not a grid.
    """
    if grid in INT_GRIDS:
        return _integers(grid, bits)
    if grid in FIXED_BITS:
        if bits is not None and bits != FIXED_BITS[grid]:
            raise ProblemError(f"`grid` {grid} has {FIXED_BITS[grid]} bits; leave out `bits` {bits}")
        return Codebook(grid, _FIXED[grid]())
    path = Path(grid)
    if not os.path.isfile(path):
        near = difflib.get_close_matches(grid, GRIDS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ProblemError(f"'{grid}' is neither a grid ({', '.join(GRIDS)}) nor a file of levels{hint}")
    levels = _read_levels(path)
    if bits is not None and len(levels) > 2**bits:
        raise ProblemError(f"{path} has {len(levels)} levels, more than {bits} bits can name")
    return Codebook(str(path), levels)


def file_levels(grid: str) -> tuple[float, ...] | None:
    """The levels where a grid is a file, None where it is a name."""
    return None if grid in GRIDS else tuple(codebook(grid, None).levels.tolist())


def _integers(grid: str, bits: int | None) -> Codebook:
    if bits is None:
        raise ProblemError(f"`grid` {grid} needs `bits`, for example `bits` 4")
    least = 2 if grid == "int-sym" else 1
    if not least <= bits <= MAX_BITS:
        raise ProblemError(f"`bits` must be between {least} and {MAX_BITS} for `grid` {grid}, not {bits}")
    if grid == "int-asym":
        return Codebook(grid, np.arange(2.0**bits), shifted=True)
    half = 2.0 ** (bits - 1)
    return Codebook(grid, np.arange(-half + (grid == "int-sym"), half))


def _minifloat(exponent_bits: int, mantissa_bits: int, bias: int, largest: float) -> FloatArray:
    """All values of a small float format without infinities, up to its largest finite value."""
    mantissas = np.arange(2.0**mantissa_bits) / 2.0**mantissa_bits
    exponents = np.arange(1, 2**exponent_bits)
    normal = (1 + mantissas)[None, :] * 2.0 ** (exponents[:, None] - bias)
    magnitudes = np.concatenate([mantissas * 2.0 ** (1 - bias), normal.ravel()])
    magnitudes = magnitudes[magnitudes <= largest]
    return np.unique(np.concatenate([-magnitudes, magnitudes]))


def _nf4() -> FloatArray:
    """Quantiles of the standard normal scaled to [-1, 1], 7 below 0 and 8 above (QLoRA, section 3)."""
    tail = (1 - 1 / 30 + 1 - 1 / 32) / 2  # mean of the two offsets that keep an exact zero
    below = -ndtri(np.linspace(tail, 0.5, 8)[:-1])
    above = ndtri(np.linspace(tail, 0.5, 9)[:-1])
    levels = np.sort(np.concatenate([below, [0.0], above]))
    return np.asarray(levels / np.abs(levels).max())


_FIXED = {
    "ternary": lambda: np.array([-1.0, 0.0, 1.0]),
    "fp4-e2m1": lambda: _minifloat(2, 1, 1, 6.0),
    "fp8-e4m3": lambda: _minifloat(4, 3, 7, 448.0),
    "nf4": _nf4,
}


def _read_levels(path: Path) -> FloatArray:
    try:
        if path.suffix == ".npy":
            levels = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False), dtype=np.float64).ravel()
        else:
            levels = np.array([float(word) for word in read_text(path).replace(",", " ").split()])
    except (OSError, ValueError, EOFError) as error:
        raise ProblemError(f"cannot read levels from {path}: {error}; expected one number a line") from error
    check_levels(levels, str(path))
    return levels


def check_levels(levels: FloatArray, source: str) -> None:
    """Raise `ProblemError` unless (L,) numbers are the levels of a grid."""
    if len(levels) < 2:
        raise ProblemError(f"{source} has {len(levels)} levels; a grid needs at least 2")
    if len(levels) > MAX_LEVELS:
        raise ProblemError(f"{source} has {len(levels)} levels; at most {MAX_LEVELS} are allowed")
    if not np.isfinite(levels).all():
        raise ProblemError(f"{source} has NaN or infinite levels")
    if not (np.diff(levels) > 0).all():
        raise ProblemError(f"the levels in {source} must be sorted and without duplicates")
