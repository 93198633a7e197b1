"""Limits of a solve, and the clock that a running engine asks."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import BoolArray

from .compile_time import compile_seconds
from .result import Reason

LOOK = 0.05
"""Seconds between two looks at a clock for a compiled loop."""


EFFORTS = ("normal", "high")


def check_effort(name: str) -> None:
    """Raise `ProblemError` where no effort has this name."""
    if name not in EFFORTS:
        raise ProblemError(f"`effort` must be one of {', '.join(EFFORTS)}, not {name!r}")


@dataclass(frozen=True)
class Options:
    """Limits of one solve."""

    time_limit: float | None = 10.0
    """Seconds per row, None for no limit."""
    gap: float = 1e-6
    """Relative gap at which the optimum counts as proven."""
    node_limit: int | None = None
    threads: int = 1
    seed: int = 0
    device: str = "cpu"
    """cpu | gpu | auto: where long searches of quantized rows run; auto takes a GPU where there is one."""
    effort: str = "normal"
    """normal | high: whether rows of grids that are bounded, not solved, get blocks of their own."""
    prove: bool = False
    """Hand over a proof of the lower bound also where making it takes longer than the solve."""
    stop: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    """Set it (Ctrl-C does) and the solver returns what it has proven."""
    report: Callable[[float, float], None] | None = field(default=None, repr=False, compare=False)
    """Called now and then with the lower and upper end so far, in units of error; never checked, for curves."""


class Clock:
    """Tells a running engine whether to stop, and why. It stands still while numba compiles."""

    def __init__(self, options: Options) -> None:
        self._end = math.inf if options.time_limit is None else time.perf_counter() + options.time_limit
        self._compiled = compile_seconds()
        self._stop = options.stop
        self._report = options.report
        self.cut_short = False
        """Whether work that rows share was cut off because of it."""

    @property
    def left(self) -> float:
        """Seconds left, infinity without a limit."""
        if self._end == math.inf:
            return math.inf
        return self._end - time.perf_counter() + compile_seconds() - self._compiled

    def within(self, seconds: float) -> Clock:
        """One that ends after so many seconds at the latest, and tells nobody."""
        left = min(self.left, seconds)
        return Clock(Options(time_limit=None if left == math.inf else left, stop=self._stop))

    def limit(self, least: float) -> float | None:
        """Seconds left as a time limit, `least` at least; None without a limit."""
        return max(self.left, least) if math.isfinite(self.left) else None

    def ended(self) -> Reason | None:
        """INTERRUPT, TIME, or None to go on."""
        if self._stop.is_set():
            return Reason.INTERRUPT
        return Reason.TIME if self.left <= 0 else None

    def tell(self, lower: float, upper: float) -> None:
        """Pass the interval so far on to who wants to watch."""
        if self._report is not None:
            self._report(lower, upper)

    @contextmanager
    def bell(self) -> Iterator[BoolArray]:
        """(1,) becomes true inside when it is time to end: compiled loops, which see no clock, look at it."""
        over, done = np.array([self.ended() is not None]), threading.Event()

        def wait() -> None:
            while not done.wait(min(LOOK, max(self.left, 0.0))) and not over[0]:
                over[0] = self.ended() is not None

        if not over[0]:
            threading.Thread(target=wait, daemon=True, name="bell").start()
        try:
            yield over
        finally:
            done.set()
