"""Whether H x = H w has a solution among a row's values or patterns, in rational arithmetic.

H is positive semidefinite, so e(x) = 0 if and only if H x = H w. With the reduced echelon form of H, r pivots p
and the other inputs f, that is

    x_p + sum_f R_pf x_f = c_p,      c_p = w_p + sum_f R_pf w_f,      for all p.                             (1)

Inputs that share no equation, not even by way of others, are decided apart from each other: one that is alone must
have its own weight, two equal ones x_1 + x_2 = w_1 + w_2.

Values (a grid, or 0 and w_i) are finitely many: all sums that the inputs may still make are followed, those out
of reach dropped. Where they are too many, (1) has no solution if it has none in the lattice that the differences
of the values generate.

Free weights need as many inputs as it takes for their columns of (I R) to span c: none where c is 0, at most one
for each c_p that is not. Sets of fewer inputs are tried while they are few. What is left then is not decided: the
least number of inputs is as hard to find as an optimum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .gram import FloatArray
from .problem import Problem
from .sparsity import Sparsity

LONGEST = 40
"""Inputs up to which H is eliminated in rational arithmetic, a second or less."""


@dataclass
class Work:
    """How much more may be tried."""

    sums: int
    sets: int


@dataclass(frozen=True)
class Echelon:
    """The reduced echelon form of a positive semidefinite matrix, see (1)."""

    pivots: tuple[int, ...]
    rows: tuple[dict[int, Fraction], ...]
    """R_pf where it is not 0, for each pivot."""
    n: int

    def parts(self) -> list[tuple[list[int], list[int]]]:
        """Equations that share no input, each with its inputs, pivots last; dead inputs are in none."""
        parts: list[tuple[list[int], set[int]]] = []
        for number, row in enumerate(self.rows):
            numbers, inputs = [number], set(row)
            for other in [part for part in parts if part[1] & inputs]:
                parts.remove(other)
                numbers, inputs = other[0] + numbers, inputs | other[1]
            parts.append((numbers, inputs))
        return [(numbers, [*sorted(inputs), *(self.pivots[k] for k in numbers)]) for numbers, inputs in parts]

    def coefficient(self, number: int, i: int) -> Fraction:
        """Of input i in an equation."""
        return (
            Fraction(int(i == self.pivots[number])) if i in self.pivots else self.rows[number].get(i, Fraction(0))
        )


def echelon(h: FloatArray) -> Echelon | None:
    """Eliminated in rational arithmetic; None where H is indefinite, or too long for it."""
    n = len(h)
    if n > LONGEST:
        return None
    a = [[Fraction(value) for value in row] for row in h.tolist()]  # above the diagonal: what is left of H
    pivots: list[int] = []
    rows: list[list[Fraction]] = []
    for i in range(n):
        pivot = a[i][i]
        if pivot < 0 or (pivot == 0 and any(a[i][i:])):
            return None
        if pivot == 0:
            continue
        row = [Fraction(0)] * i + [value / pivot for value in a[i][i:]]
        for j in range(i + 1, n):
            if row[j]:
                for k in range(j, n):
                    a[j][k] -= a[i][j] * row[k]
        rows = [[x - known[i] * y for x, y in zip(known, row, strict=True)] for known in rows]
        pivots.append(i)
        rows.append(row)
    own = set(pivots)
    reduced = tuple({j: x for j, x in enumerate(row) if x and j not in own} for row in rows)
    return Echelon(tuple(pivots), reduced, n)


def least_kept(problem: Problem, form: Echelon, work: Work) -> tuple[float, float]:
    """Ends of how many inputs a row must keep to reach 0, infinity where no number is enough; 0 without a pattern.

    Of a pattern that is more than a number of inputs (N:M, blocks) 0 says that it allows what reaches 0.

    Parameters
    ----------
    work : what may still be tried; what is tried is taken off.
    """
    w = [Fraction(value) for value in problem.weight.tolist()]
    c = [w[p] + sum(x * w[f] for f, x in row.items()) for p, row in zip(form.pivots, form.rows, strict=True)]
    parts, pattern = form.parts(), problem.sparsity
    if pattern is not None and (pattern.units < problem.n or len(pattern.keep) > 1):
        numbers, inputs = ([k for part in parts for k in part[side]] for side in (0, 1))
        found = _pattern_reaches(problem, pattern, Part(form, numbers, inputs, c), work)
        return (0.0, math.inf) if found is None else (0.0, 0.0) if found else (math.inf, math.inf)
    low = high = 0.0
    for numbers, inputs in parts:
        part = Part(form, numbers, inputs, c)
        if problem.free_weights:
            least, most = _fewest(part, work)
        else:
            ways = _ways(problem, part, work)
            least, most = (0.0, math.inf) if ways is None else (min(map(len, ways), default=math.inf),) * 2
        low, high = low + least, high + most
    return low, high


class Part:
    """Some of the equations (1), with all of their inputs."""

    def __init__(
        self, form: Echelon, numbers: Sequence[int], inputs: Sequence[int], c: Sequence[Fraction]
    ) -> None:
        self.inputs = inputs
        self.columns = [tuple(form.coefficient(k, i) for k in numbers) for i in inputs]
        self.right = tuple(c[k] for k in numbers)
        self.pivots = [form.pivots[k] for k, value in zip(numbers, self.right, strict=True) if value]
        """Inputs that alone reach 0 with weights of their own."""


def _fewest(part: Part, work: Work) -> tuple[float, float]:
    """Ends of how many inputs with free weights solve the equations."""
    most = len(part.pivots)
    for size in range(most):
        count = math.comb(len(part.inputs), size)
        if count > work.sets:
            return size, most
        work.sets -= count
        if any(_spans(columns, part.right) for columns in itertools.combinations(part.columns, size)):
            return size, size
    return most, most


def _pattern_reaches(problem: Problem, pattern: Sparsity, part: Part, work: Work) -> bool | None:
    """Whether some inputs that the pattern allows solve the equations."""
    if not problem.free_weights:
        ways = _ways(problem, part, work)
        return None if ways is None else any(_allowed(pattern, way) for way in ways)
    if _allowed(pattern, part.pivots):
        return True
    units = [np.flatnonzero(pattern.group == g).tolist() for g in range(len(pattern.keep))]
    keep = [min(k, len(own)) for k, own in zip(pattern.keep.tolist(), units, strict=True)]
    count = math.prod(math.comb(len(own), k) for k, own in zip(keep, units, strict=True))
    if count > work.sets:
        return None
    work.sets -= count
    for chosen in itertools.product(*(itertools.combinations(own, k) for k, own in zip(keep, units, strict=True))):
        kept = {unit for group in chosen for unit in group}
        of_kept = [x for i, x in zip(part.inputs, part.columns, strict=True) if int(pattern.unit[i]) in kept]
        if _spans(of_kept, part.right):
            return True
    return False


def _allowed(pattern: Sparsity, inputs: Iterable[int]) -> bool:
    mask = np.zeros(len(pattern.unit), dtype=bool)
    mask[list(inputs)] = True
    return pattern.allows(mask)


def _spans(columns: Iterable[Sequence[Fraction]], right: Sequence[Fraction]) -> bool:
    """Whether the right side is a combination of the columns."""
    known: list[tuple[int, list[Fraction]]] = []
    left = list(right)
    for column in [*map(list, columns), left]:
        for first, other in known:
            if column[first]:
                factor = column[first] / other[first]
                column[:] = [x - factor * y for x, y in zip(column, other, strict=True)]
        first = next((j for j, value in enumerate(column) if value), -1)
        if column is left:
            return first < 0
        if first >= 0:
            known.append((first, column))
    raise AssertionError("the right side comes last")  # pragma: no cover


def _values(problem: Problem, i: int) -> list[Fraction]:
    """All that x_i may be, weights not being free."""
    if problem.grid is None:
        values = {0.0, float(problem.weight[i])}
    else:
        values = {*problem.grid.of(i).tolist(), *([] if problem.sparsity is None else [0.0])}
    return [Fraction(value) for value in sorted(values)]


def _ways(problem: Problem, part: Part, work: Work) -> set[frozenset[int]] | None:
    """Sets of non-zero inputs whose values solve the equations, the smallest one at least; none without a pattern.

    None: not decided. Only where all that counts is their number are larger sets left out.
    """
    values = [_values(problem, i) for i in part.inputs]
    terms = [
        [tuple(x * value for x in column) for value in own]
        for column, own in zip(part.columns, values, strict=True)
    ]
    unit = [
        math.lcm(right.denominator, *(term[k].denominator for own in terms for term in own))
        for k, right in enumerate(part.right)
    ]
    whole = [[_times(term, unit) for term in own] for own in terms]
    right = _times(part.right, unit)
    pattern = problem.sparsity
    counts = pattern is not None and pattern.units == problem.n and len(pattern.keep) == 1
    # what the inputs from each one on can still make, least and most
    reach = [[(0, 0)] * len(unit)]
    for own in reversed(whole):
        ends = [(min(side), max(side)) for side in zip(*own, strict=True)]
        reach.append([(a + c, b + d) for (a, b), (c, d) in zip(ends, reach[-1], strict=True)])
    reach.reverse()
    states: dict[tuple[int, ...], set[frozenset[int]]] = {}
    if all(low <= x <= high for x, (low, high) in zip(right, reach[0], strict=True)):
        states[right] = {frozenset()}
    for i, own, numbers, left in zip(part.inputs, whole, values, reach[1:], strict=True):
        work.sums -= sum(map(len, states.values())) * len(own)
        if work.sums < 0:
            return None if _has_whole_solution(whole, right) else set()
        following: dict[tuple[int, ...], set[frozenset[int]]] = {}
        for state, ways in states.items():
            for term, number in zip(own, numbers, strict=True):
                rest = tuple(a - b for a, b in zip(state, term, strict=True))
                if not all(low <= x <= high for x, (low, high) in zip(rest, left, strict=True)):
                    continue
                more = {way | {i} for way in ways} if number and pattern is not None else ways
                known = following.setdefault(rest, set())
                known |= more
                if counts and len(known) > 1:
                    following[rest] = {min(known, key=len)}
        states = following
    return states.get((0,) * len(unit), set())


def _times(numbers: Iterable[Fraction], unit: Iterable[int]) -> tuple[int, ...]:
    return tuple(int(x * k) for x, k in zip(numbers, unit, strict=True))


def _has_whole_solution(terms: Sequence[Sequence[tuple[int, ...]]], right: Sequence[int]) -> bool:
    """Whether the equations can be solved by values that are whole numbers of steps apart, however many steps.

    The steps of an input are the greatest divisor of its terms' differences. Its column times a whole number is
    what it adds: columns are brought into Hermite's form, and the right side is divided by one after the other.
    """
    left, columns = list(right), []
    for own in terms:
        first, step = own[0], [0] * len(left)
        left = [x - y for x, y in zip(left, first, strict=True)]
        # terms are one vector times the values: all differences are multiples of the first, by fractions
        apart = [[x - y for x, y in zip(term, first, strict=True)] for term in own[1:]]
        for other in apart:
            step = _divisor(step, other)
        columns.append(step)
    for k in range(len(left)):
        some = [column for column in columns if column[k]]
        columns = [column for column in columns if not column[k]]
        while len(some) > 1:
            some.sort(key=lambda column: abs(column[k]))
            least = some[0]
            reduced = [
                [x - other[k] // least[k] * y for x, y in zip(other, least, strict=True)] for other in some[1:]
            ]
            some = [least, *(other for other in reduced if other[k])]
            columns += [other for other in reduced if not other[k] and any(other)]
        if some:
            times, rest = divmod(left[k], some[0][k])
            left = [x - times * y for x, y in zip(left, some[0], strict=True)]
        else:
            rest = left[k]
        if rest:
            return False
    return True


def _divisor(a: list[int], b: list[int]) -> list[int]:
    """The vector that generates the whole multiples of two parallel vectors."""
    while any(b):
        k = next(k for k, value in enumerate(b) if value)
        a, b = b, [x - a[k] // b[k] * y for x, y in zip(a, b, strict=True)]
    return a
