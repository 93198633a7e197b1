"""Which layers the theorem covers: what is known of the weights, and the values the others may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..gram import BoolArray, FloatArray, IntArray
from ..layer_problem import LayerProblem
from ..ranges import COARSE, FINE, GIVEN, GRAM_STEPS
from .density import UNEVEN, is_even

PAD = 0.4  # end gaps outside the grid from which a weight counts as known
MOST_LEVELS = 256


class Uncovered(ValueError):
    """The layer is not covered; the message says why, and what would be."""


@dataclass(frozen=True, eq=False)
class Covered:
    """A layer in units of each row's scale: geometric mean over its groups, times the codebook's median gap."""

    weight: FloatArray
    """(rows, n) w / s."""
    unit: FloatArray
    """(rows,) s."""
    book: FloatArray
    """(L,) levels of the codebook over its median gap."""
    zero: FloatArray
    """(rows, groups) zero points over the median gap."""
    ratio: FloatArray
    """(rows, groups) scale of a group over the row's; 1 where there is one group."""
    group: IntArray
    """(n,) group of each input."""
    low: FloatArray
    """(rows, groups) ends of J."""
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

    def levels(self, r: int) -> FloatArray:
        """(groups, L) levels of row r in its unit."""
        return self.ratio[r, :, None] * (self.book - self.zero[r, :, None])


def cover(problem: LayerProblem, whole: FloatArray | None) -> Covered:
    """What is known and what is random in a layer.

    Conditions of the theorem: an input is in C iff its weight is binding (it set a scale) or lies in a set that is
    fixed beforehand, here more than `PAD` end gaps outside the grid, or exactly 0. Given C the others lie in J,
    what that set and the binding weights leave.

    Fixed scale: nothing is binding. minmax: the weight with the largest w / end level (int-asym: least and largest
    weight) of each set that shares a scale, groups too; all others lie in the range it implies. mse and gram:
    every candidate scale is a fraction of min-max, so each candidate is a fixed function of the binding weights,
    and the union over the N candidates costs log N. With G groups it would cost G log N in every row, more than
    there is to lose: not covered.

    Raises
    ------
    Uncovered
        With the reason.
    """
    setting, grid = problem.setting, problem.grid
    if setting.method != "quant" or grid is None:
        raise Uncovered("it is for quantization without a sparsity pattern; the same grid alone is covered")
    if setting.range == "optimal":
        raise Uncovered("a searched scale depends on every weight; range minmax, mse or gram is covered")
    if setting.range == GIVEN:
        raise Uncovered("scales of somebody's own may depend on all weights; range minmax, mse or gram is covered")
    grouped = grid.scale.shape[1] > 1
    if grouped and setting.range not in ("none", "minmax"):
        raise Uncovered(
            f"scales of groups that were fitted ({setting.range}) depend on too many weights; range minmax, or "
            "granularity tensor or channel, is covered"
        )
    book = grid.codebook.levels
    if len(book) > MOST_LEVELS:
        raise Uncovered(f"the grid has {len(book)} levels; up to {MOST_LEVELS} are covered")
    if grouped and len(book) > UNEVEN and not is_even(book):
        raise Uncovered(
            f"groups of uneven grids are covered up to {UNEVEN} levels; granularity channel is covered"
        )
    gap = float(np.median(np.diff(book)))
    index = np.asarray(problem.rows) if len(grid.scale) > 1 else np.zeros(len(problem), dtype=int)
    of_input = np.asarray(problem.inputs) // grid.group_size
    used, group = np.unique(of_input, return_inverse=True)
    at = np.ix_(index, used)
    scale, zero = grid.scale[at], grid.zero[at]
    weight = problem.weight
    binding = np.zeros(weight.shape, dtype=bool)
    low, high = np.full(scale.shape, -np.inf), np.full(scale.shape, np.inf)
    nominal = scale
    log_candidates = 0.0
    if setting.range != "none":
        if whole is None:
            raise Uncovered("the weights that set the scale are needed: all rows and inputs of the layer")
        found = _bind(problem, whole, binding)
        low, high, nominal = (of[at] for of in found)
        log_candidates = _log_candidates(setting.range, grid.codebook.shifted)
    unit = np.exp(np.log(scale).mean(axis=1)) * gap if grouped else scale[:, 0] * gap
    ratio = scale * gap / unit[:, None]
    first, last = (book[0] - zero) / gap * ratio, (book[-1] - zero) / gap * ratio
    low_pad, high_pad = ((book[k + 1] - book[k]) / gap * PAD * ratio for k in (0, -2))
    scaled = weight / unit[:, None]
    if setting.range == "minmax" and not grid.codebook.shifted:
        low, high = first, last  # exactly what the binding weight leaves
    else:
        low = np.maximum(low / unit[:, None], first - low_pad)
        high = np.minimum(high / unit[:, None], last + high_pad)
    known = binding | (scaled == 0) | (scaled < low[:, group]) | (scaled > high[:, group])
    return Covered(
        scaled,
        unit,
        book / gap,
        zero / gap,
        ratio,
        group,
        low,
        high,
        known,
        binding,
        log_candidates,
        log_candidates > 0 and len(grid.scale) > 1,
        nominal[:, 0] * gap,
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
    """Mark the binding weights; the range they imply and the min-max scale, (rows or 1, groups) of the layer."""
    grid = problem.grid
    assert grid is not None
    book, shifted = grid.codebook.levels, grid.codebook.shifted
    if not shifted and not book[0] < 0 < book[-1]:
        raise Uncovered("the grid lies on one side of 0; grids with levels on both sides are covered")
    values = np.asarray(whole, dtype=np.float64)
    width, size, own = values.shape[1], grid.group_size, len(grid.scale) > 1
    low, high, scale = (np.empty(grid.scale.shape) for _ in range(3))
    marked = np.zeros(values.shape, dtype=bool)
    for g in range(grid.scale.shape[1]):
        begin = g * size
        block = values[:, begin : begin + size]
        block = block if own else np.ascontiguousarray(block).reshape(1, -1)
        across = block.shape[1] if own else min(size, width - begin)
        each = np.arange(len(block))
        at_low, at_high = block.argmin(axis=1), block.argmax(axis=1)
        least, most = np.minimum(block[each, at_low], 0.0), np.maximum(block[each, at_high], 0.0)
        if shifted:
            scale[:, g] = (most - least) / (book[-1] - book[0])
            low[:, g], high[:, g] = least, most
            pairs = [*zip(each, at_low, strict=True), *zip(each, at_high, strict=True)]
        else:
            scale[:, g] = np.maximum(most / book[-1], least / book[0])
            low[:, g], high[:, g] = book[0] * scale[:, g], book[-1] * scale[:, g]
            upper = most / book[-1] >= least / book[0]
            pairs = [*zip(each, np.where(upper, at_high, at_low), strict=True)]
        for row, position in pairs:
            r, column = (row, position) if own else divmod(int(position), across)
            marked[r, begin + column] = True
    binding[...] = marked[np.ix_(np.asarray(problem.rows), np.asarray(problem.inputs))]
    return low, high, scale


WINDOW = 32  # inputs that share a scale in common formats of rounded weights


def mesh_of(values: FloatArray, random: BoolArray) -> float:
    """Spacing of the numbers a row's weights are stored in, the largest over the random ones; 0 if very fine."""
    eta = 0.0
    largest = float(np.abs(values[random]).max(initial=0.0))
    if largest == 0:
        return 0.0
    mantissa, _ = np.frexp(values)
    for digits in (8, 11):  # bfloat16, float16: binary digits of the mantissa
        scaled = np.ldexp(mantissa, digits)
        if np.array_equal(scaled, np.round(scaled)):
            eta = float(2.0 ** (np.frexp(largest)[1] - digits))
            break
    distinct = len(np.unique(values))
    if len(values) >= 16 and distinct < len(values) / 2:  # already rounded to a grid of its own
        eta = max(eta, float(np.ptp(values)) / max(1, distinct - 1))
    # rounded to grids of blocks: a quarter of the neighbours in order of size are equal
    whole = len(values) // WINDOW * WINDOW
    gaps = np.diff(np.sort(values[:whole].reshape(-1, WINDOW), axis=1), axis=1)
    for block in gaps[(gaps == 0).mean(axis=1) > 0.25]:
        apart = block[block > 0]
        eta = max(eta, float(apart.min()) if len(apart) else 0.0)
    return eta


def shared_mesh(values: FloatArray) -> float:
    """Median spacing of all weights of a layer where they have few values, as after rounding with one scale; or 0.

    A short row has too few weights to show it. The median, since the largest values are far apart, and since
    16-bit numbers, which have few values too, are no mesh where they are small.
    """
    distinct = np.unique(values)
    few = 1 < len(distinct) < values.size / 2
    return float(np.median(np.diff(distinct))) if few else 0.0
