"""Score an empirical method on all rows of a layer at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pvq.bounds.certified import certified_uppers
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem

from ..base import Options, Solver, fallback_point
from .heuristic import Heuristic, row_problem


@dataclass(frozen=True, eq=False)
class LayerPoint:
    """Feasible weights for every row of a layer, and their errors."""

    x: FloatArray
    """(rows, n)"""
    errors: FloatArray
    """(rows,) e(x) of each row on the undamped H, rounded up."""


def layer_point(method: Solver, layer: LayerProblem, options: Options | None = None) -> LayerPoint:
    """What a method reaches on a layer; a row whose point is not feasible gets a rounded one instead.

    The same as `solver.solve` row by row, but layer-wide masks span the rows, and H is read once for all rows.
    """
    options = Options() if options is None else options
    if isinstance(method, Heuristic):
        x = method.layer_points(layer, options)
    else:
        x = np.array([method.solve(row_problem(layer, i), options).x for i in range(len(layer))])
    for i in range(len(layer)):
        if not layer.row(i).is_feasible(x[i]):
            x[i] = fallback_point(row_problem(layer, i))
    if layer.budget is not None and used_units(layer, x) > layer.budget:
        x = np.array([fallback_point(row_problem(layer, i)) for i in range(len(layer))])
    return LayerPoint(x, row_errors(layer, x))


def row_errors(layer: LayerProblem, x: FloatArray) -> FloatArray:
    """(rows,) e(x) = (w - x)' H (w - x) of each row, rounded up; of long rows next to 0 by up to a thousandth."""
    errors = np.empty(len(layer))
    for g, gram in enumerate(layer.grams):
        rows = layer.gram_of_row == g
        errors[rows] = certified_uppers(gram, layer.weight[rows], x[rows], scored=True)
    return errors


def used_units(layer: LayerProblem, x: FloatArray) -> int:
    """Units with a non-zero, in all rows together."""
    rows, inputs = np.nonzero(x)
    return len(np.unique(rows * layer.pattern.units + layer.pattern.unit[inputs]))
