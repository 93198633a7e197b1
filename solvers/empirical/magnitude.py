"""Pruning by a score per weight: magnitude, magnitude with least squares, Wanda."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.problem import Problem, optimal_on_support

from ..base import Options
from .heuristic import Heuristic, shared_mask


class ScoredPruning(Heuristic):
    """Keep the weights (or blocks, by their summed score) with the largest score; they stay what they are in w.

    With a grid, kept weights are then rounded to nearest.
    """

    methods: ClassVar[frozenset[str]] = frozenset({"prune", "joint"})

    @abstractmethod
    def _score(self, problem: Problem) -> FloatArray:
        """(n,) importance of each weight; a square, so that sums over blocks are squared norms."""

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        kept = problem.weight if problem.grid is None else problem.grid.nearest(problem.weight)
        return np.where(problem.pattern.best_mask(self._score(problem)), kept, 0.0)


class Magnitude(ScoredPruning):
    """Keep the largest |w_i|: Han et al., "Learning both Weights and Connections", NeurIPS 2015, no retraining.

    Of a layer-wide budget (scope layer) the largest of all rows are kept, as published.
    """

    name = "magnitude"
    summary = "keep the largest |w|, as they are (joint: then round to nearest)"

    def _score(self, problem: Problem) -> FloatArray:
        return problem.weight**2

    def layer_points(self, layer: LayerProblem, options: Options) -> FloatArray:
        if layer.budget is None:
            return super().layer_points(layer, options)
        kept = layer.weight if layer.grid is None else rounded(layer)
        return np.where(shared_mask(layer, live_weights(layer) ** 2), kept, 0.0)


def live_weights(layer: LayerProblem) -> FloatArray:
    """(rows, n) weights, 0 where the input is dead, so that no budget is spent there."""
    live = np.array([gram.live for gram in layer.grams])
    return np.where(live[layer.gram_of_row], layer.weight, 0.0)


def rounded(layer: LayerProblem) -> FloatArray:
    """(rows, n) weights rounded to nearest."""
    points = np.empty(layer.weight.shape)
    for i, weight in enumerate(layer.weight):
        grid = layer.row_grid(i)
        assert grid is not None
        points[i] = grid.nearest(weight)
    return points


class Wanda(ScoredPruning):
    """Keep the largest |w_i| ||X_i||_2 per row: Sun et al., "A Simple and Effective Pruning Approach for Large
    Language Models", ICLR 2024, equation 1. ||X_i||_2 is sqrt(N H_ii); N is the same for all. No weight update.

    The published method has no blocks; here a block scores the sum of w_i^2 H_ii.
    """

    name = "wanda"
    summary = "keep the largest |w| times input norm, as they are (joint: then round to nearest)"

    def _score(self, problem: Problem) -> FloatArray:
        return problem.weight**2 * np.diag(problem.hessian)


class MagnitudeLeastSquares(Heuristic):
    """The mask of magnitude pruning (scope layer: across the rows), kept weights re-optimised:
    x_S = w_S + H_SS^-1 H_SR w_R.
    """

    name = "magnitude-ls"
    summary = "keep the largest |w|, re-optimised by least squares"
    methods: ClassVar[frozenset[str]] = frozenset({"prune"})
    no_update = False

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        return optimal_on_support(problem, problem.pattern.best_mask(problem.weight**2))

    def layer_points(self, layer: LayerProblem, options: Options) -> FloatArray:
        if layer.budget is None:
            return super().layer_points(layer, options)
        return optimal_on_masks(layer, shared_mask(layer, live_weights(layer) ** 2))


def optimal_on_masks(layer: LayerProblem, mask: BoolArray) -> FloatArray:
    """(rows, n) the optimum of each row on its mask (rows, n)."""
    points = np.zeros(layer.weight.shape)
    for i, kept in enumerate(mask):
        problem = layer.row(i)
        # dead inputs would make H_SS singular, and are 0 at an optimum as well as anything
        points[i] = optimal_on_support(problem, kept & problem.gram.live)
    return points
