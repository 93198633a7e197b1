"""How densely the grid points lie around a random weight: the factor A(c) of one input."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from ..compiling import compiled
from ..gram import FloatArray

# mesh in units of sigma: log K bends down by at most 2.5 / sigma^2 (Student 4 in its middle), so that between two
# points at most 2.5 STEP^2 / 8 is missed, below MARGIN
STEP = 0.05
MARGIN = 1e-3
NORMAL = math.inf
"""Degrees of freedom that mean a normal density."""
UNEVEN = 32
"""Levels up to which grids whose steps differ are summed for each group of inputs; even ones need no limit."""


def family(sigma: float) -> FloatArray:
    """(5, 2) degrees of freedom and widths: normal at 0.9, 1 and 1.1 sigma, Student 4 and 6 of deviation sigma."""
    normal = [(NORMAL, factor * sigma) for factor in (0.9, 1.0, 1.1)]
    return np.array([*normal, *((df, sigma * math.sqrt((df - 2) / df)) for df in (4, 6))])


def is_even(levels: FloatArray) -> bool:
    """Whether all steps are the same up to rounding."""
    steps = np.diff(levels)
    return bool(np.ptp(steps) <= 1e-9 * steps[0])


def log_factor(
    levels: FloatArray, low: float, high: float, sigma: float, c: FloatArray, laws: FloatArray | None = None
) -> FloatArray:
    """log A(c) for each c, the largest over a family of densities.

    K(u) = sum over z in G of p(z + u), A(c) = sup_u K(u) exp(c u^2), with p normalised on J = [low, high] and u in
    [low - G_max, high - G_min]. p(z + u) jumps where z + u enters or leaves J; on the closed pieces between the
    jumps the set of z that count is constant and K is smooth, so that a mesh of `STEP` sigma misses less than the
    factor 1 + `MARGIN` that is multiplied on.

    Proof that A(c) serves: w - x = u for a grid point x = z iff w = z + u; the expected number of z with u in du
    is K(u) du <= A(c) exp(-c u^2) du.

    Parameters
    ----------
    levels : (L,) increasing.
    low, high : ends of J; at least one level may be used from it.
    sigma : root mean square of the row's weights.
    c : (k,) not negative.
    laws : (laws, 2) as of `family`, which they replace, for a density that is known.
    """
    pairs = family(sigma) if laws is None else laws
    peaks = np.array([_log_peak(df, width, low, high) for df, width in pairs])
    if not np.isfinite(peaks).all():  # no mass on J
        return np.full(len(c), np.inf)
    c = np.ascontiguousarray(c, dtype=np.float64)
    step = STEP * 0.9 * float(pairs[:, 1].min()) if laws is not None else STEP * 0.9 * sigma
    if is_even(levels):
        gap = float(levels[-1] - levels[0]) / (len(levels) - 1)
        # in units of the gap, where A(c) is gap times what it is
        best = _even(
            len(levels),
            levels[0] / gap,
            low / gap,
            high / gap,
            step / gap,
            c * gap * gap,
            pairs / np.array([1.0, gap]),
            peaks + math.log(gap),
        )
        return np.asarray(best - math.log(gap) + math.log1p(MARGIN))
    return np.asarray(_uneven(levels, low, high, step, c, pairs, peaks) + math.log1p(MARGIN))


def _log_peak(df: float, width: float, low: float, high: float) -> float:
    """log of the density at 0 when it is normalised on [low, high]."""
    if df == NORMAL:
        mass = special.ndtr(high / width) - special.ndtr(low / width)
        peak = -0.5 * math.log(2 * math.pi)
    else:
        mass = special.stdtr(df, high / width) - special.stdtr(df, low / width)
        peak = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    return peak - math.log(width) - math.log(mass) if mass > 0 else math.inf


@compiled(no_cpython_wrapper=True)
def _shape(df, y):  # type: ignore[no-untyped-def]
    """A density over its peak, y in units of its width."""
    if df == math.inf:
        return math.exp(-0.5 * y * y)
    return (1.0 + y * y / df) ** (-0.5 * (df + 1.0))


@compiled()
def _even(count, first, low, high, step, c, laws, peaks):  # type: ignore[no-untyped-def]
    """Levels first + 0, 1, ...: the values low + f + k of one fraction f serve every shift."""
    best = np.empty(len(c))
    for j in range(len(c)):
        best[j] = -np.inf
    last = math.floor(high - low)
    cut = (high - low) - last
    value, up_to, rest = np.empty(last + 1), np.empty(last + 2), np.empty(last + 2)
    up_to[0] = 0.0
    for piece in range(2):  # f up to `cut`: k up to `last`; from there on one fewer
        left, right = (0.0, cut) if piece == 0 else (cut, 1.0)
        values = last + 1 if piece == 0 else last
        if (right <= left and not (piece == 0 and cut == 0.0)) or values < 1:
            continue
        points = max(3, math.ceil((right - left) / step) + 1)
        for at in range(points):
            f = left + (right - left) * at / (points - 1)
            for law in range(len(laws)):
                df, width = laws[law, 0], laws[law, 1]
                rest[values] = 0.0
                for k in range(values):
                    value[k] = _shape(df, (low + f + k) / width)
                    up_to[k + 1] = up_to[k] + value[k]
                for k in range(values - 1, -1, -1):
                    rest[k] = rest[k + 1] + value[k]
                for t in range(1 - count, values):
                    begin, end = max(0, t), min(values, t + count)
                    if begin == 0:  # no differences: they lose what is small
                        density = up_to[end]
                    elif end == values:
                        density = rest[begin]
                    else:
                        density = 0.0
                        for k in range(begin, end):
                            density += value[k]
                    if density <= 0.0:
                        continue
                    u = low + f + t - first
                    log_k = math.log(density) + peaks[law]
                    for j in range(len(c)):
                        best[j] = max(best[j], log_k + c[j] * u * u)
    return best


@compiled()
def _uneven(levels, low, high, step, c, laws, peaks):  # type: ignore[no-untyped-def]
    """Levels of any steps: the sum of every piece between two jumps."""
    best = np.full(len(c), -np.inf)
    jumps = np.unique(np.concatenate((low - levels, high - levels)))
    for piece in range(len(jumps) - 1):
        left, right = jumps[piece], jumps[piece + 1]
        middle = (left + right) / 2
        points = max(3, math.ceil((right - left) / step) + 1)
        for at in range(points):
            u = left + (right - left) * at / (points - 1)
            for law in range(len(laws)):
                df, width = laws[law, 0], laws[law, 1]
                density = 0.0
                for z in levels:
                    if low <= z + middle <= high:
                        density += _shape(df, (z + u) / width)
                if density <= 0.0:
                    continue
                log_k = math.log(density) + peaks[law]
                for j in range(len(c)):
                    best[j] = max(best[j], log_k + c[j] * u * u)
    return best
