"""Re-optimised pruning of long rows in chunks: one D for the layer, swaps of many inputs at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pvq.bounds.certified import certified_uppers
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Below, Proof, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.stages import stage

from ...base import Clock, Options
from ...kernels import lapack
from ...kernels.blas import inverse_if_positive
from ...kernels.digits import shortened
from ...limits import as_time_allows
from ...points import nothing_below
from ...relax.near_null import near_null
from ...result import Outcome, Reason
from .diagonal import FITTED, FROM_AFAR, SOONER, fitted_diagonal, starting_diagonal
from .intervals import Intervals
from .layer import VERY_LONG
from .lockstep import swapped_rows
from .patterns import Groups, groups_of
from .relaxation import AtDiagonal, relax

STEPS = 15
"""Steps of a chunk's relaxation."""

FEW, LONG = 4, 256
"""Rows and inputs from which swaps go in lockstep: below, factors take less time than products with all of H."""

SHARE, ROUNDS = 16, 30
"""The first swap exchanges a SHARE-th of what is kept; halved where it does not help, for so many rounds."""

DIRECTED = 1200
"""Inputs up to which a near-null direction is looked for: eigenvectors of longer rows take longer than a fit."""

FIT_SECONDS = 60.0
"""Limit of fitting a diagonal to a layer; at 2048 inputs it takes 7 s."""

GAIN = 1e-6
"""A swap that gains less than this part of the error ends the search of its size."""


@dataclass(frozen=True, eq=False)
class PrunedLayer:
    """What all rows of a Gram matrix and a pattern share."""

    groups: Groups
    below: Below
    at: AtDiagonal
    """H, or H + pp' where there is a near-null direction, in the scale of D."""
    curvature: FloatArray
    """(n,) 1 / (H^-1)_ii."""
    hessian: FloatArray
    """(n, n) H, or H + pp'."""
    intervals: Intervals | None = None
    """Where H has a near-null direction, which leaves a D below H next to nothing."""


def pruned_layer(problems: Sequence[Problem]) -> PrunedLayer | None:
    """Fitted to some of the rows, as far as time allows; None where H is singular to working precision."""
    gram, pattern = problems[0].gram, problems[0].pattern
    rows = tuple(problem.weight.tobytes() for problem in _spread(problems))

    def fitted(clock: Clock) -> tuple[PrunedLayer | None, bool]:
        return _fit(gram, pattern, problems, clock.within(FIT_SECONDS)), clock.ended() is None

    return as_time_allows(gram, pruned_layer, fitted, *_key(pattern), *rows)


def prepare_layer(problems: Sequence[Problem]) -> bool:
    """Fit to the rows of a layer, and take that for any of them; False where H is singular.

    A row that comes alone is fitted to itself: nobody's result depends on which row came first.
    """
    layer = pruned_layer(problems)
    if layer is not None and len(problems) > 1:
        _layers(problems[0].gram)[_key(problems[0].pattern)] = layer
    return layer is not None


def layer_of(problems: Sequence[Problem]) -> PrunedLayer | None:
    """What has been prepared for their layer, else what is fitted to these rows."""
    known = _layers(problems[0].gram).get(_key(problems[0].pattern))
    return pruned_layer(problems) if known is None else known


def _layers(gram: Gram) -> dict[tuple[bytes, ...], PrunedLayer]:
    return gram.memo(_layers, dict[tuple[bytes, ...], PrunedLayer])


def _key(pattern: Sparsity) -> tuple[bytes, ...]:
    return pattern.unit.tobytes(), pattern.group.tobytes(), pattern.keep.tobytes()


def _spread(problems: Sequence[Problem]) -> list[Problem]:
    """The rows that a diagonal is fitted to."""
    return [problems[i] for i in np.unique(np.linspace(0, len(problems) - 1, FITTED).astype(int))]


def _fit(gram: Gram, sparsity: Sparsity, problems: Sequence[Problem], clock: Clock) -> PrunedLayer | None:
    stage("diagonal of all rows")
    inverse = inverse_if_positive(gram.matrix.copy())
    if inverse is None:
        return None
    curvature = 1.0 / np.diag(inverse)
    direction = near_null(gram) if len(gram) <= DIRECTED else None
    h = gram.matrix
    if direction is not None:
        h = direction.stiff.matrix
        inverse = inverse_if_positive(h.copy())
        if inverse is None:
            return None
    w = np.array([problem.weight for problem in _spread(problems)])
    groups = groups_of(sparsity)
    course = SOONER if len(gram) > VERY_LONG else FROM_AFAR
    d = fitted_diagonal(h, starting_diagonal(inverse), w, groups, lambda: clock.ended() is not None, course)
    at = None if d is None else AtDiagonal.of(h, d)
    if at is None:
        return None
    intervals = None if direction is None else Intervals(direction, at, groups, STEPS)
    return PrunedLayer(groups, Below(at.d), at, curvature, h, intervals)


def bound_rows(
    problems: Sequence[Problem],
    layer: PrunedLayer,
    options: Options,
    starts: Sequence[FloatArray | None],
    points: bool = True,
    own: bool = True,
) -> list[Outcome]:
    """Lower and upper ends of pruned rows that share a Gram matrix and a pattern, with proofs.

    Parameters
    ----------
    problems : rows without dead inputs; units are single inputs, kept weights free.
    starts : a feasible point of each row, or None.
    points : look for better ones; else rows without one get that of the relaxation's inputs.
    own : rows with a near-null direction have a D of their own.
    """
    clock = Clock(options)
    w = np.array([problem.weight for problem in problems])
    found = relax(layer.at, w, layer.groups, STEPS)
    residual = (w - found.x) @ layer.hessian + layer.at.d * found.x
    chosen = _chosen(problems, layer, starts, residual * residual / layer.at.d, found.x, points, clock)
    proofs: list[tuple[float, Proof]]
    if layer.intervals is None:
        splits = [Split(layer.below, v) for v in shortened(found.x - w)]
        proofs = list(zip(found.bound.tolist(), splits, strict=True))
    else:
        upper = certified_uppers(problems[0].gram, w, np.array(chosen))
        some = np.flatnonzero(upper > 0)  # a row without error needs no proof
        proofs = [(0.0, Split(nothing_below(problems[0].gram), np.zeros(w.shape[1])))] * len(w)
        if len(some):
            bounds = layer.intervals.bounds(w[some], upper[some], found.take(some), layer.below, clock, own)
            for i, bound in zip(some.tolist(), bounds, strict=True):
                proofs[i] = bound
    reason = clock.ended() or Reason.FINISHED
    return [
        Outcome(x, max(0.0, bound), reason, proof=proof) for x, (bound, proof) in zip(chosen, proofs, strict=True)
    ]


def _chosen(
    problems: Sequence[Problem],
    layer: PrunedLayer,
    starts: Sequence[FloatArray | None],
    score: FloatArray,
    relaxed: FloatArray,
    points: bool,
    clock: Clock,
) -> list[FloatArray]:
    """(n,) for each row: its start where that is feasible, or what swaps reach where that is better."""
    known = [row.is_feasible(x) if x is not None else False for row, x in zip(problems, starts, strict=True)]
    some = [i for i, feasible in enumerate(known) if points or not feasible]
    found = np.zeros((len(some), problems[0].n))
    enough = np.zeros(len(some), dtype=bool)
    if len(some) >= FEW and problems[0].n >= LONG:
        rows = [problems[i] for i in some]
        what = layer.curvature, layer.groups, score[some], relaxed[some]
        found, enough = swapped_rows(rows, *what, clock, swaps=points)
    for k in np.flatnonzero(~enough).tolist():
        problem = problems[some[k]]
        found[k] = swapped(problem, layer, problem.hessian @ problem.weight, score[some[k]], clock, swaps=points)
    chosen = [np.zeros(0) if x is None else x for x in starts]
    twice = [k for k, i in enumerate(some) if known[i]]
    w = np.reshape([problems[some[k]].weight for k in twice], (-1, problems[0].n))
    given = np.reshape([chosen[some[k]] for k in twice], w.shape)
    stays = dict(zip(twice, _errors(problems[0], w - given) < _errors(problems[0], w - found[twice]), strict=True))
    for k, i in enumerate(some):
        if not stays.get(k, False):
            chosen[i] = found[k]
    return chosen


def _errors(problem: Problem, u: FloatArray) -> FloatArray:
    """(rows,) u'Hu of rows of the problem's Gram matrix, to compare points by."""
    return np.asarray(np.einsum("ij,ij->i", u @ problem.hessian, u))


def swapped(
    problem: Problem, layer: PrunedLayer, b: FloatArray, score: FloatArray, clock: Clock, swaps: bool = True
) -> FloatArray:
    """(n,) the inputs of largest score in every group, re-optimised, then many swaps at a time.

    Kept inputs cost about x_i^2 times their conditional curvature if pruned, pruned ones gain about r_i^2 over it.
    """
    h, curvature, groups = problem.hessian, layer.curvature, layer.groups
    mask = _best(score, groups)
    x = _solved(h, b, mask)
    value = b @ x
    q = max(1, int(mask.sum()) // SHARE)
    for _ in range(ROUNDS if swaps else 0):
        if clock.ended() is not None or q == 0:
            break
        gain = np.where(mask, -np.inf, (b - h @ x) ** 2 / curvature)
        loss = np.where(mask, x * x * curvature, np.inf)
        trial = _exchanged(mask, gain, loss, groups, q)
        moved = _solved(h, b, trial)
        reached = b @ moved  # e = c - b'x on a solved support
        if reached > value + GAIN * abs(problem.weight @ b - value):
            mask, x, value = trial, moved, reached
        else:
            q //= 2
    return optimal_on_support(problem, mask)


def _best(score: FloatArray, groups: Groups) -> np.ndarray:
    mask = np.zeros(len(score), dtype=bool)
    for g, keep in enumerate(groups.keep.tolist()):
        inputs = groups.inputs[groups.start[g] : groups.start[g + 1]]
        mask[inputs[np.argsort(-score[inputs], kind="stable")[:keep]]] = True
    return mask


def _exchanged(mask: np.ndarray, gain: FloatArray, loss: FloatArray, groups: Groups, q: int) -> np.ndarray:
    """The mask after the q most promising exchanges, each within its group: the best with the least, and so on."""
    size = np.diff(groups.start)
    group = np.repeat(np.arange(len(size)), size)
    place = np.arange(len(group)) - groups.start[group]
    pairs = np.flatnonzero(place < np.minimum(groups.keep, size - groups.keep)[group])
    into = groups.inputs[np.lexsort((-gain[groups.inputs], group))][pairs]
    out = groups.inputs[np.lexsort((loss[groups.inputs], group))][pairs]
    chosen = np.argsort(loss[out] - gain[into], kind="stable")[:q]
    mask = mask.copy()
    mask[into[chosen]], mask[out[chosen]] = True, False
    return mask


def _solved(h: FloatArray, b: FloatArray, mask: np.ndarray) -> FloatArray:
    """(n,) the least error on a support, 0 where its matrix is singular."""
    kept, x = np.flatnonzero(mask), np.zeros(len(b))
    a, right = h[np.ix_(kept, kept)], b[None, kept]
    if lapack.factor(a):
        lapack.solve(a, right)
        x[kept] = right[0]
    return x
