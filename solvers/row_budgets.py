"""A budget that rows share: the allocation of least total error, by dynamic programming or by one price of a unit.

Of curves c_r(k), non-increasing in the units k that row r keeps,

    minimise  sum_r c_r(k_r)  over sum_r k_r <= budget.

Dynamic programming over rows and units is exact, in rows x budget x units steps. One price p of a unit gives
sum_r min_k [c_r(k) + p k] - p budget, which is below the minimum for every p (Everett, "Generalized Lagrange
multiplier method", Operations Research 11, 1963), and an allocation that is near it: at once, for layers of any
size.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from pvq.bounds.certified import UNIT
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.outward import sum_down

from .options import Clock

AT_ONCE = 20_000_000
"""Steps of the dynamic programming that are done whatever the clock says: a few hundredths of a second."""

BYTES = 1 << 29
"""Memory of its choices at most."""

PRICES, LEAST = 60, 1e-9
"""Prices of a unit that are tried, and the least of them, as a part of what a row has to lose."""

ROUNDING = 1e-12
"""Part of the numbers that is taken off a Lagrangian bound: more than the rounding of sums of a million terms."""

MOVES = 64
"""Moves of what a price has left over."""


class Allocation(NamedTuple):
    """Budgets for rows."""

    budgets: IntArray
    """(rows,) k_r, whose sum is at most the budget."""
    lower: float
    """A lower bound of the least total."""


def allocate(curves: FloatArray, budget: int, clock: Clock | None = None) -> Allocation:
    """The allocation of least total, or where the clock, or memory, does not allow that one by a price.

    Parameters
    ----------
    curves : (rows, units + 1), each row non-increasing and not negative.
    budget : units of all rows together.
    clock : None lets the dynamic programming end.
    """
    rows, width = curves.shape
    budget = min(budget, rows * (width - 1))
    steps, memory = rows * (budget + 1) * width, 4 * rows * (budget + 1)
    if memory <= BYTES:
        if clock is None or steps <= AT_ONCE:
            return by_program(curves, budget, np.zeros(1, dtype=bool)) or by_price(curves, budget)
        with clock.bell() as over:
            found = None if over[0] else by_program(curves, budget, over)
        if found is not None:
            return found
    return by_price(curves, budget)


def by_program(curves: FloatArray, budget: int, over: BoolArray) -> Allocation | None:
    """The allocation of least total by dynamic programming; None where `over` (1,) became true meanwhile."""
    budgets = np.zeros(len(curves), np.int64)
    if not _least_total(curves, budget, over, budgets):
        return None
    least = sum_down(curves[np.arange(len(curves)), budgets].tolist())
    return Allocation(budgets, least * (1 - (2 * len(curves) + 4) * UNIT))  # sums that were compared were rounded


@numba.njit(cache=True, nogil=True)
def _least_total(curves, budget, over, budgets):  # type: ignore[no-untyped-def]
    """Dynamic programming; False if `over` has ended it. budgets : (rows,) out."""
    rows, width = curves.shape
    best = np.zeros(budget + 1)
    choice = np.zeros((rows, budget + 1), np.int32)
    for r in range(rows):
        new = np.full(budget + 1, np.inf)
        for total in range(budget + 1):
            if over[0]:
                return False
            for k in range(min(total, width - 1) + 1):
                value = best[total - k] + curves[r, k]
                if value < new[total]:
                    new[total] = value
                    choice[r, total] = k
        best = new
    total = budget
    for r in range(rows - 1, -1, -1):
        budgets[r] = choice[r, total]
        total -= budgets[r]
    return True


def by_price(curves: FloatArray, budget: int) -> Allocation:
    """An allocation near the best, and the best Lagrangian bound: one price after the other, between two of which
    the budget lies."""
    rows, k = np.arange(len(curves)), np.arange(curves.shape[1])
    most = float(curves.max(initial=0.0))
    budgets, lower = np.zeros(len(curves), np.int64), 0.0
    low, high = LEAST * most, most
    for turn in range(PRICES):
        price = 0.0 if turn == 0 else float(np.sqrt(low * high))
        chosen = (curves + price * k).argmin(axis=1)
        least, used = float((curves[rows, chosen] + price * chosen).sum()), int(chosen.sum())
        lower = max(lower, least - price * budget - ROUNDING * (price * budget + least))
        if used <= budget:
            budgets = chosen
            if turn == 0:  # there is enough for all
                break
            high = price
        elif turn:
            low = price
        if not low < high:
            break
    return Allocation(_filled(curves, budgets, budget), lower)


def _filled(curves: FloatArray, budgets: IntArray, budget: int) -> IntArray:
    """What is left of the budget, given to the rows to which it is worth most a unit."""
    budgets, rows = budgets.copy(), np.arange(len(curves))
    for _ in range(MOVES):
        left = min(budget - int(budgets.sum()), curves.shape[1] - 1)
        if left <= 0:
            break
        more = np.arange(1, left + 1)
        at = np.minimum(budgets[:, None] + more, curves.shape[1] - 1)
        gain = (curves[rows, budgets][:, None] - curves[rows[:, None], at]) / more
        row, step = divmod(int(gain.argmax()), left)
        if not gain[row, step] > 0.0:
            break
        budgets[row] = at[row, step]
    return budgets
