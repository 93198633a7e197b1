"""Best-first search over intervals of values: joint problems, and pruning with fixed weights."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Boxes, Split
from pvq.bounds.verify.row import NotProven, lower_bound

from ..base import Clock
from ..empirical.local_search import polish_grid, values_of
from ..kernels.digits import shortened
from ..result import Reason
from .intervals import IntervalRow, bound_node, settle

MEMORY = 1 << 30
"""Bytes of open nodes; beyond it the search ends with the bound it has."""

HEAD = 1000
"""Bytes of a node besides its arrays."""

LEAVES = 2**16
"""Leaves that a proof may have."""

NUMBERS, WANTED = 2**18, 2**22
"""Numbers of all their v: 2 MB, which all rows of a layer may keep; 32 MB where a proof is asked for."""

NEARLY = 1e-9
"""Part of a bound that v of few digits may cost."""


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
    """A row under search; `lower` and `x` hold whenever it stops.

    Parameters
    ----------
    proof : D and v of the first node.
    lower, x : a bound and a point that are known.
    shrink : the part of the upper end at which nothing better is looked for.
    numbers : of all v of its proof, at most.
    """

    def __init__(
        self, problem: Problem, proof: Split, lower: float, x: FloatArray, shrink: float, numbers: int = NUMBERS
    ) -> None:
        sparsity = problem.pattern
        self.problem, self.proof, self.lower, self.shrink = problem, proof, lower, shrink
        self.x, self.upper, self.nodes = x, problem.certified(x).upper, 0
        self.enough = math.inf
        """A bound that may be set: no more is needed."""
        lists, count, of = values_of(problem)
        self.values, self.last = np.ascontiguousarray(lists[of]), count[of] - 1
        each = zip(self.values, self.last, strict=True)
        zero = np.array([int(np.searchsorted(row[: last + 1], 0.0)) for row, last in each])
        h, d = np.ascontiguousarray(problem.hessian), np.ascontiguousarray(proof.below.d)
        m, pattern = np.ascontiguousarray(h - np.diag(d)), (sparsity.unit, sparsity.group, sparsity.keep)
        self.row = IntervalRow(h, m, d, problem.weight, self.values, zero, *pattern)
        self.heap: list[Node] = []
        self.branches: dict[int, tuple[int, int, int]] = {}
        """Of nodes that have been split the input, the last value of its lower part, and the number of that part,
        which is followed by the higher one."""
        self.closed: dict[int, FloatArray] = {}
        """v of the others that are not open."""
        self.most = max(1, min(LEAVES, numbers // problem.n))
        """Leaves beyond which no more are part of the proof."""
        self.first: Boxes | None = None
        """The proof of the first so many leaves, where there are more."""
        # of sums of n^2 terms, none above these; the rest of a node's arithmetic is smaller
        u = np.abs(self.values - problem.weight[:, None]).max(axis=1)
        size = float(u @ np.abs(h) @ u + np.abs(d) @ u**2)
        self.rounding = 2 * problem.n * float(np.finfo(np.float64).eps) * size
        n, groups = problem.n, len(sparsity.keep)
        self._add(Node(0.0, 0, np.zeros(n, np.int64), self.last.copy(), proof.v.copy(), np.zeros(groups)))

    @property
    def cutoff(self) -> float:
        """Nodes from here on hold nothing that is better by more than half the gap, or than is asked for."""
        return min(self.shrink * self.upper, self.enough)

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
            if self.first is None and self.nodes // 2 + 1 >= self.most:  # a branch makes a leaf more
                self.first = self.tree()
                self.branches, self.closed = {}, {}
            self._branch(heapq.heappop(self.heap))
        self.lower = max(self.lower, self.cutoff)
        return Reason.FINISHED

    def _branch(self, node: Node) -> None:
        if self.first is None:
            self.branches[node.number] = node.choice, node.split, self.nodes
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
            self._close(node)
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
        else:
            self._close(node)

    def _close(self, node: Node) -> None:
        if self.first is None:
            self.closed[node.number] = node.v

    def take(self, x: FloatArray, lower: float) -> None:
        """What another search has found."""
        self.lower = max(self.lower, lower)
        if (found := self.problem.certified(x).upper) < self.upper:
            self.x, self.upper = x, found

    def tree(self) -> Boxes:
        """The leaves as a proof, v with few digits if these are enough; of many leaves the first."""
        if self.first is not None:
            return self.first
        ends = self.closed | {node.number: node.v for node in self.heap}
        code, vectors, todo = [], list[FloatArray](), [0]
        while todo:
            number = todo.pop()
            if number in ends:
                code.append((-1, len(vectors)))
                vectors.append(ends[number])
                continue
            choice, split, lower = self.branches[number]
            code.append((choice, split))
            todo += [lower + 1, lower]
        short = Boxes(np.array(code), self.proof.below, shortened(np.array(vectors)))
        try:
            if lower_bound(self.problem, short) >= (1 - NEARLY) * self.lower:
                return short
        except NotProven:
            pass
        return Boxes(short.code, short.below, np.array(vectors))
