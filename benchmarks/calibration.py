"""The volume model against exact optima: how far its level lies below them, and how often rows undercut theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray

from .judge import SOLVED
from .problems import stated

if TYPE_CHECKING:
    from pvq.bounds.volume import Model

    from .session import Session

ODDS = (0.1, 0.05, 0.01, 0.001)


@dataclass(frozen=True, eq=False)
class Calibration:
    """One case: what the model said, and what was true."""

    case: str
    model: Model
    """Stated without any knowledge of the optima, save of rows that it does not cover."""
    rows: int
    total: float
    """Sum of the optima of all rows."""
    tails: FloatArray
    """(rows covered,) bound on the probability of an optimum as small as the row's; increasing."""
    ratios: FloatArray
    """(rows covered,) optimum over the predicted one."""

    @property
    def level(self) -> float:
        """The model's level over the sum of the optima; above 1 it is contradicted."""
        return (self.model.lower or 0.0) / self.total

    @property
    def predicted(self) -> float:
        """The predicted optimum over the true one."""
        return (self.model.optimum or 0.0) / self.total

    def share(self, odds: float) -> float:
        """Share of rows whose optimum has a tail of at most `odds`; at most `odds` if the model holds."""
        return float((self.tails <= odds).mean())


MEASURES: dict[str, Callable[[Calibration], float]] = {
    "level": lambda one: one.level,
    "predicted": lambda one: one.predicted,
}


def calibrations(session: Session, solver: str) -> list[Calibration]:
    """Of each case whose rows `solver` has all solved to optimality, and that the model covers.

    Raises
    ------
    ProblemError
        A case has rows that are not consecutive.
    """
    optima = {run.instance: run.upper for run in session.runs if run.solver == solver and run.outcome == SOLVED}
    groups = dict.fromkeys(task.instance.group for task in session.tasks if task.entry.label == solver)
    found = [_calibrated(session, solver, name, optima) for name in groups]
    return [one for one in found if one is not None]


def _calibrated(session: Session, solver: str, case: str, optima: dict[str, float | None]) -> Calibration | None:
    from pvq.bounds.volume import volume_model  # statistics take half a second to load

    some = {
        task.instance.row: task.instance
        for task in session.tasks
        if task.instance.group == case and task.entry.label == solver
    }
    numbers = sorted(some)
    least = [optima.get(some[row].name) for row in numbers]
    first = some[numbers[0]]
    if any(error is None for error in least) or first.setting.method != "quant":
        return None
    if numbers != list(range(numbers[0], numbers[-1] + 1)):
        raise ProblemError(f"the volume model of case '{case}' needs consecutive rows")
    layer, problem = stated(first.layer, replace(first.setting, rows=(numbers[0], numbers[-1] + 1)))
    errors = np.array(least, dtype=np.float64)
    blind = volume_model(problem, whole=layer.weight)
    if blind.refused is not None:
        return None
    covered = np.array([row.row - numbers[0] for row in blind.rows])
    rest = np.setdiff1d(np.arange(len(errors)), covered)
    added = float(errors[rest].sum())  # as the proven ends would be added
    model = replace(blind, lower=(blind.lower or 0.0) + added, optimum=(blind.optimum or 0.0) + added)
    tails = np.array([row.tail(error) for row, error in zip(blind.rows, errors[covered], strict=True)])
    ratios = errors[covered] / np.array([row.optimum for row in blind.rows])
    return Calibration(case, model, len(errors), float(errors.sum()), np.sort(tails), ratios)


def measured(some: Iterable[Calibration], name: str, case: str | None) -> float | None:
    """A figure of the model for a target: the least of the cases; None where nothing was solved or covered."""
    return min((MEASURES[name](one) for one in some if case is None or one.case == case), default=None)
