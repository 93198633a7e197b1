"""A whole certificate, in rational arithmetic."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ...certificate import Certificate, Claim
from ...errors import ProblemError
from ...gram import FloatArray
from ...layer_problem import state_problem
from ...presolve import presolve
from ...problem import Problem
from ...proof import Below, Scales, Split
from .leaf import Shared
from .limits import Limits, need
from .rational import dot, vector
from .row import at_scales, reference_bound
from .scales import AtScales, least_of, widest


def check_certificate(
    certificate: Certificate,
    weight: FloatArray,
    grams: FloatArray,
    sha256: str,
    limits: Limits | None = None,
) -> None:
    """Check every claim.

    Raises
    ------
    NotEstablished
        It is another layer's, or a claim is not established; one line.
    """
    need(certificate.sha256 == sha256, "the certificate is for another layer")
    try:
        setting, shifts, levels = certificate.setting, certificate.shifts, certificate.levels
        problem = state_problem(weight, grams, setting, shifts, levels, scales=certificate.scales)
    except ProblemError as error:
        need(False, f"the problem cannot be stated for this layer: {error}")
    need([claim.row for claim in certificate.rows] == list(problem.rows), "its rows are not those of its setting")
    shared = Shared(limits or Limits())
    upper, lower, used, curves = Fraction(0), Fraction(0), 0, []
    at_one_scale, others = list[AtScales](), Fraction(0)
    for i, claim in enumerate(certificate.rows):
        row = problem.row(i)
        size, units = _error(row, claim.x, shared)
        need(claim.upper >= size, f"row {claim.row}: its x has a larger error than is claimed")
        upper, used, curve = upper + size, used + units, {}
        if problem.budget is None:
            need(len(claim.lower) == 1 and claim.lower[0].keep is None, f"row {claim.row}: one lower bound")
        for at in claim.lower:
            keep, one = at.keep, row
            if problem.budget is not None:
                assert row.sparsity is not None
                need(keep is not None and keep <= row.sparsity.units and keep not in curve, "a budget of its own")
                one = replace(row, sparsity=replace(row.sparsity, keep=np.array([keep])))
            bound, at_each = _lower(one, at, "row" if problem.budget is None else "layer", shared)
            need(at.lower <= bound, f"row {claim.row}: proven {_decimal(bound)}, claimed {at.lower!r}")
            curve[keep or 0] = max(bound, Fraction(0))
            lower += bound if problem.budget is None else 0
            if at_each is None:
                others += bound
            else:
                at_one_scale.append(at_each)
        curves.append(curve)
    if problem.budget is not None:
        need(used <= problem.budget, "its weights keep more units than the setting has")
        lower = _shared(curves, problem.budget, shared.limits)
    if at_one_scale and problem.setting.granularity == "tensor" and len({at.edges for at in at_one_scale}) == 1:
        lower = max(lower, least_of(at_one_scale, shared.limits) + others)
    need(certificate.lower <= lower, "the layer's lower end is above what the rows prove")
    need(certificate.upper >= upper, "the layer's upper end is below the error of its weights")


def _decimal(value: Fraction) -> str:
    """For a message; the bound of a row is not always a number that float64 holds."""
    most = Fraction(sys.float_info.max)
    return f"{float(max(-most, min(most, value)))!r}"


def _lower(row: Problem, claim: Claim, scope: str, shared: Shared) -> tuple[Fraction, AtScales | None]:
    """What a claim's proof proves, of every scale too; without one it is a split with D = 0 and v = 0."""
    reduced = presolve(row).problem
    if reduced is None:
        return Fraction(0), None
    if isinstance(claim.proof, Scales) and scope == "row":
        found = at_scales(reduced, claim.proof, shared)
        return least_of([found], shared.limits), found
    nothing = np.zeros(reduced.n)
    if claim.proof is None:
        return reference_bound(widest(reduced), Split(Below(nothing), nothing), scope, shared), None
    return reference_bound(reduced, claim.proof, scope, shared), None


def _error(row: Problem, x: FloatArray, shared: Shared) -> tuple[Fraction, int]:
    """e(x) of a feasible x, and the units that it keeps."""
    need(x.shape == (row.n,) and np.isfinite(x).all(), "its x is not one of this row")
    pattern, kept = row.sparsity, np.flatnonzero(x).tolist()
    if row.grid is not None:
        allowed = all(v in row.grid.of(i) or (pattern is not None and v == 0) for i, v in enumerate(x.tolist()))
    else:
        allowed = row.free_weights or all(x[i] == row.weight[i] for i in kept)
    need(allowed, "its x has values that are not allowed")
    units = set() if pattern is None else {int(pattern.unit[i]) for i in kept}
    if pattern is not None:
        groups = [int(pattern.group[unit]) for unit in units]
        fits = all(groups.count(g) <= keep for g, keep in enumerate(pattern.keep.tolist()))
        need(fits, "its x keeps more than the pattern allows")
    u = [a - b for a, b in zip(vector(row.weight), vector(x), strict=True)]
    return dot(u, shared.whole(row.gram).times(u)), len(units)


def _shared(curves: list[dict[int, Fraction]], budget: int, limits: Limits) -> Fraction:
    """min over budgets of the rows of the sum of their bounds; a bound at k holds for every smaller budget.

    A row that keeps 0 units has the largest of its bounds, from k + 1 on the largest of those at more than k.
    """
    best = [Fraction(0)] * (budget + 1)
    for curve in curves:
        limits.check()
        steps = [(k, max((v for j, v in curve.items() if j >= k), default=Fraction(0))) for k in _starts(curve)]
        best = [min(best[total - k] + v for k, v in steps if k <= total) for total in range(budget + 1)]
    return best[budget]


def _starts(curve: dict[int, Fraction]) -> list[int]:
    return [0, *(k + 1 for k in curve)]
