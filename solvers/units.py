"""A row in units in which its numbers are of order 1: searches square and divide, which float64 bears only there.

H is multiplied by 2^a, w and the grid by 2^b, errors then by 2^(a + 2b). Powers of two change exponents only, so
both problems are the same to the last bit, and so are their proofs, as long as nothing leaves float64's range.
Rows whose numbers are of ordinary size stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import (
    Basis,
    Below,
    Block,
    Boxes,
    Cover,
    Enumeration,
    Order,
    Proof,
    Reduced,
    Scales,
    Split,
    Tree,
)

from .result import Outcome

ORDINARY = 32
"""Sizes of w and the grid from 2^-32 to 2^32, of H from 2^-64 to 2^64, are left: powers of them stay in range."""

Report = Callable[[float, float], None]

OF_ERROR = ("eta", "relaxation", "ceiling")
"""What an outcome's `info` may have in units of the error."""


class OutOfRange(ArithmeticError):
    """A number in other units is no float64."""


def times(a: FloatArray, power: int) -> FloatArray:
    """a 2^power.

    Raises
    ------
    OutOfRange
        Not exact: a number would be too large, or lose digits.
    """
    with np.errstate(all="ignore"):
        scaled = np.asarray(np.ldexp(a, power))
        if not np.array_equal(np.ldexp(scaled, -power), a, equal_nan=True):
            raise OutOfRange
    return scaled


@dataclass(frozen=True, eq=False)
class Units:
    """A row in units of its own."""

    problem: Problem
    """The row that is solved."""
    of_h: int = 0
    """a: H of it is 2^a times that of the original."""
    of_w: int = 0
    """b, for w, grid and x."""

    @classmethod
    def of(cls, problem: Problem) -> Units:
        """The units of a row without dead inputs; those of H are shared by its rows."""
        a, gram = problem.gram.memo(_gram_in_units, lambda: _gram_in_units(problem.gram))
        values = [np.abs(problem.weight).max()]
        if problem.grid is not None:
            values.append(np.abs(problem.grid.levels).max())
        b = _power(float(max(values)), ORDINARY)
        if a == b == 0:
            return cls(problem)
        try:
            grid = problem.grid
            if grid is not None:
                scale = None if grid.scale is None else times(grid.scale, b)
                grid = Grid(times(grid.levels, b), grid.group, scale)
            return cls(Problem(times(problem.weight, b), gram, grid, problem.sparsity), a, b)
        except OutOfRange:
            return cls(problem)

    @property
    def of_error(self) -> int:
        """a + 2 b."""
        return self.of_h + 2 * self.of_w

    def start(self, x: FloatArray | None) -> FloatArray | None:
        """A point of the original in these units."""
        return x if x is None or not self.of_w else np.ldexp(x, self.of_w)

    def report(self, told: Report | None) -> Report | None:
        """A listener to errors in these units for one to errors of the original."""
        if told is None or not self.of_error:
            return told
        return lambda lower, upper: told(self.error(lower), self.error(upper))

    def error(self, value: float) -> float:
        """An error in these units as one of the original, not rounded up."""
        with np.errstate(all="ignore"):
            back = float(np.ldexp(value, -self.of_error))
            above = float(np.ldexp(back, self.of_error)) > value
        return math.nextafter(back, 0.0) if above else back

    def outcome(self, outcome: Outcome) -> Outcome:
        """What was found and proven here, of the original; a proof that is not exact there is left out."""
        if not self.of_h and not self.of_w:
            return outcome
        info = dict(outcome.info)
        for name in OF_ERROR:
            if name in info:
                info[name] = self.error(info[name])
        proof, elsewhere = outcome.proof, outcome.elsewhere
        try:
            proof = None if proof is None else self._proof(proof)
            elsewhere = None if elsewhere is None else self._split(elsewhere)
        except OutOfRange:
            proof, elsewhere = None, None
            info["unproven"] = "the proof's numbers leave the range of float64"
        x = None if outcome.x is None else np.ldexp(outcome.x, -self.of_w)
        lower = self.error(outcome.lower)
        return replace(outcome, x=x, lower=lower, info=info, proof=proof, elsewhere=elsewhere)

    def _proof(self, proof: Proof) -> Proof:
        if isinstance(proof, Tree):
            return Tree(proof.code, tuple(self._split(split) for split in proof.splits))
        if isinstance(proof, Boxes):
            return Boxes(proof.code, self._below(proof.below), times(proof.v, -self.of_w))
        if isinstance(proof, Cover):  # t = p'(w - x) and H + pp'
            if self.of_h % 2:
                raise OutOfRange
            p = times(proof.p, -self.of_h // 2)
            edges = times(proof.edges, -self.of_h // 2 - self.of_w)
            return Cover(p, proof.floor, edges, tuple(self._split(split) for split in proof.splits))
        if isinstance(proof, Reduced):
            return Reduced(self._basis(proof.basis), self.error(proof.threshold))
        if isinstance(proof, Scales):  # made of a row as it is
            raise OutOfRange
        return self._split(proof) if isinstance(proof, Split) else self._enumeration(proof)

    def _split(self, split: Split) -> Split:
        blocks = tuple(self._enumeration(block) for block in split.blocks)
        return Split(self._below(split.below), times(split.v, -self.of_w), blocks)

    def _enumeration(self, proof: Enumeration) -> Enumeration:
        return Enumeration(self._order(proof.order), self.error(proof.threshold))

    def _below(self, below: Below) -> Below:
        """One object for all rows that share it."""
        known: WeakKeyDictionary[Below, Below] = self.problem.gram.memo(Units._below, WeakKeyDictionary)
        if below not in known:
            blocks = tuple(Block(block.inputs, times(block.matrix, -self.of_h)) for block in below.blocks)
            known[below] = Below(times(below.d, -self.of_h), blocks, below.pairs, times(below.across, -self.of_h))
        return known[below]

    def _basis(self, basis: Basis) -> Basis:
        known: WeakKeyDictionary[Basis, Basis] = self.problem.gram.memo(Units._basis, WeakKeyDictionary)
        if basis not in known:
            known[basis] = Basis(basis.matrix, basis.inverse, times(basis.diagonal, -self.of_h))
        return known[basis]

    def _order(self, order: Order) -> Order:
        known: WeakKeyDictionary[Order, Order] = self.problem.gram.memo(Units._order, WeakKeyDictionary)
        if order not in known:
            known[order] = Order(order.order, times(order.diagonal, -self.of_h))
        return known[order]


def _gram_in_units(gram: Gram) -> tuple[int, Gram]:
    power = 2 * (_power(float(gram.matrix.diagonal().max()), 2 * ORDINARY) // 2)  # even, for directions p of pp'
    if not power:
        return 0, gram
    try:
        matrix = times(gram.matrix, power)
    except OutOfRange:
        return 0, gram
    matrix.setflags(write=False)
    return power, Gram(matrix, float(np.ldexp(gram.shift, power)), gram.rank)


def _power(size: float, ordinary: int) -> int:
    """The power of two that makes a size one of order 1; 0 where it is ordinary, or nothing."""
    if size == 0.0 or not math.isfinite(size):
        return 0
    exponent = math.frexp(size)[1]
    return 0 if abs(exponent) <= ordinary else -exponent
