"""The blocks of D, each with the complete search that a `Split` has for it; those of a row side by side."""

from __future__ import annotations

import math

import numpy as np

from ..gram import FloatArray
from ..problem import Problem
from ..proof import Split
from .alike import alike, times
from .enumeration import least_on_grids
from .psd import TINY, U, gamma
from .split import values_of


def block_parts(
    problem: Problem, split: Split, slope: FloatArray, radius: FloatArray, margin: float
) -> list[float]:
    """Numbers whose sum is below that of min u'Au + 2 g'u over the values of each block.

    It is (u - t)'A(u - t) - t'At + 2 (g + At)'u, of which the first is searched.

    slope, radius : (n,) g and how far it may be from the exact one. Where the search ends at its threshold, the
        bound moves with t although nothing else does: a solver's margin covers the verifier's other g, and so
        other t.
    """
    w, values = problem.weight, values_of(problem)
    reach = np.abs(values - w[:, None]).max(axis=1) * (1 + U)
    parts: list[float] = []
    for group in alike(split.below):
        i, a = group.inputs, group.matrices
        g, off, u, m = slope[i], radius[i], reach[i], i.shape[1]
        try:
            centres = w[i] - np.linalg.solve(a, g[..., None])[..., 0]
        except np.linalg.LinAlgError:
            return [-math.inf]
        t = centres - w[i]  # any t will do; its own rounding is one of the operations below
        at, size = times(a, t), times(group.sizes, np.abs(t))
        left = (np.abs(g + at) + off + margin * gamma(m + 4) * size) * (1 + 8 * U)
        constants = (t * at).sum(axis=1) + margin * gamma(2 * m + 8) * (np.abs(t) * size).sum(axis=1)
        apart = (left * u).sum(axis=1) + (1 - 1 / margin) * (off * np.abs(t)).sum(axis=1)
        slack = 2 * apart * (1 + gamma(m + 8))
        least = least_on_grids(problem, i, a, centres, [split.blocks[b] for b in group.number], margin)
        parts += [*least, *(-constants).tolist(), *(-slack).tolist(), -TINY * len(least)]
    return parts
