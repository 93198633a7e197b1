"""Few passes over the blocks of a block-diagonal D below H: for long layers, and where time is short."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray

from ..base import Clock
from ..kernels.blas import inverse_if_positive, is_positive
from ..limits import Pace

PASSES = 6
"""Passes over the blocks: 4 reach 98.1 % of what 60 reach, 6 98.9 %, 12 99.4 %."""

BARRIERS = (3.0, 0.05)
"""Barrier of the first and last pass, relative to the mean of det(D_b)^(1/m)."""

SHARE, LESS = 0.7, 0.8
"""Part of what H allows that the first D takes, and what it is multiplied by where that is lost."""

TURNS = 30
"""Turns of the power iteration that says what H allows."""

TOGETHER = 256
"""Inputs after whose blocks the rest of the inverse is brought up to date by one product."""

SAFE = 1e-7
"""D is shrunk by this much, so that H - D is clearly positive definite."""


REGULAR = 1e-12
"""Least eigenvalue of a block scaled to unit diagonal; below it the rounding of a search outweighs its bound."""


def largest_blocks(h: FloatArray, p: FloatArray, slices: list[slice], clock: Clock) -> list[FloatArray] | None:
    """D_b with sum m det(D_b)^(1/m) nearly largest and H - D positive definite; None if none is found.

    The ascent of `block_diagonal`, with its exact step for a block; only what blocks still to come need of
    (H - D)^-1 is updated, once for TOGETHER inputs.

    Parameters
    ----------
    h, p : (n, n) H and its inverse, blocks side by side.
    clock : ends the passes early; D is below H after each of them, and before the first.
    """
    share = SHARE
    while share > 1e-3:
        parts = _passes(h, _first(p, slices, share), slices, clock)
        shrink = SAFE
        while parts is not None and shrink < 1e-2:
            final = [symmetric(part * (1 - shrink)) for part in parts]
            # tested with half of it, so that the proof has the other half for its own rounding
            if is_positive(_without(h, slices, [part * (1 - shrink / 2) for part in parts])):
                return final if all(map(is_regular, final)) else None
            shrink *= 10
        share *= LESS
    return None


def _first(p: FloatArray, slices: list[slice], share: float) -> list[FloatArray]:
    """(P_bb)^-1, the largest D_b alone, scaled to a share of what H allows all of them (power iteration)."""
    alone = [symmetric(np.linalg.inv(p[b, b])) for b in slices]
    roots = [np.linalg.cholesky(part) for part in alone]
    v, largest = np.random.default_rng(0).standard_normal(len(p)), 1.0
    for _ in range(TURNS):
        u = p @ np.concatenate([root @ v[b] for b, root in zip(slices, roots, strict=True)])
        v = np.concatenate([root.T @ u[b] for b, root in zip(slices, roots, strict=True)])
        largest = float(np.linalg.norm(v))
        v /= largest
    return [part * (share / max(largest, 1.0)) for part in alone]


def _without(h: FloatArray, slices: list[slice], parts: list[FloatArray]) -> FloatArray:
    m = h.copy()
    for b, part in zip(slices, parts, strict=True):
        m[b, b] -= part
    return m


def _passes(h: FloatArray, parts: list[FloatArray], slices: list[slice], clock: Clock) -> list[FloatArray] | None:
    """The blocks after all passes, or those that there is time for; None where H - D is lost."""
    per, pace = max(1, TOGETHER // (slices[0].stop - slices[0].start)), Pace(clock)
    for barrier in np.geomspace(*BARRIERS, PASSES):
        if pace.ended():
            break
        p = inverse_if_positive(_without(h, slices, parts))
        if p is None:
            return None
        mean = float(np.mean([_root_det(part) for part in parts]))
        for first in range(0, len(slices), per):
            some = range(first, min(first + per, len(slices)))
            whole = slice(slices[some[0]].start, slices[some[-1]].stop)
            local, steps = p[whole, whole].copy(), np.zeros((whole.stop - whole.start,) * 2)
            for j in some:
                b = slice(slices[j].start - whole.start, slices[j].stop - whole.start)
                most = parts[j] + symmetric(np.linalg.inv(local[b, b]))
                root = _root_det(most)
                if not (root > 0 and np.isfinite(root)):
                    return None
                # at most nine tenths at once: a block whose det is small would be emptied
                new = max(1 - barrier * mean / root, 0.1) * most
                step = new - parts[j]
                parts[j], steps[b, b] = new, step
                gain = np.linalg.solve(np.eye(len(step)) - step @ local[b, b], step)
                local += local[:, b] @ gain @ local[b, :]
            rest = slice(whole.stop, len(h))
            if rest.start < rest.stop:
                gain = np.linalg.solve(np.eye(len(steps)) - steps @ p[whole, whole], steps)
                p[rest, rest] += p[rest, whole] @ (gain @ p[whole, rest])
    return parts


def _root_det(part: FloatArray) -> float:
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
