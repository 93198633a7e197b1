"""Both ends of a budget: what an allocation reaches, and what none gets below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pvq.bounds.certified import rounded_down, rounded_up

from ..result import BoundKind
from .knapsack import STATES, least
from .record import NOTHING, PRUNE, QUANT, Item, Option, uniform


@dataclass(frozen=True)
class Allocated:
    """lower <= the least weighted error of any allocation within the budget <= upper."""

    options: tuple[Option, ...]
    """One for each layer: the least sum of upper ends."""
    upper: float
    lower: float
    kind: BoundKind
    """Of `lower`: the weakest among the lower ends that it rests on."""
    is_exact: tuple[bool, bool]
    """Whether the sums of upper and of lower ends are proven the least there are; if not, a Lagrangian bound."""
    shares: tuple[float, ...]
    """How much of the gap the interval of each layer holds open, of all layers' sum."""
    rivals: tuple[Option, ...]
    """For each layer the option whose lower end the bound hangs on."""


def allocate(items: Sequence[Item], budget: int, states: int = STATES) -> Allocated | None:
    """Solve both problems within a budget of bits, None where nothing fits."""
    costs = [[option.cost for option in item.options] for item in items]
    reached = least(_values(items, "upper"), costs, budget, states)
    proven = least(_values(items, "lower"), costs, budget, states)
    if reached is None or proven is None:
        return None
    options = tuple(item.options[pick] for item, pick in zip(items, reached.picks, strict=True))
    shares, rivals = _blame(items, proven.multiplier)
    return Allocated(
        options,
        rounded_up(reached.value),
        max(0.0, rounded_down(proven.bound)),
        _kind(items) if proven.bound > 0 else BoundKind.NONE,
        (reached.is_best, proven.is_best),
        shares,
        rivals,
    )


def _values(items: Sequence[Item], end: str) -> list[list[Fraction]]:
    return [[Fraction(item.weight) * Fraction(getattr(o, end)) for o in item.options] for item in items]


def _kind(items: Sequence[Item]) -> BoundKind:
    """No allocation is below a sum: that rests on the lower end of every option there is."""
    proven = {o.kind for item in items for o in item.options if o.technique != NOTHING and o.lower > 0}
    return BoundKind.RIGOROUS if proven <= {BoundKind.RIGOROUS} else BoundKind.NUMERICAL


def _blame(items: Sequence[Item], t: Fraction) -> tuple[tuple[float, ...], tuple[Option, ...]]:
    """How much of the gap the interval of each layer holds open, and the option that it hangs on.

    If the lower ends l of a layer met its upper ends u, the Lagrangian bound at the multiplier t would rise by
    min_j (u_j + t c_j) - min_j (l_j + t c_j) >= 0, c being the costs. Shares are of the sum over the layers.
    """
    parts, rivals = [], []
    for item in items:
        weight = Fraction(item.weight)
        low = [weight * Fraction(o.lower) + t * o.cost for o in item.options]
        high = [weight * Fraction(o.upper) + t * o.cost for o in item.options]
        rivals.append(item.options[low.index(min(low))])
        parts.append(min(high) - min(low))
    total = sum(parts)
    return tuple(float(part / total) if total > 0 else 0.0 for part in parts), tuple(rivals)


@dataclass(frozen=True)
class Uniform:
    """Every layer at one width with one technique."""

    technique: str
    bits: int
    cost: int
    error: float


def uniform_within(items: Sequence[Item], budget: int | None) -> list[Uniform]:
    """The uniform allocations, in order of cost; with a budget, for each technique the last one that fits."""
    widths = sorted({o.bits for item in items for o in item.options if o.technique != NOTHING})
    found = []
    for technique in (QUANT, PRUNE):
        every = [_uniform(items, technique, bits) for bits in widths]
        if budget is not None:
            every = [each for each in every if each.cost <= budget][-1:]
        found += every
    return found


def _uniform(items: Sequence[Item], technique: str, bits: int) -> Uniform:
    taken = uniform(items, technique, bits)
    error = sum(Fraction(item.weight) * Fraction(o.upper) for item, o in zip(items, taken, strict=True))
    return Uniform(technique, bits, sum(o.cost for o in taken), rounded_up(Fraction(error)))
