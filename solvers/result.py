"""What a solver returns: an interval around the optimum, the x behind its upper end, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pvq.bounds.outward import closed

if TYPE_CHECKING:
    from pvq.bounds.gram import FloatArray
    from pvq.bounds.proof import Proof, Split

ROUNDING = 1e-9
"""A lower end may exceed the upper end by rounding only: this much of either end, or of the reference."""


class Reason(StrEnum):
    """Why a solver stopped; what is known is told by the two ends."""

    FINISHED = "finished"
    """It has done all that it does, or the interval is closed."""
    TIME = "time"
    NODES = "nodes"
    MEMORY = "memory"
    INTERRUPT = "interrupt"
    FAILURE = "failure"
    """It broke or contradicted itself: only the upper end holds."""


class Fault(StrEnum):
    """What was wrong with a solver's answer; `Result.info["why"]` has the sentence for a reader."""

    POINT = "point"
    """Its point violates the constraints; a rounded one stands in."""
    BOUND = "bound"
    """Its lower bound is above the error of a feasible point, or no number."""
    SOLVER = "solver"
    """It says itself that it broke."""
    SINGULAR = "singular"
    """H is singular, and its formulation does not exist there."""


class Status(StrEnum):
    """Reason and ends in one word: OPTIMAL where the interval is closed, else the limit, else what is known."""

    OPTIMAL = "optimal"
    """upper - lower <= max(gap * upper, rounding of e), upper recomputed from x; see `bounds.outward.closed`."""
    TIME_LIMIT = "time_limit"
    NODE_LIMIT = "node_limit"
    BOUND_ONLY = "bound_only"
    """Finished or out of memory, with both ends."""
    FEASIBLE_ONLY = "feasible_only"
    """The same, with a lower end of 0 (empirical methods)."""
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    """The solver broke or contradicted itself; only the upper end holds."""


def status_of(reason: Reason, lower: float, solved: bool) -> Status:
    """The word for an interval; `solved`: it is closed."""
    if reason is Reason.FAILURE:
        return Status.FAILED
    if solved:
        return Status.OPTIMAL
    known = Status.BOUND_ONLY if lower > 0 else Status.FEASIBLE_ONLY
    limits = {
        Reason.TIME: Status.TIME_LIMIT,
        Reason.NODES: Status.NODE_LIMIT,
        Reason.INTERRUPT: Status.INTERRUPTED,
    }
    return limits.get(reason, known)


class BoundKind(StrEnum):
    """What the lower end is worth."""

    RIGOROUS = "rigorous"
    """Checked with exact or outward-rounded arithmetic."""
    NUMERICAL = "numerical"
    """float64, up to the solver's stated tolerance."""
    NONE = "none"
    """No lower bound: 0."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an engine hands to `Solver.solve`, which checks it and makes a `Result` of it."""

    x: FloatArray | None
    """(n,) best feasible point, None if none was found."""
    lower: float
    """Lower bound on the error, 0 if none."""
    reason: Reason = Reason.FINISHED
    """Why it stopped. Whether its point is optimal is told by `lower` and x alone."""
    nodes: int = 0
    info: Mapping[str, Any] = field(default_factory=dict)
    """Anything else worth reporting (for instance `eta`, the slack of the float64 arithmetic)."""
    proof: Proof | None = None
    """Of `lower`, for the verifier: it makes the bound rigorous if `verify.lower_bound` finds next to the same
    number, which then becomes the result's lower end. About the problem that `_solve` was given."""
    fault: Fault | None = None
    """What went wrong; `info["why"]` may say it in words."""
    elsewhere: Split | None = None
    """Where the proof is a tree, which is about one budget, a split that bounds the row at others as well."""

    def __post_init__(self) -> None:
        if not isinstance(self.reason, Reason):
            raise TypeError(f"an Outcome has a Reason why the solver stopped, not {self.reason!r}")


@dataclass(frozen=True, eq=False)
class Result:
    """lower <= min e(x) <= upper = e(x) for one row."""

    x: FloatArray
    """(n,) feasible point."""
    lower: float
    upper: float
    """e(x), recomputed from x and rounded up: rigorous, whatever `bound_kind` says of the lower end."""
    reason: Reason
    bound_kind: BoundKind
    """What the lower end is worth."""
    solver: str
    solved: bool = False
    """Whether the interval is closed to the gap that was asked for, see `settled`."""
    nodes: int = 0
    seconds: float = 0.0
    """Preparation and solve of this row, without compilation, layer-wide work and verification."""
    verify_seconds: float = 0.0
    """Verification of what the solver handed over as a proof."""
    info: Mapping[str, Any] = field(default_factory=dict)
    fault: Fault | None = None
    proof: Proof | None = None
    """What proves `proven`; about the row without its dead inputs."""
    proven: float = 0.0
    """Lower bound that the proof proves: `lower` itself if that is rigorous, else something smaller."""
    rounding: float = 0.0
    """Of e(x): errors closer than that are equal, see `Certified`."""
    elsewhere: Split | None = None
    """As of the `Outcome`; not checked."""

    @property
    def status(self) -> Status:
        """Reason and ends in one word."""
        return status_of(self.reason, self.lower, self.solved)

    def settled(self, gap: float) -> Result:
        """The result judged by its ends: where they meet nothing is left to do, a lower end of 0 is none."""
        kind, solved = self.bound_kind, closed(self.lower, self.upper, self.rounding, gap)
        if self.reason is Reason.FAILURE or not solved:
            kind = kind if self.lower > 0 else BoundKind.NONE
            return replace(self, solved=False, bound_kind=kind)
        if self.lower <= 0.0:  # no error is below 0: nothing is left to prove
            kind = BoundKind.RIGOROUS
        return replace(self, solved=True, reason=Reason.FINISHED, bound_kind=kind)


def joined(first: Result, second: Result, gap: float) -> Result:
    """Both ends of two results of a row, in the order they came: the lower end of one, the better point."""
    bound, point = max(first, second, key=lambda r: r.lower), min(first, second, key=lambda r: r.upper)
    proven = max(first, second, key=lambda r: r.proven)  # for certificates, also where the bound is numerical
    best = replace(
        bound,
        x=point.x,
        upper=point.upper,
        rounding=point.rounding,
        lower=min(bound.lower, point.upper),
        reason=second.reason,
        nodes=first.nodes + second.nodes,
        seconds=first.seconds + second.seconds,
        verify_seconds=first.verify_seconds + second.verify_seconds,
        fault=second.fault or first.fault,
        proof=proven.proof,
        proven=proven.proven,
        elsewhere=second.elsewhere or first.elsewhere,
    )
    return best.settled(gap)
