"""What a solver returns: an interval around the optimum, the x behind its upper end, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pvq.bounds.certified import closed
from pvq.bounds.gram import FloatArray
from pvq.bounds.proof import Proof


class Status(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    """upper - lower <= max(gap * upper, rounding of e), upper recomputed from x; see `bounds.certified.closed`."""
    TIME_LIMIT = "time_limit"
    NODE_LIMIT = "node_limit"
    BOUND_ONLY = "bound_only"
    """A relaxation and a heuristic: both ends hold, nothing was searched."""
    FEASIBLE_ONLY = "feasible_only"
    """An x without a lower bound (empirical methods)."""
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    """The solver broke or contradicted itself; only the upper end holds."""


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
    status: Status
    """How the search ended; OPTIMAL is a claim that `Solver.solve` checks."""
    nodes: int = 0
    info: Mapping[str, Any] = field(default_factory=dict)
    """Anything else worth reporting (for instance `eta`, the slack of the float64 arithmetic)."""
    proof: Proof | None = None
    """Of `lower`, for the verifier: it makes the bound rigorous if `verify.lower_bound` finds next to the same
    number, which then becomes the result's lower end. About the problem that `_solve` was given."""


@dataclass(frozen=True, eq=False)
class Result:
    """lower <= min e(x) <= upper = e(x) for one row."""

    x: FloatArray
    """(n,) feasible point."""
    lower: float
    upper: float
    """e(x), recomputed from x and rounded up."""
    status: Status
    bound_kind: BoundKind
    solver: str
    nodes: int = 0
    seconds: float = 0.0
    """Preparation and solve of this row, without compilation and layer-wide work."""
    info: Mapping[str, Any] = field(default_factory=dict)
    proof: Proof | None = None
    """What proves `proven`; about the row without its dead inputs."""
    proven: float = 0.0
    """Lower bound that the proof proves: `lower` itself if that is rigorous, else something smaller."""
    rounding: float = 0.0
    """Of e(x): errors closer than that are equal, see `Certified`."""

    def closed(self, gap: float) -> bool:
        """Whether lower and upper are as good as equal."""
        return closed(self.lower, self.upper, self.rounding, gap)
