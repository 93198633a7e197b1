"""How densely the grid points lie around a random weight: the factor A(c) of one input."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy import stats

from ..gram import FloatArray

Density = Callable[[FloatArray], FloatArray]
# mesh in standard deviations: between two points log K bends by at most 1 / sigma^2, and 0.07^2 / 8 < MARGIN
STEP = 0.07
MARGIN = 1e-3


def family(sigma: float) -> tuple[tuple[Density, Density], ...]:
    """Densities and distribution functions: normal at 0.9, 1 and 1.1 sigma, Student with 4 and 6 degrees."""
    scaled = (
        *(stats.norm(0, factor * sigma) for factor in (0.9, 1.0, 1.1)),
        *(stats.t(df, 0, sigma * np.sqrt((df - 2) / df)) for df in (4, 6)),
    )
    return tuple((law.pdf, law.cdf) for law in scaled)


def log_factor(
    levels: FloatArray, low: float, high: float, sigma: float, c: FloatArray, laws: object = None
) -> FloatArray:
    """log A(c) for each c, the largest over the family of densities.

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
    laws : pairs of density and distribution function instead of the family, for a density that is known.
    """
    pairs = family(sigma) if laws is None else tuple(laws)  # type: ignore[arg-type]
    jumps = np.unique(np.concatenate([low - levels, high - levels]))
    points, owners = [], []
    for left, right in pairwise(jumps):
        count = max(3, int(np.ceil((right - left) / (STEP * 0.9 * sigma))) + 1)
        mesh = np.linspace(left, right, count)
        middle = (left + right) / 2
        inside = (levels + middle >= low) & (levels + middle <= high)
        if inside.any():
            points.append(mesh)
            owners.append(np.broadcast_to(inside, (count, len(levels))))
    u, inside_u = np.concatenate(points), np.concatenate(owners)
    row, column = np.nonzero(inside_u)
    x = levels[column] + u[row]
    best = np.full(len(c), -np.inf)
    for density, cumulative in pairs:
        mass = float(np.diff(cumulative(np.array([low, high])))[0])
        if not mass > 0:
            return np.full(len(c), np.inf)
        k = np.bincount(row, density(x), minlength=len(u)) / mass
        with np.errstate(divide="ignore"):
            log_k = np.log(k)
        best = np.maximum(best, (log_k[None, :] + np.outer(c, u * u)).max(axis=1))
    return np.asarray(best + np.log1p(MARGIN))
