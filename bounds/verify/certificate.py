"""Check a certificate against its layer: rebuild the problem, then recompute both ends of every claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..certificate import Certificate, Claim, RowClaim
from ..errors import ProblemError
from ..gram import FloatArray, Gram
from ..grid import Grid
from ..layer_problem import LayerProblem, state_problem
from ..presolve import presolve
from ..problem import Problem
from ..proof import Below, Proof, Scales, Split
from .budget import check_time
from .exact import EXACT, exact_lower_bound, exact_upper_bound, is_exact
from .remembered import remembered
from .row import NotProven, at_every_scale, lower_bound
from .scales import AtScales, least_alone, least_together
from .scope import shared_lower
from .split import down, fsum_above, upper_bound, upper_bounds
from .together import multiply

TOGETHER = 64
"""Rows whose products with H are made at once."""


@dataclass(frozen=True, eq=False)
class Verified:
    """What has been proven anew."""

    problem: LayerProblem
    levels: tuple[float, ...] | None
    """The grid's levels where the certificate has its own."""
    lower: float
    """Of the rows together; at least what the certificate claims."""
    upper: float
    """At most what it claims."""
    rows: tuple[tuple[float, float], ...]
    """Of each row, the lower end 0 where rows share a budget."""
    unproven: int
    """Rows whose lower bound is 0 for want of a proof."""
    rational: int
    """Rows whose proof was evaluated in rational arithmetic; the others in float64 with every rounding bounded."""


def verify_certificate(certificate: Certificate, weight: FloatArray, grams: FloatArray, sha256: str) -> Verified:
    """Prove the claims of a certificate again.

    Parameters
    ----------
    weight, grams, sha256 : the layer, as its file gives it.

    Raises
    ------
    NotProven
        It is another layer's, or a claim is not established: the first one that is not, in one line.
    """
    if certificate.sha256 != sha256:
        raise NotProven(
            f"the certificate is for another layer: '{certificate.name}', whose sha256 is "
            f"{certificate.sha256[:16]}..., not {sha256[:16]}..."
        )
    try:
        setting, shifts, levels = certificate.setting, certificate.shifts, certificate.levels
        problem = state_problem(weight, grams, setting, shifts, levels, scales=certificate.scales)
    except ProblemError as error:
        raise NotProven(f"the certificate's problem cannot be stated for this layer: {error}") from None
    if [row.row for row in certificate.rows] != list(problem.rows):
        raise NotProven("the certificate's rows are not those of its setting")
    if problem.budget is not None:
        return _shared(problem, certificate)
    rows, unproven, rational, lowers = [], 0, 0, []
    row_of: dict[int, Problem] = {}
    uppers: dict[int, float] = {}
    for i, claim in enumerate(certificate.rows):
        check_time()
        if i % TOGETHER == 0:
            row_of = {k: problem.row(k) for k in range(i, min(i + TOGETHER, len(certificate.rows)))}
            _multiply(row_of, certificate.rows)
            uppers = _uppers(row_of, certificate.rows)
        try:
            found, upper = _row(row_of[i], claim, uppers.get(i))
        except (NotProven, ProblemError) as error:
            raise NotProven(f"row {claim.row}: {error}") from None
        rows.append((found.lower, upper))
        lowers.append(found)
        unproven += claim.lower[0].proof is None
        rational += found.rational
    lower, upper = _sum(problem, lowers), fsum_above([row[1] for row in rows])
    _compare("the layer: ", certificate.lower, lower, certificate.upper, upper)
    return Verified(problem, certificate.levels, lower, upper, tuple(rows), unproven, rational)


def _sum(problem: LayerProblem, rows: list[RowLower]) -> float:
    """Of the rows' lower ends; where they share a scale, of what holds at each, if that is more."""
    lower, at_scales = down(*(row.lower for row in rows)), [row.at_scales for row in rows if row.at_scales]
    assert problem.grid is not None or not at_scales
    if not at_scales or problem.grid is None or len(problem.grid.scale) > 1:
        return lower
    together = least_together(at_scales)
    if together is None:
        return lower
    return max(lower, down(together, *(row.lower for row in rows if row.at_scales is None)))


def _multiply(row_of: Mapping[int, Problem], claims: Sequence[RowClaim]) -> None:
    """Products that the proofs of some rows need, those of one Gram matrix at once."""
    of_gram: dict[Gram, list[Proof | None]] = {}
    for i, row in row_of.items():
        reduced = presolve(row).problem
        if reduced is not None and reduced.n > EXACT:
            of_gram.setdefault(reduced.gram, []).extend(claim.proof for claim in claims[i].lower)
    for gram, proofs in of_gram.items():
        multiply(gram, proofs)


def _uppers(row_of: Mapping[int, Problem], claims: Sequence[RowClaim]) -> dict[int, float]:
    """e(x) of long rows, rounded up, by products of those of one Gram matrix; without x that are not feasible."""
    of_gram: dict[Gram, list[int]] = {}
    for i, row in row_of.items():
        if row.n > EXACT and row.is_feasible(claims[i].x):
            of_gram.setdefault(row.gram, []).append(i)
    uppers: dict[int, float] = {}
    for numbers in of_gram.values():
        found = upper_bounds([row_of[i] for i in numbers], [claims[i].x for i in numbers], 1.0)
        uppers.update(zip(numbers, found, strict=True))
    return uppers


def _shared(problem: LayerProblem, certificate: Certificate) -> Verified:
    """The same for rows that share a budget of units: their bounds at several budgets of their own."""
    assert problem.sparsity is not None
    assert problem.budget is not None
    rows, curves, rational, used = [], [], 0, 0
    for i, claim in enumerate(certificate.rows):
        row, curve, exact = problem.row(i), {}, True
        try:
            upper = _upper(row, claim)
            used += len(np.unique(problem.sparsity.unit[claim.x != 0]))
            if len({at.keep for at in claim.lower}) < len(claim.lower):
                raise NotProven("it has two lower bounds for one budget")
            with remembered():
                for at in claim.lower:
                    check_time()
                    if at.keep is None or at.keep > problem.sparsity.units:
                        raise NotProven("its lower bounds need budgets of its own")
                    pattern = replace(problem.sparsity, keep=np.array([at.keep]))
                    found = row_lower(replace(row, sparsity=pattern), at, "layer")
                    curve[at.keep] = found.lower
                    exact &= found.rational
                    _compare("", at.lower, curve[at.keep], claim.upper, upper)
        except (NotProven, ProblemError) as error:
            raise NotProven(f"row {claim.row}: {error}") from None
        rows.append((0.0, upper))
        curves.append({k: max(value, 0.0) for k, value in curve.items()})
        rational += exact
    if used > problem.budget:
        raise NotProven(f"its weights keep {used} units, more than the {problem.budget} of the setting")
    lower, upper = shared_lower(curves, problem.budget), fsum_above([row[1] for row in rows])
    _compare("the layer: ", certificate.lower, lower, certificate.upper, upper)
    unproven = sum(not curve for curve in curves)
    return Verified(problem, certificate.levels, lower, upper, tuple(rows), unproven, rational)


def _upper(problem: Problem, claim: RowClaim) -> float:
    """e(x), for an x that is feasible."""
    if claim.x.shape != (problem.n,) or not problem.is_feasible(claim.x):
        raise NotProven("its x is not feasible: off the grid, too many kept, or of another size")
    return exact_upper_bound(problem, claim.x) if problem.n <= EXACT else upper_bound(problem, claim.x, 1.0)


def _row(problem: Problem, claim: RowClaim, known: float | None) -> tuple[RowLower, float]:
    """Both ends of a row, proven.

    known : the upper one, where it has been proven with those of other rows.
    """
    upper = _upper(problem, claim) if known is None else known
    if len(claim.lower) != 1 or claim.lower[0].keep is not None:
        raise NotProven("it needs one lower bound, for the budget of the setting")
    found = row_lower(problem, claim.lower[0])
    _compare("", claim.lower[0].lower, found.lower, claim.upper, upper)
    return found, upper


class RowLower(NamedTuple):
    """What a proof proves of a row."""

    lower: float
    rational: bool
    """Whether rational arithmetic says so."""
    at_scales: AtScales | None = None
    """What it says at every scale, where that is searched."""


def row_lower(problem: Problem, claim: Claim, scope: str = "row") -> RowLower:
    """What a claim's proof proves."""
    reduced = presolve(problem).problem
    if reduced is None:
        return RowLower(0.0, True)  # nothing reaches the row
    proof = claim.proof
    if isinstance(proof, Scales):
        at_scales = at_every_scale(reduced, proof, 1.0, scope)
        return RowLower(least_alone(at_scales), False, at_scales)
    if proof is None:  # 0, which needs H positive semidefinite
        n, reduced = reduced.n, at_any_scale(reduced)
        proof = reduced.gram.memo(row_lower, lambda: Split(Below(np.zeros(n)), np.zeros(n)))
    if is_exact(reduced, proof):
        return RowLower(exact_lower_bound(reduced, proof, scope), True)
    return RowLower(lower_bound(reduced, proof, 1.0, scope=scope), False)


def at_any_scale(problem: Problem) -> Problem:
    """The row where each input is one end of what it may be at any scale.

    For what a missing proof stands for: its terms are concave in x, and their least values are at the ends.
    """
    if problem.grid is None or problem.grid.free is None:
        return problem
    free = problem.grid.free
    # rounding a level moves none beyond the levels of the ends of the range
    ends = np.outer([free.low, free.high], free.codes)
    grid = Grid(np.array([[min(ends.min(), 0.0), max(ends.max(), 0.0)]]), np.zeros(problem.n, np.int64))
    return replace(problem, grid=grid)


def _compare(what: str, lower: float, proven_lower: float, upper: float, proven_upper: float) -> None:
    """Raise `NotProven` unless the claimed interval contains the proven one."""
    if not lower <= proven_lower:
        raise NotProven(f"{what}the proof gives {proven_lower:.17g} <= error, not {lower:.17g} as is claimed")
    if not upper >= proven_upper:
        raise NotProven(f"{what}x has the error {proven_upper:.17g}, not {upper:.17g} as is claimed")
