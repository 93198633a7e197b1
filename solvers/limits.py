"""How the time of a row is shared: between steps that fit and steps that do not, and between search and proof."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from pvq.bounds.gram import Gram

from .options import Clock, Options
from .result import Reason
from .watch import POLL, watched, work_left

T = TypeVar("T")

OVERSHOOT, GRACE = 0.1, 1.0
"""Part of its time limit, and seconds, that a row with its verification may take beyond it; a proof that does not
fit is left out."""

SHARE = 0.5
"""Part of a time limit that is kept for the proof at most, where a proof takes so long."""

LONG, PRODUCTS, SOME = 256, 6, 64
"""Inputs from which a proof takes a part of a second, products of matrices that one takes as long as, and rows of
which such a product is timed."""


LATE, LAST = 0.5, 0.8
"""Parts of GRACE after which work on a long row that hears no clock is left behind, and after which a proof that
is not yet verified is left out; the rest is for the answer, .05 s at 1152 inputs."""

MOST_LEFT = 2
"""Pieces of work that may be left behind at a time; one on rows of 1536 inputs has about .4 GB. A comparison of
210 layers with a second a pair, beside six times as much other work as cores, took 10.6 GB without this."""

AGAIN = 4.0
"""Layer-wide work that the time has cut off is done again for who has so many times as long."""


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


def latest(options: Options, part: float = LATE, rows: float = 1.0) -> Clock:
    """A clock of what so many rows may take in the worst case, with a part of GRACE."""
    limit = options.time_limit
    return Clock(
        options if limit is None else replace(options, time_limit=rows * limit * (1 + OVERSHOOT) + GRACE * part)
    )


def in_time(work: Callable[[], T], end: Clock, inputs: int) -> T | None:
    """The value of `work()`, or None where it goes on when the clock of rows of so many inputs has ended.

    What hears the clock ends long before. One product, factor or sweep of a long row may take seconds, and no
    solver can promise what a step of it takes: such work is left behind in a thread of its own, where it ends
    after that step. New work waits while `MOST_LEFT` are behind: each has matrices, and takes others' time.
    """
    if math.isinf(end.left) or inputs < LONG:
        return work()
    while work_left() >= MOST_LEFT:
        if end.ended() is not None:
            return None
        time.sleep(POLL)
    context = copy_context()
    return watched(lambda: context.run(work), threading.Event(), left=lambda: end.left)


_clock: ContextVar[Clock] = ContextVar("clock of layer-wide work")


@contextmanager
def heard(clock: Clock) -> Iterator[None]:
    """Layer-wide work that is asked for inside looks at this clock."""
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)


def layer_clock() -> Clock:
    """That clock; one that never ends where nobody has named one."""
    return _clock.get(None) or Clock(Options(time_limit=None))


@dataclass
class _Partly(Generic[T]):
    value: T
    had: float
    """Seconds it had."""
    whole: bool


@dataclass
class _Known(Generic[T]):
    made: _Partly[T] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def as_time_allows(
    gram: Gram, owner: Callable[..., object], compute: Callable[[Clock], tuple[T, bool]], *key: Hashable
) -> T:
    """Layer-wide work that the clock of who asks for it may cut off; `Gram.memo` with that in mind.

    What was cut off serves all rows that have no more time than the first, and is done again for one that has.

    Parameters
    ----------
    compute : its value, and whether nothing was cut off.
    """
    known: _Known[T] = gram.memo(owner, _Known, *key)
    clock = layer_clock()
    with known.lock:
        made, left = known.made, clock.left
        if made is None or not (made.whole or left <= AGAIN * made.had):
            value, whole = compute(clock)
            had = 0.0 if clock.ended() is Reason.INTERRUPT else max(left, 0.0)
            made = known.made = _Partly(value, had, whole)
            clock.cut_short = clock.cut_short or not whole
        return made.value
