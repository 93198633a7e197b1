"""Proofs in floating point that a symmetric matrix is positive semidefinite, up to a diagonal that is returned."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from ..compiling import compiled
from ..gram import BoolArray, FloatArray
from .budget import time_over

U = 2.0**-53
"""Unit roundoff: a float64 operation is exact up to a factor 1 + e, |e| <= U, and TINY."""
TINY = 2.0**-1040
"""More than all underflows of one bound together."""


BLOCK = 256
"""Columns of the remainder E that are made at a time."""
FINEST, MOST = 60, 36
"""eps is t S with t at most n 2^-24, rounded up to a multiple of 2^-60: so it is at least the least such t that
will do, which is what a certificate is defined by."""


def gamma(k: int) -> float:
    """Relative error of k operations, k U / (1 - k U) and a little more (Higham, Accuracy and Stability, 3.1)."""
    return 1.01 * k * U


def is_psd(a: FloatArray) -> bool:
    """Whether a Cholesky factorisation with a margin proves A positive semidefinite; False proves nothing.

    Quicker than `defect`, and less sharp. If the factorisation of B runs to the end, it is exact for a B + E with
    |E_ij| <= g sqrt(b_ii b_jj), g = (n + 1) U / (1 - (n + 1) U) (Higham, theorem 10.3; Rump, "Verification of
    positive definiteness", BIT 46, 2006). By Cauchy-Schwarz x'Ex <= n g sum b_ii x_i^2, which is covered by
    B = A - 2 n (n + 1) U diag(A), together with its own rounding, one rounding of each a_ii, and one of at
    most one other entry in a row.
    """
    scaled = _scaled(a)
    return scaled is not None and bool(_factorises(scaled[0], 2.0 * len(a) * (len(a) + 1) * U))


@compiled()
def _factorises(b, margin):  # type: ignore[no-untyped-def]
    """Whether every pivot of B - margin diag(B) is positive; B is overwritten."""
    n = len(b)
    for i in range(n):
        b[i, i] -= margin * b[i, i]
    for i in range(n):
        pivot = b[i, i]
        if not pivot > 0.0:
            return False
        scale = np.sqrt(pivot)
        for j in range(i, n):
            b[i, j] /= scale
        for k in range(i + 1, n):
            f = b[i, k]
            for j in range(k, n):
                b[k, j] -= f * b[i, j]
    return True


def leading_psd(a: FloatArray, diagonals: FloatArray) -> BoolArray:
    """Which leading m x m blocks of A less diag(diagonals[m, :m]) are proven as by `is_psd`.

    A block that is a part of one with more taken off needs no factorisation. A is scaled once and not each block:
    the diagonal of a block must stay so large that nothing matters that underflows. What the time has cut off
    is not proven.

    Parameters
    ----------
    a : (..., n, n) one matrix, or several side by side.
    diagonals : (..., n + 1, n).

    Returns
    -------
    (..., n + 1) for each m.
    """
    n, whole = a.shape[-1], a.shape[:-2]
    with np.errstate(all="ignore"):
        diagonal = np.diagonal(a, axis1=-2, axis2=-1)
        exponent = np.frexp(diagonal)[1] // 2  # as `_scaled`
        b = np.ldexp(a, -(exponent[..., :, None] + exponent[..., None, :]))
        fits = (diagonal > 0).all(axis=-1) & (np.abs(b) <= 4).all(axis=(-2, -1))
        fits &= (a == np.swapaxes(a, -1, -2)).all(axis=(-2, -1))
        size = np.ldexp(1.0, exponent)[..., None, :]
        d = diagonals / size / size
    found = _leading(b.reshape(-1, n, n), d.reshape(-1, n + 1, n), fits.reshape(-1), 2.0**-500, time_over())
    return np.asarray(found).reshape(*whole, n + 1)


@compiled()
def _leading(b, d, scaled, least, over):  # type: ignore[no-untyped-def]
    n = b.shape[1]
    proven = np.zeros((len(b), n + 1), np.bool_)
    for which in range(len(b)):
        if not scaled[which]:
            continue
        for m in range(n, 0, -1):
            if over[0]:
                break
            if m < n and proven[which, m + 1]:
                inside = True
                for i in range(m):
                    inside = inside and d[which, m, i] <= d[which, m + 1, i]
                if inside:
                    proven[which, m] = True
                    continue
            below = b[which, :m, :m].copy()
            fits = True
            for i in range(m):
                below[i, i] -= d[which, m, i]
                fits = fits and below[i, i] >= least
            proven[which, m] = fits and _factorises(below, 2.0 * m * (m + 1) * U)
    return proven


def defect(a: FloatArray, error: FloatArray | None = None, margin: float = 1.0) -> FloatArray:
    """(n,) eps >= 0 such that A + diag(eps) is positive semidefinite: 0, or of the size of rounding, or infinite.

    eps_i = t 4^k_i with k_i half the binary exponent of a_ii, rounded down: all choices of eps are ordered by t.
    Any R gives A = R'R + E, hence A + diag(eps) is positive semidefinite if E + diag(eps) is diagonally dominant.
    R is the float64 Cholesky factor of A less a small shift; E is computed almost exactly by splitting R in two
    parts whose product is exact (Dekker's idea for whole matrices; Rump, Ogita and Oishi, 2008).

    Parameters
    ----------
    a : (n, n) symmetric. error : (n, n) how far an entry may be from the one that is meant.
    margin : factor on all error terms.
    """
    scaled = _scaled(a)
    if scaled is None:
        return np.full(len(a), np.inf)
    b, live, size = scaled
    scale = size[:, None] * size[None, :]
    off = np.zeros_like(b) if error is None else error[np.ix_(live, live)] / scale
    if error is not None and np.delete(error, live, axis=0).any():
        return np.full(len(a), np.inf)  # a row that is zero as computed, and need not be
    t = np.ceil(np.ldexp(margin * _least_defect(b, off, margin), FINEST))
    if not t <= np.ldexp(len(a), MOST):
        return np.full(len(a), np.inf)
    eps = np.zeros(len(a))
    if t:
        with np.errstate(all="ignore"):
            eps[live] = np.nextafter(np.ldexp(t, -FINEST) * size**2, np.inf)
    return eps


def _least_defect(b: FloatArray, error: FloatArray, margin: float) -> float:
    """Largest entry of what E lacks to dominance, for the best of some shifts.

    First larger ones until E is dominant, then smaller ones if A does not allow that. The order does not depend on
    the margin, so that a smaller margin never gives a larger result.
    """
    first = 16 * U * len(b)  # more than E usually needs
    best = np.inf
    for shift in (first, 8 * first, 64 * first, 512 * first):
        found = _dominance(b, shift, error, margin)
        if found is None:
            break
        best = min(best, float(found.max(initial=0.0)))
        if best == 0:
            return best
    if best < np.inf:
        return best
    for shift in (first / 2, first / 4, first / 8, 0.0, *(-U * len(b) * 8.0**step for step in range(9))):
        found = _dominance(b, shift, error, margin)
        if found is not None:
            return float(found.max(initial=0.0))
    return best


def _scaled(a: FloatArray) -> tuple[FloatArray, np.ndarray, FloatArray] | None:
    """A without zero rows, with its diagonal scaled to about 1 by powers of two; None if it is clearly not PSD."""
    live = np.flatnonzero(a.any(axis=1))
    b = a[np.ix_(live, live)]
    diagonal = b.diagonal()
    if not (np.isfinite(b).all() and (diagonal > 0).all() and np.array_equal(b, b.T)):
        return None
    exponent = np.frexp(diagonal)[1] // 2
    with np.errstate(all="ignore"):
        b = np.ldexp(b, -(exponent[:, None] + exponent[None, :]))
    # exact but for underflow, which is far below the error terms; |a_ij| <= sqrt(a_ii a_jj) < 4 in any PSD matrix
    return None if len(b) and np.abs(b).max() > 4 else (b, live, np.ldexp(1.0, exponent))


def _factor(b: FloatArray) -> FloatArray | None:
    """Upper R with R'R = B nearly; None if it breaks down."""
    if not len(b):
        return b
    r, info = lapack.dpotrf(b, lower=0, clean=1)
    return np.asarray(r) if info == 0 and np.isfinite(r).all() else None


def _dominance(b: FloatArray, shift: float, error: FloatArray, margin: float) -> FloatArray | None:
    """(n,) what E = B - R'R lacks to diagonal dominance, R from B - shift I."""
    n = len(b)
    shifted = b.copy()
    shifted[np.diag_indices(n)] -= shift
    r = _factor(shifted)
    if r is None or n == 0:
        return None if n else np.zeros(0)
    if np.einsum("ij,ij->j", r, r).max() > 4.5:
        return None
    # multiples of 2^-25: products are multiples of 2^-50 and, by Cauchy-Schwarz, all their sums below 2^3: exact
    high = r * 2.0**25
    np.rint(high, out=high)
    high *= 2.0**-25
    low = np.subtract(r, high, out=r)  # exact, |low| <= 2^-26
    # |cross| has n terms below ||high_i|| ||low_j|| <= 2.2 sqrt(n) 2^-26, and low'low n terms below n 2^-52
    products = gamma(n) * (4.4 * np.sqrt(n) * 2.0**-26 + n * 2.0**-52) + TINY
    off, own = np.zeros(n), np.empty(n)
    for start in range(0, n, BLOCK):  # E is symmetric: columns of a block down to its last row
        stop = min(start + BLOCK, n)
        columns = slice(start, stop)
        every, rest, at, at_rest = (
            high[:stop, :stop].T,
            low[:stop, :stop].T,
            high[:stop, columns],
            low[:stop, columns],
        )
        cross = every @ at_rest + rest @ at
        first = b[:stop, columns] - every @ at
        second = first - cross
        e = second - rest @ at_rest
        size = np.abs(e)
        rounding = U * (np.abs(first) + np.abs(cross) + np.abs(second) + size) + error[:stop, columns] + products
        own[columns] = e[columns].diagonal()
        size[np.arange(start, stop), np.arange(stop - start)] = 0.0
        size += rounding
        off[:stop] += size.sum(axis=1)
        off[columns] += size[:start].sum(axis=0)
    off *= 1 + gamma(2 * n)
    missing = margin * off - own
    return np.maximum(missing + 2 * U * (np.abs(missing) + margin * off), 0.0) * (missing > 0)
