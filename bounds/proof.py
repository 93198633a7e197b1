"""Proofs of lower bounds: plain data that a solver hands over and `verify` checks without trusting it.

A proof is about one row **without its dead inputs** (`presolve(problem).problem`): every index and array below
counts the live inputs of that row. With u = x - w and H = M + D, M positive semidefinite, any v:

    e(x) = u'Mu + u'Du >= -v'Mv + 2 (Mv)'u + u'Du.                                                            (1)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from .gram import FloatArray, IntArray

FREE, KEPT, PRUNED = 0, 1, 2


def _fix(proof: object, **arrays: tuple[object, type]) -> None:
    """Store private read-only copies, so that what was checked cannot change afterwards."""
    for name, (value, kind) in arrays.items():
        array: np.ndarray = np.array(value, dtype=kind, order="C")
        array.setflags(write=False)
        object.__setattr__(proof, name, array)


@dataclass(frozen=True, eq=False)
class Block:
    """A symmetric matrix that is part of D, on some of the inputs."""

    inputs: IntArray
    """(m,) indices of the inputs."""
    matrix: FloatArray
    """(m, m), exactly symmetric."""

    def __post_init__(self) -> None:
        _fix(self, inputs=(self.inputs, np.int64), matrix=(self.matrix, np.float64))


@dataclass(frozen=True, eq=False)
class Below:
    """D = diag(d) + blocks + pairs, H - D positive semidefinite. Make **one object for all rows that share it**.

    The verifier proves H - D + diag(eps) positive semidefinite with an eps of rounding size, which it takes off d
    (for blocks: off the bound). eps is 0 where the least eigenvalue of H - D, scaled to unit diagonal, is above
    about 1e-12: shrink D by about that much. Where an input has d_i = 0 and eps_i > 0, d_i becomes negative, which
    free (re-optimised) weights do not allow.
    """

    d: FloatArray
    """(n,) diagonal of D; 0 at the inputs of blocks."""
    blocks: tuple[Block, ...] = ()
    """Disjoint. A sparsity pattern does not hold in them, only 0 is a value more; never in a tree."""
    pairs: IntArray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """(p, 2) disjoint inputs that D couples, for re-optimised weights whose units are single inputs: both of one
    group, and free in every leaf. Each pair of D, d included, is positive definite."""
    across: FloatArray = field(default_factory=lambda: np.zeros(0))
    """(p,) entry of D at each pair."""

    def __post_init__(self) -> None:
        _fix(self, d=(self.d, np.float64), pairs=(self.pairs, np.int64), across=(self.across, np.float64))


@dataclass(frozen=True, eq=False)
class Order:
    """How an enumeration decides m inputs, and what bounds the undecided ones. Share the object between rows."""

    order: IntArray
    """(m,) a permutation of 0 ... m - 1: order[m - 1] is decided first, order[0] last."""
    diagonal: FloatArray
    """(m + 1, m) row k: d >= 0 in its first k entries, with A_k - diag(d) positive semidefinite for the leading
    k x k block A_k of the permuted matrix. Zeros need no proof; a row that is not proven is not used."""

    def __post_init__(self) -> None:
        _fix(self, order=(self.order, np.int64), diagonal=(self.diagonal, np.float64))


@dataclass(frozen=True, eq=False, slots=True)  # a layer has a million of them
class Enumeration:
    """A depth-first search that the verifier runs again: no point has (x - c)' A (x - c) below the threshold.

    As the proof of a whole row A = H and c = w; within a `Split` A is the matrix D_b of a block and
    c = w_b - D_b^-1 (Mv)_b. A threshold that is too high costs time, not truth: the verifier lowers it to the best
    point it meets. It gives up beyond `verify.budget.NODES` nodes.
    """

    order: Order
    threshold: float


@dataclass(frozen=True, eq=False)
class Basis:
    """A basis of the whole numbers, in which grid points with equal steps are counted. Share it between rows.

    With k the numbers of the levels, x_i = first_i + step_i k_i, and k = T y, the error is a quadratic form of
    y - T^-1 (w - first) / step with the matrix T'AT, a_ij = h_ij step_i step_j / (largest step)^2.
    """

    matrix: IntArray
    """(n, n) T, whole numbers; y_{n-1} is decided first."""
    inverse: IntArray
    """(n, n) T^-1, whole numbers: the product of both is I."""
    diagonal: FloatArray
    """(n + 1, n) as in `Order`, below the leading blocks of T'AT."""

    def __post_init__(self) -> None:
        whole = np.int64
        _fix(
            self, matrix=(self.matrix, whole), inverse=(self.inverse, whole), diagonal=(self.diagonal, np.float64)
        )


@dataclass(frozen=True, eq=False)
class Reduced:
    """As `Enumeration` of a whole row, over the whole numbers y of a basis whose k = T y are numbers of levels.

    For ill-conditioned H on grids with equal steps: a search decides y one by one, and stays within
    0 <= T y <= levels - 1.
    """

    basis: Basis
    threshold: float


@dataclass(frozen=True, eq=False)
class Split:
    """Inequality (1), whose right side is minimised input by input, pair by pair, unit by unit, block by block.

    Single inputs have their exact minimum over the grid, or over kept and pruned under the budgets (see
    `separable`); a block contributes min over its grid of u'D_b u + 2 (Mv)_b'u by an enumeration of its own.
    """

    below: Below
    v: FloatArray
    """(n,)."""
    blocks: tuple[Enumeration, ...] = ()
    """One for each block of `below`, in its order."""

    def __post_init__(self) -> None:
        _fix(self, v=(self.v, np.float64))


@dataclass(frozen=True, eq=False)
class Tree:
    """A search over which units are kept, recorded in preorder, and a `Split` for each of its leaves.

    The record is one pass through the tree: a number u >= 0 branches on unit u, the subtree that keeps it comes
    first, then the one that prunes it; a number below 0 is a leaf with split number -1 - code. A leaf has decided
    what is on its path, and what follows from it: where a group's kept units use up its budget the rest is pruned;
    where all units that are kept or free fit the budget they are kept, unless weights are fixed and units are
    single inputs (`verify.split.keeps_weights`). A path that exceeds a budget is a leaf that needs no bound.

    A leaf fixes its pruned inputs to 0 and takes those of its kept units out of the budget. Its `Split` needs
    H - D positive semidefinite on the kept and free inputs only (d and v are not used at pruned ones). Kept
    re-optimised inputs need a tiny d_i > 0 (1e-13 h_ii, say), with (Mv + ...)_i = 0 up to rounding: x = w + v is
    the stationary point in those inputs. A leaf without free units is one pattern, solved.

    Where weights are fixed and units are single inputs, a kept input has its own weight, and nothing else.
    """

    code: IntArray
    """(nodes,) units and leaves in preorder."""
    splits: tuple[Split, ...]

    def __post_init__(self) -> None:
        _fix(self, code=(self.code, np.int64))

    @property
    def leaves(self) -> int:
        """How many leaves the record has."""
        return int((self.code < 0).sum())


@dataclass(frozen=True, eq=False)
class Boxes:
    """A search over intervals of values, recorded in preorder: all leaves have one D, and each a v of its own.

    For grids under a pattern, and for fixed weights. The values of an input are 0 and its levels, or 0 and its
    weight, in ascending order, each once, with numbers from 0. A pair (i, k) of the record with i >= 0 branches:
    the subtree where input i has value number k or a lower one comes first, then that of the higher ones. A pair
    (-1, k) is a leaf with v number k. It has inequality (1), minimised over the values that its path has left to
    every input: units of which an input has lost 0 are kept, and the others of their group share what these leave
    of the budget. Where more are kept than the budget allows, the leaf has no point and needs no bound.
    """

    code: IntArray
    """(nodes, 2)."""
    below: Below
    """Its d alone: H - D positive semidefinite."""
    v: FloatArray
    """(vectors, n)."""

    def __post_init__(self) -> None:
        _fix(self, code=(self.code, np.int64), v=(self.v, np.float64))

    @property
    def leaves(self) -> int:
        """How many leaves the record has."""
        return int((self.code[:, :1] < 0).sum())


@dataclass(frozen=True, eq=False)
class Cover:
    """Intervals of t = p'(w - x), each with a `Split` of its own: for a direction in which H is next to nothing.

    Where t is in [a, b], (t - a)(t - b) <= 0 may be added to e: the `Split` of an interval is inequality (1) for

        u'(H + pp')u + (a + b) p'u + ab,      H + pp' = M + D.

    Outside of all intervals e >= floor t^2, which needs H - floor pp' positive semidefinite.
    """

    p: FloatArray
    """(n,)."""
    floor: float
    edges: FloatArray
    """(intervals + 1,) ascending, the first below 0 and the last above."""
    splits: tuple[Split, ...]
    """One for each interval, without blocks; make their `below` one object."""

    def __post_init__(self) -> None:
        _fix(self, p=(self.p, np.float64), edges=(self.edges, np.float64))


@dataclass(frozen=True, eq=False)
class Scales:
    """Intervals of u = 1 / scale, each with a search of a grid problem: the scale is chosen with the weights.

    With codes c, r = w'Hw, any R >= r and any u_1: G = H - Hww'H / R and the least m of (u_1 w - c)'G(u_1 w - c)
    over all codes, which is what a search proves,

        e(c / u) u^2 = (u w - c)'H(u w - c) >= m - (R - r) (u - u_1)^2

    for every u: the left side plus (R - r)(u - u_1)^2 is a quadratic in u - u_1, and m its least value. Where the
    right side reaches T u^2 at both ends of an interval it does so in between.
    """

    edges: FloatArray
    """(intervals + 1,) ascending and positive."""
    anchors: FloatArray
    """(intervals,) u_1."""
    stiffness: FloatArray
    """(intervals,) R."""
    searches: tuple[Enumeration | Reduced | Boxes, ...]
    """Of the matrix G, rounded to float64 entry by entry, and the weights u_1 w on the grid of the codes."""

    def __post_init__(self) -> None:
        real = np.float64
        _fix(self, edges=(self.edges, real), anchors=(self.anchors, real), stiffness=(self.stiffness, real))


Proof: TypeAlias = Split | Enumeration | Reduced | Tree | Boxes | Cover | Scales
