"""Which layers the theorem covers: what is known of the weights, and the values the others may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..gram import BoolArray, FloatArray
from ..layer_problem import LayerProblem
from ..ranges import COARSE, FINE, GIVEN, GRAM_STEPS

PAD = 0.4  # end gaps outside the grid from which a weight counts as known
MOST_LEVELS = 256


class Uncovered(ValueError):
    """The layer is not covered; the message says why, and what would be."""


@dataclass(frozen=True, eq=False)
class Covered:
    """A layer in units of each row's scale."""

    weight: FloatArray
    """(rows, n) w / s."""
    unit: FloatArray
    """(rows,) s: the scale times the codebook's median gap."""
    levels: tuple[FloatArray, ...]
    """Of each row, in its unit."""
    low: FloatArray
    """(rows,) ends of J."""
    high: FloatArray
    known: BoolArray
    """(rows, n) the set C."""
    binding: BoolArray
    """(rows, n) weights that set a scale."""
    log_candidates: float
    """log N of the scales that were searched, 0 where the scale is given by the known weights."""
    per_row: bool
    """Whether a scale that was searched is the row's own: log N is paid by each row, not once."""
    nominal: FloatArray
    """(rows,) a scale that the known weights determine."""


def cover(problem: LayerProblem, whole: FloatArray | None) -> Covered:
    """What is known and what is random in a layer.

    Conditions of the theorem: an input is in C iff its weight is binding (it set a scale) or lies in a set that is
    fixed beforehand, here more than `PAD` end gaps outside the grid, or exactly 0. Given C the others lie in J,
    what that set and the binding weights leave.

    Fixed scale: nothing is binding. minmax: the weight with the largest w / end level (int-asym: least and largest
    weight); all others lie in the range it implies. mse and gram: every candidate scale is a fraction of min-max,
    so each candidate is a fixed function of the binding weights, and the union over the N candidates costs log N.

    Raises
    ------
    Uncovered
        With the reason.
    """
    setting, grid = problem.setting, problem.grid
    if setting.method != "quant" or grid is None:
        raise Uncovered("it is for quantization without a sparsity pattern")
    if setting.range == "optimal":
        raise Uncovered("a searched scale depends on every weight; range minmax, mse or gram is covered")
    if setting.range == GIVEN:
        raise Uncovered("scales of somebody's own may depend on all weights; range minmax, mse or gram is covered")
    if grid.scale.shape[1] > 1 and setting.range != "none":
        raise Uncovered("scales of groups depend on too many weights; granularity tensor or channel is covered")
    book = grid.codebook.levels
    if len(book) > MOST_LEVELS:
        raise Uncovered(f"the grid has {len(book)} levels; up to {MOST_LEVELS} are covered")
    gap = float(np.median(np.diff(book)))
    count = len(problem)
    index = np.asarray(problem.rows) if len(grid.scale) > 1 else np.zeros(count, dtype=int)
    scale, zero = grid.scale[index, 0], grid.zero[index, 0]
    weight = problem.weight
    binding = np.zeros(weight.shape, dtype=bool)
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    nominal = scale
    log_candidates = 0.0
    if setting.range != "none":
        if whole is None:
            raise Uncovered("the weights that set the scale are needed: all rows and inputs of the layer")
        low, high, nominal = _bind(problem, whole, binding)
        log_candidates = _log_candidates(setting.range, grid.codebook.shifted)
    unit = scale * gap
    levels = tuple((book - z) / gap for z in zero)
    first, last = (np.array([of[k] for of in levels]) for k in (0, -1))
    low_pad = np.array([of[1] - of[0] for of in levels]) * PAD
    high_pad = np.array([of[-1] - of[-2] for of in levels]) * PAD
    scaled = weight / unit[:, None]
    low, high = np.maximum(low / unit, first - low_pad), np.minimum(high / unit, last + high_pad)
    known = binding | (scaled == 0) | (scaled < low[:, None]) | (scaled > high[:, None])
    return Covered(
        scaled,
        unit,
        levels,
        low,
        high,
        known,
        binding,
        log_candidates,
        log_candidates > 0 and len(grid.scale) > 1,
        nominal * gap,
    )


def _log_candidates(method: str, shifted: bool) -> float:
    """log of the number of scales (and zero points) that the search of a range can return."""
    if method == "minmax":
        return 0.0
    count = len(COARSE) * len(FINE[0]) * len(FINE[1])
    if method == "gram":
        count += len(GRAM_STEPS[0]) + (len(GRAM_STEPS[0]) + 1) * len(GRAM_STEPS[1])
    return math.log(count * (5 if shifted else 1))


def _bind(
    problem: LayerProblem, whole: FloatArray, binding: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mark the binding weights; the range they imply and the min-max scale, of each row."""
    grid = problem.grid
    assert grid is not None
    book, shifted = grid.codebook.levels, grid.codebook.shifted
    if not shifted and not book[0] < 0 < book[-1]:
        raise Uncovered("the grid lies on one side of 0; grids with levels on both sides are covered")
    blocks = np.asarray(whole, dtype=np.float64)
    width = blocks.shape[1]
    blocks = blocks if len(grid.scale) > 1 else blocks.reshape(1, -1)
    at_low, at_high = blocks.argmin(axis=1), blocks.argmax(axis=1)
    each = np.arange(len(blocks))
    least, most = np.minimum(blocks[each, at_low], 0.0), np.maximum(blocks[each, at_high], 0.0)
    if shifted:
        scale = (most - least) / (book[-1] - book[0])
        low, high = least, most
        pairs = [(k, j) for k in each for j in (at_low[k], at_high[k])]
    else:
        scale = np.maximum(most / book[-1], least / book[0])
        low, high = book[0] * scale, book[-1] * scale
        upper = most / book[-1] >= least / book[0]
        pairs = [(k, at_high[k] if upper[k] else at_low[k]) for k in each]
    for block, position in pairs:
        row, column = (block, position) if len(grid.scale) > 1 else divmod(position, width)
        if row in problem.rows and column in problem.inputs:
            binding[problem.rows.index(row), column - problem.inputs.start] = True
    index = np.asarray(problem.rows) if len(grid.scale) > 1 else np.zeros(len(problem), dtype=int)
    return low[index], high[index], scale[index]


def mesh_of(values: FloatArray) -> float:
    """Spacing of the numbers a row's weights are stored in, the largest over them; 0 for float32 and finer."""
    eta = 0.0
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return 0.0
    for digits in (8, 11):  # bfloat16, float16: binary digits of the mantissa
        mantissa, _ = np.frexp(values)
        if np.array_equal(np.ldexp(mantissa, digits), np.round(np.ldexp(mantissa, digits))):
            eta = float(2.0 ** (np.frexp(largest)[1] - digits))
            break
    distinct = len(np.unique(values))
    if len(values) >= 16 and distinct < len(values) / 2:  # already rounded to a grid of its own
        eta = max(eta, float(np.ptp(values)) / max(1, distinct - 1))
    return eta
