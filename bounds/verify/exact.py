"""The same bounds in rational arithmetic, for rows of few inputs: a float64 is an integer by a power of two."""

from __future__ import annotations

import math
from fractions import Fraction
from weakref import WeakKeyDictionary
from weakref import ref as weakref

import numpy as np

from ..gram import FloatArray, Gram
from ..problem import Problem
from ..proof import FREE, KEPT, Below, Boxes, Cover, Enumeration, Proof, Reduced, Scales, Split, Tree
from .blocks import block_parts
from .budget import check_time
from .pairs import exact_pair
from .psd import TINY, U
from .row import NotProven, check_shapes, check_states, lower_bound, matrix_of, shift_to_psd
from .split import down, keeps_weights, pruned_inputs, values_of
from .whole import integers, times

EXACT = 40
"""Largest number of inputs that is verified this way; a layer of 240 such rows takes seconds."""
EXACT_WORK = EXACT**3 * 8
"""Leaves times the cube of the inputs up to which a tree is: each leaf has a matrix of its own to eliminate."""


def is_exact(problem: Problem, proof: Proof) -> bool:
    """Whether this proof of this row is evaluated in rational arithmetic (searches, boxes and covers are not)."""
    leaves = proof.leaves if isinstance(proof, Tree) else 1
    small = problem.n <= EXACT and leaves * problem.n**3 <= EXACT_WORK
    return small and not isinstance(proof, Enumeration | Reduced | Boxes | Cover | Scales)


def exact_upper_bound(problem: Problem, x: FloatArray) -> float:
    """e(x) = (w - x)'H(w - x), rounded up once."""
    u = [Fraction(w) - Fraction(y) for w, y in zip(problem.weight.tolist(), x.tolist(), strict=True)]
    h, scale = integers(problem.hessian)
    k = max(value.denominator for value in u)  # all denominators are powers of two
    whole = [value.numerator * (k // value.denominator) for value in u]
    total = sum(a * b for a, b in zip(whole, times(h, whole), strict=True))
    return -_rounded_down(Fraction(-total, scale * k * k))


def exact_lower_bound(problem: Problem, proof: Proof, scope: str = "row") -> float:
    """As `verify.lower_bound`, with splits evaluated and H - D tested exactly; enumerations as there."""
    return lower_bound(problem, proof, 1.0, split_bounds, scope)


def split_bounds(problem: Problem, split: Split, states: np.ndarray, margin: float) -> list[float]:
    """Lower bounds at leaves that share a split, see `split.Terms` for the formulas."""
    check_shapes(problem, split)
    check_states(problem, split, states)
    fixed = [pruned_inputs(problem, state) for state in states]
    eps = _shift(problem, split, np.logical_and.reduce(fixed))
    try:
        return [_leaf(problem, split, state, f, eps) for state, f in zip(states, fixed, strict=True)]
    except OverflowError:
        raise NotProven("numbers beyond the range of float64") from None


_shifts: WeakKeyDictionary[Below, tuple[weakref[Gram], list[int], list[Fraction]]] = WeakKeyDictionary()


def _shift(problem: Problem, split: Split, fixed: np.ndarray) -> list[Fraction]:
    """eps with H - D + diag(eps) positive semidefinite where inputs are free: 0, or what float64 suggests."""
    n, free = problem.n, np.flatnonzero(~fixed).tolist()
    known = _shifts.get(split.below)
    if known is not None and known[0]() is problem.gram and known[1] == free:
        return known[2]
    suggested = shift_to_psd(problem.gram, split.below, fixed, 1.0)
    if not np.isfinite(suggested).all():
        raise NotProven("H - D is not positive semidefinite, by far more than rounding")
    rows = zip(problem.hessian.tolist(), matrix_of(split.below).tolist(), strict=True)
    m = [[Fraction(a) - Fraction(b) for a, b in zip(*row, strict=True)] for row in rows]
    for eps in (np.zeros(n), suggested):
        exact = [Fraction(value) for value in eps.tolist()]
        if is_psd([[m[i][j] + (exact[i] if i == j else 0) for j in free] for i in free]):
            _shifts[split.below] = weakref(problem.gram), free, exact
            return exact
    raise NotProven("H - D is not positive semidefinite")


def is_psd(m: list[list[Fraction]]) -> bool:
    """Whether a symmetric rational matrix is positive semidefinite: elimination without fractions (Bareiss 1968).

    A pivot of 0 needs a row of zeros, which is then left out.
    """
    scale = math.lcm(1, *(value.denominator for row in m for value in row))
    a = [[value.numerator * (scale // value.denominator) for value in row] for row in m]
    previous = 1
    while a:
        check_time()
        pivot, first = a[0][0], a[0]
        if pivot < 0 or (pivot == 0 and any(first)):
            return False
        if pivot == 0:
            a = [row[1:] for row in a[1:]]
            continue
        a = [[(pivot * row[j] - row[0] * first[j]) // previous for j in range(1, len(row))] for row in a[1:]]
        previous = pivot
    return True


def _leaf(problem: Problem, split: Split, state: np.ndarray, fixed: np.ndarray, eps: list[Fraction]) -> float:
    check_time()
    n, sparsity = problem.n, problem.sparsity
    w = [Fraction(value) for value in problem.weight.tolist()]
    d = [Fraction(value) - e for value, e in zip(split.below.d.tolist(), eps, strict=True)]
    v = [Fraction(0) if f else Fraction(value) for value, f in zip(split.v.tolist(), fixed, strict=True)]
    z = [-w[i] if fixed[i] else v[i] for i in range(n)]
    h, scale = integers(problem.hessian)
    k = math.lcm(1, *(value.denominator for value in z))
    hz = [Fraction(value, scale * k) for value in times(h, [int(value * k) for value in z])]
    g = [hz[i] - d[i] * v[i] for i in range(n)]
    pairs = list(zip(split.below.pairs.tolist(), map(Fraction, split.below.across.tolist()), strict=True))
    for (i, j), e in pairs:
        g[i] -= e * v[j]
        g[j] -= e * v[i]
    charge, slope = Fraction(0), np.zeros(n)
    in_block = np.zeros(n, dtype=bool)
    for block in split.below.blocks:
        inputs = block.inputs.tolist()
        in_block[inputs] = True
        for i in inputs:
            g[i] += d[i] * v[i]  # d_i = -eps_i there: D_b stays as it is
        for row, i in zip(block.matrix.tolist(), inputs, strict=True):
            g[i] -= sum(Fraction(value) * v[j] for value, j in zip(row, inputs, strict=True))
        values = values_of(problem)[inputs].tolist()
        for i, levels in zip(inputs, values, strict=True):
            if eps[i]:
                charge += eps[i] * max(abs(Fraction(x) - w[i] - v[i]) for x in levels) ** 2
        slope[inputs] = [float(g[i]) for i in inputs]
    blocks = block_parts(problem, split, slope, 2 * U * np.abs(slope) + TINY, 1.0) if split.blocks else []
    constant = sum((z[i] * hz[i] if fixed[i] else -v[i] * g[i] for i in range(n)), Fraction(0)) - charge
    paired = set(split.below.pairs.ravel().tolist())
    alone = [i for i in range(n) if not fixed[i] and not in_block[i] and i not in paired]
    kept = {i: _kept(problem, i, d[i], g[i], w[i]) for i in alone}
    total = constant
    if sparsity is None:
        total += sum((value for value in kept.values() if value is not None), Fraction(0))
        return down(_rounded_down(total), *blocks)
    saving: dict[int, Fraction] = {}
    strict = keeps_weights(problem)
    unbounded = set()
    for i in alone:
        unit, value = int(sparsity.unit[i]), kept[i]
        pruned = d[i] * w[i] ** 2 - 2 * g[i] * w[i]
        total += pruned
        if value is None:
            unbounded.add(unit)
        else:
            least = value if strict and state[unit] == KEPT else min(value, pruned)
            saving[unit] = saving.get(unit, Fraction(0)) + pruned - least
    for (i, j), e in pairs:
        nothing, increments = exact_pair(d[i], d[j], e, w[i], w[j], g[i], g[j])
        total += nothing
        both = int(sparsity.unit[i]), int(sparsity.unit[j])
        if increments is None:
            unbounded.update(both)
        else:
            saving.update(zip(both, increments, strict=True))
    for group, keep in enumerate(sparsity.keep.tolist()):
        units = np.flatnonzero(sparsity.group == group).tolist()
        taken = [unit for unit in units if state[unit] == KEPT]
        free = [unit for unit in units if state[unit] == FREE]
        room = max(keep - len(taken), 0)
        if unbounded.intersection(taken + (free if room else [])):
            raise NotProven("the bound is minus infinity: a re-optimised input needs d > 0")
        total -= sum(saving.get(unit, 0) for unit in taken)
        total -= sum(sorted((saving.get(unit, Fraction(0)) for unit in free), reverse=True)[:room])
    return down(_rounded_down(total), *blocks)


def _kept(problem: Problem, i: int, d: Fraction, g: Fraction, w: Fraction) -> Fraction | None:
    """Minimum of d u^2 + 2 g u over what input i may be other than pruned; None for minus infinity."""
    if problem.grid is not None:
        return min((d * u + 2 * g) * u for u in (Fraction(level) - w for level in problem.grid.of(i).tolist()))
    assert problem.sparsity is not None
    if not problem.sparsity.update or (d == 0 and g == 0):
        return Fraction(0)
    if d <= 0:
        return None
    return -(g * g) / d


def _rounded_down(exact: Fraction) -> float:
    try:
        nearest = exact.numerator / exact.denominator
    except OverflowError:
        return -math.inf
    return nearest if Fraction(nearest) <= exact else math.nextafter(nearest, -math.inf)
