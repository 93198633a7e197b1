"""Gurobi, by the perspective form or by the big-M form of the paper."""

from __future__ import annotations

import ctypes
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray

from ..base import Options, SolverUnavailable
from ..result import Reason
from .adapter import FEASIBILITY, Answer, OutsideSolver
from .formulation import Form, Formulation

if TYPE_CHECKING:
    import gurobipy

# Gurobi error codes: no licence; model too large for the size-limited licence
LICENCE_ERRORS = frozenset({10009, 10010})


class Gurobi(OutsideSolver):
    """Gurobi on the perspective form: convex hulls of the diagonal part, rotated cones for pruning."""

    name = "gurobi"
    summary = "Gurobi, perspective form (a diagonal split off H, its hull per input)"
    requires: ClassVar[tuple[str, ...]] = ("gurobipy",)
    extra = "gurobi"
    licence = "commercial; free to 200 variables: 100 inputs on a grid, 66 pruned, few with FP or NF levels"

    def _run(self, formulation: Formulation, options: Options, start: FloatArray) -> Answer:
        import gurobipy

        try:
            with gurobipy.Env(params={"OutputFlag": 0}) as env, gurobipy.Model(env=env) as model:
                return _optimise(model, formulation, options, start)
        except gurobipy.GurobiError as error:
            if error.errno in LICENCE_ERRORS:
                size = f"{formulation.size} variables and {formulation.rows.shape[0]} rows"
                raise SolverUnavailable(
                    f"solver '{self.name}': the Gurobi licence is too small for {size}"
                ) from None
            raise


class GurobiBigM(Gurobi):
    """Gurobi on the formulation of Kuzmin et al. 2023: integers, and big-M for pruning."""

    name = "gurobi-bigm"
    summary = "Gurobi, the paper's formulation (bounded integers, big-M for pruning)"
    licence = "commercial; free to 200 variables: 200 inputs on a grid, 100 pruned, few with FP or NF levels"
    form = Form.BIG_M


_lock = threading.Lock()
_handlers: list[int] = []
"""The process's C handler of SIGINT, once per running solve."""


@contextmanager
def _interrupt_stays_ours() -> Iterator[Callable[[], None]]:
    """Yield a function that undoes Gurobi's handler of SIGINT; call it from a callback.

    While it runs, the Gurobi library catches Ctrl-C in every thread, writes a line to stdout and tells nobody.
    """
    get, put = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
    get.restype = put.restype = ctypes.c_void_p
    put.argtypes = (ctypes.c_int, ctypes.c_void_p)
    with _lock:  # a second solve must not take the first one's Gurobi handler for ours
        handler = _handlers[0] if _handlers else get(int(signal.SIGINT))
        _handlers.append(handler)
    done = False

    def restore() -> None:
        nonlocal done
        if not done:
            put(int(signal.SIGINT), handler)
            done = True

    try:
        yield restore
    finally:
        done = False
        restore()
        with _lock:
            _handlers.remove(handler)


def parameters(options: Options) -> dict[str, Any]:
    """Limits, gap, seed and tolerances in Gurobi's words."""
    return {
        "MIPGap": options.gap,
        "MIPGapAbs": 0.0,
        "FeasibilityTol": FEASIBILITY,
        "OptimalityTol": FEASIBILITY,
        "IntFeasTol": FEASIBILITY,
        # with the default of 1e-6, bounds of perspective forms came out up to 8e-6 above the optimum
        "BarQCPConvTol": 1e-10,
        "BarConvTol": 1e-11,
        "Threads": options.threads,
        "Seed": options.seed % 2**31,
        "TimeLimit": math.inf if options.time_limit is None else options.time_limit,
        "NodeLimit": math.inf if options.node_limit is None else options.node_limit,
    }


def _optimise(model: gurobipy.Model, formulation: Formulation, options: Options, start: FloatArray) -> Answer:
    from gurobipy import GRB

    for name, value in parameters(options).items():
        model.setParam(name, value)
    y = model.addMVar(
        formulation.size,
        lb=formulation.lower,
        ub=formulation.upper,
        vtype=np.where(formulation.integer, GRB.INTEGER, GRB.CONTINUOUS),
    )
    for ends, sense in ((formulation.row_lower, GRB.GREATER_EQUAL), (formulation.row_upper, GRB.LESS_EQUAL)):
        finite = np.isfinite(ends)
        if finite.any():
            model.addMConstr(formulation.rows[finite], y, sense, ends[finite])
    for a, b, c in formulation.cones.tolist():
        model.addConstr(y[a] * y[a] <= y[b] * y[c])
    q, center = formulation.quadratic, formulation.center
    linear = formulation.linear.copy()
    linear[: len(center)] -= 2 * (q @ center)
    m = len(center)
    model.setMObjective(q, linear, formulation.constant + float(center @ q @ center), y[:m], y[:m], y)
    y.setAttr("Start", start)

    with _interrupt_stays_ours() as restore:

        def watch(running: gurobipy.Model, where: int) -> None:
            restore()
            if options.stop.is_set():
                running.terminate()
            if options.report is not None and where == GRB.Callback.MIP:
                ends = (GRB.Callback.MIP_OBJBND, GRB.Callback.MIP_OBJBST)
                options.report(*(running.cbGet(end) for end in ends))

        model.optimize(watch)
    reason = {
        GRB.OPTIMAL: Reason.FINISHED,
        GRB.TIME_LIMIT: Reason.TIME,
        GRB.NODE_LIMIT: Reason.NODES,
        GRB.INTERRUPTED: Reason.INTERRUPT,
        GRB.SUBOPTIMAL: Reason.FINISHED,  # its tolerances are not met: the ends are judged as they are
        GRB.MEM_LIMIT: Reason.MEMORY,
    }.get(model.Status, Reason.FAILURE)
    info: dict[str, Any] = {} if reason is not Reason.FAILURE else {"why": f"Gurobi status {model.Status}"}
    points = (np.asarray(y.X),) if model.SolCount else ()
    bound = float(model.ObjBound) if reason is not Reason.FAILURE else -math.inf
    return Answer(points, bound, reason, int(model.NodeCount), info)
