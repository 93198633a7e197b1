"""Proofs of searches over the scale: of a row, and of the sum of rows that share it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.proof import Basis, Boxes, Enumeration, Order, Reduced, Scales
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.row import SAFETY, NotProven, at_every_scale
from pvq.bounds.verify.scales import AtScales, least_together

from .base import Clock
from .checked import nodes_of_proof
from .compile_time import working_seconds
from .free_scale import FreeRow, Interval, Piece

SPARE = 1e-7
"""What a search of a proof goes above what its interval needs, relatively: for rounding."""
MORE = 1.25
"""Times what a verifier has lost: of the higher threshold it loses more, and `SPARE` is less than its rounding."""
DIGITS = 12
"""Binary digits of a diagonal in a proof: every interval may have diagonals of its own, as long as H."""


@dataclass(frozen=True, eq=False)
class Together:
    """What has been proven of the sum of rows that share a scale."""

    lower: float = 0.0
    proofs: tuple[Scales, ...] = ()
    """One for each row that was searched."""
    seconds: float = 0.0
    why: str | None = None
    """Why nothing has been."""


def scale_proofs(rows: Sequence[FreeRow], lower: float, intervals: Sequence[Interval]) -> tuple[Scales, ...] | str:
    """One for each row: at no scale of some intervals of u, in order, is the sum below `lower`, or next to it.

    A string says why there is none.
    """
    pieces = [interval.pieces for interval in intervals]
    for of_interval in pieces:
        for piece in of_interval:
            if isinstance(piece, str):
                return piece
    known = [[piece for piece in of_interval if isinstance(piece, Piece)] for of_interval in pieces]
    enough = [_enough(rows, lower, at, parts) for at, parts in zip(intervals, known, strict=True)]
    edges = np.array([intervals[0].a, *(interval.b for interval in intervals)])
    # 1 / scale is rounded
    edges[0], edges[-1] = math.nextafter(edges[0], 0.0), math.nextafter(edges[-1], math.inf)
    return tuple(
        _proof(edges, [parts[i] for parts in known], [least[i] for least in enough]) for i in range(len(rows))
    )


def _enough(rows: Sequence[FreeRow], lower: float, at: Interval, pieces: Sequence[Piece]) -> list[float]:
    """What the search of each row has to show in an interval: what it shows beyond would be thrown away."""
    slack = [piece.stiffness - float(row.pulled.reference) for row, piece in zip(rows, pieces, strict=True)]
    needed = max(
        lower * u * u
        + sum(k * (u - piece.anchor) * (u - piece.anchor) for k, piece in zip(slack, pieces, strict=True))
        for u in (at.a, at.b)
    )
    shown = math.fsum(piece.threshold - piece.lost for piece in pieces)
    part = needed / shown * (1 + SPARE) if shown > 0 else math.inf
    return [min(piece.threshold, _threshold(piece, part)) for piece in pieces]


def _threshold(piece: Piece, part: float) -> float:
    """The threshold of which a part of what the search shows is left: what is lost shrinks with its root."""
    lost = MORE * piece.lost * math.sqrt(min(part, 1.0))
    return (piece.threshold - piece.lost) * part + lost + 2 * SAFETY * piece.doubt


def _proof(edges: FloatArray, pieces: Sequence[Piece], thresholds: Sequence[float]) -> Scales:
    orders: dict[tuple[float, bytes], Order] = {}
    bases: dict[tuple[float, bytes], Basis] = {}
    searches: list[Enumeration | Reduced | Boxes] = []
    for piece, threshold in zip(pieces, thresholds, strict=True):
        search = piece.search
        if isinstance(search, Enumeration):
            key = piece.stiffness, search.order.order.tobytes()
            if key not in orders:
                orders[key] = dataclasses.replace(search.order, diagonal=_brief(search.order.diagonal))
            searches.append(Enumeration(orders[key], threshold))
        elif isinstance(search, Boxes):
            searches.append(search)
        else:
            key = piece.stiffness, search.basis.matrix.tobytes()
            if key not in bases:
                bases[key] = dataclasses.replace(search.basis, diagonal=_brief(search.basis.diagonal))
            searches.append(Reduced(bases[key], threshold))
    anchors, stiffness = [piece.anchor for piece in pieces], [piece.stiffness for piece in pieces]
    return Scales(edges, np.array(anchors), np.array(stiffness), tuple(searches))


def _brief(diagonal: FloatArray) -> FloatArray:
    """Rounded down to a few digits, which compress: less of a diagonal is below H as well."""
    mantissa, exponent = np.frexp(diagonal)
    return np.ldexp(np.floor(mantissa * 2**DIGITS), exponent - DIGITS)


def prove_together(
    rows: Sequence[FreeRow], lower: float, intervals: Sequence[Interval], by: Clock, nodes: int, jobs: int
) -> Together:
    """What the searches of some intervals prove of the sum of rows that share a scale, by the verifier.

    Parameters
    ----------
    lower : what they are said to prove.
    by : a proof that is not verified when this clock ends is left out.
    nodes : of all searches together.
    jobs : rows verified at the same time.
    """
    proofs = scale_proofs(rows, lower, intervals)
    if isinstance(proofs, str):
        return Together(why=proofs)
    begin = working_seconds()
    pairs = list(zip([row.scaled for row in rows], proofs, strict=True))
    most = nodes_of_proof(nodes, pairs[0][0])
    try:
        with by.bell() as over, limited(by.limit(0.0), most, over):
            if jobs == 1:
                known = [at_every_scale(*pair) for pair in pairs]
            else:
                contexts = [copy_context() for _ in pairs]  # the limits are in it

                def one(i: int) -> AtScales:
                    return contexts[i].run(at_every_scale, *pairs[i])

                with ThreadPoolExecutor(jobs) as pool:
                    known = list(pool.map(one, range(len(pairs))))
            found = least_together(known)
    except NotProven as why:
        return Together(why=str(why), seconds=working_seconds() - begin)
    assert found is not None
    return Together(found, proofs, working_seconds() - begin)
