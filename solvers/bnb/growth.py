"""How the nodes of a pass grow with its threshold, and where the next pass should end."""

from __future__ import annotations

import math

GROWTH = 24.0
"""The power of the threshold by which nodes grow where nothing is known of a row: 11 was measured at half the
optimum, 20 to 28 at the optimum, of 96 and 112 inputs."""

LEAST, MOST = 4.0, 40.0
"""Powers that are taken. Ill-conditioned rows are at 6 to 13 near the optimum."""

AT_FIRST, ON_THE_WAY = 1.5, 1.25
"""How much larger the power of what is left is than that of the first pass, and of later ones. Nine rows of 56 to
112 inputs ended within a factor of two of what was said after a hundredth to a half of their nodes; with 1 instead
of 1.25, of three."""

FAR = 4.0
"""Times the last threshold from which the end is too far to tell: those rows were at .6 of it and more."""

AIM = 0.5
"""Part of the nodes that a limit leaves which the next pass should take."""

SURE = 1 / 4
"""Part of them below which the last pass is taken to end in time: no pass is needed in case that it does not."""

EARLY = 1 / 8
"""Part of the nodes of the last pass that the pass before should take, where the last may not end in time."""

STEP = 16.0
"""Times the nodes in the next pass where there is no limit to fit: all before the last cost 7% of it."""

LEAST_STEP = 1.02
"""Of the threshold: less is not worth another pass."""


class Pace:
    """Where the next pass of a search should end, and how many nodes are ahead, from what the last passes took."""

    def __init__(self, low: float, nodes: float) -> None:
        self.low = low
        """Threshold of the last pass."""
        self.nodes = nodes
        """What it took; before the first, what it took to find the open nodes."""
        self.power = GROWTH
        """By which nodes should grow from there."""
        self.passes = 0
        """How many have ended."""

    def ended(self, high: float, nodes: float) -> None:
        """A pass to the threshold `high` has taken so many nodes."""
        self.power = GROWTH
        if 0 < self.low < high and self.nodes < nodes:
            power = math.log(nodes / self.nodes) / math.log(high / self.low)
            self.power = min(MOST, max(LEAST, (ON_THE_WAY if self.passes else AT_FIRST) * power))
            self.passes += 1
        else:
            self.passes = 1
        self.low, self.nodes = high, nodes

    def to(self, end: float, power: float = 0.0) -> float:
        """Nodes that a pass to the threshold `end` should take, infinity where it is too far to tell.

        power : the least that is taken.
        """
        near = end < FAR * self.low
        return self.nodes * max(end / self.low, 1.0) ** max(self.power, power) if near else math.inf

    def ahead(self, end: float) -> float | None:
        """The same as an answer: a model and no bound; None where nothing tells."""
        nodes = self.to(end) if self.passes > 1 and end >= self.low else math.inf
        return nodes if math.isfinite(nodes) else None

    def next(self, end: float, left: float, sure: float = SURE) -> float:
        """The threshold of the next pass, infinity for the last.

        Parameters
        ----------
        end : threshold at which the search is done.
        left : nodes that limits leave, infinity without one.
        sure : see `SURE`.
        """
        if not self.low > 0:
            return math.inf
        if not math.isfinite(left):
            threshold = self._reach(STEP)
        elif self.to(end, 0.0 if self.passes > 1 else GROWTH) <= sure * left:
            return math.inf
        else:
            threshold, early = self._reach(AIM * left / self.nodes), EARLY ** (1 / self.power) * end
            if self.low < 0.95 * early:
                return min(threshold, early)
            if self.to(end) <= left:  # a pass in between would take what the last one lacks
                return math.inf
        return math.inf if threshold * LEAST_STEP >= end else threshold

    def _reach(self, times: float) -> float:
        """The threshold that takes so many times the nodes of the last pass."""
        return self.low * max(LEAST_STEP, times ** (1 / self.power))
