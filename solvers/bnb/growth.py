"""How the nodes of a pass grow with its threshold."""

from __future__ import annotations

import math

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
