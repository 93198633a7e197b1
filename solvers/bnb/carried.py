"""How far a target that is moved by rounding moves the errors of a search."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray

ABOVE = 1 + 2.0**-40
"""Sums of at most 2^12 roundings of non-negative numbers, rounded outwards."""


def largest(h: FloatArray) -> float:
    """The largest eigenvalue of H scaled to unit diagonal, with far more than its rounding added."""
    size = np.sqrt(np.diag(h))
    return float(np.linalg.eigvalsh(h / np.outer(size, size))[-1]) * (1 + 1e-9) + 1e-9


def radii(
    hessian: FloatArray, eigenvalue: float, residual: float, a: FloatArray, b: FloatArray, thresholds: FloatArray
) -> FloatArray:
    """r >= sqrt(N(rho)) for all |rho| <= a + sqrt(threshold) b, of many thresholds.

    N(y) = sum_i p_i (V^-1 y)_i^2 is the error that the numbers of a plan give a deviation y. N(rho) = rho'H rho -
    y'Ey with y = V^-1 rho and E = V'HV - diag(p), so N(rho) <= rho'H rho / (1 - q), q the norm of E scaled by p.
    And rho'H rho <= |rho|'|H||rho| and <= lambda sum_j h_jj rho_j^2, both of them quadratic in sqrt(threshold).

    Parameters
    ----------
    eigenvalue, residual : lambda, see `largest`, and q.
    """
    entries, size, root = np.abs(hessian), eigenvalue * hessian.diagonal(), np.sqrt(thresholds) * ABOVE
    by_entries = a @ entries @ a + root * (2 * (a @ entries @ b) + root * (b @ entries @ b))
    by_eigenvalue = size @ a**2 + root * (2 * (size @ (a * b)) + root * (size @ b**2))
    least = np.minimum(by_entries, by_eigenvalue)
    return np.asarray(np.sqrt(least / (1 - residual) * ABOVE) * ABOVE)


def residual_norm(residual: FloatArray, pivot: FloatArray) -> float:
    """q of `radii`."""
    return float(np.linalg.norm(residual / np.sqrt(np.outer(pivot, pivot)))) * (1 + 1e-9)


def down(values: FloatArray) -> np.ndarray:
    """float32 numbers that are not larger; none is negative."""
    near = values.astype(np.float32)
    return np.where(near.astype(np.float64) > values, np.nextafter(near, np.float32(0)), near).astype(np.float32)
