"""Whether an error of 0 is reached, by algebra and without a search.

*Positive definite.* H x = H w has one solution, x = w: the least error is 0 if and only if w itself satisfies
the constraints. A singular H is stated with a shift, which makes it definite (`Gram.from_array`), so that the
problem's own answer is told by its lower end: e(x) >= d |w - x|^2 for every d I below H. What is asked here is the
other question, whether H **without its shift** reaches 0.

*Numerically.* H = B'B with r independent columns b_i, i in S, has B w = sum_S b_i x_i for some x: r kept weights
of a row reach 0 whatever w is, and so do r blocks. This goes by the numerical rank, and holds but for rounding.
Nothing of the kind is known of a grid, or of fewer weights.

*Exactly*, where H without its shift is positive semidefinite in rational arithmetic: entries that are small whole
numbers, say; the rounding of other data leaves it indefinite. See `equations`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from .equations import LONGEST, Echelon, Work, echelon, least_kept
from .gram import FloatArray
from .layer_problem import LayerProblem
from .ranges import OPTIMAL

SUMS, SETS = 300_000, 5_000
"""Sums that are followed, and sets of inputs that are tried, for all rows together: two seconds."""


class Zero(StrEnum):
    """Whether the least error is 0."""

    YES = "yes"
    NO = "no"
    OPEN = "not decided"


@dataclass(frozen=True)
class WithoutShift:
    """What is known of the least error of a layer whose H has no shift."""

    answer: Zero
    enough: int | None = None
    """How many kept in a row reach 0, where it is the numerical rank that says so; else arithmetic is exact."""

    @property
    def words(self) -> str:
        """In the middle of a sentence."""
        if self.answer is Zero.OPEN:
            return "it is not decided whether an error of 0 is reached"
        if self.enough is not None:
            return f"{self.enough} kept in a row reach an error of 0, but for rounding"
        some = (
            "weights within the constraints reach" if self.answer is Zero.YES else "no choice of weights reaches"
        )
        return f"{some} an error of exactly 0"

    def as_json(self) -> dict[str, str]:
        """For the field `zero_without_shift`."""
        kind = "rigorous" if self.enough is None else "numerical"
        return {"answer": self.answer.value, "bound_kind": "none" if self.answer is Zero.OPEN else kind}


def rank_that_suffices(problem: LayerProblem) -> int | None:
    """The numerical rank of H, if as many as the problem keeps reach an error of 0 for any weights; else None.

    N:M may keep too few of the r inputs in a group. With the shift tau the error is tau |w - x|^2 and rounding.

    Parameters
    ----------
    problem : a layer's rows; only pruning with re-optimised weights is answered.
    """
    setting, pattern = problem.setting, problem.sparsity
    if pattern is None or setting.quantizes or not setting.update or setting.nm is not None:
        return None
    rank = max(gram.rank for gram in problem.grams)
    kept, rows = (int(pattern.keep[0]), 1) if problem.budget is None else (problem.budget, len(problem))
    return rank if kept >= rank * rows else None


def zero_without_shift(problem: LayerProblem, grams: FloatArray, out: int) -> WithoutShift | None:
    """Whether all rows together reach an error of 0 where H is as it was before its shift; None without a shift.

    Parameters
    ----------
    problem : a layer's rows.
    grams : (groups, n, n) or (n, n) of the layer, as `state_problem` has them.
    out : rows of the layer.
    """
    if not any(gram.shift for gram in problem.grams):
        return None
    exactly = _exactly(problem, grams if grams.ndim == 3 else grams[None], out)
    enough = rank_that_suffices(problem)
    if exactly is Zero.OPEN and enough is not None:
        return WithoutShift(Zero.YES, enough)
    return WithoutShift(exactly)


def _exactly(problem: LayerProblem, grams: FloatArray, out: int) -> Zero:
    """The same by rational arithmetic alone."""
    setting, inputs = problem.setting, problem.inputs
    if len(inputs) > LONGEST or setting.ridge or (setting.quantizes and setting.range == OPTIMAL):
        return Zero.OPEN
    if problem.budget is not None and setting.block:
        return Zero.OPEN
    cut = slice(inputs.start, inputs.stop)
    forms: dict[int, Echelon | None] = {}
    keep = 0 if problem.sparsity is None else int(problem.sparsity.keep[0])
    work, rows = Work(SUMS, SETS), []
    for i, row in enumerate(problem.rows):
        g = row // (out // len(grams))
        if g not in forms:
            forms[g] = echelon((grams[g][cut, cut] + grams[g][cut, cut].T) / 2)
        form = forms[g]
        rows.append((0.0, math.inf) if form is None else least_kept(problem.row(i), form, work))
        if problem.budget is None and _answer(*rows[-1], keep) is Zero.NO:
            return Zero.NO
    if problem.budget is not None:
        return _answer(sum(low for low, _ in rows), sum(high for _, high in rows), problem.budget)
    return _answer(0, max(high for _, high in rows), keep)


def _answer(low: float, high: float, keep: int) -> Zero:
    return Zero.NO if low > keep else Zero.YES if high <= keep else Zero.OPEN
