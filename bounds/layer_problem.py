"""A layer's rows under one setting: from the user's words to row problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .codebooks import Codebook, codebook
from .errors import ProblemError
from .gram import FloatArray, Gram, IntArray
from .grid import Grid
from .problem import Problem
from .ranges import GIVEN, OPTIMAL, LayerGrid, at_scales, fit_grid, given_grid
from .setting import Setting as Setting
from .sparsity import Sparsity
from .stages import stage


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """Row problems of a layer; with `budget`, they share one budget of kept units (scope layer)."""

    setting: Setting
    weight: FloatArray
    """(rows, n) selected rows and inputs."""
    grams: tuple[Gram, ...]
    gram_of_row: IntArray
    """(rows,) which Gram matrix holds for a row."""
    rows: Sequence[int]
    """Absolute numbers of the rows: a range, or those that were drawn of `drawn_from`."""
    inputs: range
    """Absolute numbers of the inputs."""
    grid: LayerGrid | None
    sparsity: Sparsity | None
    """Pattern of each row; for scope layer its budget is not yet set (every unit may be kept)."""
    budget: int | None = None
    """Units kept in all rows together, for scope layer."""
    drawn_from: range | None = None
    """All rows that were asked about, of which `rows` are a sample."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def span(self) -> range:
        """All rows that were asked about, the drawn ones and the others."""
        return range(self.rows[0], self.rows[-1] + 1) if self.drawn_from is None else self.drawn_from

    @property
    def pattern(self) -> Sparsity:
        """The sparsity pattern of a row, of a problem that has one."""
        if self.sparsity is None:
            raise ValueError("a problem without a sparsity pattern was asked for it")
        return self.sparsity

    def row(self, i: int) -> Problem:
        """Problem of the i-th selected row."""
        gram = self.grams[self.gram_of_row[i]]
        return Problem(self.weight[i], gram, self.row_grid(i), self.sparsity)

    def row_grid(self, i: int) -> Grid | None:
        """Grid of the i-th selected row; one object for all rows where they share their scales."""
        if self.grid is None or len(self.grid.scale) == 1:
            return self._shared_grid
        return self.grid.row(self.rows[i], self.inputs)

    @cached_property
    def _shared_grid(self) -> Grid | None:
        return None if self.grid is None else self.grid.row(0, self.inputs)

    @property
    def rank(self) -> int:
        """Least numerical rank of the Gram matrices."""
        return min(gram.rank for gram in self.grams)

    @property
    def gram_shift(self) -> float:
        """Largest shift tau of the Gram matrices."""
        return max(gram.shift for gram in self.grams)

    @property
    def dead_inputs(self) -> int:
        """Inputs that are dead in every Gram matrix."""
        return int((~np.any([gram.live for gram in self.grams], axis=0)).sum())


def state_problem(
    weight: FloatArray,
    grams: FloatArray,
    setting: Setting,
    shifts: tuple[float, ...] | None = None,
    levels: tuple[float, ...] | None = None,
    checked: tuple[Gram, ...] | None = None,
    free_scale: bool = False,
    scales: tuple[FloatArray, FloatArray] | None = None,
) -> LayerProblem:
    """State a layer's problem.

    Parameters
    ----------
    weight : (out, n).
    grams : (groups, n, n) or (n, n); row r uses group r // (out / groups).
    setting : method, grid and pattern.
    shifts : tau of each Gram matrix in use as it was recorded elsewhere, see `Gram.from_array`.
    levels : the codebook where the setting names a file of levels, instead of reading it.
    checked : the Gram matrices of an earlier problem of all rows and inputs of this layer, so that the two share
        what is computed once for a layer.
    free_scale : whether the caller searches for the scale where the setting's range is `optimal`.
    scales : scale and zero point of each row (or one for all) and group, both (out or 1, groups), where the
        setting's range is `given`, or is `optimal` and they have been searched for.

    Raises
    ------
    ProblemError
        The setting does not fit the layer; the message says what to change.
    """
    searched = setting.range == OPTIMAL and setting.quantizes
    if not searched and (setting.range == GIVEN and setting.quantizes) != (scales is not None):
        raise ProblemError("`scales` must be given, and are for a grid: these scales are somebody's own")
    if searched and not free_scale and scales is None:
        raise ProblemError("`range` optimal is for pvq-bound; here take mse, minmax or gram")
    out, n = weight.shape
    grams = grams if grams.ndim == 3 else grams[None]
    rows, inputs = selection(setting.rows, setting.inputs, out, n)
    cut = slice(inputs.start, inputs.stop)
    used, gram_of_row = np.unique(np.asarray(rows) // (out // len(grams)), return_inverse=True)
    sparsity, budget = _pattern(setting, len(rows), len(inputs)) if setting.prunes else (None, None)
    book = None
    if setting.quantizes and levels is not None:
        book = Codebook(setting.grid, np.array(levels))
    elif setting.quantizes:
        book = codebook(setting.grid, setting.bits)
    if shifts is not None and len(shifts) != len(used):
        raise ProblemError(f"{len(shifts)} shifts do not fit {len(used)} Gram matrices")
    known = (None,) * len(used) if shifts is None else shifts
    if setting.ridge:
        grams, checked = np.array([with_ridge(gram, setting.ridge) for gram in grams]), None
    if checked is None or setting.rows is not None or setting.inputs is not None:
        checked = tuple(Gram.from_array(grams[g][cut, cut], tau) for g, tau in zip(used, known, strict=True))
    grid = None
    if book is not None and scales is not None and not searched:
        grid = given_grid(weight.shape, book, setting.granularity, *scales)
    elif book is not None:
        stage("scales of the grid")
        full: tuple[Gram, ...] = ()
        of_row = None
        if setting.range == "gram":  # scales are the layer's: from all rows and inputs
            full = tuple(Gram.from_array(gram) for gram in grams)
            of_row = np.arange(out) // (out // len(grams))
        grid = fit_grid(weight, book, setting.granularity, setting.range, full, of_row)
        grid = grid if scales is None else at_scales(grid, *scales)
    selected = np.ascontiguousarray(weight[rows.start : rows.stop, cut], dtype=np.float64)
    return LayerProblem(setting, selected, checked, gram_of_row, rows, inputs, grid, sparsity, budget)


def _pattern(setting: Setting, rows: int, n: int) -> tuple[Sparsity, int | None]:
    """The pattern of a row and, for scope layer, the units kept in all rows."""
    if setting.nm is not None:
        return Sparsity.nm(n, *setting.nm, setting.update), None
    assert setting.sparsity is not None
    size = setting.block or 1
    if n % size:
        raise ProblemError(f"`block` {size} does not divide {n} inputs; choose a divisor of {n}")
    units = n // size
    if setting.scope == "layer":
        budget = kept(rows * units, setting.sparsity)
        keep = units
    else:
        budget, keep = None, kept(units, setting.sparsity)
    if setting.block is not None:
        return Sparsity.blocks(n, size, keep, setting.update), budget
    return Sparsity.row(n, keep, setting.update), budget


def at_sparsity(problem: LayerProblem, sparsity: float) -> LayerProblem:
    """The same layer at another sparsity; Gram matrices, and what is computed once for them, are shared."""
    setting = replace(problem.setting, sparsity=sparsity)
    pattern, budget = _pattern(setting, len(problem.rows), len(problem.inputs))
    return replace(problem, setting=setting, sparsity=pattern, budget=budget)


def drawn(problem: LayerProblem, rows: Sequence[int]) -> LayerProblem:
    """The same problem on some of its rows, which keep their numbers and scales; H is shared.

    Raises
    ------
    ProblemError
        Rows share a budget, so that some of them are another problem.
    """
    if problem.budget is not None:
        raise ProblemError("`sample_rows` is for rows of their own; with `scope` layer they share what they keep")
    index = np.asarray(rows) - problem.rows[0]
    used, gram_of_row = np.unique(problem.gram_of_row[index], return_inverse=True)
    return replace(
        problem,
        weight=problem.weight[index],
        grams=tuple(problem.grams[g] for g in used),
        gram_of_row=gram_of_row,
        rows=tuple(rows),
        drawn_from=problem.span,
    )


def with_ridge(gram: FloatArray, ridge: float) -> FloatArray:
    """G + ridge * mean(diag G) I on the live inputs, (n, n): another problem, which the user asked for.

    The mean is that of the live inputs of the whole layer, whatever inputs are selected; dead inputs stay dead.
    """
    live = gram.any(axis=1)
    result = np.array(gram, dtype=np.float64)
    if live.any():
        result[live, live] += ridge * result.diagonal()[live].mean()
    return result


def kept(n: int, sparsity: float) -> int:
    """Units kept of n: floor(n (1 - s) + 1e-9), so that 0.9 of 10 keeps 1 in spite of 1 - 0.9 < 0.1."""
    return int(np.floor(n * (1 - sparsity) + 1e-9))


def selection(
    rows: tuple[int, int] | None, inputs: tuple[int, int] | None, out: int, n: int
) -> tuple[range, range]:
    """Half-open ranges of rows and inputs of a layer (out, n), None for all.

    Raises
    ------
    ProblemError
        Empty or beyond the layer.
    """
    return _range("rows", rows, out), _range("inputs", inputs, n)


def _range(name: str, bounds: tuple[int, int] | None, size: int) -> range:
    start, stop = bounds or (0, size)
    if not 0 <= start < stop <= size:
        raise ProblemError(f"`{name}` {start}:{stop} is out of range; the layer has {name} 0:{size}")
    return range(start, stop)
