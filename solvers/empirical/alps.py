"""ALPS: pruning by ADMM with a penalty that grows until the mask stands still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, Gram, IntArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support

from ..base import Options
from .factors import damped
from .heuristic import Heuristic


class Alps(Heuristic):
    """Meng et al., "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large Language Models",
    NeurIPS 2024, algorithm 1 with the settings of the published code.

    With G = H + 0.01 mean(diag H) I scaled to unit diagonal and b the scaled weights, repeat
    x = (G + rho I)^-1 (G b - v + rho z), z = the largest entries of x + v / rho, v += rho (x - z). rho starts at
    0.1 and every 3 iterations is multiplied by 1.3, 1.2 or 1.1 as more than 10%, 0.5% or none of the mask changed
    (if hardly any has since the start, rho was too large: divided by 5, from the start again); at most 300
    iterations.

    Scope layer is the published method, one mask for all rows; scope row is the same with a mask per row (as is
    scope layer where rows have Gram matrices of their own, at an even budget). Different from the published
    method: in the end the kept weights are solved for exactly, on the undamped H, where the paper takes 10 steps
    of conjugate gradients.
    """

    name = "alps"
    summary = "ALPS, ADMM with a growing penalty, kept weights re-optimised"
    methods: ClassVar[frozenset[str]] = frozenset({"prune"})
    no_update = False

    def _point(self, problem: Problem, options: Options) -> FloatArray:
        return optimal_on_support(problem, alps_mask(problem))

    def layer_points(self, layer: LayerProblem, options: Options) -> FloatArray:
        if layer.budget is None or len(layer.grams) > 1 or not layer.grams[0].live.any():
            return super().layer_points(layer, options)
        presolved = [presolve(layer.row(i)) for i in range(len(layer))]
        rows = [found.problem for found in presolved if found.problem is not None]
        masks = layer_masks(rows, layer.budget)
        points = [optimal_on_support(row, mask) for row, mask in zip(rows, masks, strict=True)]
        return np.array([found.lift(point) for found, point in zip(presolved, points, strict=True)])


def alps_mask(problem: Problem) -> BoolArray:
    """(n,) mask at which the ADMM ends."""
    pattern = problem.sparsity
    assert pattern is not None
    return _masks([problem], pattern.unit, pattern.group, pattern.keep)[0]


def layer_masks(problems: Sequence[Problem], budget: int) -> BoolArray:
    """(rows, n) masks of rows with one Gram matrix that keep `budget` units together."""
    pattern = problems[0].sparsity
    assert pattern is not None
    unit = np.concatenate([pattern.unit + i * pattern.units for i in range(len(problems))])
    group = np.zeros(pattern.units * len(problems), np.int64)
    return _masks(problems, unit, group, np.array([budget]))


def _masks(problems: Sequence[Problem], unit: IntArray, group: IntArray, keep: IntArray) -> BoolArray:
    """(rows, n) where the ADMM ends, for a pattern over the inputs of all rows, row after row."""
    from .alps_steps import admm

    gram = problems[0].gram
    norms, values, vectors = gram.memo(scaled_eigen, lambda: scaled_eigen(gram))
    b = np.concatenate([problem.weight * norms for problem in problems])
    mask: BoolArray = admm(values, vectors, b, unit, group, keep)
    return mask.reshape(len(problems), -1)


def scaled_eigen(gram: Gram) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Norms d_i = sqrt((H + lambda I)_ii), eigenvalues and (n, n) eigenvectors of G = D^-1 (H + lambda I) D^-1."""
    h = damped(gram)
    norms = np.sqrt(np.diag(h))
    values, vectors = np.linalg.eigh(h / np.outer(norms, norms))
    return norms, values, np.ascontiguousarray(vectors)
