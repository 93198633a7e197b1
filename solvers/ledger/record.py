"""What is known of one row, in plain values that travel between processes, and how two of them are joined."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pvq.bounds.outward import closed

from ..result import ROUNDING, BoundKind, Reason, Status, status_of
from .told import check_kinds, check_one_of, check_sizes, errors_of, fields_of


@dataclass(frozen=True)
class Record:
    """lower <= least error of a row <= upper, and where both come from."""

    chunk: int
    row: int
    lower: float
    proven: float
    """The largest lower bound that the verifier accepted; `lower` may be numerical and above it."""
    upper: float
    reference: float
    kind: str
    solved: bool
    status: str
    reason: str
    solver: str
    asked: str
    """The solver that was asked for, which may have asked others, with ", effort high" where that was."""
    nodes: int
    seconds: float
    verify_seconds: float
    rounding: float
    effort: float
    """Seconds that it was allowed, infinite for no limit; -1 where it was only scored or was interrupted."""
    grid: str | None = None
    """JSON of what rebuilds the row's levels, see `pvq.result/1`."""
    empirical: str = "{}"
    """JSON of the errors of empirical methods."""
    weights: str | None = None
    """File of the weights behind the upper end, beside the database."""
    certificate: str | None = None
    """File of the proof of the lower end."""
    versions: int | None = None

    @property
    def scores(self) -> dict[str, float]:
        """Errors of empirical methods."""
        return errors_of(self.empirical)


COLUMNS = tuple(Record.__dataclass_fields__)
WORDS: dict[str, tuple[str, ...]] = {
    "kind": tuple(BoundKind),
    "status": tuple(Status),
    "reason": tuple(Reason),
}
SIZES = ("proven", "upper", "reference", "nodes", "seconds", "verify_seconds", "rounding")


def checked(row: Sequence[Any]) -> Record:
    """A row of the database, as `COLUMNS`.

    Raises
    ------
    ValueError
        It is none that this program writes.
    """
    values = dict(zip(COLUMNS, row, strict=True))
    found = Record(**{**values, "solved": values["solved"] == 1})
    check_kinds(found)
    check_one_of("solved", values["solved"], (0, 1))
    for name, words in WORDS.items():
        check_one_of(name, values[name], words)
    check_sizes(**{name: values[name] for name in SIZES})
    if not found.proven <= found.lower <= found.upper:
        raise ValueError(f"[{found.lower!r}, {found.upper!r}] is no interval, or proven is {found.proven!r}")
    errors_of(found.empirical)
    if found.grid is not None:
        fields_of(found.grid)
    return found


@dataclass(frozen=True)
class Piece:
    """Rows that were finished together, and files that belong to them."""

    chunk: int
    records: tuple[Record, ...]
    packages: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """About the task: rank and shift of H, dead inputs."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """By name below the run's folder."""


def joined(old: Record, new: Record, gap: float) -> tuple[Record, str | None]:
    """The intersection of both intervals, which is one of the two at each end; and what is wrong with the new one.

    A lower end above the other's upper end by more than rounding says that one of them is wrong: then the old one
    stays, and the sentence says so.
    """
    if (new.chunk, new.row, new.reference) != (old.chunk, old.row, old.reference) or new.grid != old.grid:
        return old, f"row {old.row}: its reference or its grid is not what it was"
    slack = ROUNDING * max(min(old.upper, new.upper), 1e-3 * old.reference)
    if max(old.lower, new.lower) > min(old.upper, new.upper) + slack:
        return old, (
            f"row {old.row}: [{new.lower!r}, {new.upper!r}] of {new.solver} and the earlier "
            f"[{old.lower!r}, {old.upper!r}] of {old.solver} exclude each other"
        )
    tells = new.lower == old.lower and old.kind == BoundKind.NONE
    bound = new if new.lower > old.lower or tells else old
    point = new if new.upper < old.upper or (new.upper == old.upper and new.weights) else old
    upper = max(point.upper, old.lower)  # rounding; an end never moves back
    lower = min(bound.lower, upper)
    proven = min(max(old.proven, new.proven), lower)
    kind = bound.kind
    if proven == lower and max(old.proven, new.proven) > 0:
        kind = BoundKind.RIGOROUS.value
    solved = bool(closed(lower, upper, point.rounding, gap))  # SQLite takes numpy's for bytes
    reason = Reason.FINISHED if solved else Reason(new.reason)
    if solved and kind == BoundKind.NONE.value and lower > 0:
        kind = BoundKind.NUMERICAL.value
    proof = new if new.proven > old.proven or (new.proven == old.proven and new.certificate) else old
    found = replace(
        new,
        lower=lower,
        proven=proven,
        upper=upper,
        kind=kind,
        solved=solved,
        status=status_of(reason, lower, solved).value,
        reason=reason.value,
        solver=bound.solver,
        nodes=old.nodes + new.nodes,
        seconds=old.seconds + new.seconds,
        verify_seconds=old.verify_seconds + new.verify_seconds,
        rounding=point.rounding,
        effort=max(old.effort, new.effort),
        empirical=json.dumps({**old.scores, **new.scores}),
        weights=point.weights,
        certificate=proof.certificate,
    )
    return found, None


def effort_of(time_limit: float | None) -> float:
    """Seconds a row; infinite for none or 0."""
    return time_limit or math.inf
