"""The two ends of an interval: sums of them, rounded outwards, and when it counts as a point."""

from __future__ import annotations

import math
from collections.abc import Iterable


def closed(lower: float, upper: float, rounding: float, gap: float) -> bool:
    """Whether an interval is as good as a point: upper - lower <= max(gap upper, rounding)."""
    return upper - lower <= tolerance(upper, rounding, gap)


def tolerance(upper: float, rounding: float, gap: float) -> float:
    """Width of an interval that counts as closed."""
    return max(gap * upper, rounding)


def sum_down(numbers: Iterable[float]) -> float:
    """Sum of finite numbers, rounded down."""
    return 0.0 - sum_up(-number for number in numbers)  # 0.0, where a minus sign alone would make -0.0


def sum_up(numbers: Iterable[float]) -> float:
    """Sum of numbers, rounded up."""
    listed = [float(number) for number in numbers]
    total = math.fsum(listed)
    # `fsum` rounds the exact sum to the nearest number: the sign of the rest says to which side
    if math.isfinite(total) and math.fsum((*listed, -total)) > 0:
        total = math.nextafter(total, math.inf)
    return total + 0.0  # no -0.0
