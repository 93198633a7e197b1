"""The scale of a grid as a variable: the least error of a row over all grid points and an interval of scales.

With x = s c, c on the unscaled grid, u = 1 / s and q(u) = min_c (u w - c)' H (u w - c), the error of the best
point at scale s is q(u) / u^2. Around u0, with u = u0 + delta, any k > 0 and any l,

    q(u0 + delta) + k delta^2 - l delta >= M = min over c and all real delta of
        (u0 w + delta w - c)' H (u0 w + delta w - c) + k delta^2 - l delta
      = min_c (u1 w - c)' G (u1 w - c) - l^2 / (4 k),      G = H - Hw w'H / (w'Hw + k),   u1 = u0 + l / (2 k),

which is a grid problem with a positive semidefinite matrix, solved exactly (a proof of it, of R = w'Hw + k and of
u1 is one for all of the interval: `pvq.bounds.proof.Scales`). For |delta| <= d the error is then at
least (M + l delta - k delta^2) / (u0 + delta)^2, and whether that exceeds some T is a concave condition in delta,
so its least value lies at delta = d or -d. With l = 2 U u0, U the error to beat, linear terms cancel, and the
bound of an interval of relative half-width p loses about (1 + k / U) p^2 / (1 + U / k) of U: it holds between the
points, and a few intervals do what sampling never does.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.grid import Grid
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Boxes, Enumeration, Reduced, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.row import SAFETY
from pvq.bounds.verify.scales import Pulled, anchored

from .base import Clock, Options, fallback_point
from .bnb.enumeration import prepare_grid, solve_grid
from .bnb.plan import layer_plan
from .bnb.repeated import repeated
from .bnb.values import prepare_values, solve_values
from .empirical.local_search import polish_grid
from .limits import heard
from .result import Reason

TINY = 5
"""Inputs of the row that compiles."""

EPS = float(np.finfo(np.float64).eps)

ROUGH = 0.25
"""Part of the gap from which on a search's rounding is worth what a verifier's longer numbers take."""
LITTLE = 1e-300
"""Above 0, where something has to be and nothing is known."""
MUCH = 1e307
"""Next to the largest number."""

SPARE = 1e-7
"""What a search under a pattern goes above what is enough, relatively: its proof has its own rounding."""
MANY = 16
"""Intervals that share the length of one proof, where each has a tree of its own."""
KEPT = 2**18
"""Entries of the matrices G of a row that are kept."""


@dataclass(frozen=True, eq=False)
class Piece:
    """The search that bounds an interval, as `Scales` has it."""

    anchor: float
    stiffness: float
    search: Enumeration | Reduced | Boxes
    threshold: float
    """What it is to show: its own threshold, if it has one."""
    doubt: float
    """How far the least error that it proves may be from the one that is meant."""
    lost: float = 0.0
    """How far below its threshold the verifier may end: what it has lost, or what the search gives up itself."""


@dataclass(frozen=True, eq=False)
class Found:
    """The best known point of one row at one scale, and a bound."""

    least: float
    """Lower bound of M."""
    x: FloatArray
    """(n,) c of the best point of the relaxed problem."""
    nodes: int
    piece: Piece | str
    """The search that proves it; or why none does."""


@dataclass(frozen=True, eq=False)
class Interval:
    """An interval of u = 1 / scale, and what is known of the sum of the rows' errors at its scales."""

    bound: float
    a: float
    b: float
    pieces: tuple[Piece | str, ...]
    """One for each row, see `Found`."""
    seconds: float
    """What their searches took, next to what a verifier will take."""

    def better(self, other: Interval) -> Interval:
        """This interval with what is known of one around it, if that is more."""
        if self.bound >= other.bound:
            return self
        return dataclasses.replace(self, bound=other.bound, pieces=other.pieces, seconds=other.seconds)


class FreeRow:
    """One row on the grid s * codes, s any positive number."""

    def __init__(self, problem: Problem) -> None:
        """`problem` states the row at some scale of those that are searched."""
        self.presolved = presolve(problem)
        reduced = self.presolved.problem
        self.dead = reduced is None
        """Whether every input is dead: then the error is 0 at any scale."""
        self.searched = not self.dead and problem.reference > 0.0
        """False too for a row whose output is 0: a scale has nothing to fit, and 0 bounds its error."""
        self.reference = problem.reference
        if reduced is None or not self.reference > 0.0:
            return
        free = reduced.levels.free
        assert free is not None
        self.scaled = reduced
        self.unit = dataclasses.replace(
            reduced, grid=Grid(free.codes[None, :], np.zeros(reduced.n, np.int64)), weight=reduced.weight
        )
        self.share = 0.0
        """Its error at the best scale known."""
        self.k = 0.0
        """Of the last relaxation."""
        self.grams: dict[float, Gram] = {}
        """The last few G, by their stiffness."""
        self._rounding: tuple[FloatArray, float] | None = None
        self.pull = reduced.hessian @ reduced.weight
        self.reference = float(reduced.weight @ self.pull)

    @cached_property
    def pulled(self) -> Pulled:
        """What the matrices of relaxations are made from: a second at 1152 inputs, so not before it is needed."""
        return Pulled(self.scaled)

    def at(self, scale: float) -> Problem:
        """The row in units of the scale: its error times scale^2 is that of x = scale * c."""
        return dataclasses.replace(self.unit, weight=self.unit.weight / scale)

    def heuristic(self, scale: float) -> FloatArray:
        """(n,) a good c at a scale."""
        problem = self.at(scale)
        return polish_grid(problem, fallback_point(problem))

    def line(self, c: FloatArray) -> tuple[float, float]:
        """(w'Hc, c'Hc): the error of s c is r - 2 s w'Hc + s^2 c'Hc."""
        return float(self.pull @ c), self.unit.gram.error(c)

    def error(self, scale: float, c: FloatArray) -> float:
        """The error of scale * c."""
        return self.unit.gram.error(self.unit.weight - scale * c)

    def rounding(self, scale: float, c: FloatArray) -> float:
        """What float64 numbers are worth in its error at scale * c."""
        x = scale * c
        if self._rounding is None or not np.array_equal(self._rounding[0], x):
            self._rounding = x, self.scaled.certified(x).rounding
        return self._rounding[1]

    def stiffen(self, k: float) -> None:
        """Make G for another k; a few are kept for the intervals that share them."""
        if k == self.k:
            return
        self.k = k
        # above the sum, as a proof needs, also where k is next to nothing
        self.stiffness = math.nextafter(float(self.pulled.reference + Fraction(k)), math.inf)
        if self.stiffness not in self.grams:
            if len(self.grams) >= max(1, KEPT // self.scaled.n**2):
                del self.grams[next(iter(self.grams))]
            self.grams[self.stiffness] = self.pulled.gram(self.stiffness)
        self.gram = self.grams[self.stiffness]

    def slope(self, centre: float, c: FloatArray) -> float:
        """Derivative of (u w - c)' H (u w - c) at u = centre."""
        return 2 * (centre * self.reference - float(self.pull @ c))

    def least(
        self,
        centre: float,
        slope: float,
        k: float,
        options: Options,
        start: FloatArray | None = None,
        enough: float = math.inf,
    ) -> Found:
        """A lower bound of M at u0 = centre with l = slope; beyond `enough` it need not be a good one."""
        self.stiffen(k)
        anchor = centre + slope / (2 * self.k)
        there = anchored(self.scaled, self.gram, anchor)
        problem = there.problem
        clock = Clock(options)
        with heard(clock):
            layer_plan(problem)
        constant = slope * slope / (4 * self.k)
        limited = dataclasses.replace(options, time_limit=clock.limit(1e-3))
        if problem.sparsity is None:
            outcome = solve_grid(problem, limited, start)
        else:
            beyond = (enough + constant + there.doubt) * (1 + SPARE)
            outcome = solve_values(problem, limited, start, MANY, beyond)
        assert outcome.x is not None
        lower, doubt = outcome.lower, there.doubt
        piece: Piece | str = str(outcome.info.get("unproven", "a search of an interval has no proof"))
        if isinstance(outcome.proof, Enumeration | Reduced):
            search: Enumeration | Reduced = outcome.proof
            rough = outcome.info["eta"] > ROUGH * options.gap * search.threshold
            if rough and lower - doubt - constant < enough:
                again = repeated(problem, search, ROUGH * options.gap, outcome.nodes, clock)
                if again is not None and again.bound > lower:
                    lower, doubt, search = again.bound, SAFETY * doubt, again.search
            piece = Piece(anchor, self.stiffness, search, search.threshold, there.doubt, search.threshold - lower)
        elif problem.sparsity is not None and isinstance(outcome.proof, Boxes | Split):
            tree = outcome.proof
            if isinstance(tree, Split):
                tree = Boxes(np.array([[-1, 0]]), tree.below, tree.v[None, :])
            piece = Piece(anchor, self.stiffness, tree, lower, there.doubt)
        elif outcome.lower == 0.0 or (isinstance(outcome.proof, Split) and outcome.reason is Reason.FINISHED):
            # what needed no search is found by one at once; with a threshold next to nothing that is always so
            search = Enumeration(layer_plan(problem).for_proofs, max(outcome.lower, LITTLE))
            piece = Piece(anchor, self.stiffness, search, search.threshold, there.doubt)
        least = lower - doubt - constant - 4 * EPS * (constant + lower)
        return Found(least, outcome.x, outcome.nodes, piece)


@cache
def compile_search(pattern: bool) -> None:
    """Compile what `FreeRow.least` calls, before a clock starts."""
    grid = Grid(np.array([[-0.7, 0.0, 0.7]]), np.zeros(TINY, np.int64))
    sparsity = Sparsity.row(TINY, 2, True) if pattern else None
    tiny = Problem(np.arange(1.0, 1 + TINY), Gram.from_array(np.eye(TINY) + 0.5), grid, sparsity)
    (prepare_values if pattern else prepare_grid)(tiny)


def needed(error: float, slope: float, k: float, centre: float, half: float) -> float:
    """The least M from which on no scale of an interval has less than an error."""
    return max(
        error * (centre + delta) * (centre + delta) + k * delta * delta - slope * delta for delta in (-half, half)
    )


def interval_bound(least: float, slope: float, k: float, centre: float, half: float) -> float:
    """Lower bound of the error for u in centre +- half, from the sums of M, l and k over the rows."""
    ends = []
    for delta in (-half, half):
        value = least + slope * delta - k * delta * delta
        value -= 8 * EPS * (abs(least) + abs(slope * delta) + k * delta * delta)
        # a square of 1 / scale may be beyond float64, its root is not
        ends.append(value / (centre + delta) / (centre + delta) * (1 - 8 * EPS))
    return max(0.0, min(ends))


def best_scale(rows: list[FreeRow], cs: list[FloatArray], low: float, high: float) -> tuple[float, float]:
    """The scale in [low, high] with the least total error of s c, and that error."""
    lines = [row.line(c) for row, c in zip(rows, cs, strict=True)]
    along, square = sum(line[0] for line in lines), sum(line[1] for line in lines)
    scale = min(max(along / square, low), high) if square > 0 and math.isfinite(along / square) else low
    return scale, sum(row.error(scale, c) for row, c in zip(rows, cs, strict=True))
