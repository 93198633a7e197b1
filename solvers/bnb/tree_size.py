"""How many nodes a search would visit, by sampling its tree level by level: stochastic enumeration.

Rubinstein (2013), Stochastic enumeration method for counting trees; with one node a level, Knuth (1975). Chances
are in proportion to the size that subtrees may have (Chen 1992, Heterogeneous sampling), and what is drawn counts
for 1 / its chance (Horvitz and Thompson 1952).
"""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray

from .restated import Restated

KEPT = 1024
"""Nodes of a level that are gone on with, see `POWER`; half of them take 15 ms at 64 inputs."""

POWER = 0.05
"""A subtree with m undecided positions is taken to grow like the POWER m of what its threshold leaves.

Of seven rows of 64 to 144 inputs, 2 to 4 bits, regular and with condition 7e4 and 1e6, trees of 1e6 to 6e8
nodes, 1024 nodes a level say .8 to 1.5 times as many in 30 to 150 ms (five or six samples each); .04 to 6 times
without it, .4 to 2.6 times with .1, and a twentieth to half of them with .2."""


def sampled_nodes(row: Restated, threshold: float, kept: int = KEPT, seed: int = 0) -> float:
    """Nodes of the tree of a row without a pattern below a threshold: a sample's mean is right, no bound.

    Parameters
    ----------
    threshold : in units of error.
    kept : nodes of a level.
    """
    rng = np.random.default_rng(seed)
    pivot, slope, diagonal = row.factors
    values, count, group, _ = row.grid
    levels = [values[g, : count[g]] for g in group]
    centres, partial, weight, nodes = row.weight[None], np.zeros(1), np.ones(1), 0.0
    for i in range(len(row.weight) - 1, -1, -1):
        away = centres[:, i : i + 1] - levels[i]
        cost = partial[:, None] + pivot[i] * away * away
        parent, pick = np.nonzero(cost < threshold)
        nodes += float(weight[parent].sum())
        if i == 0 or not len(parent):
            break
        partial, weight = cost[parent, pick], weight[parent]
        centres = centres[parent, :i] + away[parent, pick][:, None] * slope[i, :i]
        left = threshold - partial - _squares(centres, levels, row.top) @ diagonal[i, :i]
        alive = np.flatnonzero(left > 0)
        if len(alive) > kept:
            chance = _chances(weight[alive] * (left[alive] / threshold) ** (POWER * i), kept)
            drawn = _systematic(chance, rng)
            alive = alive[drawn]
            weight = weight[alive] / chance[drawn]
        else:
            weight = weight[alive]
        centres, partial = centres[alive], partial[alive]
    return nodes


def _chances(size: FloatArray, kept: int) -> FloatArray:
    """Chances of being drawn in proportion to sizes, 1 at most, whose sum is `kept`."""
    chance = size * (kept / size.sum())
    while (over := chance > 1).any():
        chance[over] = 1.0
        rest = chance < 1
        if not rest.any():
            break
        chance[rest] *= (kept - (len(chance) - rest.sum())) / chance[rest].sum()
    return np.asarray(chance)


def _systematic(chance: FloatArray, rng: np.random.Generator) -> BoolArray:
    """Each with its chance, together as many as the sum of chances, with one random number."""
    ends = np.cumsum(chance) + rng.random()
    return np.asarray(np.diff(np.floor(ends), prepend=np.floor(ends[0] - chance[0])) > 0)


def _squares(centres: FloatArray, levels: list[FloatArray], top: float) -> FloatArray:
    """Squares of how far centres are from their nearest values."""
    if top > 0:
        return np.asarray((centres - np.clip(np.rint(centres), 0.0, top)) ** 2)
    nearest = np.empty_like(centres)
    for j in range(centres.shape[1]):
        middle = (levels[j][1:] + levels[j][:-1]) / 2
        nearest[:, j] = levels[j][np.searchsorted(middle, centres[:, j])]
    return np.asarray((centres - nearest) ** 2)
