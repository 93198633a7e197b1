"""Durations as users write them: 90, 90s, 30m, 2h."""

from __future__ import annotations

import math
import re

from .errors import ProblemError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(name: str, given: float | str) -> float:
    """Seconds of a duration, positive and finite.

    Parameters
    ----------
    name : what it is called in a message, as `budget`.
    given : a number of seconds, or a number and s, m or h.

    Raises
    ------
    ProblemError
        No duration, or none that ends.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([smh]?)\s*", given) if isinstance(given, str) else None
    if match:
        value = float(match[1]) * UNITS[match[2]]
    else:
        value = math.nan if isinstance(given, str | bool) else float(given)
    if not 0 < value < math.inf:
        raise ProblemError(f"{name} must be a duration as 90, 90s, 30m or 2h, not '{given}'")
    return value


def words_of(seconds: float) -> str:
    """As 45 s, 12 min, 2.5 h."""
    if seconds < 90:
        return f"{max(seconds, 0.0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
