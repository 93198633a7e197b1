"""Passes over the blocks of a block-diagonal D below H: many, or few for long layers and where time is short."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pvq.bounds.gram import FloatArray

from ..base import Clock
from ..kernels.blas import inverse_if_positive, is_positive
from ..limits import Pace

FEW, MANY = np.geomspace(3.0, 0.05, 6), np.geomspace(3.0, 0.01, 24)
"""Barrier of each pass, relative to the mean of det(D_b)^(1/m). Six reach .95 to .99 of what many do, in rows of
25 to 1152 inputs, twelve .99 to .998."""

FEWER = np.geomspace(3.0, 0.05, 4)
"""Of layers where a pass takes seconds: sum m det(D_b)^(1/m) is 1.010, .980, .996, .975 and .995 of that of FEW
(a made layer of 2048 inputs; SmolLM2 15 `down_proj`, 15 `q_proj`, 5 `up_proj`, 25 `o_proj`). From another first
barrier than 3 it was less in most, down to .69."""

SHARE, LESS, LEAST = 0.7, 0.8, 1e-3
"""Part of what H allows that the first D takes, the factor on it where that is lost, and where that ends."""

LEFT = 0.1
"""Part of a block that a step leaves at least: one whose determinant is small would be emptied."""

TURNS = 30
"""Turns of the power iteration that says what H allows."""

TOGETHER = 256
"""Inputs after whose blocks the rest of the inverse is brought up to date by one product."""

BLOCKS_SAFE = 1e-7
"""Blocks of D are shrunk by this much, so that H - D is clearly positive definite; a diagonal by `cone.SAFE`."""

FURTHER, MOST_SHRUNK = 10, 1e-2
"""Factor on that where H - D is not, and where it is given up."""


REGULAR = 1e-12
"""Least eigenvalue of a block scaled to unit diagonal; below it the rounding of a search outweighs its bound."""


def largest_blocks(
    h: FloatArray, p: FloatArray, slices: list[slice], clock: Clock, barriers: FloatArray = FEW
) -> list[FloatArray] | None:
    """D_b with sum m det(D_b)^(1/m) nearly largest and H - D positive definite; None if none is found.

    A barrier mu log det(H - D) keeps H - D positive definite. For one block, the others fixed,
    C = D_b + ((H - D)^-1_bb)^-1 is the least upper bound of D_b, and m det^(1/m) + mu log det(C - D_b) is
    stationary where (C - D_b)^-1 mu = det(D_b)^(1/m) D_b^-1: at D_b = C (1 - mu / det(C)^(1/m)). Passes over the
    blocks with a falling barrier take this exact step for each; only what blocks still to come need of
    (H - D)^-1 is updated, once for TOGETHER inputs.

    Parameters
    ----------
    h, p : (n, n) H and its inverse, blocks side by side.
    clock : ends the passes early; D is below H after each of them, and before the first.
    barriers : of the passes, see MANY.
    """
    share, first = SHARE, _first(p, slices)
    while first is not None and share > LEAST:
        parts = _passes(h, [share * part for part in first], slices, clock, barriers)
        shrink = BLOCKS_SAFE
        while parts is not None and shrink < MOST_SHRUNK:
            final = [symmetric(part * (1 - shrink)) for part in parts]
            # tested with half of it, so that the proof has the other half for its own rounding
            if is_positive(without(h, slices, [part * (1 - shrink / 2) for part in parts])):
                return final if all(map(is_regular, final)) else None
            shrink *= FURTHER
        share *= LESS
    return None


def _first(p: FloatArray, slices: list[slice]) -> list[FloatArray] | None:
    """(P_bb)^-1, the largest D_b alone, scaled to what H allows all of them (power iteration)."""
    try:
        alone = [symmetric(np.linalg.inv(p[b, b])) for b in slices]
        roots = [np.linalg.cholesky(part) for part in alone]
    except np.linalg.LinAlgError:
        return None
    v, largest = np.random.default_rng(0).standard_normal(len(p)), 1.0
    for _ in range(TURNS):
        u = p @ np.concatenate([root @ v[b] for b, root in zip(slices, roots, strict=True)])
        v = np.concatenate([root.T @ u[b] for b, root in zip(slices, roots, strict=True)])
        largest = float(np.linalg.norm(v))
        v /= largest
    return [part / max(largest, 1.0) for part in alone]


def without(h: FloatArray, slices: list[slice], parts: list[FloatArray]) -> FloatArray:
    """H - D, blocks side by side."""
    m = h.copy()
    for b, part in zip(slices, parts, strict=True):
        m[b, b] -= part
    return m


def _passes(
    h: FloatArray, parts: list[FloatArray], slices: list[slice], clock: Clock, barriers: FloatArray
) -> list[FloatArray] | None:
    """The blocks after all passes, or as many as there is time for and float64 carries; None without one."""
    pace, below = Pace(clock), None
    for barrier in barriers:
        if below is not None and pace.ended():
            break
        p = inverse_if_positive(without(h, slices, parts))
        if p is None:
            return below
        below = list(parts)
        try:
            mean = float(np.mean([root_det(part) for part in parts]))
            if not one_pass(p, parts, slices, lambda _, most, scale=barrier * mean: _largest(most, scale)):  # type: ignore[misc]
                return below
        except np.linalg.LinAlgError:  # singular to working precision
            return below
    return parts


def _largest(most: FloatArray, scale: float) -> FloatArray | None:
    """The step of a block towards the largest determinant; None where its bound is lost in rounding."""
    root = root_det(most)
    return max(1 - scale / root, LEFT) * most if root > 0 and np.isfinite(root) else None


def one_pass(
    p: FloatArray,
    parts: list[FloatArray],
    slices: list[slice],
    step: Callable[[int, FloatArray], FloatArray | None],
) -> bool:
    """Take the step of every block; False where one has none. D stays below H whatever has been taken.

    Parameters
    ----------
    p : (n, n) (H - D)^-1, overwritten. Of what is symmetric only the part up to the diagonal is kept up to date,
        group of blocks by group of blocks.
    parts : the blocks of D, changed.
    step : the new block number j, from the least upper bound that the others leave it.
    """
    per = max(1, TOGETHER // (slices[0].stop - slices[0].start))
    groups = [range(first, min(first + per, len(slices))) for first in range(0, len(slices), per)]
    spans = [slice(slices[group[0]].start, slices[group[-1]].stop) for group in groups]
    for k, (group, span) in enumerate(zip(groups, spans, strict=True)):
        local, steps = p[span, span].copy(), np.zeros((span.stop - span.start,) * 2)
        for j in group:
            b = slice(slices[j].start - span.start, slices[j].stop - span.start)
            new = step(j, parts[j] + symmetric(np.linalg.inv(local[b, b])))
            if new is None:
                return False
            change = new - parts[j]
            parts[j], steps[b, b] = new, change
            gain = np.linalg.solve(np.eye(len(change)) - change @ local[b, b], change)
            local += local[:, b] @ gain @ local[b, :]
        if k + 1 < len(spans):
            gain = np.linalg.solve(np.eye(len(steps)) - steps @ p[span, span], steps)
            moved = p[span.stop :, span] @ gain
            for later in spans[k + 1 :]:
                done = slice(span.stop, later.stop)
                p[later, done] += moved[later.start - span.stop : later.stop - span.stop] @ p[done, span].T
    return True


def root_det(part: FloatArray) -> float:
    """det^(1/m)."""
    return float(np.exp(np.linalg.slogdet(part)[1] / len(part)))


def is_regular(part: FloatArray) -> bool:
    """Whether a search can use it: positive definite by more than the rounding of its factor."""
    size = np.sqrt(np.abs(np.diag(part)))
    if not np.isfinite(part).all() or not size.all():
        return False
    return float(np.linalg.eigvalsh(part / np.outer(size, size))[0]) > REGULAR


def symmetric(part: np.ndarray) -> FloatArray:
    """The symmetric part: rounding makes an inverse uneven."""
    return np.ascontiguousarray((part + part.T) / 2, dtype=np.float64)


def frozen(part: FloatArray) -> FloatArray:
    """The same array, read-only, as a Gram matrix is."""
    part.setflags(write=False)
    return part
