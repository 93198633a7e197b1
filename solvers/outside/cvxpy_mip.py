"""Mixed-integer solvers behind CVXPY: the same formulation through its modelling layer."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray
from scipy.sparse import csr_array

from ..base import Options, SolverUnavailable
from ..result import Reason
from . import gurobi, scip
from .adapter import Answer, OutsideSolver
from .formulation import Formulation


@dataclass(frozen=True)
class Backend:
    """A mixed-integer solver of CVXPY that takes quadratics or second-order cones and tells its bound."""

    name: str
    """As in `cvxpy.installed_solvers()`."""
    module: str
    """What must be installed."""
    parameters: Callable[[Options], Mapping[str, Any]]
    """Limits, gap and tolerances in the solver's own words."""
    read: Callable[[Any], tuple[float, str, int]]
    """Dual bound, reason word and nodes of its model object."""


class Cvxpy(OutsideSolver):
    """The first of `BACKENDS` that is installed and whose licence is large enough.

    Of CVXPY's other mixed-integer solvers HiGHS, SciPy, GLPK_MI and CBC take no quadratics.

    CVXPY has no way to stop a running solve, so the time limit is what ends it. No start is passed on.
    """

    name = "cvxpy"
    summary = "SCIP or Gurobi through CVXPY, perspective form; Ctrl-C waits for the time limit"
    requires: ClassVar[tuple[str, ...]] = ("cvxpy",)
    extra = "sdp,scip"
    licence = "Apache-2.0, and that of the solver behind it"

    def __init__(self, backends: tuple[str, ...] | None = None) -> None:
        self.backends = backends or tuple(BACKENDS)
        """Names of the solvers to try, in order."""

    @classmethod
    def is_available(cls) -> bool:
        """Whether CVXPY and one of the solvers are installed; imports none of them."""
        installed = any(importlib.util.find_spec(backend.module) is not None for backend in BACKENDS.values())
        return super().is_available() and installed

    def _run(self, formulation: Formulation, options: Options, start: FloatArray) -> Answer:
        cvxpy: Any = importlib.import_module("cvxpy")
        installed = [name for name in self.backends if name in cvxpy.installed_solvers()]
        for name in installed:
            try:
                return _solve_with(BACKENDS[name], formulation, options)
            except SolverUnavailable:
                if name == installed[-1]:
                    raise
        raise SolverUnavailable(f"solver 'cvxpy' needs one of {', '.join(self.backends)}; none is installed")


def _solve_with(backend: Backend, formulation: Formulation, options: Options) -> Answer:
    cvxpy: Any = importlib.import_module("cvxpy")  # its type hints miss most of its atoms
    parts = []
    for integer in (True, False):
        places = np.flatnonzero(formulation.integer == integer)
        if len(places):
            bounds = [formulation.lower[places], formulation.upper[places]]
            parts.append((places, cvxpy.Variable(len(places), integer=integer, bounds=bounds)))
    y = sum(csr_array(np.eye(formulation.size)[:, places]) @ part for places, part in parts)
    factor, m = formulation.factor, len(formulation.center)
    constraints = []
    for ends, sign in ((formulation.row_lower, -1.0), (formulation.row_upper, 1.0)):
        finite = np.isfinite(ends)
        if finite.any():
            constraints.append(sign * formulation.rows[finite] @ y <= sign * ends[finite])
    if len(formulation.cones):  # y_a^2 <= y_b y_c as |(2 y_a, y_b - y_c)| <= y_b + y_c
        a, b, c = formulation.cones.T
        constraints.append(cvxpy.SOC(y[b] + y[c], cvxpy.vstack([2 * y[a], y[b] - y[c]]), axis=0))
    # the constant stays out: the solver's bound is read from its own model, which would not have it
    objective = cvxpy.sum_squares(factor @ y[:m] - factor @ formulation.center) + formulation.linear @ y
    problem = cvxpy.Problem(cvxpy.Minimize(objective), constraints)
    data, chain, inverse = problem.get_problem_data(backend.name)
    raw = chain.solve_via_data(problem, data, solver_opts=dict(backend.parameters(options)))
    bound, word, nodes = backend.read(raw["model"])
    if word == "too large":
        size = f"{formulation.size} variables"
        raise SolverUnavailable(f"solver 'cvxpy': the {backend.name} licence is too small for {size}")
    reason = STATUS.get(word, Reason.FAILURE)
    if reason is Reason.INTERRUPT:
        options.stop.set()  # Gurobi took the Ctrl-C for itself; the other rows must hear of it
    elif options.stop.is_set() and reason is not Reason.FINISHED:
        reason = Reason.INTERRUPT
    points: tuple[FloatArray, ...] = ()
    values = chain.invert(raw, inverse).primal_vars
    if values:
        point = np.zeros(formulation.size)
        for places, part in parts:
            point[places] = values[part.id]
        points = (point,)
    info = {"backend": backend.name} | ({"why": f"status {word}"} if reason is Reason.FAILURE else {})
    return Answer(points, bound + formulation.constant, reason, nodes, info)


STATUS = {
    "optimal": Reason.FINISHED,
    "gaplimit": Reason.FINISHED,
    "timelimit": Reason.TIME,
    "nodelimit": Reason.NODES,
    "memlimit": Reason.MEMORY,
    "userinterrupt": Reason.INTERRUPT,
}
"""SCIP's words, which the other readers are translated to."""


def _scip_parameters(options: Options) -> Mapping[str, Any]:
    return {"scip_params": scip.parameters(options)}


def _read_scip(model: Any) -> tuple[float, str, int]:
    bound = float(model.getDualbound())
    return (bound if abs(bound) < 1e20 else -math.inf), str(model.getStatus()), int(model.getNTotalNodes())


def _gurobi_parameters(options: Options) -> Mapping[str, Any]:
    import gurobipy

    # CVXPY's own environment would print its licence on stdout
    return {"env": gurobipy.Env(params={"OutputFlag": 0}), **gurobi.parameters(options)}


def _read_gurobi(model: Any) -> tuple[float, str, int]:
    from gurobipy import GRB

    word = {
        GRB.OPTIMAL: "optimal",
        GRB.TIME_LIMIT: "timelimit",
        GRB.NODE_LIMIT: "nodelimit",
        GRB.SUBOPTIMAL: "gaplimit",  # its tolerances are not met: the ends are judged as they are
        GRB.MEM_LIMIT: "memlimit",
        GRB.INTERRUPTED: "userinterrupt",
        GRB.LOADED: "too large",  # CVXPY swallows the exception that the licence raises
    }.get(model.Status, f"Gurobi {model.Status}")
    if word == "too large":
        return -math.inf, word, 0
    return float(model.ObjBound), word, int(model.NodeCount)


BACKENDS = {
    "SCIP": Backend("SCIP", "pyscipopt", _scip_parameters, _read_scip),
    "GUROBI": Backend("GUROBI", "gurobipy", _gurobi_parameters, _read_gurobi),
}
"""In the order of preference.

CVXPY hands both norms instead of squares, on which their tolerances weigh more: pruning can end at gaps of 1e-5.
"""
