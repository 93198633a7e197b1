"""Best-first search over intervals of values: joint problems, and pruning with fixed weights."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import FREE, KEPT, PRUNED, Split, Tree

from ..base import Clock
from ..empirical.local_search import polish_grid, values_of
from ..result import Reason
from .intervals import IntervalRow, bound_node, settle
from .proof_tree import MAX_LEAVES
from .recorded import recorded

MEMORY = 1 << 30
"""Bytes of open nodes; beyond it the search ends with the bound it has."""

HEAD = 1000
"""Bytes of a node besides its arrays."""

SINGULAR = 1e-13
"""Least eigenvalue that M is taken to have, as a part of its largest."""


@dataclass(order=True)
class Node:
    """Some values of every input, and what is known of the best point among them."""

    bound: float
    number: int
    lo: IntArray = field(compare=False)
    hi: IntArray = field(compare=False)
    v: FloatArray = field(compare=False)
    price: FloatArray = field(compare=False)
    choice: int = field(compare=False, default=0)
    split: int = field(compare=False, default=-1)


class IntervalSearch:
    """A row under search; `lower` and `x` hold whenever it stops."""

    def __init__(self, problem: Problem, proof: Split, lower: float, x: FloatArray, shrink: float) -> None:
        sparsity = problem.pattern
        self.problem, self.proof, self.lower, self.shrink = problem, proof, lower, shrink
        self.x, self.upper, self.nodes = x, problem.certified(x).upper, 0
        lists, count, of = values_of(problem)
        self.values, self.last = np.ascontiguousarray(lists[of]), count[of] - 1
        each = zip(self.values, self.last, strict=True)
        zero = np.array([int(np.searchsorted(row[: last + 1], 0.0)) for row, last in each])
        h, d = np.ascontiguousarray(problem.hessian), np.ascontiguousarray(proof.below.d)
        m, pattern = np.ascontiguousarray(h - np.diag(d)), (sparsity.unit, sparsity.group, sparsity.keep)
        self.row = IntervalRow(h, m, d, problem.weight, self.values, zero, *pattern)
        self.heap: list[Node] = []
        self.closed: list[tuple[IntArray, IntArray, FloatArray]] = []
        """lo, hi and v of what has been discarded, as far as it may be part of a proof."""
        # of sums of n^2 terms, none above these; the rest of a node's arithmetic is smaller
        u = np.abs(self.values - problem.weight[:, None]).max(axis=1)
        size = float(u @ np.abs(h) @ u + np.abs(d) @ u**2)
        self.rounding = 2 * problem.n * float(np.finfo(np.float64).eps) * size
        n, groups = problem.n, len(sparsity.keep)
        self._add(Node(0.0, 0, np.zeros(n, np.int64), self.last.copy(), proof.v.copy(), np.zeros(groups)))

    @property
    def cutoff(self) -> float:
        """Nodes from here on hold nothing that is better by more than half the gap."""
        return self.shrink * self.upper

    def run(self, clock: Clock, most: float = math.inf) -> Reason:
        """Search until nothing is open, or a limit, `most` nodes among them; again to go on."""
        limit = MEMORY // (24 * self.problem.n + HEAD)
        while self.heap and self.heap[0].bound < self.cutoff:
            self.lower = max(self.lower, self.heap[0].bound)
            clock.tell(self.lower, self.upper)
            ended = clock.ended()
            if ended is not None:
                return ended
            if self.nodes >= most:
                return Reason.NODES
            if len(self.heap) > limit:
                return Reason.MEMORY
            self._branch(heapq.heappop(self.heap))
        self.lower = max(self.lower, self.cutoff)
        return Reason.FINISHED

    def _branch(self, node: Node) -> None:
        for above in (False, True):
            lo, hi = node.lo.copy(), node.hi.copy()
            if above:
                lo[node.choice] = node.split + 1
            else:
                hi[node.choice] = node.split
            self._add(Node(node.bound, self.nodes, lo, hi, node.v.copy(), node.price.copy()))

    def _add(self, node: Node) -> None:
        """Bound a node, take its point if it is the best, and keep it if something better may be in it."""
        self.nodes += 1
        if not settle(self.row, node.lo, node.hi):
            return
        picks = np.empty(self.problem.n, np.int64)
        bound, error, node.choice, node.split = bound_node(
            self.row, node.lo, node.hi, node.price, node.v, self.cutoff + self.rounding, picks
        )
        node.bound = max(node.bound, bound - self.rounding)
        if error < self.upper:
            x = polish_grid(self.problem, self.values[np.arange(len(picks)), picks])
            if (found := self.problem.certified(x).upper) < self.upper:
                self.x, self.upper = x, found
        if node.bound < self.cutoff and node.split >= 0:
            heapq.heappush(self.heap, node)
        elif len(self.closed) <= MAX_LEAVES:
            self.closed.append((node.lo, node.hi, node.v))

    def take(self, x: FloatArray, lower: float) -> None:
        """What another search has found."""
        self.lower = max(self.lower, lower)
        if (found := self.problem.certified(x).upper) < self.upper:
            self.x, self.upper = x, found

    def tree(self) -> Tree | None:
        """The leaves as a proof, all with the same D; None if they are many, or no tree over units."""
        leaves = self.closed + [(node.lo, node.hi, node.v) for node in self.heap]
        sparsity = self.problem.pattern
        if self.problem.grid is not None or sparsity.units < self.problem.n or not 0 < len(leaves) <= MAX_LEAVES:
            return None
        states, zero = np.full((len(leaves), self.problem.n), FREE, np.int8), self.row.zero
        for state, (lo, hi, _) in zip(states, leaves, strict=True):
            state[sparsity.unit[(lo == zero) & (hi == zero) & (self.last > 0)]] = PRUNED
            state[sparsity.unit[(lo > zero) | (hi < zero)]] = KEPT
        code = recorded(states)
        if code is None:
            return None
        inverse = _inverse(self.row.m)
        splits = []
        for state, (_, _, v) in zip(states, leaves, strict=True):
            kept = np.bincount(sparsity.group[state == KEPT], minlength=len(sparsity.keep))
            full = (kept == sparsity.keep)[sparsity.group]  # a verifier prunes what is left of such a group
            pruned = ((state == PRUNED) | ((state == FREE) & full))[sparsity.unit]
            splits.append(Split(self.proof.below, at_pruned(inverse, v, -self.problem.weight, pruned)))
        return Tree(code, tuple(splits))


def at_pruned(inverse: FloatArray, v: FloatArray, u: FloatArray, pruned: BoolArray) -> FloatArray:
    """(n,) a v whose proof, with u at pruned inputs in its place, gives no less than f(v) of the search.

    Inequality (1) of `proof` falls short of e by (v - u)'M(v - u). A leaf of a tree knows u_P, and has v_P = u_P.
    With v_N as it is the other inputs would see another linear term, 2 M_NP (v_P - u_P)'u_N less. With
    v_N + M_NN^-1 M_NP (v_P - u_P) they see the same one, and whatever u_N is, the shortfall becomes what is least
    over all differences at P. M_NN^-1 M_NP = -Q_NP Q_PP^-1, Q = M^-1.

    Parameters
    ----------
    inverse : (n, n) Q; its rounding makes the proof weaker, not wrong.
    """
    at = v.copy()
    if pruned.any() and not pruned.all():
        p, n = np.flatnonzero(pruned), np.flatnonzero(~pruned)
        at[n] -= inverse[np.ix_(n, p)] @ np.linalg.lstsq(inverse[np.ix_(p, p)], v[p] - u[p], rcond=None)[0]
    at[pruned] = 0.0
    return at


def _inverse(m: FloatArray) -> FloatArray:
    """(n, n) M^-1, M lifted where it is singular to working precision: D is nearly as large as can be."""
    values, vectors = np.linalg.eigh(m)
    values = np.maximum(values, SINGULAR * max(float(values[-1]), 1e-300))
    return np.asarray((vectors / values) @ vectors.T, dtype=np.float64)
