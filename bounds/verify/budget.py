"""How long a verification may take: looked at before every part of a proof, so that no file lasts for ever."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from ..gram import BoolArray
from .refusal import NotProven

NODES = 400_000_000
"""Nodes after which a search is given up: some 12 s where steps are equal, 20 s else; with a pattern a node
costs several times more."""

PATTERN = 8
"""Times that a node with a pattern counts."""


Sweep = Callable[..., tuple[float, int]]
"""Takes and returns what `sweep.sweep` does."""


class _Budget:
    def __init__(
        self, seconds: float | None, nodes: int, over: BoolArray | None, sweep: Sweep | None = None
    ) -> None:
        self.seconds, self.nodes, self.sweep = seconds, nodes, sweep
        self.end = math.inf if seconds is None else time.monotonic() + seconds
        self.over = np.zeros(1, dtype=bool) if over is None else over
        """(1,) what compiled searches look at: they take minutes in long rows, and see no clock."""
        self.over[0] |= seconds is not None and seconds <= 0

    def ring(self) -> None:
        self.over[0] = True


_current: ContextVar[_Budget] = ContextVar("budget")


@contextmanager
def limited(
    seconds: float | None, nodes: int = NODES, over: BoolArray | None = None, sweep: Sweep | None = None
) -> Iterator[None]:
    """Whatever is verified inside takes no more than so many seconds, and so many nodes of each search.

    Searches with a pattern take an eighth, as their nodes cost more.

    over : (1,) the caller makes it true to end it at once.
    sweep : what searches long trees of equal steps, as `gpu.searcher` does, in place of `sweep.sweep`.
    """
    budget = _Budget(seconds, nodes, over, sweep)
    bell = None if seconds is None else threading.Timer(min(seconds, threading.TIMEOUT_MAX), budget.ring)
    if bell is not None:
        bell.daemon = True
        bell.start()
    token = _current.set(budget)
    try:
        yield
    finally:
        _current.reset(token)
        if bell is not None:
            bell.cancel()


def check_time() -> None:
    """Raise `NotProven` where the time is over; the parts between two calls take a second or two at most."""
    budget = _current.get(None)
    if budget is None:
        return
    if budget.over[0] or time.monotonic() > budget.end:  # a search that `over` has ended must never pass
        within = "before it was ended" if budget.seconds is None else f"within {budget.seconds:g} s"
        raise NotProven(f"not established {within}")


def time_over() -> BoolArray:
    """(1,) becomes true when the time is over, also while a compiled search runs."""
    budget = _current.get(None)
    return np.zeros(1, dtype=bool) if budget is None else budget.over


def node_limit(pattern: bool) -> int:
    """Nodes of one search."""
    budget = _current.get(None)
    nodes = NODES if budget is None else budget.nodes
    return nodes // PATTERN if pattern else nodes


def other_sweep() -> Sweep | None:
    """What takes the place of `sweep.sweep`, if anything does."""
    budget = _current.get(None)
    return None if budget is None else budget.sweep
