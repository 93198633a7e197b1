"""Babai's nearest plane on the undamped H, and the best of K randomised runs of it (Klein)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.problem import Problem

from ..base import Options
from .factors import inverse_factor, undamped_inverse_factor
from .heuristic import Heuristic
from .swept import Swept


class Babai(Swept):
    """Babai, "On Lovász' lattice reduction and the nearest lattice point problem", Combinatorica 1986, rounding
    clipped to the grid: GPTQ without damping, inputs in natural order.

    Where the condition number of H exceeds 1e10, its diagonal is lifted to that.
    """

    name = "babai"
    summary = "Babai's nearest plane on the undamped H (GPTQ without damping)"
    methods: ClassVar[frozenset[str]] = frozenset({"quant"})

    def _factor(self, gram: Gram, order: IntArray | None) -> FloatArray:
        return undamped_inverse_factor(gram)


class Klein(Heuristic):
    """The best of GPTQ's point and of K random points around it.

    Klein, "Finding the closest lattice vector when it's unusually close", SODA 2000: nearest plane, but input j
    takes level l with probability proportional to exp(-c (w_j - l)^2 / U_jj^2), where w_j is its compensated value
    and U'U = (H + lambda I)^-1 as in GPTQ: the exponent is c times the error that the choice adds.
    c = log(rho) / min_j (spacing_j / U_jj)^2 with K = (e rho)^(2 n / rho) is the choice of Liu, Ling & Stehlé,
    "Decoding by Sampling: A Randomized Lattice Algorithm for Bounded Distance Decoding", IEEE Transactions on
    Information Theory 2011. K = 25 is ours.
    """

    name = "klein"
    summary = "the best of GPTQ and 25 randomised runs of it (Klein's sampling)"
    methods: ClassVar[frozenset[str]] = frozenset({"quant"})
    samples: ClassVar[int] = 25
    """K."""

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        from .klein_samples import sample_points
        from .sweep import compensated_sweep

        grid = problem.levels
        factor = inverse_factor(problem.gram)
        spacing = np.diff(grid.levels, axis=1).min(axis=1)[grid.group]
        # squared in the end: levels of weights around 1e-160 would underflow
        c = np.log(sharpness(problem.n, self.samples)) / (spacing / np.diag(factor)).min() ** 2
        uniform = np.random.default_rng(options.seed).random((self.samples, problem.n))
        points = sample_points(problem.weight, factor, grid.levels, grid.group, c, uniform)
        candidates = [compensated_sweep(problem.weight, factor, grid), *points]
        return min(candidates, key=problem.error)


def sharpness(n: int, samples: int) -> float:
    """rho > 1 with K = (e rho)^(2 n / rho): the more samples, the flatter the distribution.

    The logarithm of the right side falls in rho from 2 n at 1 to 0, so the root is unique.
    """
    from scipy.optimize import brentq  # slow to load, `pvq solvers` does not need it

    wanted = min(np.log(samples), 2 * n * (1 - 1e-9))

    def excess(log_rho: float) -> float:
        return float(2 * n * np.exp(-log_rho) * (1 + log_rho) - wanted)

    return float(np.exp(brentq(excess, 0.0, 100.0)))
