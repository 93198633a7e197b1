"""L0BnB (Hazimeh, Mazumder, Saab, "Sparse regression at scale", 2021), through the penalised problem."""

from __future__ import annotations

import importlib
import math
from typing import Any, ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray

from ..base import Options
from .penalised import Penalised, PenalisedSolver

NO_LIMIT = 1e9  # seconds; it needs a number


class L0bnb(PenalisedSolver):
    """L0BnB on the penalised problem with the ridge that D gives it."""

    name = "l0bnb"
    summary = "L0BnB; penalised: optimal only where k is on the hull of error against non-zeros, else a bound"
    requires: ClassVar[tuple[str, ...]] = ("l0bnb",)
    extra = "l0"
    licence = "MIT, no size limit"

    def _price(
        self, data: Penalised, price: float, start: FloatArray, options: Options
    ) -> tuple[FloatArray, float, int]:
        if not hasattr(np, "Inf"):
            setattr(np, "Inf", np.inf)  # noqa: B010  # its one release, of 2021, is older than NumPy 2
        l0bnb: Any = importlib.import_module("l0bnb")
        tree = l0bnb.BNBTree(data.a, data.y, int_tol=1e-6, rel_tol=1e-9)
        limit = NO_LIMIT if options.time_limit is None else options.time_limit
        # its gap is relative to its objective, which is not e(x) / 2 but that and a shift
        gap = options.gap / 8 / max(1.0, data.shift + 0.5 + price * len(start))
        found = tree.solve(price, data.ridge, data.box, gap_tol=gap, warm_start=start, time_limit=limit)
        bound = found.cost - max(0.0, found.gap) * abs(found.cost)
        return found.beta, bound if math.isfinite(bound) else -math.inf, int(tree.number_of_nodes)
