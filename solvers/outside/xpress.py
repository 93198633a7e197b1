"""FICO Xpress on the perspective form, through its own Python package."""

from __future__ import annotations

import importlib
import warnings
from typing import Any, ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray

from ..base import Options, SolverUnavailable
from ..result import Reason
from .adapter import FEASIBILITY, Answer, OutsideSolver, expanded, one_sided
from .formulation import Form, Formulation

STOPPED = {
    0: Reason.FINISHED,
    1: Reason.TIME,
    2: Reason.INTERRUPT,
    3: Reason.NODES,
    5: Reason.FINISHED,  # the gap that was asked for
    8: Reason.MEMORY,
    9: Reason.INTERRUPT,
    10: Reason.FINISHED,
}
"""By xpress.StopType; 9 is what `interrupt` gives."""
INFINITY = 1e20  # Xpress' own
TOO_LARGE = "?120"
"""Error code of the community licence."""


class Xpress(OutsideSolver):
    """Xpress on the perspective form: convex hulls of the diagonal part, rotated cones for pruning."""

    name = "xpress"
    summary = "FICO Xpress, perspective form (a diagonal split off H, its hull per input)"
    requires: ClassVar[tuple[str, ...]] = ("xpress",)
    extra = "commercial"
    licence = "commercial; free to 200 variables and rows: some 35 inputs on a grid, 33 pruned"

    def _run(self, formulation: Formulation, options: Options, start: FloatArray) -> Answer:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it uses the community licence
            xpress: Any = importlib.import_module("xpress")
            problem = xpress.problem()
        for name, value in parameters(options).items():
            problem.setControl(name, value)

        def watch(running: Any, _data: Any) -> None:
            if options.report is not None:
                options.report(running.attributes.bestbound, running.attributes.mipbestobjval)
            if options.stop.is_set():
                running.interrupt()

        try:
            _build(problem, formulation)
            problem.addMipSol(start)
            problem.addCheckTimeCallback(watch, None)
            problem.optimize()
        except xpress.SolverError as error:
            if TOO_LARGE not in str(error):
                raise
            size = f"{formulation.size} variables and {problem.attributes.rows} rows"
            raise SolverUnavailable(f"solver '{self.name}': the licence is too small for {size}") from None
        found = problem.attributes
        reason = STOPPED.get(int(found.stopstatus), Reason.FAILURE)
        if found.solvestatus == xpress.SolveStatus.COMPLETED:
            reason = Reason.FINISHED
        points = (np.array(problem.getSolution()),) if found.mipsols else ()
        info = {} if reason is not Reason.FAILURE else {"why": f"Xpress stop status {found.stopstatus}"}
        return Answer(points, float(found.bestbound), reason, int(found.nodes), info)


class XpressBigM(Xpress):
    """Xpress on the formulation of Kuzmin et al. 2023: integers, and big-M for pruning."""

    name = "xpress-bigm"
    summary = "FICO Xpress, the paper's formulation (bounded integers, big-M for pruning)"
    licence = "commercial; free to 200 variables and rows: 200 inputs on a grid, some 49 pruned"
    form = Form.BIG_M


def parameters(options: Options) -> dict[str, Any]:
    """Limits, gap, seed and tolerances in Xpress' words."""
    limits = {"timelimit": options.time_limit, "maxnode": options.node_limit}
    return {name: value for name, value in limits.items() if value is not None} | {
        "outputlog": 0,
        "miprelstop": options.gap,
        "mipabsstop": 0.0,
        "mipaddcutoff": 0.0,  # else nodes are cut 1e-5 below the best point, and the bound ends there
        "miprelcutoff": 0.0,
        "feastol": FEASIBILITY,
        "optimalitytol": FEASIBILITY,
        "miptol": FEASIBILITY,
        # with the defaults a bound came out 4e-7 above the optimum; with 1e-12 it fails at times
        "bargapstop": 1e-10,
        "barprimalstop": 1e-10,
        "bardualstop": 1e-10,
        "threads": options.threads,
        "randomseed": options.seed % 2**31,
    }


def _build(problem: Any, formulation: Formulation) -> None:
    linear, constant = expanded(formulation)
    ends = (np.clip(end, -INFINITY, INFINITY) for end in (formulation.lower, formulation.upper))
    problem.addCols(linear, None, None, None, *ends)
    problem.chgObj([-1], [-constant])
    integer = np.flatnonzero(formulation.integer)
    problem.chgColType(integer, ["I"] * len(integer))
    for places, values, sense, end in one_sided(formulation):
        problem.addRows([sense], [end], None, [0, len(places)], places, values)
    upper = np.triu(formulation.quadratic)
    i, j = np.nonzero(upper)
    problem.chgMQObj(i, j, 2 * upper[i, j])  # it halves
    for a, b, c in formulation.cones.tolist():
        problem.addRows(["L"], [0.0], None, [0, 0], [], [])
        problem.addQMatrix(problem.attributes.rows - 1, [a, min(b, c)], [a, max(b, c)], [1.0, -0.5])
