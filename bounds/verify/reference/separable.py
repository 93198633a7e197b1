"""The least right side of inequality (1), input by input, pair by pair and unit by unit, under the budgets."""

from __future__ import annotations

from fractions import Fraction

from ...problem import Problem
from ...proof import Below
from .rational import Vector, vector

KEPT = 1


def least_separable(
    problem: Problem,
    alone: list[int],
    below: Below,
    d: Vector,
    slope: Vector,
    state: dict[int, int],
) -> Fraction | None:
    """min of the sum of d_i u_i^2 + 2 g_i u_i, and of the pairs' forms; None if it is minus infinity.

    Parameters
    ----------
    alone : inputs that are not pruned and in no block.   below : its pairs.
    d, slope : diagonal of D, and g.   state : what a leaf has decided of units.
    """
    w, pattern = vector(problem.weight), problem.sparsity
    pairs = list(zip(below.pairs.tolist(), vector(below.across), strict=True))
    paired = set(below.pairs.ravel().tolist())
    alone = [i for i in alone if i not in paired]
    kept = {i: _kept(problem, i, d[i], slope[i], w[i]) for i in alone}
    if pattern is None:
        return sum((value for value in kept.values() if value is not None), Fraction(0))
    own = problem.grid is None and not pattern.update and pattern.units == problem.n
    total, saving, endless = Fraction(0), dict.fromkeys(range(pattern.units), Fraction(0)), set()
    for i in alone:
        unit, value = int(pattern.unit[i]), kept[i]
        pruned = d[i] * w[i] ** 2 - 2 * slope[i] * w[i]
        total += pruned
        if value is None:
            endless.add(unit)
        else:
            saving[unit] += pruned - (value if own and state.get(unit) == KEPT else min(value, pruned))
    for (i, j), across in pairs:
        nothing, increments = _pair(d, across, slope, w, i, j)
        total += nothing
        units = int(pattern.unit[i]), int(pattern.unit[j])
        if increments is None:
            endless.update(units)
        else:
            saving[units[0]], saving[units[1]] = increments
    for group, keep in enumerate(pattern.keep.tolist()):
        mine = [u for u in range(pattern.units) if pattern.group[u] == group]
        taken = [u for u in mine if state.get(u) == KEPT]
        free = [u for u in mine if u not in state]
        room = max(0, keep - len(taken))
        if endless.intersection(taken) or (room and endless.intersection(free)):
            return None
        total -= sum((saving[u] for u in taken), Fraction(0))
        total -= sum(sorted((saving[u] for u in free), reverse=True)[:room], Fraction(0))
    return total


def _kept(problem: Problem, i: int, d: Fraction, g: Fraction, w: Fraction) -> Fraction | None:
    """What a kept input costs at least; None for minus infinity."""
    if problem.grid is not None:
        return min(d * (x - w) ** 2 + 2 * g * (x - w) for x in vector(problem.grid.of(i)))
    if not problem.free_weights or (d == 0 and g == 0):
        return Fraction(0)
    return -g * g / d if d > 0 else None


def _pair(
    d: Vector, e: Fraction, slope: Vector, w: Vector, i: int, j: int
) -> tuple[Fraction, tuple[Fraction, Fraction] | None]:
    """f with none kept, and the increments of the concave hull of what one and two save."""
    a, b, g, k = d[i], d[j], slope[i], slope[j]
    none = a * w[i] ** 2 + 2 * e * w[i] * w[j] + b * w[j] ** 2 - 2 * g * w[i] - 2 * k * w[j]
    if a <= 0 or a * b <= e * e:
        return none, None
    first = b * w[j] ** 2 - 2 * k * w[j] - (g - e * w[j]) ** 2 / a
    second = a * w[i] ** 2 - 2 * g * w[i] - (k - e * w[i]) ** 2 / b
    both = -(b * g * g - 2 * e * g * k + a * k * k) / (a * b - e * e)
    one, two = none - min(first, second), none - both
    one = max(one, two / 2)
    return none, (one, two - one)
