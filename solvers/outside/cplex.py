"""IBM CPLEX on the perspective form, through its own Python package."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray

from ..base import Options, SolverUnavailable
from ..result import Reason
from .adapter import FEASIBILITY, Answer, OutsideSolver, expanded, one_sided
from .formulation import Formulation

TOO_LARGE = 1016
"""Error code of the community edition."""


class Cplex(OutsideSolver):
    """CPLEX on the perspective form: convex hulls of the diagonal part, rotated cones for pruning."""

    name = "cplex"
    summary = "IBM CPLEX, perspective form (a diagonal split off H, its hull per input)"
    requires: ClassVar[tuple[str, ...]] = ("cplex",)
    extra = "commercial"
    licence = "commercial; free to 1000 variables and 1000 rows: some 150 inputs on a grid, 333 pruned"

    def _run(self, formulation: Formulation, options: Options, start: FloatArray) -> Answer:
        cplex: Any = importlib.import_module("cplex")
        with cplex.Cplex() as model:
            for stream in ("log", "results", "warning", "error"):
                getattr(model, f"set_{stream}_stream")(None)
            _set(model.parameters, options)
            _build(model, formulation)
            places = list(range(formulation.size))
            model.MIP_starts.add([places, start.tolist()], model.MIP_starts.effort_level.check_feasibility)
            progress = importlib.import_module("cplex.callbacks").Context.id.global_progress
            model.set_callback(_Watcher(options), progress)
            try:
                model.solve()
            except cplex.exceptions.CplexSolverError as error:
                if error.args[-1] != TOO_LARGE:
                    raise
                size = f"{formulation.size} variables"
                raise SolverUnavailable(f"solver 'cplex': the licence is too small for {size}") from None
            found = model.solution
            words = str(found.get_status_string())
            reason = _reason(words)
            info = {} if reason is not Reason.FAILURE else {"why": f"CPLEX: {words}"}
            points = (np.array(found.get_values()),) if found.is_primal_feasible() else ()
            bound = found.MIP.get_best_objective()
            nodes = int(found.progress.get_num_nodes_processed())
            return Answer(points, float(bound), reason, nodes, info)


class _Watcher:
    """Called by CPLEX now and then: reports, and ends the solve when it is told to stop."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def invoke(self, context: Any) -> None:
        if self.options.stop.is_set():
            context.abort()
        if self.options.report is not None:
            info = context.info
            ends = (context.get_double_info(end) for end in (info.best_bound, info.best_solution))
            self.options.report(*ends)


def _reason(words: str) -> Reason:
    if "memory" in words:
        return Reason.MEMORY
    if "time limit" in words:
        return Reason.TIME
    if "node limit" in words:
        return Reason.NODES
    if "abort" in words:
        return Reason.INTERRUPT
    return Reason.FINISHED if "optimal" in words else Reason.FAILURE


def _set(parameters: Any, options: Options) -> None:
    if options.time_limit is not None:
        parameters.timelimit.set(options.time_limit)
    if options.node_limit is not None:
        parameters.mip.limits.nodes.set(options.node_limit)
    parameters.mip.tolerances.mipgap.set(options.gap)
    parameters.mip.tolerances.absmipgap.set(0.0)
    parameters.mip.tolerances.integrality.set(FEASIBILITY)
    parameters.simplex.tolerances.feasibility.set(FEASIBILITY)
    parameters.simplex.tolerances.optimality.set(FEASIBILITY)
    parameters.barrier.qcpconvergetol.set(1e-10)
    parameters.threads.set(options.threads)
    parameters.randomseed.set(options.seed % 2**31)


def _build(model: Any, formulation: Formulation) -> None:
    linear, constant = expanded(formulation)
    kinds = np.where(formulation.integer, "I", "C").tolist()
    ends = (np.clip(end, -1e20, 1e20).tolist() for end in (formulation.lower, formulation.upper))
    model.variables.add(linear.tolist(), *ends, kinds)
    model.objective.set_offset(constant)
    m, q = len(formulation.center), 2 * formulation.quadratic  # it halves
    blank: list[list[Any]] = [[[], []]] * (formulation.size - m)
    model.objective.set_quadratic([[list(range(m)), row.tolist()] for row in q] + blank)
    for places, values, sense, end in one_sided(formulation):
        model.linear_constraints.add([[places.tolist(), values.tolist()]], [sense], [end])
    for a, b, c in formulation.cones.tolist():
        model.quadratic_constraints.add([[], []], [[a, b], [a, c], [1.0, -1.0]], "L", 0.0)
