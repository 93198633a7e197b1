"""What no code of the grid's rate reaches on average over Gaussian weights: no bound for given weights."""

from __future__ import annotations

import math

import numpy as np

from ..layer_problem import LayerProblem
from .rate_distortion import WaterFilling


def any_code(problem: LayerProblem) -> float:
    """Least expected error of any code of log2(levels) bits a weight, for weights w_r ~ N(0, sigma_r^2 I).

    sum over rows r and eigenvalues h_i of min(theta, sigma_r^2 h_i), with theta so that the rate
    sum max(0, log2(sigma_r^2 h_i / theta)) / 2 is spent (reverse water-filling, Cover and Thomas, theorem 10.3.3;
    for layers, WaterSIC, arXiv 2603.04956). sigma_r is the row's root mean square. Any code: vector codes and
    entropy codes of all rows together too; what scales cost to store is left out.

    Parameters
    ----------
    problem : a quantized layer.
    """
    grid = problem.grid
    assert grid is not None
    bits = math.log2(len(grid.codebook.levels))
    power = (problem.weight**2).mean(axis=1)
    values = []
    for g, gram in enumerate(problem.grams):
        h = np.linalg.eigvalsh(gram.matrix)
        h = np.where(h > len(h) * np.finfo(np.float64).eps * h[-1], h, 0.0)
        values.append(np.outer(power[problem.gram_of_row == g], h).ravel())
    variances = np.concatenate(values)
    total = float(variances.sum())
    return total * 10 ** (-WaterFilling(variances).limit_db(bits) / 10) if total > 0 else 0.0
