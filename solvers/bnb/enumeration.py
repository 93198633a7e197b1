"""Exact search over grid points: a quick depth-first search, then the whole tree at rising thresholds."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Enumeration, Proof, Reduced, Split
from pvq.bounds.verify.budget import PATTERN
from pvq.bounds.verify.sharp import LONGEST

from ..base import Clock, Options, fallback_point
from ..compile_time import working_seconds
from ..empirical.local_search import polish_grid
from ..limits import layer_clock
from ..result import Outcome, Reason
from .beam import WIDE, WIDTH, upper_point, wider
from .frontier import Frontier, grow
from .growth import SURE, Pace
from .lattice import UNEVEN, Lattice, LatticeWalk, row_lattice
from .order_search import better_order
from .plan import Plan, layer_plan, row_plan
from .restated import Restated, restate
from .single_walk import walk_for
from .walk import Walk, apart_bound, root_bound

if TYPE_CHECKING:
    from .gpu.engine import Engine
    from .gpu.rows import RowOnGpu

CHUNK = 200_000  # nodes between two looks at the clock: a few milliseconds
FIRST, LAST = 10_000, 100_000_000  # nodes of the first and last turn of a race with the search in a reduced basis
SLOWER = 20  # a node in a reduced basis takes as long as so many others, so that it gets fewer in the same time
QUICK = 2_000_000  # nodes of the plain search before the tree is split: rows that need fewer never pay for it
FINE = 40.0  # times as long as the quick plan of a row: what its fine plan, and a search worth it, take
FINE_ON_GPU = 120  # inputs from which a search takes a GPU so long that 50 ms for 15 % fewer nodes pay
BEAM = range(65, 193)
"""Inputs of rows whose long search starts from a beam's point: it takes 25 ms at 112 inputs, and was 0 to 4 %
above the optimum in 6 rows where local search was 5 to 27 % above it. Longer rows would wait for it."""
BRIEF = 50_000  # the same where a GPU takes over: a launch costs a millisecond
REPEATED, REPEATED_STEPS, BRIEFLY = 1e7, 1.7e7, 0.4
"""Nodes a second that a verifier repeats, of any values and of equal steps, half of what it does where nothing
else runs, and seconds that a proof may take in any case; longer ones have what the limit leaves, on a GPU only
where a certificate is asked for."""
PLENTY = 5e10  # nodes that a GPU visits in about seven seconds: the aim of a pass without a limit
SURE_ON_GPU = 1 / 2  # see `SURE`
FEW_OPEN = 512  # subtrees for a GPU, which splits them itself, and 4,000 take 20 ms to hand over
OPEN = 4_000  # subtrees: enough to share among threads, the most promising first
SHARES = 32  # parts of the list for each thread: the first parts hold the largest trees


def prepare_grid(problem: Problem) -> None:
    """Do the work that all rows of the Gram matrix share, and compile what rows take that need few nodes.

    What longer ones take is compiled when the first of them gets there: clocks stand still meanwhile.
    """
    layer_plan(problem)
    problem.gram.memo(prepare_grid, lambda: _compile(problem), problem.sparsity is None)


def _compile(problem: Problem) -> bool:
    # the plan of this row is as long as the layer's, and only its code is wanted: it hears who asks
    options = Options(time_limit=layer_clock().limit(0.0))
    clock, x = Clock(options), polish_grid(problem, fallback_point(problem))
    GridSearch(problem, row_plan(problem, clock), x, options, clock).quick(1)
    return True


def solve_grid(problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
    """Minimise e over a grid, a grid with a budget of non-zeros, or fixed weights with such a budget.

    Depth-first Schnorr-Euchner enumeration (Schnorr and Euchner 1994) on the Cholesky factor, pruned with
    error so far + sum_i d_i dist(s_i, grid_i)^2, where s are the conditional centres of the undecided inputs and
    H_m - diag(d) is positive semidefinite. If that is not done quickly, the tree is split and searched
    at rising thresholds, see `GridSearch.passes`.

    Nodes are cut at (1 - gap / 2) upper, and the result is lowered by `eta`, the rounding slack; see
    `Restated.slack`. So no grid point of the stored H is better than x by more than gap / 2 of its error plus eta.
    """
    gpu = _gpu(problem, options)  # compiles, before the clock starts
    clock = Clock(options)
    points = [fallback_point(problem)] + ([start] if start is not None and problem.is_feasible(start) else [])
    x = min((polish_grid(problem, point) for point in points), key=problem.error)
    limit = math.inf if options.node_limit is None else options.node_limit
    begin = working_seconds()
    search = GridSearch(problem, row_plan(problem, clock), x, options, clock)
    planned = working_seconds() - begin
    quick = QUICK if gpu is None else BRIEF
    reason, lattice = search.quick(min(FIRST, quick, limit / 2)), None
    if reason is Reason.NODES and search.nodes < limit:
        lattice = row_lattice(search.row)
        if lattice is not None:
            reason = search.race(lattice, limit)
        if reason is Reason.NODES and search.nodes < min(quick, limit / 2):
            reason = search.quick(min(quick, limit / 2) - search.nodes)
    if reason is Reason.NODES and search.nodes < limit:
        fine = search.nodes >= quick and clock.left > FINE * planned
        fine = fine and (gpu is None or problem.n >= FINE_ON_GPU)
        beam = _beam_width(problem, search.row.plan)
        if fine or beam or gpu is not None:
            plan = row_plan(problem, clock, fine=True) if fine else search.row.plan
            x = upper_point(problem, search.x, beam) if beam else search.x
            if fine and beam == WIDE:
                plan = better_order(problem, plan, x, clock)
            search = GridSearch(problem, plan, x, options, clock, search.nodes, gpu)
        reason = search.passes(limit, beam)
    eta = max(search.eta, search.row.slack(search.upper))
    proof: Proof | None = None
    info: dict[str, Any] = {"eta": eta}
    if options.device != "cpu":
        info["device"] = search.place
    ahead = None if reason is Reason.FINISHED else search.pace.ahead(search.threshold)
    if ahead is not None:
        info["nodes_ahead"] = ahead
    if search.lower > 0:
        repeated = REPEATED_STEPS if search.row.top > 0 else REPEATED
        seconds = search.nodes * (1 if problem.sparsity is None else PATTERN) / repeated
        wanted = options.prove or search.is_on_cpu
        if seconds > BRIEFLY and (seconds > clock.left or not wanted):
            info["unproven"] = f"a verifier would repeat {search.nodes:,} nodes, in about {seconds:.2g} s"
        elif search.eta == 0:
            proof = Enumeration(search.row.plan.for_proofs, search.lower)
        elif lattice is not None:
            proof = Reduced(lattice.for_proofs, search.lower)
    lower = search.lower - eta
    if lower < search.root:  # of long rows rounding leaves nothing: what is proven ahead needs no centres
        diagonal = np.empty(problem.n)
        diagonal[search.row.plan.order] = search.row.plan.diagonal[-1]
        apart = apart_bound(problem, diagonal)
        if lower < apart:
            lower = apart
            # a verifier repeats the search of a short row, however singular, in a better arithmetic than this one
            if not isinstance(proof, Enumeration) or problem.n > LONGEST or proof.threshold <= apart:
                proof = Split(Below(diagonal), np.zeros(problem.n))
    return Outcome(search.x, max(0.0, lower), reason, search.nodes, info, proof)


def _beam_width(problem: Problem, plan: Plan) -> int:
    """Points of the beam that a long search starts from, 0 for none: a beam knows no pattern of zeros."""
    if problem.sparsity is not None or problem.n >= BEAM.stop:
        return 0
    uneven = plan.pivot.max() > UNEVEN * plan.pivot.min()
    return WIDE if uneven else WIDTH if problem.n in BEAM else 0


def _gpu(problem: Problem, options: Options) -> Engine | None:
    """The GPU for a row, ready for its length; None where the options or the row leave it to the CPU."""
    if options.device == "cpu":
        return None
    from .gpu.engine import wanted

    return wanted(problem, options)


def _restated(problem: Problem, plan: Plan, upper: float, gap: float) -> Restated:
    """The row, in steps unless it is the rounding of that which spoils the claim (little weight)."""
    row = restate(problem, plan)
    if row.top == 0 or row.slack(upper) <= gap / 4 * upper:
        return row
    plain = restate(problem, plan, even=False)  # a node there takes twenty times as long
    return plain if plain.slack(upper) < row.slack(upper) / 2 else row


class GridSearch:
    """The search of one row in the order of one plan; `lower` holds whenever it stops."""

    def __init__(
        self,
        problem: Problem,
        plan: Plan,
        x: FloatArray,
        options: Options,
        clock: Clock,
        nodes: int = 0,
        gpu: Engine | None = None,
    ) -> None:
        self.problem, self.clock, self.shrink = problem, clock, 1 - options.gap / 2
        self.threads = max(1, options.threads)
        self.x = x
        self.upper = problem.certified(x).upper
        """Error of x, or of the best leaf as the search adds it up."""
        self.row = _restated(problem, plan, self.upper, options.gap)
        self.root = root_bound(self.row)
        """The bound ahead of the search, with the rounding of its centres."""
        self.lower = min(self.root, self.shrink * self.upper)
        self.nodes = nodes
        self.eta = 0.0
        """Rounding slack of a search in a reduced basis."""
        self.pace = Pace(0.0, nodes)
        self._whole: Walk | None = None
        self._lock = threading.Lock()
        self.place = "cpu"
        """Where long searches run, and why not on a GPU that was asked for."""
        self._gpu: RowOnGpu | None = None
        if gpu is not None:
            from .gpu.rows import on_gpu

            self._gpu, self.place = on_gpu(gpu, self.row)

    @property
    def is_on_cpu(self) -> bool:
        """Whether long searches run there."""
        return self._gpu is None

    @property
    def threshold(self) -> float:
        """Bound at which a node cannot hold anything better than x by more than half the gap."""
        return self.shrink * self.upper

    def _better(self, walk: Walk | LatticeWalk) -> None:
        """Take over the leaf a walk has found; the caller holds the lock."""
        if walk.bounds[0] < self.upper:
            self.upper = float(walk.bounds[0])
            x = self.row.point(walk.picks)
            # both sums round: the point that is better by the definition of e stays
            if self.problem.error(x) < self.problem.error(self.x):
                self.x = x

    def _take(self, x: FloatArray) -> None:
        """Take over a point that another search has found."""
        if self.problem.error(x) < self.problem.error(self.x):
            self.x, self.upper = x, min(self.upper, self.problem.certified(x).upper)

    def _below(self, walk: Walk | LatticeWalk, threshold: float, limit: float) -> Reason:
        """Search the subtree a walk stands at: OPTIMAL when done, else why not."""
        while True:
            chunk = int(min(CHUNK, limit - self.nodes))
            if chunk <= 0:
                return Reason.NODES
            before = walk.nodes
            done = walk.run(chunk, self.upper, min(threshold, self.threshold))
            with self._lock:
                self.nodes += walk.nodes - before
                self._better(walk)
            if done:
                return Reason.FINISHED
            self.clock.tell(self.lower, self.upper)
            ended = self.clock.ended()
            if ended is not None:
                return ended

    def quick(self, budget: float) -> Reason:
        """Search everything, for a number of nodes; again to go on."""
        if self._whole is None:
            self._whole = Walk(self.row, self.shrink)
            self._whole.take_root()
        reason = self._below(self._whole, math.inf, self.nodes + budget)
        if reason is Reason.FINISHED:
            self.lower = self.threshold
        return reason

    def race(self, lattice: Lattice, limit: float) -> Reason:
        """Search in the reduced basis and as before in turns, each twice as long as the one before."""
        walk = LatticeWalk(self.row, lattice, self.shrink)
        eta = walk.slack(self.upper)
        if not eta <= (1 - self.shrink) / 2 * self.upper:
            return Reason.NODES
        budget = float(FIRST)
        while budget <= LAST and self.nodes < limit:
            reason = self._below(walk, math.inf, min(self.nodes + budget / SLOWER, limit))
            if reason is Reason.FINISHED:
                self.eta, self.lower = eta, self.threshold
            if reason is not Reason.NODES:
                return reason
            budget *= 2
            reason = self.quick(min(budget, limit - self.nodes))
            if reason is not Reason.NODES:
                return reason
        return Reason.NODES

    def passes(self, limit: float, beam: int = 0) -> Reason:
        """Search the tree at rising thresholds; each pass that ends proves its threshold.

        What a limit leaves proven is the threshold of the last pass that ended: 0.9 of the optimum takes a tenth
        of the nodes. `Pace` says where the next one ends.

        beam : points of the beam that has found x, 0 where wider ones have no place.
        """
        before = self.nodes
        frontier = self._split(limit)
        if len(frontier) == 0:
            self.lower = self.threshold
            return Reason.FINISHED
        self.pace = pace = Pace(self.lower, max(self.nodes - before, 1))
        begin, nodes_before = working_seconds(), self.nodes
        while True:
            left = max(limit - self.nodes, 0.0)
            if math.isfinite(self.clock.left):
                spent = working_seconds() - begin
                speed = max(self.nodes - nodes_before, pace.nodes) / max(spent, 1e-3)
                left = min(left, speed * max(self.clock.left, 0.0))
            if self._gpu is not None:
                left = min(left, PLENTY)
            elif pace.passes and beam:
                now = working_seconds()
                x, beam = wider(self.problem, self.x, beam, min(left, pace.to(self.threshold)))
                self._take(x)
                begin += working_seconds() - now  # no time of nodes
            threshold = pace.next(self.threshold, left, SURE if self._gpu is None else SURE_ON_GPU)
            before = self.nodes
            # asked here as well: passes may each end before they ask, hundreds of them where H is singular
            reason = self.clock.ended() or self._pass(frontier, threshold, limit)
            if reason is not Reason.FINISHED:
                return reason
            if threshold >= self.threshold:  # also by a leaf below it
                self.lower = self.threshold
                return Reason.FINISHED
            self.lower = max(self.lower, threshold)
            pace.ended(self.lower, max(self.nodes - before, 1))

    def _split(self, limit: float) -> Frontier:
        """Open nodes of least bound first, none if that already searches everything."""
        row = self.row
        room = int(
            min(OPEN if self._gpu is None else FEW_OPEN, max(16, (limit - self.nodes) / 50))
        )  # a small part of the nodes that are left
        frontier = Frontier(len(row.weight), room + 2 * int(row.grid[1].max()))
        frontier.put_root(self.lower)
        bounds, picks = np.array([self.upper, self.threshold]), np.full(len(row.weight), -1, np.int64)
        pattern, spare = row.own_pattern(), row.spare()
        where: tuple[Any, ...] = row.weight, row.factors, row.grid, pattern, spare, self.shrink
        while len(frontier) and self.nodes < limit and self.clock.ended() is None:
            visited = grow(int(min(CHUNK // 10, limit - self.nodes)), bounds, frontier.arrays, picks, *where)
            self.nodes += visited
            if visited == 0:
                break
        if bounds[0] < self.upper:
            found = Walk(row, self.shrink)
            found.bounds[0], found.picks = bounds[0], picks
            self._better(found)
        if len(frontier):
            self.lower = max(self.lower, min(float(frontier.bound[frontier.heap[0]]), self.threshold))
        return frontier

    def _pass(self, frontier: Frontier, threshold: float, limit: float) -> Reason:
        """Search every open node up to the threshold, the least bound first."""
        nodes = frontier.nodes
        if self._gpu is not None:
            reason = self._sweep(self._gpu, frontier, nodes, min(threshold, self.threshold))
            if reason is not None:
                return reason
        open_ = np.ones(len(nodes), dtype=bool)
        share = len(nodes) if self.threads == 1 else max(1, len(nodes) // (SHARES * self.threads))
        starts = iter(range(0, len(nodes), share))
        ended: list[Reason] = []
        least = min(threshold, self.threshold)
        expected = self.pace.to(least)

        def work() -> None:
            walk = walk_for(self.row, self.shrink, least, expected)
            while not ended:
                with self._lock:
                    start = next(starts, len(nodes))
                if start >= len(nodes) or frontier.bound[nodes[start]] >= min(threshold, self.threshold):
                    return
                walk.take(frontier, nodes[start : start + share])
                reason = self._below(walk, threshold, limit)
                open_[start : start + (share if reason is Reason.FINISHED else walk.done)] = False
                if reason is not Reason.FINISHED:
                    ended.append(reason)

        if self.threads == 1:
            work()
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                for future in [pool.submit(work) for _ in range(self.threads)]:
                    future.result()
        if not ended:
            return Reason.FINISHED
        self._stopped(frontier, nodes[open_], threshold)
        return ended[0]

    def _stopped(self, frontier: Frontier, left: IntArray, threshold: float) -> None:
        """What a pass that did not end has proven: the least bound of the nodes that are left."""
        least = float(frontier.bound[left].min()) if len(left) else math.inf
        self.lower = max(self.lower, min(least, threshold, self.threshold))

    def _sweep(self, gpu: RowOnGpu, frontier: Frontier, nodes: IntArray, threshold: float) -> Reason | None:
        """A pass on the GPU; None where it has to be done on the CPU."""
        below = nodes[frontier.bound[nodes] < threshold]
        swept = gpu.sweep(frontier, below, threshold, self.clock) if len(below) else None
        if gpu.failed:
            self._gpu, self.place = None, f"cpu: {gpu.failed}"
        if swept is None:
            return None
        self.nodes += swept.nodes
        for x in swept.points:
            self._take(x)
        self.clock.tell(self.lower, self.upper)
        ended = self.clock.ended()
        if ended is not None and not swept.complete:
            self._stopped(frontier, below[~swept.finished], threshold)
        return Reason.FINISHED if swept.complete else ended
