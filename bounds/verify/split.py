"""The lower bound of one `Split`, in float64 with every rounding error accounted for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..gram import BoolArray, FloatArray
from ..problem import Problem
from ..proof import FREE, KEPT, PRUNED, Split
from ..sparsity import Sparsity
from .alike import alike, times
from .pairs import pair_terms
from .psd import TINY, U, gamma
from .together import products, size_of


@dataclass(frozen=True, eq=False)
class Tilt:
    """(t - a)(t - b) for t = -p'u, which is at most 0 where t is between a and b: added to the error."""

    p: FloatArray
    a: float
    b: float


@dataclass(frozen=True, eq=False)
class Terms:
    """Right side of (1) at a leaf: constant + sum of one term per input; all numbers are rounded down.

    Written out for u_P = -w_P at the pruned inputs P and M = H - D + diag(eps) on the others N, with z = v on N,
    -w on P:  g = (Hz - Dv)_N,  constant = z_P'(Hz)_P - v_N'g,  e >= constant + sum_N [d_i u_i^2 + 2 g_i u_i].
    """

    constant: float
    kept: FloatArray
    """(n,) minimum of an input's term where it may be non-zero; 0 at inputs of blocks, whose g is below. A pair
    has f_0 as one's `pruned` and 0 as the other's, and an increment less each as their `kept` (`pairs`)."""
    pruned: FloatArray
    """(n,) its term at x_i = 0."""
    slope: FloatArray
    """(n,) g."""
    radius: FloatArray
    """(n,) |g - its exact value| is at most this."""


def terms(
    problem: Problem, split: Split, fixed: BoolArray, eps: FloatArray, margin: float, tilt: Tilt | None = None
) -> Terms:
    """Evaluate the terms at a leaf whose `fixed` inputs are pruned; with a tilt, no input may be."""
    w, n = problem.weight, problem.n
    in_block = np.zeros(n, dtype=bool)
    for group in alike(split.below):
        in_block[group.inputs] = True
    d = np.where((eps > 0) & ~in_block, np.nextafter(split.below.d - eps, -np.inf), split.below.d)
    z = np.where(fixed, -w, split.v)
    v = np.where(fixed, 0.0, split.v)
    if fixed.any():
        hz, sizes = problem.hessian @ z, size_of(problem.gram) @ np.abs(z)
    else:
        hz, sizes = products(problem.gram, split)
    g = hz - d * v
    total = sizes + np.abs(d * v)
    charge = 0.0
    pairs, across = split.below.pairs, split.below.across
    if len(pairs):  # none of them fixed
        cross = across[:, None] * v[pairs[:, ::-1]]
        g[pairs] -= cross
        total[pairs] += np.abs(cross)
    if tilt is not None:
        g += tilt.p * (tilt.p @ z)
        total += np.abs(tilt.p) * float(np.abs(tilt.p) @ np.abs(z))
    for group in alike(split.below):
        i, m = group.inputs, group.inputs.shape[1]
        g[i] -= times(group.matrices, v[i])
        total[i] += times(group.sizes, np.abs(v[i]))
        if eps[i].any():  # D_b stays as it is, and M + diag(eps) costs eps_i (u_i - v_i)^2
            values = values_of(problem)
            u = np.abs(values[i] - w[i, None]).max(axis=-1) + np.abs(v[i])
            for one in (eps[i] * u**2).sum(axis=1).tolist():
                charge += one * (1 + gamma(m + 8)) + TINY
    if z.any():
        charge += TINY  # products with z that underflow
    radius = margin * gamma(2 * n + 8) * total + (TINY if z.any() else 0.0)
    parts = np.where(fixed, z * hz, -v * g)
    constant = parts - np.abs(z) * radius * (1 + 8 * U) - margin * 4 * U * np.abs(parts)
    if tilt is not None:  # (p'u)^2 is in g and D; what is left is (a + b) p'u + ab
        push = (tilt.a + tilt.b) / 2 * tilt.p
        g = g + push
        radius = radius + margin * 8 * U * (np.abs(push) + np.abs(g)) + TINY
        charge -= math.nextafter(tilt.a * tilt.b, -math.inf)
    below = margin * 8 * U
    linear = 2 * np.abs(w)
    pruned = d * w**2 - 2 * g * w
    pruned = pruned - linear * radius * (1 + below) - below * (np.abs(d) * w**2 + linear * np.abs(g))
    something = (d != 0) | (radius > 0)  # else its term is 0, and nothing underflows
    pruned = pruned - TINY * (something & (w != 0))
    kept = _kept(problem, d, g, radius, below, tilt is None and not z.any())
    if problem.sparsity is not None:  # a kept input may be 0 as well
        kept = np.minimum(kept, pruned)
    if len(pairs):
        nothing, *increments = pair_terms(split.below, d, w, g, radius, margin)
        pruned[pairs] = np.stack([nothing, np.zeros(len(pairs))], axis=1)
        kept[pairs] = np.nextafter(pruned[pairs] - np.stack(increments, axis=1), -np.inf)
    kept, pruned = np.where(fixed | in_block, 0.0, kept), np.where(fixed | in_block, 0.0, pruned)
    return Terms(down(fsum_below(constant), -charge), kept, pruned, g, radius)


def _kept(
    problem: Problem, d: FloatArray, g: FloatArray, radius: FloatArray, below: float, zero: bool
) -> FloatArray:
    """(n,) lower bounds of the least d u^2 + 2 g u over what an input may be other than pruned; zero: g is 0."""
    sparsity = problem.sparsity
    if problem.grid is not None:
        u = problem.grid.levels[problem.grid.group] - problem.weight[:, None]
        square, line = d[:, None] * u**2, 2 * g[:, None] * u
        slack = 2 * radius[:, None] * np.abs(u) * (1 + below) + below * (np.abs(square) + np.abs(line))
        return np.asarray((square + line - slack).min(axis=1)) - TINY * ((d != 0) | (radius > 0))
    assert sparsity is not None
    if not sparsity.update:
        return np.zeros(problem.n)
    most = np.abs(g) + radius
    # most * (most / d): the square alone may underflow
    at_vertex = -most * np.divide(most, d, out=np.full(problem.n, np.inf), where=d > 0) * (1 + below) - TINY
    return np.where(d >= 0, 0.0, -np.inf) if zero else at_vertex


def keeps_weights(problem: Problem) -> bool:
    """Whether a kept unit of a tree is one input at its own weight, and not, as elsewhere, anything or 0."""
    sparsity = problem.sparsity
    return problem.grid is None and sparsity is not None and not sparsity.update and sparsity.units == problem.n


def values_of(problem: Problem) -> FloatArray:
    """(n, values) everything an input may be; a row repeats values where it has fewer."""
    if problem.grid is None:
        return np.stack([np.zeros(problem.n), problem.weight], axis=1)
    values = problem.grid.levels[problem.grid.group]
    return values if problem.sparsity is None else np.column_stack([values, np.zeros(problem.n)])


def least(problem: Problem, found: Terms, state: np.ndarray, margin: float) -> float:
    """Lower bound of the minimum over patterns: free units share what budget the kept ones leave; -inf if useless.

    state : (units,) FREE, KEPT or PRUNED.
    """
    sparsity = problem.sparsity
    if sparsity is None:
        return down(found.constant, fsum_below(found.kept))
    if not np.isfinite(found.pruned).all():
        return -math.inf
    of_input = state[sparsity.unit]
    at_kept = 0.0 if keeps_weights(problem) else found.kept  # u = 0 there
    base = fsum_below(np.where(of_input == KEPT, at_kept, found.pruned))
    saving = np.nextafter(found.pruned - found.kept, np.inf)
    saving[(of_input == KEPT) | (found.pruned == found.kept)] = 0.0
    # a unit's saving is a sum of non-negative numbers
    per_unit = np.bincount(sparsity.unit, weights=saving, minlength=sparsity.units) * (1 + gamma(problem.n + 2))
    best = _largest(np.asarray(per_unit, dtype=np.float64), state, sparsity)
    # what the differences above are rounded by, so that a smaller margin never gives a smaller bound
    rounding = (margin - 1) * 8 * U * fsum_above([*np.abs(found.pruned).tolist(), *best])
    return down(found.constant, base, -fsum_above(best), -rounding)


def _largest(saving: FloatArray, state: np.ndarray, sparsity: Sparsity) -> list[float]:
    """The largest savings of free units in every group, as many as its kept ones leave room for."""
    saving = np.where(np.isnan(saving), np.inf, saving)  # what is no number is not the least of them
    room = sparsity.keep - np.bincount(sparsity.group[state == KEPT], minlength=len(sparsity.keep))
    free = np.flatnonzero(state == FREE)
    free = free[np.lexsort((-saving[free], sparsity.group[free]))]
    group = sparsity.group[free]
    place = np.arange(len(free)) - np.searchsorted(group, group)  # in its group, the largest first
    return [float(value) for value in saving[free[place < room[group]]]]


def pruned_inputs(problem: Problem, state: np.ndarray) -> BoolArray:
    """(n,) inputs of pruned units."""
    if problem.sparsity is None:
        return np.zeros(problem.n, dtype=bool)
    return np.asarray(state[problem.sparsity.unit] == PRUNED)


def down(*numbers: float) -> float:
    """Their sum, rounded down."""
    try:
        total = math.fsum(numbers)
    except (OverflowError, ValueError):  # infinities of both signs, or beyond the largest number
        return -math.inf
    if not math.isfinite(total):
        return -math.inf
    # `fsum` rounds the exact sum to the nearest number: the sign of the rest says to which side
    return total if math.fsum((*numbers, -total)) >= 0 else math.nextafter(total, -math.inf)


def fsum_below(numbers: FloatArray) -> float:
    """Sum rounded down."""
    return down(*numbers.tolist())


def fsum_above(numbers: list[float]) -> float:
    """Sum rounded up."""
    return 0.0 - down(*(-number for number in numbers))  # a minus sign alone would make -0.0


def upper_bound(problem: Problem, x: FloatArray, margin: float) -> float:
    """e(x), rounded up."""
    return upper_bounds([problem], [x], margin)[0]


def upper_bounds(problems: Sequence[Problem], x: Sequence[FloatArray], margin: float) -> list[float]:
    """The same of rows that share a Gram matrix, by products of all of them."""
    gram, n = problems[0].gram, problems[0].n
    if any(problem.gram is not gram for problem in problems):
        raise ValueError("errors of rows together are those of one Gram matrix")
    u = np.array([problem.weight for problem in problems]) - np.array(x)  # exact up to U |u_i|
    terms = u * (u @ gram.matrix)
    radius = margin * gamma(n + 8) * np.abs(u) * (np.abs(u) @ size_of(gram)) + TINY
    terms += radius * (1 + gamma(2 * n))
    return [
        max(0.0, 0.0 - down(*own)) if moved else 0.0
        for own, moved in zip((-terms).tolist(), np.asarray(u.any(axis=1)), strict=True)
    ]
