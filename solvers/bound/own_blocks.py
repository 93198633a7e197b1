"""A block-diagonal D of the row's own, where effort is asked for: f is raised in v and in D by turns.

f(D, v), the bound of `quantization`, is jointly concave in D and (H - D) v. Its gradient in D_b is the covariance
of the minimisers of block b, with the shares that the program over their hulls gives them (`hulls`): D moves part
of the way to the maximiser of

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
from .quantization import SIZES, BlockValue, ascend, evaluate, layer_blocks

ROUNDS, INNER, FIRST = 10, 4, 6
"""Steps of D, evaluations for each D, and more of them before the first."""

WORK = 200_000_000
"""Nodes after which no other round begins: six seconds."""

HEAVY = 5_000_000
"""Nodes of an evaluation, a quarter of a second, beyond which blocks get smaller: they get harder by and by."""

DAMPED = 0.4
"""Part of the way to the centre of the hulls that v moves: these know some of the minimisers only."""

OWN, TOWARDS = 0.5, 0.2
"""Weight of the covariances, and part of the way that D moves."""

BARRIERS = np.geomspace(0.3, 0.005, 5)
"""mu of each pass, relative to the mean of s_b."""

LEAST = 0.05
"""s_b as a part of the mean of all, at least: a block whose minimiser is always the same has no covariance."""

ROUGH, FINE = 0.02, 0.002
"""Relative gaps of the blocks, on the way and for the last value."""


def bound_row(problem: Problem, x: FloatArray, upper: float, options: Options, clock: Clock) -> Bounded:
    """The best value of f found; see `Bounded`."""
    start = layer_blocks(problem)
    value, met = ascend(problem, start, upper, options, clock, ROUGH)
    for size in SIZES:
        if value.nodes > HEAVY and size < max(map(len, start.inputs)) and clock.ended() is None:
            with heard(clock):
                start = block_diagonal(problem.gram, size)
            value, met = ascend(problem, start, upper, options, clock, ROUGH)
    blocks: Blocks = start
    best_blocks: Blocks = start
    best, spent = value, 0
    hulls = Hulls(problem.hessian, start, len(met) + FIRST + ROUNDS * INNER)
    for u in met:
        hulls.add(u)

    def at(v: FloatArray, gap: float = ROUGH) -> BlockValue:
        nonlocal spent, best, best_blocks
        found = evaluate(problem, blocks, v, value.minimiser, gap, options, clock)
        hulls.add(found.minimiser)
        spent += found.nodes
        if found.bound > best.bound:
            best, best_blocks = found, blocks
        return found

    def ended() -> bool:
        return pace.ended() or spent >= WORK or best.bound >= upper * (1 - options.gap)

    pace = Pace(clock)
    for turn in range(ROUNDS + 1 if len(start.inputs) > 1 else 0):
        if turn > 0:
            if ended():
                break
            moved = stepped(problem.hessian, blocks, hulls.covariances(hulls.settle(blocks, upper)), clock)
            if moved is None:
                break
            blocks = moved
            value = at(value.v)
        for _ in range(INNER - 1 if turn > 0 else FIRST):
            if ended():
                break
            found = at(value.v + DAMPED * (hulls.settle(blocks, upper) - value.v))
            value = max(value, found, key=_bound)
    if clock.ended() is None:
        blocks, value = best_blocks, best
        at(best.v, max(FINE, options.gap))
    return Bounded(best.bound, best.split(best_blocks), spent)


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
