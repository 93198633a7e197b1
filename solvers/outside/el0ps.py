"""El0ps (Guyard, Herzet, Elvira, "An Exact L0-Problem Solver") for pruning, through the penalised problem."""

from __future__ import annotations

import importlib
import math
from typing import Any, ClassVar

from pvq.bounds.gram import FloatArray

from ..base import Options
from .penalised import Penalised, PenalisedSolver


class El0ps(PenalisedSolver):
    """El0ps on the penalised problem with the ridge that D gives it."""

    name = "el0ps"
    summary = "El0ps; penalised: optimal only where k is on the hull of error against non-zeros, else a bound"
    requires: ClassVar[tuple[str, ...]] = ("el0ps", "mpi4py")
    extra = "l0"
    licence = "GPL-3.0, no size limit; needs an MPI library, as the package mpich"

    def _price(
        self, data: Penalised, price: float, start: FloatArray, options: Options
    ) -> tuple[FloatArray, float, int]:
        solvers: Any = importlib.import_module("el0ps.solver")
        fit: Any = importlib.import_module("el0ps.datafit").Leastsquares(data.y)
        penalty: Any = importlib.import_module("el0ps.penalty").BigmL2norm(data.box, data.ridge)

        class Bounded(solvers.BnbSolver):  # type: ignore[misc]  # imported when used, so its type is Any
            bound = -math.inf

            def package_results(self, problem: Any, results: Any) -> Any:
                self.bound = results.bound  # its own result leaves the bound out
                return super().package_results(problem, results)

        solver = Bounded(
            relative_gap=0.0,
            absolute_gap=options.gap / 8,
            time_limit=math.inf if options.time_limit is None else options.time_limit,
            relative_tol=1e-9,
            simpruning=False,  # with it, el0ps 0.0.4 called points optimal that were 1.6 % above the optimum
        )
        result = solver.solve(fit, penalty, data.a, price, start.copy())
        return result.x, float(solver.bound), int(result.iter_count)
