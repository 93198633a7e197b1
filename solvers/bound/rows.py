"""Rows that are bounded together: those of layers that are too long for one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Clock, Options
from ..checked import check_ahead
from ..result import Outcome
from .batch import pruned, quantized
from .batch.layer import LONG, LongLayer, long_layer
from .batch.own import with_own_diagonal

CHUNK = 64
"""Rows of a chunk: their products are of full speed, and a chunk of 2048 inputs takes five seconds."""


def can_be_together(problem: Problem) -> bool:
    """Whether rows like this are bounded together: long ones that a batch takes."""
    return int(problem.gram.live.sum()) > LONG and fits_batch(problem)


def fits_batch(problem: Problem) -> bool:
    """Whether there is a way to bound such rows together: on grids, or pruned one by one with free weights."""
    sparsity = problem.sparsity
    return sparsity is None or (problem.free_weights and sparsity.units == problem.n)


def prepare_together(problems: Sequence[Problem]) -> bool:
    """Layer-wide work for rows that are bounded together; False where they are not."""
    return can_be_together(problems[0]) and prepare_batch(problems)


def prepare_batch(problems: Sequence[Problem]) -> bool:
    """Layer-wide work of a batch, of rows that fit one; False where H is singular."""
    if problems[0].sparsity is None:
        return long_layer(problems[0].gram) is not None
    return pruned.prepare_layer(problems)


def bound_together(
    problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None]
) -> list[Outcome] | None:
    """Outcomes of all rows, None where they are bounded one by one: short, other patterns, or H is singular."""
    return bound_batch(problems, options, starts) if can_be_together(problems[0]) else None


def bound_batch(
    problems: Sequence[Problem],
    options: Options,
    starts: Sequence[FloatArray | None],
    points: bool = True,
    own: bool = True,
) -> list[Outcome] | None:
    """Outcomes of all rows, None where there is no batch for them, or H is singular.

    Parameters
    ----------
    points : look for better weights of pruned rows that have a start.
    own : pruned rows with a near-null direction have a D of their own.
    """
    if not fits_batch(problems[0]) or any(problem.gram is not problems[0].gram for problem in problems):
        return None
    gram, clock, place = problems[0].gram, Clock(options), None
    if options.device != "cpu" and problems[0].sparsity is None:
        from .batch.on_gpu import bound_on_gpu  # loads what a GPU takes

        found, place = bound_on_gpu(problems, options, starts, clock)
        if found is not None:
            return found
    layer = long_layer(gram) if problems[0].sparsity is None else pruned.layer_of(problems)
    if layer is None:
        return None
    if len(gram) > LONG:
        check_ahead(gram, layer.below)
    if isinstance(layer, LongLayer):
        outcomes = quantized.bound_rows(problems, layer, options, starts, clock)
        if place is None:
            return outcomes
        return [replace(outcome, info={**outcome.info, "device": place}) for outcome in outcomes]
    return pruned.bound_rows(problems, layer, options, starts, points, own)


def bound_alone(problem: Problem, options: Options, start: FloatArray | None) -> Outcome | None:
    """The outcome of a long row that comes alone: as with others, and a diagonal of its own where pruned."""
    clock = Clock(options)
    found = bound_together([problem], options, [start])
    layer = None if found is None or problem.sparsity is None else pruned.layer_of([problem])
    if found is None or layer is None:
        return None if found is None else found[0]
    return with_own_diagonal(problem, layer, found[0], clock)
