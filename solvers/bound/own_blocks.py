"""A block-diagonal D of the row's own, where effort is asked for: raised in D, and in v as hulls of points say.

f(D, v), the bound of `quantization`, is jointly concave in D and (H - D) v. Its gradient in D_b is the covariance
of the minimisers of block b, with the shares that the program over their hulls gives them (`hulls`), which needs
no search: blocks are searched for the first D and for the last. D moves part of the way to the maximiser of

    sum_b <D_b, (1 - OWN) s_b C_b^-1 + OWN Cov_b>  +  mu log det(H - D),    s_b = <D_b, Cov_b> / m,

mu falling, C_b the least upper bound of D_b that the other blocks leave. The first term pulls towards a large
determinant: few points have a covariance of low rank. For one block, C_b = LL' and L'Cov_b L = V diag(g) V', the
maximiser is L V diag(1 - mu / ((1 - OWN) s_b + OWN g)) V'L'.
"""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Clock, Options
from ..kernels.blas import inverse_if_positive, is_positive
from ..limits import Pace, heard
from ..relax.bounded import Bounded
from .block_diagonal import Blocks, block_diagonal
from .hulls import Hulls
from .passes import BLOCKS_SAFE, LEFT, is_regular, one_pass, symmetric, without
from .quantization import SIZES, BlockValue, evaluate, layer_blocks

ROUNDS, LAST = 9, 3
"""Steps of D, and exact evaluations for the last D."""

SHORT = 256
"""Inputs up to which there are twice as many: a step takes a tenth of what it does at 576."""

HEAVY = 5_000_000
"""Nodes of an evaluation, a quarter of a second, beyond which blocks get smaller: they get harder by and by."""

OWN, TOWARDS = 0.35, 0.2
"""Weight of the covariances, and part of the way that D moves."""

BARRIERS = np.geomspace(0.3, 0.005, 5)
"""mu of each pass, relative to the mean of s_b."""

LEAST = 0.05
"""s_b as a part of the mean of all, at least: a block whose minimiser is always the same has no covariance."""

SWEEPS, AGAIN, PAIRS = 160, 40, 5
"""Over the hulls of the first D, of every other, and with moves of pairs, before each of the last evaluations."""

CLOSE = 2e-4
"""Part of the upper end that hulls may still lose: their sweeps end."""

ROUGH, FINE = 0.02, 0.004
"""Relative gaps of the blocks, on the way and for the last value."""

MORE = 8_000_000
"""Nodes per block for the last value."""


def bound_row(problem: Problem, x: FloatArray, upper: float, options: Options, clock: Clock) -> Bounded:
    """The best value of f found; see `Bounded`."""
    first: Blocks = layer_blocks(problem)
    hulls, value, spent = _settled(problem, first, x, upper, options, clock)
    for size in SIZES:
        if spent > HEAVY and size < max(map(len, first.inputs)) and clock.ended() is None:
            with heard(clock):
                first = block_diagonal(problem.gram, size)
            hulls, value, spent = _settled(problem, first, x, upper, options, clock)
    blocks = best_blocks = first
    ceiling = hulls.ceiling
    best, close, pace = value, CLOSE * upper, Pace(clock)
    twice = 2 if problem.n <= SHORT else 1
    for _ in range(twice * ROUNDS if len(first.inputs) > 1 else 0):
        moved = None if pace.ended() else stepped(problem.hessian, blocks, hulls.covariances(), clock)
        if moved is None:
            break
        blocks = moved
        hulls.move(blocks)
        hulls.settle(close, AGAIN, clock)
    for _ in range(twice * LAST):
        if pace.ended() or best.bound >= upper * (1 - options.gap):
            break
        hulls.settle(close, PAIRS, clock, pairs=True)
        hulls.settle(close, AGAIN, clock)
        value = evaluate(problem, blocks, hulls.centre.copy(), value.minimiser, ROUGH, options, clock)
        hulls.add(value.minimiser, blocks)
        spent += value.nodes
        if value.bound > best.bound:
            best, best_blocks = value, blocks
        if best_blocks is blocks:
            ceiling = hulls.ceiling
    if clock.ended() is None:
        gap = max(FINE, options.gap)
        fine = evaluate(problem, best_blocks, best.v, best.minimiser, gap, options, clock, MORE)
        spent += fine.nodes
        best = best.joined(fine)
    return Bounded(best.bound, best.split(best_blocks), spent, ceiling)


def _settled(
    problem: Problem, blocks: Blocks, x: FloatArray, upper: float, options: Options, clock: Clock
) -> tuple[Hulls, BlockValue, int]:
    """Hulls of a D from a point of the grid, the better of f at 0 and at their v, and the nodes of the latter."""
    hulls = Hulls(problem, blocks, x - problem.weight)
    first = evaluate(problem, blocks, np.zeros(problem.n), x - problem.weight, ROUGH, options, clock)
    hulls.add(first.minimiser, blocks)
    hulls.settle(CLOSE * upper, SWEEPS, clock.within(clock.left / 2))
    value = evaluate(problem, blocks, hulls.centre.copy(), first.minimiser, ROUGH, options, clock)
    hulls.add(value.minimiser, blocks)
    return hulls, max(first, value, key=_bound), value.nodes


def _bound(value: BlockValue) -> float:
    return value.bound


def stepped(hessian: FloatArray, blocks: Blocks, covariances: list[FloatArray], clock: Clock) -> Blocks | None:
    """A D part of the way towards what the covariances ask for, below H; None where float64 does not carry it."""
    old = [part.matrix for part in blocks.grams]
    spread = np.array([np.sum(g * d) / len(d) for g, d in zip(covariances, old, strict=True)])
    mean = float(spread.mean())
    if not mean > 0:
        return None
    spread = np.maximum(spread, LEAST * mean)
    order, ends = np.concatenate(blocks.inputs), np.cumsum([len(b) for b in blocks.inputs]).tolist()
    slices = [slice(end - len(b), end) for end, b in zip(ends, blocks.inputs, strict=True)]
    h = np.ascontiguousarray(hessian[np.ix_(order, order)])
    parts, pace = list(old), Pace(clock)
    try:
        for barrier in BARRIERS:
            if pace.ended():
                break
            p = inverse_if_positive(without(h, slices, parts))
            if p is None:
                return None
            one_pass(
                p,
                parts,
                slices,
                lambda j, most, mu=barrier * mean: _towards(most, covariances[j], float(spread[j]), mu),  # type: ignore[misc]
            )
    except np.linalg.LinAlgError:  # singular to working precision
        return None
    # shrunk once more, and tested with half of that, so that the proof has the other half for its own rounding
    between = [TOWARDS * new + (1 - TOWARDS) * part for new, part in zip(parts, old, strict=True)]
    final = [symmetric(part * (1 - BLOCKS_SAFE)) for part in between]
    if not is_positive(without(h, slices, [part * (1 - BLOCKS_SAFE / 2) for part in between])):
        return None
    return Blocks.of(blocks.inputs, final) if all(map(is_regular, final)) else None


def _towards(most: FloatArray, covariance: FloatArray, spread: float, mu: float) -> FloatArray:
    """The maximiser for one block, from its least upper bound."""
    root = np.linalg.cholesky(most)
    values, vectors = np.linalg.eigh(symmetric(root.T @ covariance @ root))
    turned = root @ vectors
    part = np.maximum(1 - mu / ((1 - OWN) * spread + OWN * np.maximum(values, 0.0)), LEFT)
    return symmetric((turned * part) @ turned.T)
