"""Cardinal Optimizer (COPT) on the perspective form, through its own Python package."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray

from ..base import Options, SolverUnavailable
from ..result import Reason
from .adapter import FEASIBILITY, Answer, OutsideSolver, expanded, one_sided
from .formulation import Formulation


class Coptpy(OutsideSolver):
    """COPT on the perspective form: convex hulls of the diagonal part, rotated cones for pruning."""

    name = "coptpy"
    summary = "Cardinal Optimizer (COPT), perspective form (a diagonal split off H, its hull per input)"
    requires: ClassVar[tuple[str, ...]] = ("coptpy",)
    extra = "commercial"
    licence = "commercial; free to 2000 variables and 2000 rows: some 200 inputs on a grid, 660 pruned"

    def _run(self, formulation: Formulation, options: Options, start: FloatArray) -> Answer:
        coptpy: Any = importlib.import_module("coptpy")
        quiet = coptpy.EnvrConfig()
        quiet.set("nobanner", "1")
        with _no_stdout():  # it says there where it looked for licences
            environment = coptpy.Envr(quiet)
        model = environment.createModel("row")
        for name, value in parameters(options).items():
            model.setParam(name, value)
        y = _build(coptpy, model, formulation)
        model.setMipStart(y, start)
        model.loadMipStart()
        COPT = coptpy.COPT

        class Watcher(coptpy.CallbackBase):  # type: ignore[misc]  # imported when used, so its type is Any
            def callback(self) -> None:
                if options.stop.is_set():
                    self.interrupt()
                if options.report is not None:
                    options.report(self.getInfo(COPT.CbInfo.BestBnd), self.getInfo(COPT.CbInfo.BestObj))

        watcher = Watcher()
        model.setCallback(watcher, COPT.CBCONTEXT_MIPRELAX | COPT.CBCONTEXT_MIPSOL | COPT.CBCONTEXT_MIPNODE)
        try:
            model.solve()
        except coptpy.CoptError as error:
            if "(LICENSE)" not in str(error):
                raise
            size = f"{formulation.size} variables and {formulation.rows.shape[0]} rows"
            raise SolverUnavailable(f"solver 'coptpy': the licence is too small for {size}") from None
        reason = {
            COPT.OPTIMAL: Reason.FINISHED,
            COPT.TIMEOUT: Reason.TIME,
            COPT.NODELIMIT: Reason.NODES,
            COPT.INTERRUPTED: Reason.INTERRUPT,
            COPT.IMPRECISE: Reason.FINISHED,  # its tolerances are not met: the ends are judged as they are
        }.get(model.status, Reason.FAILURE)
        info = {} if reason is not Reason.FAILURE else {"why": f"COPT status {model.status}"}
        points = (np.array(model.getValues()),) if model.hasmipsol else ()
        return Answer(points, float(model.bestbnd), reason, int(model.nodecnt), info)


def parameters(options: Options) -> dict[str, Any]:
    """Limits, gap and tolerances in COPT's words; it has no seed."""
    limits = {"TimeLimit": options.time_limit, "NodeLimit": options.node_limit}
    silent = {"Logging": 0}  # first, or it tells of the others
    return (
        silent
        | {name: value for name, value in limits.items() if value is not None}
        | {
            "RelGap": options.gap,
            "AbsGap": 0.0,
            "FeasTol": FEASIBILITY,
            "DualTol": FEASIBILITY,
            "IntTol": FEASIBILITY,
            "Threads": options.threads,
        }
    )


def _build(coptpy: Any, model: Any, formulation: Formulation) -> list[Any]:
    ends = zip(formulation.lower.tolist(), formulation.upper.tolist(), formulation.integer, strict=True)
    y = [model.addVar(max(low, -1e30), min(high, 1e30), vtype="I" if i else "C") for low, high, i in ends]
    for places, values, sense, end in one_sided(formulation):
        model.addConstr(
            coptpy.LinExpr(list(zip([y[p] for p in places], values.tolist(), strict=True))), sense, end
        )
    for a, b, c in formulation.cones.tolist():
        model.addQConstr(y[a] * y[a] - y[b] * y[c] <= 0)
    linear, constant = expanded(formulation)
    upper = np.triu(2 * formulation.quadratic) - np.diag(np.diag(formulation.quadratic))
    i, j = np.nonzero(upper)
    objective = coptpy.QuadExpr(constant)
    for a, b, value in zip(i.tolist(), j.tolist(), upper[i, j].tolist(), strict=True):
        objective.addTerm(value, y[a], y[b])
    for variable, value in zip(y, linear.tolist(), strict=True):
        objective.addTerm(value, variable)
    model.setObjective(objective, coptpy.COPT.MINIMIZE)
    return y


@contextlib.contextmanager
def _no_stdout() -> Iterator[None]:
    """Send what native code prints on stdout to nowhere."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
