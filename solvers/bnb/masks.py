"""Exact pruning with re-optimised weights: the best mask of a row under k-sparsity, N:M or blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Below, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.stages import stage

from ..base import Clock, Options
from ..compile_time import working_seconds
from ..empirical.swaps import greedy_mask, polish_mask, unit_lists
from ..kernels.blas import LONG, fits
from ..kernels.dependence import near_dependent
from ..kernels.diagonal import largest_diagonal
from ..limits import as_time_allows
from ..relax.bounded import Bounded
from ..relax.cone import SLACK
from ..result import Outcome, Reason
from .node import Incumbent, ScaledRow
from .pool import FREE, bytes_per_node, grown, new_pool, push
from .tree import advance

CHUNK_SECONDS = 0.03
"""Work between two looks at the clock: short for Ctrl-C, long against the cost of a call."""

OWN_DIAGONAL = 100
"""Inputs from which the root starts at the row's own diagonal: 15 ms and more, for a fifth of the nodes."""

INSIDE = 1 - 1e-6
"""Part of a diagonal that is inside the cone by more than the rounding of a float32."""

DIAGONAL = 200.0
"""Inverses of H that the largest diagonal takes as long as; where less time is left, one half as large serves."""

TINY = 6
"""Inputs of the row that is solved to compile everything."""

PLAIN_INPUTS, PLAIN_NODES = 40, 500
"""Rows of so many inputs at most are searched without pairs for so many nodes, where nearly all of them end in
milliseconds: what couples inputs takes a quarter of all compiling, and is compiled when a row needs it."""

PLAIN_SHARE = 0.05
"""Part of the diagonal of H that D must be for that: where it is less (.0008 in a first convolution, .08 to .42
elsewhere), bounds without pairs are weak and searches long."""

MEMORY = 1 << 30
"""Bytes of open nodes per row; beyond it the search ends with the bound it has."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all rows of a layer share."""

    h: FloatArray
    """(n, n) H / scale."""
    scale: float
    """Mean of the diagonal of H."""
    d: FloatArray
    """(n,) diagonal of the scaled H that every root starts from."""
    slack: float
    """Of every `ScaledRow`: what the eigenvalues of H allow, or 0, which always holds, where there is no time."""


def prepared(gram: Gram) -> Prepared:
    """Layer-wide work, done once per Gram matrix."""

    def compute(clock: Clock) -> tuple[Prepared, bool]:
        from ..relax.pruning import start_of

        scale = float(np.trace(gram.matrix)) / len(gram) or 1.0
        h = np.ascontiguousarray(gram.matrix / scale)
        stage("diagonal of all rows")
        whole = fits(gram, DIAGONAL, clock.left)
        d = largest_diagonal(h) if whole else start_of(gram) * (INSIDE / scale)
        slack = SLACK if whole and not near_dependent(gram) else 0.0
        return Prepared(h, scale, d, slack), whole

    return as_time_allows(gram, prepared, compute)


def prepare_masks(problem: Problem) -> None:
    """Compile, and do the layer-wide work, before the clock of a row starts."""
    prepared(problem.gram)
    tiny, free = _tiny(problem), Options(time_limit=None)  # compiling alone may take longer than a limit
    solve_masks(tiny, free, None, plain_nodes(problem))
    if problem.n >= OWN_DIAGONAL:
        _root_diagonal(tiny, tiny.reference, Clock(free))


def _tiny(problem: Problem) -> Problem:
    """A row of the same kind that takes no time, and whose search calls every function that longer ones call."""
    x, pattern = np.random.default_rng(0).normal(size=(TINY, TINY + 2)), Sparsity.row(TINY, TINY // 2, update=True)
    if problem.pattern.units < problem.n:
        pattern = Sparsity.blocks(TINY, 2, 1, update=True)
    return Problem(x[:, 0], Gram.from_array(x @ x.T), None, pattern)


def plain_nodes(problem: Problem) -> int:
    """Nodes at the beginning of a search that are bounded without coupling inputs."""
    plain = problem.n <= PLAIN_INPUTS and float(prepared(problem.gram).d.mean()) >= PLAIN_SHARE
    return PLAIN_NODES if plain else 0


def solve_masks(problem: Problem, options: Options, start: FloatArray | None, plain: int | None = None) -> Outcome:
    """Best-first search for the best mask; on a limit the least bound of what is still open.

    Parameters
    ----------
    problem : a row with re-optimised kept weights and at least one group that cannot keep everything.
    options : limits.
    start : (n,) feasible point, optional.
    plain : nodes before inputs are coupled, of `plain_nodes` if not given.
    """
    sparsity = problem.pattern
    clock = Clock(options)
    layer = prepared(problem.gram)
    plain = plain_nodes(problem) if plain is None else plain
    size = float(np.abs(problem.weight).max())
    if size == 0.0:
        return Outcome(np.zeros(problem.n), 0.0)
    unit_of_error = layer.scale * size * size
    row = row_in_scale(problem)

    best_x = _upper(problem, start)
    kept = np.zeros(sparsity.units, np.bool_)
    kept[sparsity.unit[best_x != 0]] = True
    known = problem.certified(best_x)
    value = known.upper / unit_of_error
    best = Incumbent(kept, np.array([value, np.inf]), np.zeros(1, np.int64))

    root = _root_bound(problem, known.upper) if problem.n >= LONG and value > 0.0 else Bounded(0.0)
    pool = new_pool(1024, sparsity.units, problem.n)
    slot = push(pool, root.lower / unit_of_error)
    own = problem.n >= OWN_DIAGONAL and value > 0.0 and clock.ended() is None
    pool.state[slot], pool.x[slot] = FREE, problem.weight / size
    pool.d[slot] = _root_diagonal(problem, known.upper, clock) if own else layer.d
    pool.e[slot], pool.partner[slot] = 0.0, -1
    floor = known.rounding / unit_of_error
    limit = MEMORY // bytes_per_node(sparsity.units, problem.n)
    reason, budget, done = Reason.FINISHED, 1, False
    while not done:
        least = pool.key[pool.heap[0]] if pool.size[0] > 0 else best.value[0]
        clock.tell(min(least, *best.value) * unit_of_error, best.value[0] * unit_of_error)
        ended = clock.ended()
        if ended is not None:
            reason = ended
            break
        if options.node_limit is not None:
            budget = min(budget, options.node_limit - int(best.nodes[0]))
        pairing = int(best.nodes[0]) >= plain
        if not pairing:
            budget = min(budget, plain - int(best.nodes[0]))
        full = pool.size[1] < len(pool.key) // 4
        if budget <= 0:
            reason = Reason.NODES
            break
        if full and 2 * len(pool.key) > limit:
            reason = Reason.MEMORY
            break
        if full:
            pool = grown(pool)
        begin, before = working_seconds(), int(best.nodes[0])
        done = advance(row, pool, best, options.gap, floor, budget, pairing)
        took, nodes = working_seconds() - begin, int(best.nodes[0]) - before
        budget = max(1, min(4 * budget, round(CHUNK_SECONDS * max(nodes, 1) / max(took, 1e-9))))
    mask = best.kept[sparsity.unit]
    if best.value[0] < value:
        x = optimal_on_support(problem, mask)
        if problem.certified(x).upper <= known.upper:
            best_x = x
    lower = min(best.value[1], best.value[0])
    if pool.size[0] > 0:
        lower = min(lower, pool.key[pool.heap[0]])
    lower = max(0.0, lower) * unit_of_error
    proof = root.proof if lower <= root.lower else None  # nothing better was found in time
    return Outcome(best_x, max(lower, root.lower), reason, int(best.nodes[0]), proof=proof)


def row_in_scale(problem: Problem) -> ScaledRow:
    """The row in units in which its largest weight and the mean of H's diagonal are 1."""
    sparsity, layer = problem.pattern, prepared(problem.gram)
    w = problem.weight / float(np.abs(problem.weight).max())
    b = layer.h @ w
    start, inputs = unit_lists(problem)
    return ScaledRow(
        layer.h,
        b,
        max(0.0, float(w @ b)),
        layer.slack,
        sparsity.unit,
        start,
        inputs,
        sparsity.group,
        sparsity.keep,
    )


def _root_bound(problem: Problem, upper: float) -> Bounded:
    """What a row has where the first node of its search takes too long: a relaxation of a few linear systems."""
    from ..relax.cone import SAFE
    from ..relax.pruning import FEW, PrunedRow, relaxed, start_of

    below = Below(start_of(problem.gram) * (1 - SAFE))
    found = relaxed(PrunedRow.of(problem, upper), below, iterations=FEW)
    if not 0.0 < found.bound <= upper:
        return Bounded(0.0)
    return Bounded(found.bound, Split(below, found.point - problem.weight))


def _root_diagonal(problem: Problem, upper: float, clock: Clock) -> FloatArray:
    """(n,) the row's own best diagonal of the scaled H, inside the cone by more than the rounding of a float32."""
    from ..relax.central_path import ascend
    from ..relax.pruning import start_of

    scale = prepared(problem.gram).scale
    weight, uppers = problem.weight[None], np.array([upper])
    d, _, _ = ascend(problem.hessian, weight, uppers, problem.pattern, start_of(problem.gram), clock)
    return d * (INSIDE / scale)


def _upper(problem: Problem, start: FloatArray | None) -> FloatArray:
    """Swaps from greedy removal and from the start that was given: the best point."""
    masks: list[BoolArray] = [greedy_mask(problem)]
    points: list[FloatArray] = []
    if start is not None and problem.is_feasible(start):
        masks.append(start != 0)
        points.append(start)
    points += [optimal_on_support(problem, polish_mask(problem, mask)) for mask in masks]
    return min(points, key=problem.error)
