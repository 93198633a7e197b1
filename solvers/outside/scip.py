"""SCIP, by the perspective form or by the big-M form of the paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray

from ..base import Options
from ..result import Reason
from .adapter import Answer, OutsideSolver
from .formulation import Form, Formulation

if TYPE_CHECKING:
    import pyscipopt

INFINITY = 1e20  # SCIP's own
MAX_SEED = 2**31 - 1

STATUS = {
    "optimal": Reason.FINISHED,
    "gaplimit": Reason.FINISHED,  # the gap that was asked for
    "timelimit": Reason.TIME,
    "nodelimit": Reason.NODES,
    "userinterrupt": Reason.INTERRUPT,
    "memlimit": Reason.MEMORY,
}


class Scip(OutsideSolver):
    """SCIP on the perspective form: convex hulls of the diagonal part, rotated cones for pruning."""

    name = "scip"
    summary = "SCIP, perspective form (a diagonal split off H, its hull per input); one thread"
    requires: ClassVar[tuple[str, ...]] = ("pyscipopt",)
    extra = "scip"
    licence = "Apache-2.0, no size limit"

    def _run(self, formulation: Formulation, options: Options, start: FloatArray) -> Answer:
        import pyscipopt

        model = pyscipopt.Model()
        model.hideOutput()
        model.setParams(parameters(options))
        variables, values = _build(model, formulation, start)
        solution = model.createSol()
        for variable, value in zip(variables, values, strict=True):
            model.setSolVal(solution, variable, value)
        model.addSol(solution)
        model.includeEventhdlr(_watcher(options), "pvq", "ends the solve when it is told to stop")
        model.optimizeNogil()

        word = str(model.getStatus())
        reason = STATUS.get(word, Reason.FAILURE)
        bound = float(model.getDualbound())
        points = tuple(
            np.array([model.getSolVal(found, v) for v in variables[: formulation.size]])
            for found in model.getSols()[:5]  # a worse one may be the best once x is exact
        )
        info: dict[str, Any] = {"why": f"SCIP status {word}"} if reason is Reason.FAILURE else {}
        nodes = int(model.getNTotalNodes())
        return Answer(points, bound if abs(bound) < INFINITY else -math.inf, reason, nodes, info)


class ScipBigM(Scip):
    """SCIP on the formulation of Kuzmin et al. 2023: integers, and big-M for pruning."""

    name = "scip-bigm"
    summary = "SCIP, the paper's formulation (bounded integers, big-M for pruning); one thread"
    form = Form.BIG_M


def parameters(options: Options) -> dict[str, float | bool]:
    """Limits, gap, seed and tolerances in SCIP's words."""
    return {
        "misc/catchctrlc": False,  # Ctrl-C is the caller's; it sets options.stop
        "limits/gap": options.gap,
        "limits/time": INFINITY if options.time_limit is None else options.time_limit,
        "limits/nodes": -1 if options.node_limit is None else options.node_limit,
        "randomization/randomseedshift": options.seed % MAX_SEED,
        # SCIP's points may violate cones by feastol, so its optimal values come out too low: by about 5e-6 of the
        # optimum with the default 1e-6, by at most 3e-7 with this. Tighter, SoPlex refines to a thousandth of it
        # and then complains on stderr that it cannot go below 1e-10.
        "numerics/feastol": 1e-8,
        "numerics/dualfeastol": 1e-7,
    }


def _build(
    model: pyscipopt.Model, formulation: Formulation, start: FloatArray
) -> tuple[list[pyscipopt.Variable], FloatArray]:
    """Variables y, then t, q and theta with t = F (p - center), q_i >= t_i^2, theta >= sum q; and their start.

    The triangular F keeps the objective a sum of squares whatever rounding does to Q (SCIP treats a Q with an
    eigenvalue of -1e-17 as non-convex), and one small cone per square gives sharp cuts: on four rows of 20 inputs
    it was 2 to 20 times faster than the expanded quadratic.
    """
    from pyscipopt import quicksum

    def end(value: float) -> float | None:
        return float(value) if math.isfinite(value) else None

    y = [
        model.addVar(lb=end(low), ub=end(high), vtype="I" if integral else "C")
        for low, high, integral in zip(formulation.lower, formulation.upper, formulation.integer, strict=True)
    ]
    matrix = formulation.rows
    for r in range(matrix.shape[0]):
        part = slice(matrix.indptr[r], matrix.indptr[r + 1])
        terms = zip(matrix.data[part], matrix.indices[part], strict=True)
        row = quicksum(float(value) * y[place] for value, place in terms)
        low, high = float(formulation.row_lower[r]), float(formulation.row_upper[r])
        if low == high:
            model.addCons(row == low)
            continue
        if math.isfinite(low):
            model.addCons(row >= low)
        if math.isfinite(high):
            model.addCons(row <= high)
    for a, b, c in formulation.cones.tolist():
        model.addCons(y[a] * y[a] <= y[b] * y[c])

    factor, m = formulation.factor, len(formulation.center)
    t = [model.addVar(lb=None, ub=None) for _ in range(m)]
    q = [model.addVar(lb=0.0, ub=None) for _ in range(m)]
    theta = model.addVar(lb=0.0, ub=None)
    shift = factor @ formulation.center
    for i in range(m):
        row = quicksum(float(factor[i, j]) * y[j] for j in range(i, m))
        model.addCons(row - t[i] == float(shift[i]))
        model.addCons(t[i] * t[i] <= q[i])
    model.addCons(quicksum(q) <= theta)
    linear = quicksum(float(formulation.linear[j]) * y[j] for j in np.flatnonzero(formulation.linear))
    model.setObjective(theta + linear + formulation.constant)
    squares = factor @ start[:m] - shift
    return [*y, *t, *q, theta], np.concatenate([start, squares, squares**2, [(squares**2).sum()]])


def _watcher(options: Options) -> pyscipopt.Eventhdlr:
    """An event handler that looks at `options.stop` after every linear program and node."""
    from pyscipopt import Eventhdlr
    from pyscipopt.scip import PY_SCIP_EVENTTYPE as SCIP_EVENTTYPE

    class Watcher(Eventhdlr):
        def eventinit(self) -> None:
            for event in (SCIP_EVENTTYPE.LPSOLVED, SCIP_EVENTTYPE.NODESOLVED):
                self.model.catchEvent(event, self)

        def eventexit(self) -> None:
            for event in (SCIP_EVENTTYPE.LPSOLVED, SCIP_EVENTTYPE.NODESOLVED):
                self.model.dropEvent(event, self)

        def eventexec(self, event: object) -> None:
            if options.stop.is_set():
                self.model.interruptSolve()
            if options.report is not None:
                options.report(self.model.getDualbound(), self.model.getPrimalbound())

    return Watcher()
