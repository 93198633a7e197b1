"""Whether bounding rows one by one can still decide a pair in its time: said, instead of spending it."""

from __future__ import annotations

import math

import numpy as np

from .bounds import Spent
from .side import Side

SEEN = 8
"""Rows that are bounded before the others are judged by them."""

POLISHED_DB = 2.0
"""Local search lowers the better side's upper end by less; where more is missing it is not tried."""


def why_hopeless(worse: Side, better: Side, spent: Spent, jobs: int = 1) -> str | None:
    """One sentence on why no verdict can be expected of the rows left, None where one may.

    Every row is taken to close as much of its interval as the best one did, and the other side's upper end to fall
    by POLISHED_DB. That is an estimate on the side of going on: it says where time goes, and no verdict.
    """
    if len(spent.done) < max(SEEN, jobs) or not math.isfinite(spent.left):
        return None
    reach = np.array(spent.rows[: int(max(spent.left, 0.0) / max(spent.seconds, 1e-9))], dtype=np.int64)
    most = worse.interval.lower + spent.closed * float((worse.upper - worse.lower)[reach].sum())
    needed = better.interval.upper
    if most >= needed * 10 ** (-POLISHED_DB / 10):
        return None
    lacks = f"{10 * math.log10(needed / most):.1f} dB would be missing" if most > 0 else "there would be no bound"
    return (
        f"{len(spent.rows)} rows of {worse.words} were not bounded one by one: at {spent.seconds:.2g} s a row "
        f"{len(reach)} of them fit in the time limit, and {lacks} for a proof."
    )
