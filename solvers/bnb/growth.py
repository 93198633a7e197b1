"""How the nodes of a pass grow with its threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

GROWTH = 24.0
"""Nodes grow like threshold^GROWTH at most (measured: 11 at half the optimum to 24 at the optimum, 96 inputs)."""

LEAST, STEEPER = 4.0, 1.5
"""Least power that is taken, and how much larger it may be in the next pass than in the last. Ill-conditioned rows
are at 6 to 9 near the optimum."""


def growth_after(before: float, after: float, low: float, high: float) -> float:
    """The power for the next pass, from the nodes of the last two, `before` and `after`, and their thresholds."""
    if not (0 < low < high and before < after):
        return GROWTH
    return min(GROWTH, max(LEAST, STEEPER * math.log(after / before) / math.log(high / low)))


ON_THE_WAY = 1.25
"""How much larger the power of what is left is than that of the last pass. Nine rows of 56 to 112 inputs ended
within a factor of two of what was said after a hundredth to a half of their nodes; with 1, of three."""

FAR = 4.0
"""Times the last threshold from which the end is too far to tell: those rows were at .6 of it and more."""


def nodes_to_the_end(passes: Sequence[tuple[float, float]], end: float) -> float | None:
    """Nodes that a pass to the threshold `end` would take, a model and no bound; None where nothing tells.

    Parameters
    ----------
    passes : thresholds and nodes of the passes that have ended.
    """
    if len(passes) < 2:
        return None
    (low, before), (high, after) = passes[-2:]
    if not (0 < low < high <= end < FAR * high and before < after):
        return None
    power = ON_THE_WAY * math.log(after / before) / math.log(high / low)
    return float(after * (end / high) ** min(power, 100.0))
