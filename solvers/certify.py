"""From the results of a layer to its certificate: what is claimed of each row, with its proof."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pvq.bounds.certificate import Certificate, Claim, RowClaim, certify
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.problem import Problem
from pvq.bounds.verify.certificate import row_lower
from pvq.bounds.verify.row import SAFETY, NotProven
from pvq.bounds.verify.scope import shared_lower
from pvq.bounds.verify.split import down, fsum_above, upper_bounds
from pvq.layers.format import Layer

from .layer_scope import proven_budgets
from .result import Reason
from .rows import LayerResult, chunks

UNCHECKED = (
    "interrupted: what a certificate claims of rows without a proof, an error of 0 or more, was not checked"
)
"""A factorisation of H, a second at 1152 inputs, would show it, and the interrupt waits for an answer."""
TOGETHER = 256
"""Rows whose errors are rounded up at once."""


def build_certificate(layer: Layer, problem: LayerProblem, result: LayerResult) -> Certificate:
    """What has been proven of each row, with its proof; a row without one claims 0 if that can be shown.

    After an interrupt nothing new is shown: see `UNCHECKED`.
    """
    rows, checks = [], result.reason is not Reason.INTERRUPT
    points = [row.result.x for row in result.rows]

    def uppers_of(piece: range) -> list[float]:
        return upper_bounds([problem.row(i) for i in piece], points[piece.start : piece.stop], SAFETY)

    with ThreadPoolExecutor(2) as pool:  # products of 4096 inputs and rows take 7 s one by one
        uppers = list(itertools.chain.from_iterable(pool.map(uppers_of, chunks(problem, TOGETHER))))
    for i, row in enumerate(result.rows):
        claims = [Claim(row.result.proven, row.result.proof)]
        if row.result.proof is None:
            claims = [Claim(least_of_all(problem.row(i)) if checks else 0.0, None)]
        if problem.budget is not None:
            solved = proven_budgets(problem, i, row) if checks else row.budgets
            claims = [Claim(r.proven, r.proof, k) for k, r in sorted(solved.items()) if r.proof is not None]
        rows.append(RowClaim(row.row, row.result.x, uppers[i], tuple(claims)))
    upper = fsum_above([row.upper for row in rows])
    if problem.budget is not None:
        curves = [{claim.keep: claim.lower for claim in row.lower if claim.keep is not None} for row in rows]
        lower = shared_lower(curves, problem.budget)
    else:
        lower = max(down(*(row.lower[0].lower for row in rows)), result.proven)
    return certify(layer.name, layer.sha256, problem, rows, lower, upper)


def least_of_all(problem: Problem) -> float:
    """0, or a little less where H is so small that its rounding leaves it indefinite (2^-950 and below)."""
    try:
        return min(0.0, SAFETY * row_lower(problem, Claim(0.0, None)).lower)
    except NotProven:
        return 0.0


def write_certificate(path: str | Path, layer: Layer, problem: LayerProblem, result: LayerResult) -> None:
    """Write the certificate of a layer's results."""
    build_certificate(layer, problem, result).save(path)
