"""What no code of a given rate can reach on average over Gaussian weights: context, no bound for given weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import ProblemError
from ..gram import FloatArray

DB_PER_BIT = 20 * math.log10(2)


def gaussian_limit_db(bits: float) -> float:
    """SQNR of D(R) = sigma^2 2^(-2R), the least expected squared error of a Gaussian at R bits (Shannon 1959)."""
    return DB_PER_BIT * bits


@dataclass(frozen=True, eq=False)
class WaterFilling:
    """Rate-distortion function of a layer's output for Gaussian weights (Cover and Thomas, theorem 10.3.3).

    Weights w ~ N(0, sigma^2 I) give the error e = (w - x)' H (w - x); in the eigenvectors of H it is the squared
    error of independent Gaussians of variance sigma^2 lambda_i. sigma^2 cancels in the SQNR and is left out.
    """

    eigenvalues: FloatArray
    """(n,) of H, of all groups together, not negative."""

    def limit_db(self, bits: float) -> float:
        """SQNR limit at R bits a weight: sum lambda_i / sum min(theta, lambda_i).

        The water level theta spends sum max(0, log2(lambda_i / theta)) / 2 = n R bits. With the m largest
        eigenvalues above water, log2 theta = mean of their log2 - 2 n R / m; m is right where theta lies between
        eigenvalue m and eigenvalue m + 1. Zero bits give 0 dB.
        """
        values = np.sort(self.eigenvalues)[::-1]
        positive = values[values > 0]
        n = len(values)
        count = np.arange(1, len(positive) + 1)
        logs = np.log2(positive)
        level = np.cumsum(logs) / count - 2 * n * bits / count
        # theta(m) >= lambda_{m+1} holds from the right m on: adding what lies below the water changes nothing
        following = np.append(logs[1:], -np.inf)
        theta = level[np.argmax(level >= following)]
        # relative to the largest eigenvalue, against overflow
        error = np.minimum(2.0 ** (theta - logs[0]), positive / positive[0]).sum()
        return float(10 * math.log10((positive / positive[0]).sum() / error))


def water_filling(grams: FloatArray) -> WaterFilling:
    """Of a layer's Gram matrices, (n, n) or (groups, n, n); the rate is shared freely among groups.

    Eigenvalues that rounding made negative, or that are rounding themselves (below n eps times the largest of
    their matrix), count as 0: weights in such directions cost nothing.

    Raises
    ------
    ProblemError
        All eigenvalues are 0: no input reaches the layer.
    """
    stack = np.asarray(grams, dtype=np.float64)
    stack = stack[None] if stack.ndim == 2 else stack
    values = np.linalg.eigvalsh(stack)
    rounding = stack.shape[-1] * np.finfo(np.float64).eps * values[:, -1:]
    values = np.where(values > rounding, values, 0.0).ravel()
    if not values.any():
        raise ProblemError("the Gram matrix is zero: no input reaches the layer")
    return WaterFilling(np.asarray(values, dtype=np.float64))
