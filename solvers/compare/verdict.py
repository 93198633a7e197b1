"""Which of two techniques is better, from their certified intervals alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pvq.bounds.sqnr import format_db

QUANT, PRUNE, OPEN, SKIPPED = "quantization proven better", "pruning proven better", "open", "skipped"
SAMPLED = "sampled"
"""Likely from drawn rows, at the confidence that is said; never a proof."""
NAMES = {"quant": "quantization", "prune": "pruning"}
MARGIN = 1e-9
"""The intervals must be this far apart: what a float64 lower bound may exceed the truth by (`Solver.solve`)."""


@dataclass(frozen=True)
class Interval:
    """lower <= least error <= upper of one technique, summed over the rows."""

    lower: float
    upper: float

    def below(self, other: Interval) -> bool:
        """Whether its worst case is below the other's best case."""
        return self.upper < other.lower * (1 - MARGIN)


def verdict(quant: Interval, prune: Interval) -> str:
    """The technique whose upper end is below the other's lower end, or `open`."""
    if quant.below(prune):
        return QUANT
    return PRUNE if prune.below(quant) else OPEN


def margin_db(quant: Interval, prune: Interval) -> float | None:
    """How far apart the intervals are; negative: by how much they overlap (what a verdict lacks). None: no limit.

    The better end: 10 log10(lower / upper) of the rival and of the one that is nearer to being proven better.
    """
    distances = [_db(prune.lower, quant.upper), _db(quant.lower, prune.upper)]
    best = max(distances)
    return best if math.isfinite(best) else None


def _db(lower: float, upper: float) -> float:
    if lower <= 0:
        return -math.inf if upper > 0 else 0.0
    return 10 * math.log10(lower / upper) if upper > 0 else math.inf


def opening(bits: int, sparsity: float, nm: Sequence[int] | None = None, granularity: str = "") -> str:
    """What is compared: at 4 bits against 75% sparsity."""
    pattern = f"{100 * sparsity:.4g}%" if nm is None else ":".join(map(str, nm))
    scales = f" per {granularity}" if granularity else ""
    return f"At {bits} bit{'s' if bits > 1 else ''}{scales} against {pattern} sparsity"


def sentence(start: str, reference: float, quant: Interval, prune: Interval) -> str:
    """The verdict in words, with the numbers that prove it or keep it open."""
    found = verdict(quant, prune)
    if found == OPEN:
        if quant.upper <= 0 and prune.upper <= 0:
            return f"{start} both are without error: neither is better."
        missing = margin_db(quant, prune)
        lacks = f"{-missing:z.2f} dB are missing" if missing is not None else "a lower bound is missing"
        return (
            f"{start} it is open: quantization's least error is in {_range(quant)}, pruning's in {_range(prune)}; "
            f"{lacks} for a proof."
        )
    better, worse = ("quant", "prune") if found == QUANT else ("prune", "quant")
    best, rest = (quant, prune) if found == QUANT else (prune, quant)
    return (
        f"{start}, {NAMES[better]} is better: its worst case (upper {best.upper:.4g}, "
        f"{format_db(reference, best.upper)} dB) is below {NAMES[worse]}'s best case "
        f"(lower {rest.lower:.4g}, {format_db(reference, rest.lower)} dB)."
    )


def _range(interval: Interval) -> str:
    return f"[{interval.lower:.4g}, {interval.upper:.4g}]"
