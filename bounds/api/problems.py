"""What may be asked of a layer: a grid, a sparsity pattern, or both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pvq.bounds.codebooks import check_levels, codebook
from pvq.bounds.errors import ProblemError, check_number
from pvq.bounds.layer_problem import Setting
from pvq.bounds.ranges import RANGES, inputs_of_group

LEVELS = "levels"
"""The grid's name in results where its levels were given as numbers."""


@dataclass(frozen=True)
class Quant:
    """Every weight on a grid: levels = scale * (codebook - zero).

    Parameters
    ----------
    bits : int, optional
        Bits of an integer grid.
    grid : str or sequence of float
        int, int-sym, int-asym, ternary, fp4-e2m1, fp8-e4m3, nf4, a file of levels, or the levels themselves.
    granularity : str
        Weights that share a scale: tensor, channel or group:G.
    range : str
        How scales are chosen: mse, minmax, gram (least layer error of rounding), none (the levels as they are),
        optimal (the scale is part of the search).

    Raises
    ------
    ProblemError
        No such grid, granularity or range; impossible bits.
    """

    bits: int | None = None
    grid: str | Sequence[float] = "int"
    granularity: str = "tensor"
    range: str = "mse"

    def __post_init__(self) -> None:
        if self.bits is not None:
            check_number("bits", self.bits, whole=True)
        if not isinstance(self.granularity, str):
            raise ProblemError(f"`granularity` must be tensor, channel or group:G, not {self.granularity!r}")
        if not isinstance(self.grid, str | Iterable):
            raise ProblemError(f"`grid` must be a name or several levels, not {self.grid!r}")
        if not isinstance(self.grid, str):
            object.__setattr__(self, "grid", tuple(float(level) for level in self.grid))
        inputs_of_group(self.granularity, 1)
        if self.range not in RANGES:
            raise ProblemError(f"`range` must be one of {', '.join(RANGES)}, not '{self.range}'")
        if isinstance(self.grid, str):
            codebook(self.grid, self.bits)
        elif self.bits is not None:
            raise ProblemError("`bits` is for named grids; here `grid` has its levels")
        else:
            check_levels(np.array(self.grid), "`grid`")

    @property
    def words(self) -> dict[str, Any]:
        """Of a `Setting`."""
        name = self.grid if isinstance(self.grid, str) else LEVELS
        return {"bits": self.bits, "grid": name, "granularity": self.granularity, "range": self.range}

    @property
    def levels(self) -> tuple[float, ...] | None:
        """The levels, where they were given as numbers."""
        return None if isinstance(self.grid, str) else tuple(self.grid)


@dataclass(frozen=True)
class Prune:
    """Only so many weights kept; give one of `sparsity` and `nm`.

    Parameters
    ----------
    sparsity : float, optional
        Share of the weights that are zero, as 0.75.
    nm : str or (int, int), optional
        Keep N of every M inputs, as "2:4".
    block : int, optional
        Prune so many consecutive inputs together; `sparsity` says how much.
    update : bool
        Re-optimise the kept weights, or keep them as they are.
    scope : str
        row: the sparsity holds for each row; layer: for all rows together.

    Raises
    ------
    ProblemError
        No pattern, two patterns, or an impossible one.
    """

    sparsity: float | None = None
    nm: str | tuple[int, int] | None = None
    block: int | None = None
    update: bool = True
    scope: str = "row"

    def __post_init__(self) -> None:
        for name, whole in (("sparsity", False), ("block", True)):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), whole)
        object.__setattr__(self, "nm", _kept_of(self.nm))
        Setting("prune", **self.words)  # checks them

    @property
    def words(self) -> dict[str, Any]:
        """Of a `Setting`."""
        names = ("sparsity", "nm", "block", "update", "scope")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Joint:
    """Only so many weights kept, each on a grid."""

    quant: Quant
    prune: Prune

    def __post_init__(self) -> None:
        if not isinstance(self.quant, Quant) or not isinstance(self.prune, Prune):
            raise ProblemError("a joint problem is Joint(Quant(...), Prune(...))")


Problem = Quant | Prune | Joint


def problem_of(
    method: str,
    *,
    bits: int | None = None,
    grid: str | Sequence[float] = "int",
    granularity: str = "tensor",
    range: str = "mse",
    sparsity: float | None = None,
    nm: str | tuple[int, int] | None = None,
    block: int | None = None,
    update: bool = True,
    scope: str = "row",
) -> Problem:
    """The problem that a method's name (quant, prune or joint) and the words of `Quant` and `Prune` describe.

    Raises
    ------
    ProblemError
        No such method, or words that are for another one.
    """
    kept_of = _kept_of(nm)
    grids = {"bits": bits, "grid": grid if isinstance(grid, str) else LEVELS, "granularity": granularity}
    patterns = {"sparsity": sparsity, "nm": kept_of, "block": block, "update": update, "scope": scope}
    Setting(method, **grids, range=range, **patterns)  # type: ignore[arg-type]  # checks
    if method == "prune":
        return Prune(sparsity, kept_of, block, update, scope)
    quant = Quant(bits, grid, granularity, range)
    return quant if method == "quant" else Joint(quant, Prune(sparsity, kept_of, block, update, scope))


def setting_of(
    problem: Problem, rows: Any = None, inputs: Any = None, ridge: float = 0.0
) -> tuple[Setting, tuple[float, ...] | None]:
    """The setting of a problem on some rows and inputs, and its levels if they were given as numbers."""
    part: dict[str, Any] = {"rows": _interval("rows", rows), "inputs": _interval("inputs", inputs), "ridge": ridge}
    if isinstance(problem, Quant):
        return Setting("quant", **problem.words, **part), problem.levels
    if isinstance(problem, Prune):
        return Setting("prune", **problem.words, **part), None
    if isinstance(problem, Joint):
        return Setting("joint", **problem.quant.words, **problem.prune.words, **part), problem.quant.levels
    raise ProblemError(f"`problem` must be a pvq.Quant, pvq.Prune or pvq.Joint, not {type(problem).__name__}")


def _interval(name: str, given: Any) -> tuple[int, int] | None:
    """A half-open range, from (start, stop), a range or a slice."""
    if given is None:
        return None
    if isinstance(given, slice | range) and given.step in (None, 1) and given.stop is not None:
        return int(given.start or 0), int(given.stop)
    try:
        start, stop = given
        return int(start), int(stop)
    except (TypeError, ValueError):
        raise ProblemError(f"`{name}` must be (start, stop), half-open, not {given!r}") from None


def pattern_of(words: float | str | None) -> dict[str, Any]:
    """`sparsity` or `nm` of `Prune`, from 0.5 or 2:4; half of the weights where nothing is said."""
    if words is None:
        return {"sparsity": 0.5}
    if isinstance(words, str) and ":" in words:
        return {"nm": words}
    try:
        return {"sparsity": float(words)}
    except (TypeError, ValueError):
        raise ProblemError(f"`against` is a sparsity as 0.5, or N:M as 2:4, not {str(words)[:60]!r}") from None


def pattern_words(prune: Prune) -> str:
    """0.5 or 2:4, the same however it was written."""
    return str(prune.sparsity) if prune.nm is None else ":".join(map(str, prune.nm))


def _kept_of(nm: str | tuple[int, int] | None) -> tuple[int, int] | None:
    """N and M, from N:M."""
    if not isinstance(nm, str):
        return nm
    match = re.fullmatch(r"(\d{1,18}):(\d{1,18})", nm)
    if match is None:
        raise ProblemError(f"`nm` must be N:M as 2:4, not '{nm[:60]}'")
    return int(match[1]), int(match[2])
