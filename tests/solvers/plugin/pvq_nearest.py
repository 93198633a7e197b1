"""A solver in 20 lines: rounds to the nearest level and bounds the error by the smallest eigenvalue of H."""

import numpy as np
from pvq.solvers.base import Solver
from pvq.solvers.result import Outcome


class Nearest(Solver):
    name = "nearest"
    summary = "example plug-in: rounding, bounded by the smallest eigenvalue"
    methods = frozenset({"quant"})
    proves = "bound"

    def _solve(self, problem, options, start):
        x = problem.grid.nearest(problem.weight)
        smallest = max(0.0, np.linalg.eigvalsh(problem.hessian)[0])
        return Outcome(x, smallest * ((problem.weight - x) ** 2).sum())
