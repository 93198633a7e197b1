"""The error of a point with its rounding: in float64 with an a-priori bound, in integers where that is too wide.
Long rows, whose integers take seconds, are tried in the wider numbers of the processor in between.

float64 numbers are integers times powers of two, so e(x) = (w - x)' H (w - x) can be had without any rounding.
It is needed where w - x lies along directions in which H is next to nothing: the terms of the sum then cancel, and
what float64 says may be off by more than e(x) itself.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from .gram import FloatArray, Gram
from .majorant import Majorant

UNIT = 2.0**-53
"""Relative error of one operation."""
LEAST = 2.0**-1073
"""Absolute error of one product that underflows, and of its share of a sum."""
NARROW = 1e-9
"""Share of e(x) within which float64 has to know it, else the sum is taken in integers."""
FLOOR = 1e-12
"""Errors closer than the rounding of e count as equal, but never more than this share of the reference w'Hw: along
a near-null direction that rounding may be as large as all that is asked for."""
ROWS = 256
"""Rows of H that are read at a time."""
SCORED = 1e-3
"""The same where thousands of rows of more than `KEPT` inputs have a method's error beside them: at 1280 inputs
integers take .25 s a row, numbers of 64 digits .01."""
KEPT = 512
"""Inputs up to which the integers of H are kept for the next point; more are tried in `WIDE` before, which takes a
tenth of the time."""
WIDE: Any = np.longdouble if np.finfo(np.longdouble).nmant == 63 else None
"""Numbers of 64 binary digits, rounded correctly, where the processor has them."""
WIDE_UNIT = 2.0**-64


@dataclass(frozen=True)
class Certified:
    """lower <= e(x) <= upper, exact to the last digit or narrower than `NARROW` upper."""

    lower: float
    upper: float
    value: float
    """The float64 between them that is known best."""
    rounding: float
    """What float64 numbers w, x and sums of them are worth: errors closer than that are equal."""
    expanded: float = math.inf
    """Rounding of e(x) written as w'Hw - 2 w'Hx + x'Hx."""


def certified_error(gram: Gram, w: FloatArray, x: FloatArray, reference: float) -> Certified:
    """e(x) of one point.

    Parameters
    ----------
    gram : H, (n, n). w, x : (n,).
    reference : w'Hw, for `FLOOR`.
    """
    return certified_errors(gram, w[None], x[None], np.array([reference]))[0]


def certified_errors(gram: Gram, w: FloatArray, x: FloatArray, references: FloatArray) -> list[Certified]:
    """e(x) of each row, by three products of all of them; w and x are (rows, n), references (rows,) w'Hw.

    With t = |w| + |x| and g as many roundings as a sum of n products has: if w and x are rounded by |du| <= g t,
    e(x) changes by 2 du'Hu + du'H du, at most 2 g t'|H||u| + g^2 t'|H|t. Expanded it is off by at most g t'|H|t.
    """
    n, t = w.shape[1], np.abs(w) + np.abs(x)
    g = 1.01 * (2 * n + 8) * UNIT
    values, radii, across = _float_errors(gram, w, x, t)
    with np.errstate(all="ignore"):
        if len(w) == 1:  # a row alone has the last digit that `Gram.error` gives: it is in records
            values = np.array([gram.error(w[0] - x[0])])
        moved = np.einsum("ri,ri->r", across, 2 * g * np.abs(w - x) + g * g * t)
        expanded = g * np.einsum("ri,ri->r", across, t)
    moved[~np.isfinite(moved)] = np.inf
    expanded[~np.isfinite(expanded)] = np.inf
    ends = zip(
        values.tolist(), radii.tolist(), moved.tolist(), expanded.tolist(), references.tolist(), strict=True
    )
    found = []
    for i, (value, radius, by, whole, reference) in enumerate(ends):
        rounding = min(by + radius, FLOOR * reference)
        decided = _decided(max(value, 0.0), radius, gram, w[i], x[i], rounding)
        found.append(replace(decided, expanded=whole))
    return found


def certified_uppers(gram: Gram, w: FloatArray, x: FloatArray, scored: bool = False) -> FloatArray:
    """(rows,) e(x) of each row, rounded up; w and x are (rows, n).

    Parameters
    ----------
    scored : up by no more than `SCORED` of it is enough for long rows, instead of `NARROW`.
    """
    narrow = SCORED if scored and w.shape[1] > KEPT else NARROW
    values, radii = (found.tolist() for found in float_errors(gram, w, x))
    some = [_decided(values[i], radii[i], gram, w[i], x[i], 0.0, narrow) for i in range(len(w))]
    return np.array([error.upper for error in some], dtype=np.float64)


def quick_uppers(gram: Gram, w: FloatArray, x: FloatArray) -> FloatArray:
    """(rows,) numbers that e(x) is not above, at once: no integers are taken where float64 is wide."""
    values, radii = float_errors(gram, w, x)
    with np.errstate(all="ignore"):
        uppers = np.nextafter(np.maximum(values, 0.0) + radii, np.inf)
    uppers[radii == 0.0] = 0.0
    return np.where(np.isfinite(uppers), uppers, sys.float_info.max)


def _decided(
    value: float,
    radius: float,
    gram: Gram,
    w: FloatArray,
    x: FloatArray,
    rounding: float,
    narrow: float = NARROW,
) -> Certified:
    """Float64 where its bound is narrow, else integers."""
    if radius == 0.0:  # w = x
        return Certified(0.0, 0.0, 0.0, 0.0)
    if radius > narrow * value and len(w) > KEPT and WIDE is not None:
        value, radius = wide_error(gram.matrix, w, x)
    if radius <= narrow * value < math.inf:
        lower, upper = math.nextafter(value - radius, 0.0), math.nextafter(value + radius, math.inf)
    else:  # e is not negative, if H is positive semidefinite but for its own rounding
        exact = max(exact_error(gram, w, x), Fraction(0))
        lower, upper = rounded_down(exact), rounded_up(exact)
        value = upper
    return Certified(lower, upper, value, max(upper - lower, rounding))


def float_errors(gram: Gram, w: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(rows,) e(x) in float64 and a bound of its error, for w and x (rows, n).

    u = w - x is exact up to UNIT |u_i|, a sum of n products up to n UNIT times the sum of their sizes (Higham,
    Accuracy and Stability, 3.1): together at most (2n + 4) UNIT |u|'|H||u|, and a little more for the rounding of
    the bound itself.
    """
    return _float_errors(gram, w, x, np.zeros((0, w.shape[1])))[:2]


def _float_errors(
    gram: Gram, w: FloatArray, x: FloatArray, others: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The same, and |H| times other rows, (k, n), or a little more: long rows in 32 bits, a third of the time."""
    with np.errstate(all="ignore"):
        u = w - x
        n = u.shape[1]
        size = np.abs(u)
        values = np.einsum("ri,ri->r", u @ gram.matrix, u)
        both = np.concatenate([size, others])
        across = Majorant.of(gram).times(both) if n > KEPT else both @ np.abs(gram.matrix)
        sums = np.einsum("ri,ri->r", across[: len(u)], size)
        radii = 1.01 * (2 * n + 8) * UNIT * sums + n * LEAST * (size.sum(axis=1) + n)
    radii[~np.isfinite(values) | ~np.isfinite(radii)] = np.inf
    radii[~u.any(axis=1)] = 0.0
    return values, radii, across[len(u) :]


def wide_error(h: FloatArray, w: FloatArray, x: FloatArray) -> tuple[float, float]:
    """As `float_errors` of one row in numbers of 64 binary digits, eleven more."""
    with np.errstate(all="ignore"):
        u = w.astype(WIDE) - x.astype(WIDE)
        total, n = WIDE(0), len(u)
        for first in range(0, n, ROWS):
            rows = slice(first, first + ROWS)
            total += u[rows] @ (h[rows].astype(WIDE) @ u)
        size = np.abs(w - x) * (1 + 2 * UNIT)
        value = float(total)
        # the sum of sizes in float64, and the total rounded to float64, are in the factor and the last term
        radius = 1.01 * (2 * n + 8) * WIDE_UNIT * _sizes(h, size, size) + n * LEAST * (float(size.sum()) + n)
        radius += 2 * UNIT * abs(value)
    return (value, radius) if math.isfinite(value) and math.isfinite(radius) else (value, math.inf)


def _sizes(h: FloatArray, a: FloatArray, b: FloatArray) -> float:
    """a'|H|b."""
    total = 0.0
    for first in range(0, len(a), ROWS):
        rows = slice(first, first + ROWS)
        total += float(a[rows] @ (np.abs(h[rows]) @ b))
    return total


def exact_error(gram: Gram, w: FloatArray, x: FloatArray) -> Fraction:
    """(w - x)' H (w - x) without any rounding; O(n^2) operations on integers of a few hundred bits."""
    h = gram.matrix
    both, exponent = as_integers(np.concatenate([w, x]))
    u = both[: len(w)] - both[len(w) :]
    total = Fraction(0)
    for first in range(0, len(h), ROWS):
        part = h[first : first + ROWS]
        if len(h) <= KEPT:
            whole, own = gram.memo(as_integers, lambda part=part: as_integers(part), first)  # type: ignore[misc]
        else:
            whole, own = as_integers(part)
        total += scaled(int(u[first : first + ROWS] @ (whole @ u)), 2 * exponent + own)
    return total


def as_integers(a: FloatArray) -> tuple[npt.NDArray[np.object_], int]:
    """Integers k and an exponent s with a = k 2^s exactly, for finite a."""
    mantissa, exponent = np.frexp(a)
    whole = (mantissa * 2.0**53).astype(np.int64).astype(object)
    exponent = np.where(a == 0, 0, exponent - 53)
    least = int(exponent.min(initial=0))
    return np.asarray(whole << (exponent - least).astype(object)), least


def scaled(whole: int, exponent: int) -> Fraction:
    """The number whole * 2^exponent."""
    return Fraction(whole << exponent) if exponent >= 0 else Fraction(whole, 1 << -exponent)


def rounded_up(value: Fraction) -> float:
    """The least float64 that is not below a value."""
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    if near == math.inf:
        return near
    if near == -math.inf:
        return -sys.float_info.max
    return near if Fraction(near) >= value else math.nextafter(near, math.inf)


def rounded_down(value: Fraction) -> float:
    """The largest float64 that is not above a value."""
    return -rounded_up(-value)
