"""The multiple-choice knapsack: one option for each item, the least sum of values within a budget of whole costs.

HiGHS finds, integers prove: values are float64 numbers or products of two, so that sums of them compare exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from pvq.bounds.gram import FloatArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

STATES = 5000
"""Partial choices kept at a time in the proof; beyond, the Lagrangian bound has to do."""
HALVINGS = 200
TRIES = 3
RANGE = 1e4
"""HiGHS takes objectives for equal that differ by 1e-6: it gets one whose coefficients go from 0 to this."""
BITS = 900
"""Numbers of more bits are shifted before they become float64, which end at 1024."""


@dataclass(frozen=True)
class Chosen:
    """A choice within the budget, and what no choice within it gets below."""

    picks: tuple[int, ...]
    """Number of the option of each item."""
    value: Fraction
    """Its sum of values."""
    bound: Fraction
    """No choice has a smaller sum; `value` itself where the choice is proven best."""
    multiplier: Fraction
    """t of the Lagrangian bound: the value that a unit of cost is worth."""

    @property
    def is_best(self) -> bool:
        """Whether the choice is proven to be the best there is."""
        return self.value == self.bound


def least(
    values: Sequence[Sequence[Fraction]], costs: Sequence[Sequence[int]], budget: int, states: int = STATES
) -> Chosen | None:
    """Minimise sum_i values[i][p_i] subject to sum_i costs[i][p_i] <= budget; None where nothing fits.

    For any t >= 0, sum_i min_j (values[i][j] + t costs[i][j]) - t budget <= the optimum (weak duality). An option
    that is further above its minimum than the best known choice is above this bound is in no better choice. What
    is left is combined item by item; a partial choice ends where it has used up that distance, or where another
    costs and adds no more.

    Parameters
    ----------
    values : binary fractions, as all float64 numbers and their products are.
    states : partial choices after which the proof is given up.
    """
    if sum(map(min, costs)) > budget:
        return None
    unit = max(value.denominator for row in values for value in row)
    whole = [[int(value * unit) for value in row] for row in values]
    slope, best = _relaxed(whole, costs, budget)
    unit *= slope.denominator
    scaled = [[value * slope.denominator for value in row] for row in whole]
    problem = _Priced(scaled, costs, budget, slope.numerator)
    best = problem.improved(best)
    proven = problem.proven(best, states)
    best = best if proven is None else proven
    value = problem.value(best)
    bound = problem.bound if proven is None else value
    multiplier = Fraction(slope.numerator, unit)
    return Chosen(tuple(best), Fraction(value, unit), Fraction(bound, unit), multiplier)


def _relaxed(
    values: Sequence[Sequence[int]], costs: Sequence[Sequence[int]], budget: int
) -> tuple[Fraction, list[int]]:
    """The multiplier of the best Lagrangian bound up to rounding, and the best choice met that fits."""
    shift = max(0, max(abs(v) for row in values for v in row).bit_length() - BITS)
    priced = [
        (np.array([float(v >> shift) for v in row]), np.array([float(c) for c in cost]))
        for row, cost in zip(values, costs, strict=True)
    ]

    def at(slope: float) -> list[int]:
        """The cheapest of the options that are least at a multiplier."""
        return [int(np.lexsort((c, v + slope * c))[0]) for v, c in priced]

    def total(numbers: Sequence[Sequence[int]], picks: Sequence[int]) -> int:
        return sum(row[pick] for row, pick in zip(numbers, picks, strict=True))

    free = at(0.0)
    if total(costs, free) <= budget:
        return Fraction(0), free
    best = [int(np.lexsort((v, c))[0]) for v, c in priced]  # the cheapest
    low, high = 0.0, max(float(np.ptp(v)) for v, _ in priced)  # costs that differ do so by 1 or more
    for _ in range(HALVINGS):
        middle = low + (high - low) / 2
        if middle in (low, high):
            break
        picks = at(middle)
        if total(costs, picks) > budget:
            low = middle
            continue
        high = middle
        if total(values, picks) < total(values, best):
            best = picks
    return Fraction(high) * (1 << shift), best


@dataclass(frozen=True)
class _Option:
    number: int
    cost: int
    value: int
    away: int
    """value + t cost, above the least of its item."""


@dataclass(frozen=True)
class _Priced:
    """The problem in whole numbers, at a multiplier."""

    values: Sequence[Sequence[int]]
    costs: Sequence[Sequence[int]]
    budget: int
    slope: int

    def value(self, picks: Sequence[int]) -> int:
        return sum(row[pick] for row, pick in zip(self.values, picks, strict=True))

    def cost(self, picks: Sequence[int]) -> int:
        return sum(row[pick] for row, pick in zip(self.costs, picks, strict=True))

    @cached_property
    def items(self) -> list[list[_Option]]:
        """The options of each item with their distances."""
        found = []
        for values, costs in zip(self.values, self.costs, strict=True):
            priced = [v + self.slope * c for v, c in zip(values, costs, strict=True)]
            floor = min(priced)
            found.append([_Option(j, costs[j], values[j], price - floor) for j, price in enumerate(priced)])
        return found

    @cached_property
    def bound(self) -> int:
        """The Lagrangian bound."""
        nearest = (min(row, key=lambda option: option.away) for row in self.items)
        return sum(option.value + self.slope * option.cost for option in nearest) - self.slope * self.budget

    def left(self, best: Sequence[int]) -> list[list[_Option]]:
        """Options that a better choice than `best` may have."""
        slack = self.value(best) - self.bound
        return [[option for option in row if option.away < slack] for row in self.items]

    def improved(self, best: list[int]) -> list[int]:
        """What HiGHS finds, where exact sums say that it fits and is better; else `best`."""
        left = self.left(best)
        if not all(left):
            return best
        room = allowed = self.budget - sum(min(option.cost for option in row) for row in left)
        for _ in range(TRIES if room >= 0 else 0):  # HiGHS lets constraints be broken by 1e-6
            numbers = _highs(left, allowed)
            if numbers is None:
                break
            picks = [row[number].number for row, number in zip(left, numbers, strict=True)]
            over = self.cost(picks) - self.budget
            if over <= 0:
                return picks if self.value(picks) < self.value(best) else best
            allowed -= over
        return best

    def proven(self, best: list[int], most: int) -> list[int] | None:
        """The best choice there is, `best` if no other is better; None where the proof would be too long."""
        slack = self.value(best) - self.bound
        left = self.left(best)
        if not all(left):
            return best
        order = sorted(range(len(left)), key=lambda i: len(left[i]))
        rest = sum(min(option.cost for option in row) for row in left)
        states: list[tuple[int, int, int, tuple[int, ...]]] = [(0, 0, 0, ())]
        for i in order:
            rest -= min(option.cost for option in left[i])
            grown = [
                (cost + option.cost, value + option.value, away + option.away, (*picks, option.number))
                for cost, value, away, picks in states
                for option in left[i]
                if away + option.away < slack and cost + option.cost + rest <= self.budget
            ]
            states = []
            for state in sorted(grown):
                if not states or state[1] < states[-1][1]:  # else another costs and adds no more
                    states.append(state)
            if len(states) > most:
                return None
        if not states or states[-1][1] >= self.value(best):
            return best
        return [number for _, number in sorted(zip(order, states[-1][3], strict=True))]


def _highs(items: Sequence[Sequence[_Option]], room: int) -> list[int] | None:
    """Places of the options that HiGHS chooses; `room` is for costs above the least of each item."""
    if room < 0:
        return None
    gains = _above([[option.value for option in row] for row in items])
    costs = _above([[option.cost for option in row] for row in items])
    widest = max(1, *gains)
    ends = np.cumsum([len(row) for row in items])
    owner = np.repeat(np.arange(len(items)), [len(row) for row in items])
    one_each = csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    within: FloatArray = np.array([[cost / max(room, 1) for cost in costs]])
    found = milp(
        [RANGE * (gain / widest) for gain in gains],
        integrality=np.ones(len(owner)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(within, -np.inf, min(room, 1))],
        options={"mip_rel_gap": 0},
    )
    if found.x is None:
        return None
    return [int(np.argmax(part)) for part in np.split(found.x, ends[:-1])]


def _above(rows: Sequence[Sequence[int]]) -> list[int]:
    """Each number less the least of its row, in one list."""
    return [number - min(row) for row in rows for number in row]
