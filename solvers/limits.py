"""How the time of a row is shared: between steps that fit and steps that do not, and between search and proof."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from pvq.bounds.gram import Gram

from .options import Clock, Options

OVERSHOOT, GRACE = 0.1, 1.0
"""Part of its time limit, and seconds, that a row with its verification may take beyond it; a proof that does not
fit is left out."""

SHARE = 0.5
"""Part of a time limit that is kept for the proof at most, where a proof takes so long."""

LONG, PRODUCTS, SOME = 256, 6, 64
"""Inputs from which a proof takes a part of a second, products of matrices that one takes as long as, and rows of
which such a product is timed."""


class Pace:
    """Ends a loop of long steps where the next one, which takes as long as the last, would overrun the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._begin = clock, time.perf_counter()

    def ended(self) -> bool:
        """Ask before every step: whether the time is up, or less is left than half a step."""
        now = time.perf_counter()
        took, self._begin = now - self._begin, now
        return self._clock.ended() is not None or self._clock.left < took / 2


@dataclass
class Cost:
    """What the last proof of a kind took, or what one product of matrices says that the first will take."""

    seconds: float


def proof_cost(gram: Gram, kind: object) -> Cost:
    """Of rows of one Gram matrix and a kind of solver; proofs of short rows take next to nothing."""

    def first() -> Cost:
        if len(gram) < LONG:
            return Cost(0.0)
        begin = time.perf_counter()
        gram.matrix[:SOME] @ gram.matrix
        return Cost(PRODUCTS * len(gram) / SOME * (time.perf_counter() - begin))

    return gram.memo(proof_cost, first, kind)


def with_share(options: Options, cost: Cost) -> Options:
    """Options of a search that leaves the proof its time: half of what a row may overrun, and more if it needs."""
    limit = options.time_limit
    if limit is None or math.isinf(limit):
        return options
    beyond = (limit * OVERSHOOT + GRACE) / 2  # the other half is for the search's own last step
    return replace(options, time_limit=limit - min(SHARE * limit, max(0.0, cost.seconds - beyond)))
