"""What a sample of rows says of its layer: ends and methods, estimated beside a quick method's errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.outward import sum_up
from pvq.bounds.sampling import CONFIDENCE, Estimate, Statistic, ratio
from pvq.bounds.sqnr import sqnr_db

from .base import Options
from .empirical.layerwise import layer_point, row_errors
from .registry import get_solver
from .rows import LayerResult


@dataclass(frozen=True, eq=False)
class Beside:
    """What is known of all rows: the error of a quick method, and w'Hw."""

    method: str
    errors: FloatArray
    """(rows,)"""
    references: FloatArray

    @classmethod
    def of(cls, problem: LayerProblem, options: Options) -> Beside:
        """Rounding to nearest; of pruned rows Wanda, which is as quick."""
        method = "wanda" if problem.setting.prunes else "rtn"
        errors = layer_point(get_solver(method), problem, options).errors
        return cls(method, errors, row_errors(problem, np.zeros(problem.weight.shape)))

    def total(self, y: FloatArray, index: IntArray) -> Statistic:
        """The sum over all rows of what is y (n,) on the drawn ones."""
        return ratio(y, self.errors[index], len(self.errors)).times(float(self.errors.sum()))


@dataclass(frozen=True)
class Sample:
    """Estimates of a layer from some of its rows, with limits of 95 % confidence; sampled, never proven.

    Attributes
    ----------
    rows, of : int
        Rows that were drawn, and of how many.
    seed : int
        Of the draw.
    beside : str
        The method whose errors are known on all rows.
    reference : float
        w'Hw of all rows, which is known.
    lower, upper : Estimate
        The sums over all rows of the ends that each row would get.
    methods : Mapping[str, Estimate]
        Errors of the methods that were scored.
    least_db, most_db : Mapping[str, Estimate]
        dB of each method above the optimum: at least (above upper) and at most (above lower).
    """

    rows: int
    of: int
    seed: int
    beside: str
    reference: float
    lower: Estimate
    upper: Estimate
    methods: Mapping[str, Estimate]
    least_db: Mapping[str, Estimate]
    most_db: Mapping[str, Estimate]

    @classmethod
    def take(cls, problem: LayerProblem, result: LayerResult, beside: Beside, seed: int) -> Sample:
        """From the results of the drawn rows.

        Parameters
        ----------
        problem : of the drawn rows.
        """
        index = np.asarray(problem.rows) - problem.span.start
        lower = np.array([row.result.lower for row in result.rows])
        upper = np.array([row.result.upper for row in result.rows])
        errors = {name: np.array([row.empirical[name] for row in result.rows]) for name in result.empirical}

        def total(y: FloatArray) -> Estimate:
            return beside.total(y, index).estimate(least=float(y.sum()))

        def above(end: FloatArray) -> dict[str, Estimate]:
            return {
                name: ratio(y, end, len(beside.errors)).in_db().estimate(least=0.0) for name, y in errors.items()
            }

        return cls(
            rows=len(problem),
            of=len(problem.span),
            seed=seed,
            beside=beside.method,
            reference=sum_up(beside.references),
            lower=total(lower),
            upper=total(upper),
            methods={name: total(y) for name, y in errors.items()},
            least_db=above(upper),
            most_db=above(lower),
        )

    @property
    def sqnr_db(self) -> tuple[float | None, float | None]:
        """The best possible SQNR of all rows, at least and at most, with the limits of both ends."""
        ends = self.upper.high, self.lower.low
        least, most = (None if end is None else sqnr_db(self.reference, end) for end in ends)
        return least, most

    def as_json(self) -> dict[str, Any]:
        """For the document `pvq.result/1`."""
        least, most = self.sqnr_db
        return {
            "rows": self.rows,
            "of": self.of,
            "seed": self.seed,
            "beside": self.beside,
            "confidence": CONFIDENCE,
            "reference": self.reference,
            "lower": self.lower.as_json(),
            "upper": self.upper.as_json(),
            "sqnr_min_db": least,
            "sqnr_max_db": most,
            "empirical": {
                name: {
                    **estimate.as_json(),
                    "above_optimum_min_db": self.least_db[name].as_json(),
                    "above_optimum_max_db": self.most_db[name].as_json(),
                }
                for name, estimate in self.methods.items()
            },
        }
