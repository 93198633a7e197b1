"""What a relaxation says of a row."""

from __future__ import annotations

from dataclasses import dataclass

from pvq.bounds.proof import Proof


@dataclass(frozen=True, eq=False)
class Bounded:
    """A lower bound of the least error of a row, as relaxations return it: `bound_row` of a file.

    It takes the row, the best point known with its error, limits and a clock.
    """

    lower: float
    """0 or less: nothing."""
    proof: Proof | None = None
    """Of `lower`, None where there is none."""
    nodes: int = 0
    """Visited by searches inside."""
    ceiling: float | None = None
    """What no bound of this kind with the same matrix below H exceeds, up to rounding; None where nobody knows."""
    device: str | None = None
    """Where its searches ran, None: on the CPU, and nobody asked for another place."""
