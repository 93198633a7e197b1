"""What is known of one row's optimum as a function of the units it keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import FREE, KEPT, PRUNED, Split, Tree
from pvq.bounds.verify.remembered import leaf_terms, remembered
from pvq.bounds.verify.row import SAFETY, shift_to_psd
from pvq.bounds.verify.tree import leaves_of

from .base import Clock, Options, Solver
from .checked import checked
from .empirical.swaps import greedy_mask, polish_mask
from .result import Outcome, Reason, Result, joined

COARSE = 4
"""Every so many of these budgets are claimed by a split before any has a better proof."""

ROUNDING = 1e-9
"""Part of a row's reference error that its lower curve gives up; the verifier proves more at the solved k."""

CLAIMS, STEP = 60, 128
"""Budgets on either side of a row's share at which more is claimed: each one where a row has up to so many units,
else a 128th of them apart. Between two claims a row has the bound of the larger budget: the proven bound of
four rows of 112 inputs is .97 of the numerical one with all budgets, .91 with every second to fifth one."""


class Swaps(Solver):
    """From a point to one that no swap of one or two units makes better; proves nothing."""

    name = "swaps"
    summary = "swaps of one and two units"
    methods = frozenset({"prune"})
    no_update = False

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        mask = greedy_mask(problem) if start is None else start != 0
        return Outcome(optimal_on_support(problem, polish_mask(problem, mask)), 0.0)


class Curve:
    """What is known of one row's optimum as a function of the units it keeps.

    The optimum f(k) falls with k, so a lower bound at k holds for every smaller k and a feasible point for k for
    every larger one. f is not convex in k, so nothing is interpolated.
    """

    def __init__(self, problem: Problem, units: int) -> None:
        self.problem = problem
        self.units = units
        self.lower = np.zeros(units + 1)
        self.upper = np.full(units + 1, problem.reference)
        self.at = np.zeros(units + 1, np.int64)
        """Which budget the feasible point for k comes from."""
        self.points: dict[int, FloatArray] = {}
        self.solved: dict[int, Result] = {}
        self.again: set[int] = set()
        """Budgets that were solved a second time."""
        self.proofs: list[tuple[Split | Tree, FloatArray]] = []
        """Those that say something of every budget, and what: see `lower_curve`."""
        self.trees = False
        """Whether trees are among them: who wants to prove what they say of others needs time for `claims`."""
        self.lower[0] = problem.certified(np.zeros(problem.n)).lower

    def solve(self, k: int, solver: Solver, options: Options, again: bool = False) -> None:
        """Bound the row with k kept units and spread what that proves along the curve.

        Of a budget that was solved before the better of both ends is kept, with the better proof.

        Parameters
        ----------
        again : by the last of several solvers, from the best point that is known.
        """
        if k == 0:
            return
        problem, before, start = self.at_budget(k), self.solved.get(k), None
        denser = [s for s in self.solved if s > k]
        if again or before is not None:
            self.again.add(k)
            start = self.point(k)
        elif denser:
            start = pruned_further(problem, self.solved[min(denser)].x)
        with remembered():
            result = solver.solve(problem, options, start)
            for proof in (result.proof, result.elsewhere):
                if isinstance(proof, Tree) and not self.trees:
                    continue
                if isinstance(proof, Tree) or (isinstance(proof, Split) and not proof.below.blocks):
                    self.proofs.append((proof, lower_curve(problem, proof)))
                    rising = np.maximum.accumulate(self.proofs[-1][1][::-1])  # a tree says nothing of some budgets
                    self.lower = np.maximum(self.lower, rising[::-1])
        result = result if before is None else joined(before, result, options.gap)
        self.solved[k] = result
        self.lower[: k + 1] = np.maximum(self.lower[: k + 1], result.lower)
        self._offer(k, result.x, result.upper)

    def better_point(self, k: int, options: Options) -> None:
        """Swaps at a budget that has no point of its own, in a row whose weights are free."""
        problem, denser = self.at_budget(k), [s for s in self.points if s > k]
        start = pruned_further(problem, self.points[min(denser)]) if denser else self.point(k)
        result = Swaps().solve(problem, options, start)
        self._offer(k, result.x, result.upper)

    def _offer(self, k: int, x: FloatArray, upper: float) -> None:
        """A feasible point for k units, for every larger budget as well."""
        if k not in self.points or upper < self.upper[k]:
            self.points[k] = x
        better = self.upper[k:] > upper
        self.upper[k:][better] = upper
        self.at[k:][better] = k

    def at_budget(self, k: int) -> Problem:
        """The row that may keep k units."""
        return replace(self.problem, sparsity=replace(self.problem.pattern, keep=np.array([k])))

    def claims(self, share: int, name: str, options: Options, clock: Clock) -> dict[int, Result]:
        """What proofs of solved budgets prove of others around a row's share, each as any proof is checked.

        First splits here and there, which take no time, then the best proof of each, from the share outwards.
        """
        found: dict[int, Result] = {}
        apart = max(1, self.units // STEP)
        around = range(share - CLAIMS * apart, share + CLAIMS * apart + 1, apart)
        budgets = [k for k in sorted(around, key=lambda k: abs(k - share)) if 0 < k <= self.units]
        splits = [(proof, curve) for proof, curve in self.proofs if isinstance(proof, Split)]
        for some, proofs in ((budgets[::COARSE], splits), (budgets, self.proofs)):
            with remembered():
                for k in some if proofs else ():
                    if clock.ended() is not None:
                        break
                    proof, bound = max(((proof, curve[k]) for proof, curve in proofs), key=lambda pair: pair[1])
                    known = {**self.solved, **found}
                    if bound > max((result.proven for s, result in known.items() if s >= k), default=0.0):
                        row = presolve(self.at_budget(k))
                        outcome = Outcome(self.point(k)[row.live], float(bound), Reason.TIME, proof=proof)
                        claim = checked(name, row, options, outcome, 0.0, clock)
                        if k not in known or claim.proven > known[k].proven:
                            found[k] = claim
        return found

    def point(self, k: int) -> FloatArray:
        """(n,) best feasible point with at most k units."""
        best = int(self.at[k])
        return self.points[best] if best else np.zeros(self.problem.n)

    def reasons(self, lower: int, upper: int) -> list[Reason]:
        """Why no more is known of the lower and the upper end at these budgets.

        What the cheapest allocation asks for is solved, unless there is no time for it.
        """
        below, above = self.solved.get(lower), self.solved.get(int(self.at[upper]))
        unsolved = Reason.FINISHED if lower == 0 else Reason.TIME
        return [below.reason if below else unsolved, above.reason if above else Reason.FINISHED]

    def unknown_near(self, k: int) -> list[int]:
        """Budgets to solve so that the bound at k becomes its own: k, and the middle of its unsolved stretch."""
        if k in self.solved or k == 0:
            return []
        end = min((s for s in self.solved if s > k), default=self.units)
        return [k, (k + end) // 2]

    def open_at(self, k: int) -> list[int]:
        """The budget itself where it is not exact and has not been solved again, or by the last solver."""
        result = self.solved.get(k)
        return [] if k == 0 or k in self.again or (result is not None and result.solved) else [k]


def lower_curve(problem: Problem, proof: Split | Tree) -> FloatArray:
    """(units + 1,) lower bounds for every budget from a proof for one of them, that of `problem`.

    e >= constant + sum of pruned terms - (sum of the k largest savings), whatever k is (`verify.split`): the
    Lagrangian bound with the k-th saving as the price of a unit, convex in k and tight where it was made. A tree
    has the least of its leaves, as `verify.tree` sees them at every budget.
    """
    most, row = problem.pattern.units, presolve(problem).problem
    if row is None:
        return np.zeros(most + 1)
    if isinstance(proof, Tree):
        states, which = leaves_of(proof.code, row.pattern, maximal=False)
        leaves = [(proof.splits[i], state) for i, state in zip(which, states, strict=True)]
    else:
        leaves = [(proof, np.full(row.pattern.units, FREE, np.int8))]
    if any(len(split.below.d) != row.n for split, _ in leaves):
        return np.zeros(most + 1)
    curve = np.full(most + 1, np.inf)
    for split, state in leaves:
        curve = np.minimum(curve, _leaf_curve(row, split, state, most, isinstance(proof, Tree)))
    curve = np.minimum(curve - ROUNDING * problem.reference, problem.reference)
    return np.where(curve > 0.0, curve, 0.0)  # also for what is not a number


def _leaf_curve(row: Problem, split: Split, state: np.ndarray, most: int, in_tree: bool) -> FloatArray:
    """(most + 1,) the same of a leaf: infinite where it has no pattern, 0 where the verifier says nothing."""
    sparsity, of_input = row.pattern, state[row.pattern.unit]
    kept, free = int((state == KEPT).sum()), state == FREE
    with np.errstate(all="ignore"):
        eps = shift_to_psd(row.gram, split.below, of_input == PRUNED, SAFETY)
        found = leaf_terms(row, split, of_input == PRUNED, eps, SAFETY)
        base = found.constant + np.where(of_input == KEPT, found.kept, found.pruned).sum()
        saving = np.bincount(sparsity.unit, found.pruned - found.kept, sparsity.units)[free]
        saved = np.concatenate(([0.0], np.cumsum(np.sort(saving)[::-1])))
        curve = np.full(most + 1, np.inf)
        curve[kept:] = base - saved[np.minimum(np.arange(most + 1 - kept), len(saved) - 1)]
    if in_tree and len(saving):  # all that is free is pruned at that budget, where v is not made for it
        curve[kept] = 0.0
    if in_tree and len(split.below.pairs):  # pairs must be free, and from there on all is kept
        curve[kept + len(saving) :] = 0.0
    if in_tree and kept == sparsity.keep[0]:  # what was pruned for want of budget is free there, and D not below H
        curve[kept + 1 :] = 0.0
    return curve


def row_curves(problem: LayerProblem) -> list[Curve]:
    """Curves of which nothing is known but their ends."""
    return [Curve(problem.row(i), problem.pattern.units) for i in range(len(problem))]


def pruned_further(problem: Problem, x: FloatArray) -> FloatArray:
    """A feasible point from one with more non-zeros: the units whose removal costs least go.

    Re-optimised weights cost x_i^2 / (H_SS^-1)_ii (optimal brain surgeon, Hassibi and Stork 1993), others
    x_i^2 h_ii.
    """
    sparsity = problem.pattern
    cost = x**2 * np.diag(problem.hessian)
    kept = np.flatnonzero(x)
    free = problem.grid is None and sparsity.update
    if free and len(kept):
        inverse = np.linalg.pinv(problem.hessian[np.ix_(kept, kept)], hermitian=True)
        cost[kept] = x[kept] ** 2 / np.maximum(np.diag(inverse), 1e-300)
    mask = sparsity.best_mask(cost) & (x != 0)
    return optimal_on_support(problem, mask) if free else np.where(mask, x, 0.0)
