"""A plan in float32, as the device holds it, and the float64 numbers that bound what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pvq.bounds.gram import FloatArray

from ..carried import down, largest, residual_norm
from ..plan import Plan, layer_plan
from ..restated import Restated
from .arithmetic import row_start

LONGEST = 192
"""Inputs whose plan fits the shared memory of a multiprocessor next to a few groups of lanes."""

NARROWEST = 2.0**-40
"""Ratio of pivots below which they are not worth float32."""

LEVELS = 256
"""Values of a grid that fit a byte."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """What rows share that have a plan and steps in common, errors times 2^power, in units of the largest step."""

    n: int
    top: float
    slope: NDArray[np.float32]
    """(size,) float32: row i of the slopes begins at `row_start(i)`."""
    diagonal: NDArray[np.float32]
    """(size,) float32, rounded down: row i bounds positions 0 ... i - 1."""
    pivot: NDArray[np.float32]
    """(width,) float32, rounded down."""
    pivot_down: FloatArray
    """(n,) the same in float64."""
    slope_error: FloatArray
    """(n, n) |slope in float32 - slope|."""
    spread: FloatArray
    """(n,) v of `precision`, of the float32 numbers."""
    hessian: FloatArray
    """(n, n) H in these units."""
    residual: float
    """q of `carried.radii`."""
    eigenvalue: float
    """lambda of `carried.radii`."""
    unit: float
    """What one unit of error here is in units of the row."""

    @property
    def width(self) -> int:
        """Length of a row of centres."""
        return len(self.pivot)

    @property
    def quads(self) -> int:
        """Fours of positions for each lane."""
        return -(-self.n // 32)


def why_not(row: Restated) -> str | None:
    """One line on why a row cannot be searched in float32; None where it can."""
    if row.top <= 0:
        return "the grid is not evenly spaced"
    return why_not_in_order(row.plan, row.factors[0], row.top)


def why_not_in_order(plan: Plan, pivot: FloatArray, top: float) -> str | None:
    """The same of the steps of a grid, for all rows with a plan.

    pivot : of the plan, in steps.
    """
    if top >= LEVELS:
        return f"the grid has more than {LEVELS} values"
    if len(plan.order) > LONGEST:
        return f"a row of more than {LONGEST} inputs does not fit"
    if not plan.accurate or pivot.min() < NARROWEST * pivot.max():
        return "the matrix is nearly singular"
    return None


def numbers_of(row: Restated) -> Numbers:
    """The numbers of a row's plan; once for all rows that share the layer's plan, and steps up to a factor."""
    plan, step = row.plan, row.step / row.step.max()

    def made() -> Numbers:
        matrix = row.problem.gram.matrix
        eigenvalue = row.problem.gram.memo(largest, lambda: largest(matrix))
        return _numbers(plan, step, row.factors[1][:, : plan.order.size], row.top, eigenvalue)

    if plan is not layer_plan(row.problem):
        return made()
    return row.problem.gram.memo(numbers_of, made, row.top, step.tobytes())


def error_unit(row: Restated, numbers: Numbers) -> float:
    """One unit of the numbers' errors in units of the row's own."""
    return numbers.unit * float(row.step.max()) ** 2


def block_numbers(plan: Plan, top: float) -> Numbers:
    """The numbers of all rows with a plan and one step for all of their inputs."""
    return _numbers(plan, np.ones(len(plan.order)), plan.slope, top, largest(plan.hessian))


def _numbers(plan: Plan, step: FloatArray, slope: FloatArray, top: float, eigenvalue: float) -> Numbers:
    n = len(step)
    power = -math.frexp(float((plan.pivot * step**2).max()))[1]
    scale = math.ldexp(1.0, power)
    pivot, slope = plan.pivot * step**2 * scale, np.tril(slope, -1)
    hessian = plan.hessian * np.outer(step, step) * scale
    places = np.zeros(row_start(n) if n > 1 else 4, np.float32)
    diagonal = places.copy()
    for i in range(1, n):
        at = row_start(i)
        places[at : at + i] = slope[i, :i]
        diagonal[at : at + i] = down(plan.diagonal[i, :i] * step[:i] ** 2 * scale)
    width = -(-n // 4) * 4
    padded = np.zeros(width, np.float32)
    padded[:n] = down(pivot)
    lower = padded[:n].astype(np.float64)
    rounded = slope.astype(np.float32).astype(np.float64)
    residual = residual_norm(plan.residual, plan.pivot)
    return Numbers(
        n,
        top,
        places,
        diagonal,
        padded,
        lower,
        np.abs(rounded - slope),
        np.array([float(np.sum(rounded[j + 1 :, j] ** 2 / lower[j + 1 :])) for j in range(n)]) * (1 + 1e-9),
        hessian,
        residual,
        eigenvalue,
        math.ldexp(1.0, -power),
    )
