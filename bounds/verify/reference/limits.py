"""How the second checker says no, and when it stops."""

from __future__ import annotations

import time

NODES = 200_000
"""Nodes after which a search is given up."""
LEAVES = 2**14
"""Leaves of a tree at most."""
BOXES = 2**16
"""Leaves of a tree over intervals of values at most."""
INPUTS = 256
"""Inputs of a row at most: numbers grow with each that is eliminated, to 100 MB for so many."""


class NotEstablished(Exception):
    """The proof does not hold, or takes longer than the checker may; one line."""


def need(condition: object, why: str) -> None:
    """Raise `NotEstablished` unless the condition holds."""
    if not condition:
        raise NotEstablished(why)


class Limits:
    """Seconds for everything since `begin` (`time.monotonic`, default now), nodes for each search."""

    def __init__(self, seconds: float | None = None, nodes: int = NODES, begin: float | None = None) -> None:
        self.seconds, self.nodes = seconds, nodes
        self.end = None if seconds is None else (time.monotonic() if begin is None else begin) + seconds

    def check(self) -> None:
        """Raise `NotEstablished` where the time is over."""
        if self.end is not None and time.monotonic() > self.end:
            raise NotEstablished(f"not established within {self.seconds:g} s")
