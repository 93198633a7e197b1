"""What a solver's answer is worth: the one way from an `Outcome` to a `Result`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from pvq.bounds.certified import Certified
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.outward import tolerance
from pvq.bounds.presolve import Presolved
from pvq.bounds.problem import Problem, certified_rows
from pvq.bounds.proof import Below, Boxes, Proof, Tree

from .compile_time import working_seconds
from .flat import flat_proof
from .limits import LONG, in_time, proof_cost
from .options import Clock, Options
from .points import fallback_point
from .result import ROUNDING, BoundKind, Fault, Outcome, Reason, Result
from .watch import ahead

AT_ONCE, LONGER = 4_000_000, 4
"""Nodes of a search that a proof may repeat, a fifth of a second, and times those that the solver took: where a
diagonal is not accepted, the verifier's own search is a longer one."""

WORTH = 0.98
"""A proof of this part of a numerical bound is worth more than the bound; a weaker one is only recorded."""


def checked(
    solver: str, row: Presolved, options: Options, outcome: Outcome, seconds: float, proof_by: Clock
) -> Result:
    """What an outcome is worth: its error from its own x, its bound as far as that and its proof bear it out.

    Parameters
    ----------
    seconds : of the search.
    proof_by : a proof that is not verified when this clock ends is left out.
    """
    return checked_rows(solver, [row], options, [outcome], seconds, proof_by)[0]


def checked_rows(
    solver: str,
    rows: Sequence[Presolved],
    options: Options,
    outcomes: Sequence[Outcome],
    seconds: float,
    proof_by: Clock,
) -> list[Result]:
    """The same of rows that share a Gram matrix, whose errors and proofs take products of all of them."""
    for outcome in outcomes:
        if not isinstance(outcome, Outcome):
            raise TypeError(f"solver '{solver}' returns a {type(outcome).__name__} and not an Outcome")
    lifted = [row.lift_or_none(outcome.x) for row, outcome in zip(rows, outcomes, strict=True)]
    feasible = [x is not None and row.original.is_feasible(x) for row, x in zip(rows, lifted, strict=True)]
    points = [
        x if fits and x is not None else fallback_point(row.original)
        for row, x, fits in zip(rows, lifted, feasible, strict=True)
    ]
    errors = certified_rows([row.original for row in rows], points)
    reduced = rows[0].problem
    if len(rows) > 1 and reduced is not None and not options.stop.is_set():
        from pvq.bounds.verify.together import multiply

        multiply(reduced.gram, [outcome.proof for outcome in outcomes])
    return [
        _checked(solver, row, options, outcome if fits else _off(outcome), Point(x, error), seconds, proof_by)
        for row, outcome, x, fits, error in zip(rows, outcomes, points, feasible, errors, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Point:
    """A feasible point and its error."""

    x: FloatArray
    error: Certified


def _off(outcome: Outcome) -> Outcome:
    """Of an outcome whose point does not fit the row; one that has none keeps what it says."""
    if outcome.x is None:
        return outcome
    info = {**outcome.info, "why": "the solver's point violates the constraints; a rounded one stands in"}
    return replace(outcome, info=info, fault=Fault.POINT)


def _checked(
    solver: str,
    row: Presolved,
    options: Options,
    outcome: Outcome,
    point: Point,
    seconds: float,
    proof_by: Clock,
) -> Result:
    problem, reduced, x, error = row.original, row.problem, point.x, point.error
    info, fault = dict(outcome.info), outcome.fault
    upper, width = error.upper, tolerance(error.upper, error.rounding, options.gap)
    lower, reason = float(outcome.lower), outcome.reason
    if lower > 0.0 and reduced is not None:
        lower = max(0.0, lower - problem.doubt(error))
    if not math.isfinite(lower) or lower > upper + ROUNDING * max(upper, 1e-3 * problem.reference):
        # Contradiction: a bound above a feasible point is wrong, so nothing is proven.
        fault = Fault.BOUND
        info["why"] = f"lower bound {lower:.9g} above the feasible error {upper:.9g}"
        reason = Reason.FAILURE
    if reason is Reason.FAILURE:
        lower = 0.0
    # e(x) rounded down: rounded up it may be above the optimum; numerical until a proof is accepted
    lower, kind = min(max(lower, 0.0), error.lower), BoundKind.NUMERICAL
    proof, proven_lower, verify_seconds = None, 0.0, 0.0
    if reduced is None:
        kind = BoundKind.RIGOROUS  # nothing reaches this row, so its error is 0
    elif outcome.proof is not None and reason is not Reason.FAILURE and not options.stop.is_set():
        from pvq.bounds.verify.row import NotProven  # compiled kernels: not for `pvq solvers`

        begin = working_seconds()
        ways = [lambda: outcome.proof, *([lambda: flat_proof(reduced)] if reduced.gram.shift > 0 else [])]
        for number, make in enumerate(ways):
            if kind is BoundKind.RIGOROUS and upper - lower <= width:
                break
            try:
                verified = in_time(partial(_verified, reduced, make, outcome.nodes, proof_by), proof_by, reduced.n)
                if verified is None:  # one of its own steps takes longer
                    raise NotProven("a step of the proof takes longer than the row may")
            except NotProven as why:
                if number == 0:
                    info["unproven"] = str(why)
                continue
            bound, which = verified
            if which is None:
                continue
            if bound > proven_lower:
                proof, proven_lower = which, min(bound, error.lower)
            # what is proven counts if it says the same: the same status, nearly the same bound
            same = upper - bound <= (width if upper - lower <= width else upper - lower * WORTH)
            if bound > lower or (kind is BoundKind.NUMERICAL and same):
                lower, kind = min(max(bound, 0.0), error.lower), BoundKind.RIGOROUS
                info.pop("unproven", None)
            elif lower > 0 and number == 0:
                size = f", with {which.leaves:,} leaves" if isinstance(which, Tree | Boxes) else ""
                info["unproven"] = f"the proof gives {max(bound, 0.0):.9g} only{size}"
        verify_seconds = max(0.0, working_seconds() - begin)
        if reduced.n >= LONG:  # a long proof of a short row repeats a search, which has the limit to itself
            proof_cost(reduced.gram, solver).seconds = verify_seconds
    result = Result(
        x,
        lower,
        upper,
        reason,
        kind,
        solver,
        nodes=outcome.nodes,
        seconds=max(0.0, seconds),  # rounding
        verify_seconds=verify_seconds,
        info=info,
        fault=fault,
        proof=proof,
        proven=proven_lower,
        rounding=error.rounding,
        elsewhere=outcome.elsewhere,
    )
    return result.settled(options.gap)


def _verified(
    problem: Problem, make: Callable[[], Proof | None], nodes: int, by: Clock
) -> tuple[float, Proof | None]:
    """What a proof proves, and the proof; 0 and none where there is none."""
    from pvq.bounds.verify.budget import limited
    from pvq.bounds.verify.row import lower_bound

    with limited(by.limit(0.0), nodes_of_proof(nodes, problem)):
        proof = make()
        return (0.0, None) if proof is None else (lower_bound(problem, proof), proof)


def check_ahead(gram: Gram, below: Below) -> None:
    """Begin what shows H - D positive semidefinite for all rows of a layer, while the first are searched."""
    from pvq.bounds.verify.row import SAFETY, shift_to_psd

    nothing = np.zeros(len(gram), dtype=bool)
    gram.memo(check_ahead, lambda: ahead(lambda: shift_to_psd(gram, below, nothing, SAFETY)), below)


def nodes_of_proof(searched: int, problem: Problem) -> int:
    """Nodes that the verifier may take for a row like this, or rows, whose search took so many."""
    from pvq.bounds.verify.budget import PATTERN

    return max(AT_ONCE, LONGER * searched * (1 if problem.sparsity is None else PATTERN))
