"""fplll's closest-vector search for quantization: the grid without its ends is a lattice, a relaxation."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Options, Solver
from ..result import Outcome
from .adapter import SLACK, known_point
from .formulate import is_uniform

MAX_INPUTS = 64
"""Its search cannot be stopped, and its time grows exponentially."""

BITS = 40
"""Length of the known point's error vector in the lattice of whole numbers, in bits."""


class Fpylll(Solver):
    """Closest vector to F (w - origin) among F step z, z integral, F'F = H: the optimum if z lies on the grid."""

    name = "fpylll"
    summary = "fplll's closest vector: grids with equal steps as if they had no ends; no limit of time is heard"
    methods: ClassVar[frozenset[str]] = frozenset({"quant"})
    proves = "bound"
    requires: ClassVar[tuple[str, ...]] = ("fpylll", "cysignals")
    extra = "lattice"
    licence = "GPL-2.0 or later, no size limit"

    @classmethod
    def why_unsupported(cls, problem: Problem) -> str | None:
        """Refuse uneven grids and sizes at which it may run for ever."""
        why = super().why_unsupported(problem)
        if why is None and not is_uniform(problem):
            why = f"solver '{cls.name}' takes grids with equal steps only; use 'bnb'"
        if why is None and problem.n > MAX_INPUTS:
            why = f"solver '{cls.name}' takes at most {MAX_INPUTS} inputs, not {problem.n}; use 'bnb'"
        return why

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        x, grid, n = known_point(problem, start), problem.levels, problem.n
        unit = problem.certified(x).upper
        if unit <= problem.gap_tolerance(x, options.gap):
            return Outcome(x, 0.0)
        levels = grid.levels[grid.group]
        origin, step = levels[:, 0], (levels[:, -1] - levels[:, 0]) / (grid.count - 1)
        values, vectors = np.linalg.eigh(problem.hessian)
        basis = (np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T) * step
        target = basis @ ((problem.weight - origin) / step)
        # whole numbers: v is off by at most half of `fine` in each entry for each unit of z, the target by half
        fine = np.sqrt(unit) / (2.0**BITS * n * grid.count)
        fpylll: Any = importlib.import_module("fpylll")
        lattice = fpylll.IntegerMatrix.from_matrix([[round(v / fine) for v in row] for row in basis.T.tolist()])
        fpylll.LLL.reduction(lattice)
        whole = [round(v / fine) for v in target.tolist()]
        closest = np.array(fpylll.CVP.closest_vector(lattice, whole), dtype=object)
        distance = float(np.sqrt(float(((closest - np.array(whole, dtype=object)) ** 2).sum()))) * fine
        least = distance - fine / 2 * np.sqrt(n) * (n * (grid.count - 1) + 1)
        lower = max(0.0, least) ** 2 * (1 - SLACK)
        z = np.round(np.linalg.lstsq(basis, closest.astype(float) * fine, rcond=None)[0])
        found = grid.nearest(origin + step * z)
        return Outcome(min(x, found, key=problem.error), lower)
