"""How long a verification may take: looked at before every part of a proof, so that no file lasts for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .refusal import NotProven

NODES = 4_000_000
"""Nodes after which a search is given up: about a second; with a pattern a node costs several times more."""


class _Budget:
    def __init__(self, seconds: float | None, nodes: int) -> None:
        self.seconds, self.nodes = seconds, nodes
        self.end = None if seconds is None else time.monotonic() + seconds


_current: ContextVar[_Budget] = ContextVar("budget")


@contextmanager
def limited(seconds: float | None, nodes: int = NODES) -> Iterator[None]:
    """Whatever is verified inside takes no more than so many seconds, and so many nodes of each search."""
    token = _current.set(_Budget(seconds, nodes))
    try:
        yield
    finally:
        _current.reset(token)


def check_time() -> None:
    """Raise `NotProven` where the time is over; the parts between two calls take a second or two at most."""
    budget = _current.get(None)
    if budget is not None and budget.end is not None and time.monotonic() > budget.end:
        raise NotProven(f"not established within {budget.seconds:g} s")


def node_limit(pattern: bool) -> int:
    """Nodes of one search; with a pattern an eighth, as its nodes cost more."""
    budget = _current.get(None)
    nodes = NODES if budget is None else budget.nodes
    return nodes // 8 if pattern else nodes
