"""Ascent in v of f(v) = -v'Mv + min over C of [u'Du + 2 (Mv)'u]: parts of Newton's step, minimisers averaged.

f is concave with supergradient 2 M (u* - v) at a minimiser u*. Minimisers change on the way, so that a step for
the present one alone would overshoot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from pvq.bounds.gram import FloatArray

FIRST = 0.35
"""First step, as a part of Newton's."""

GROW, FALL = 1.3, 0.75
"""Factors on the step when f has risen, and when it has not."""

MEMORY = 0.6
"""Weight of the former average of minimisers when a new one comes in."""


class Value(Protocol):
    """f at some v."""

    @property
    def v(self) -> FloatArray:
        """(n,)."""

    @property
    def bound(self) -> float:
        """f(v)."""

    @property
    def minimiser(self) -> FloatArray:
        """(n,) u*."""


V = TypeVar("V", bound=Value)


def climb(
    start: V,
    evaluate: Callable[[FloatArray, V], V],
    newton: Callable[[V, FloatArray], FloatArray],
    steps: int,
    enough: Callable[[V], bool],
) -> V:
    """The best value met.

    Parameters
    ----------
    evaluate : f at v, told the best value so far.
    newton : Newton's step at the best value for u* - v.
    steps : evaluations at most.
    enough : ends the ascent, asked before each of them.
    """
    best, mean, step = start, start.minimiser, FIRST
    for _ in range(steps):
        if enough(best):
            break
        value = evaluate(best.v + step * newton(best, mean - best.v), best)
        if value.bound > best.bound:
            best, step, memory = value, min(GROW * step, 1.0), MEMORY
        else:
            step, memory = FALL * step, (1 + MEMORY) / 2
        mean = memory * mean + (1 - memory) * value.minimiser
    return best
