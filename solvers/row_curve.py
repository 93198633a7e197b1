"""What is known of one row's optimum as a function of the units it keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Split
from pvq.bounds.verify.row import SAFETY, shift_to_psd
from pvq.bounds.verify.split import terms

from .base import Clock, Options, Solver
from .checked import checked
from .result import Outcome, Reason, Result

ROUNDING = 1e-9
"""Part of a row's reference error that its lower curve gives up; the verifier proves more at the solved k."""

CLAIMS, STEP = 60, 128
"""Budgets on either side of a row's share at which more is claimed: each one where a row has up to so many units,
else a 128th of them apart. Between two claims a row has the bound of the larger budget: the proven bound of
four rows of 112 inputs is .97 of the numerical one with all budgets, .91 with every second to fifth one."""


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
        """Which solved budget the feasible point for k comes from."""
        self.solved: dict[int, Result] = {}
        self.again: set[int] = set()
        """Budgets that were solved a second time."""
        self.splits: list[tuple[Split, FloatArray]] = []
        """Proofs that say something of every budget, and what: see `lower_curve`."""
        self.lower[0] = problem.certified(np.zeros(problem.n)).lower

    def solve(self, k: int, solver: Solver, options: Options) -> None:
        """Bound the row with k kept units and spread what that proves along the curve.

        A budget that was solved before is solved anew, and what is found is kept where neither end is worse.
        """
        if k == 0:
            return
        problem, before, start = self.at_budget(k), self.solved.get(k), None
        denser = [s for s in self.solved if s > k]
        if before is not None:
            self.again.add(k)
            start = self.point(k)
        elif denser:
            start = pruned_further(problem, self.solved[min(denser)].x)
        result = solver.solve(problem, options, start)
        if before is not None and (result.lower <= before.lower or result.upper > before.upper):
            return
        self.solved[k] = result
        self.lower[: k + 1] = np.maximum(self.lower[: k + 1], result.lower)
        for proof in (result.proof, result.elsewhere):
            if isinstance(proof, Split) and not proof.below.blocks and not proof.blocks:
                self.splits.append((proof, lower_curve(self.problem, proof)))
                self.lower = np.maximum(self.lower, self.splits[-1][1])
        better = self.upper[k:] > result.upper
        self.upper[k:][better] = result.upper
        self.at[k:][better] = k

    def at_budget(self, k: int) -> Problem:
        """The row that may keep k units."""
        return replace(self.problem, sparsity=replace(self.problem.pattern, keep=np.array([k])))

    def claims(self, share: int, name: str, options: Options, clock: Clock) -> dict[int, Result]:
        """What the splits of solved budgets prove of others around a row's share, each as any proof is checked."""
        found: dict[int, Result] = {}
        apart = max(1, self.units // STEP)
        around = range(share - CLAIMS * apart, share + CLAIMS * apart + 1, apart) if self.splits else ()
        for k in around:
            if clock.ended() is not None:
                break
            if not 0 < k <= self.units or k in self.solved:
                continue
            split, bound = max(((split, curve[k]) for split, curve in self.splits), key=lambda pair: pair[1])
            if bound > max((result.proven for s, result in self.solved.items() if s > k), default=0.0):
                row = presolve(self.at_budget(k))
                outcome = Outcome(self.point(k)[row.live], float(bound), Reason.TIME, proof=split)
                found[k] = checked(name, row, options, outcome, 0.0, clock)
        return found

    def point(self, k: int) -> FloatArray:
        """(n,) best feasible point with at most k units."""
        best = int(self.at[k])
        return self.solved[best].x if best else np.zeros(self.problem.n)

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
        """The budget itself where it is not exact and has not been solved again."""
        result = self.solved.get(k)
        return [] if result is None or result.solved or k in self.again else [k]


def lower_curve(problem: Problem, split: Split) -> FloatArray:
    """(units + 1,) lower bounds for every budget k from the D and x of one of them.

    e >= constant + sum of pruned terms - (sum of the k largest savings), whatever k is (`verify.split`): the
    Lagrangian bound with the k-th saving as the price of a unit, convex in k and tight where it was made.
    """
    sparsity, row = problem.pattern, presolve(problem).problem
    units, live = sparsity.units, problem.gram.live
    if row is None or len(split.below.d) != row.n:
        return np.zeros(units + 1)
    nothing = np.zeros(row.n, dtype=bool)
    with np.errstate(all="ignore"):
        eps = shift_to_psd(row.gram, split.below, nothing, SAFETY)
        found = terms(row, split, nothing, eps, SAFETY)
        saving = np.bincount(sparsity.unit[live], found.pruned - found.kept, units)
        saved = np.concatenate(([0.0], np.cumsum(np.sort(saving)[::-1])))
        curve = found.constant + found.pruned.sum() - ROUNDING * problem.reference - saved
    return np.where(curve > 0.0, curve, 0.0)  # also for what is not a number


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
