"""Curves of rows that share a budget: what one budget says of others, where time ends."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, at_sparsity, state_problem
from pvq.bounds.proof import Split
from pvq.bounds.verify import NotProven, verify_certificate
from pvq.bounds.verify.row import lower_bound
from pvq.layers.format import Layer
from pvq.solvers.base import Clock, Options, Solver
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.bnb.masks import prepare_masks
from pvq.solvers.bnb.proof_tree import tree_of_row
from pvq.solvers.bnb.proving import Proving
from pvq.solvers.bound import Bound
from pvq.solvers.brute import Brute
from pvq.solvers.certify import build_certificate
from pvq.solvers.composite import Composite
from pvq.solvers.curve import solve_curve
from pvq.solvers.layer import solve_layer
from pvq.solvers.layer_scope import SHARE, SHARE_AGAIN, parts_of
from pvq.solvers.result import BoundKind, Outcome, Reason, Status
from pvq.solvers.row_curve import Curve, lower_curve

ONE_LEAF = Options(time_limit=1000.0, node_limit=2)
"""No tree on top of a relaxation, and a limit that nothing here meets."""


def made(seed, rows=3, n=6):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((2 * n, n)) * np.exp(rng.standard_normal(n) / 2)
    return rng.standard_normal((rows, n)), a.T @ a


def optimum(row, k):
    return Brute().solve(replace(row, sparsity=replace(row.pattern, keep=np.array([k])))).upper


@pytest.mark.parametrize(
    "setting",
    [
        Setting("prune", sparsity=0.5),
        Setting("prune", sparsity=0.5, update=False),
        Setting("prune", sparsity=0.5, block=2),
        Setting("prune", sparsity=0.5, block=2, update=False),
        Setting("joint", sparsity=0.5, bits=2),
    ],
)
def test_a_split_bounds_every_budget(setting):
    says = 0
    for seed in range(12):
        row = state_problem(*made(seed, rows=1), setting).row(0)
        result = Bound().solve(row, ONE_LEAF)
        for proof in {result.proof, result.elsewhere}:
            if isinstance(proof, Split) and not proof.below.blocks:
                curve = lower_curve(row, proof)
                assert (np.diff(curve) <= 1e-12 * row.reference).all()
                for k in range(row.pattern.units + 1):
                    assert curve[k] <= optimum(row, k) * (1 + 1e-9) + 1e-12 * row.reference
                says += curve[row.pattern.keep[0]] >= 0.5 * result.lower > 0
    assert says >= 6


@pytest.mark.parametrize("setting", [Setting("prune", sparsity=0.5), Setting("prune", sparsity=0.5, block=2)])
@pytest.mark.parametrize("leaves", [1, 2, 5, 40])
def test_a_tree_bounds_every_budget_as_the_verifier_says(setting, leaves):
    held, says = 0, 0
    for seed in range(8):
        row = state_problem(*made(seed, rows=1, n=8), setting).row(0)
        prepare_masks(row)
        optima = [optimum(row, k) for k in range(row.pattern.units + 1)]
        for own in range(1, row.pattern.units):
            problem = replace(row, sparsity=replace(row.pattern, keep=np.array([own])))
            _, tree, _ = tree_of_row(problem, optima[own], optima[own], leaves, Clock(Options(time_limit=None)))
            curve = lower_curve(problem, tree)
            for k, best in enumerate(optima):
                assert curve[k] <= best * (1 + 1e-9) + 1e-12 * row.reference
                at = replace(row, sparsity=replace(row.pattern, keep=np.array([k])))
                try:
                    proven = lower_bound(at, tree)
                except NotProven:
                    assert curve[k] == 0.0
                    continue
                assert proven <= best * (1 + 1e-12) + 1e-12 * row.reference
                assert curve[k] <= max(proven, 0.0) + 1e-12 * row.reference
                held += k != own and curve[k] > 0.5 * best > 0
            says += curve[own] > 0.8 * optima[own]
    assert held >= 20 or leaves > 2 or setting.block is not None
    assert says >= (8 if leaves == 1 else 20)


class Silent(Solver):
    """Finds nothing; notes the time it was given."""

    name = "silent"
    summary = ""
    methods = frozenset({"prune"})
    proves = "bound"

    def __init__(self, seen):
        self.seen = seen

    def _solve(self, problem, options, start):
        self.seen.append((int(problem.pattern.keep[0]), options.time_limit, start))
        return Outcome(start, 0.0, Reason.TIME)


class Relaxed(Silent):
    """The relaxation, which ends on time, as it says."""

    name = "relaxed"

    def _solve(self, problem, options, start):
        self.seen.append((int(problem.pattern.keep[0]), options.time_limit, start))
        return replace(Bound()._solve(problem, ONE_LEAF, start), reason=Reason.TIME)


class Two(Composite):
    """One after the other."""

    name = "two"
    summary = ""
    methods = frozenset({"prune"})
    proves = "bound"

    def __init__(self):
        self.first, self.second = [], []

    def parts(self, problem):
        return Relaxed(self.first), Silent(self.second)


@pytest.mark.parametrize("seed", range(8))
def test_where_time_ends_other_budgets_are_claimed_and_proven(seed):
    weight, gram = made(seed, rows=4, n=8)
    problem = state_problem(weight, gram, Setting("prune", sparsity=0.6, scope="layer"))
    best = solve_layer(problem, Brute(), Options(time_limit=None)).upper
    solver = Two()
    found = solve_layer(problem, solver, ONE_LEAF)
    assert found.status is Status.TIME_LIMIT
    assert 0 < found.lower <= best <= found.upper
    assert found.bound_kind is BoundKind.RIGOROUS
    layer = Layer("made", weight, gram[None])
    certificate = build_certificate(layer, problem, found)
    proven = verify_certificate(certificate, weight, layer.grams, layer.sha256)
    assert found.lower <= proven.lower <= best
    # more is claimed than was solved, which takes no time, and none of it is believed
    made_up = [{k for k, result in row.budgets.items() if result.seconds == 0.0} for row in found.rows]
    assert all(made_up)
    last = certificate.rows[-1]
    for number, claim in enumerate(last.lower):
        if claim.keep in made_up[-1]:
            truth = optimum(problem.row(3), claim.keep)
            false = replace(claim, lower=max(1.01 * truth, 1e-3 * problem.row(3).reference))
            row = replace(last, lower=(*last.lower[:number], false, *last.lower[number + 1 :]))
            with pytest.raises(NotProven):
                verify_certificate(
                    replace(certificate, rows=(*certificate.rows[:-1], row)), weight, layer.grams, layer.sha256
                )


def test_no_budget_takes_the_time_of_the_others():
    problem = state_problem(*made(1, rows=2, n=8), Setting("prune", sparsity=0.6, scope="layer"))
    solver = Two()
    solve_layer(problem, solver, ONE_LEAF)
    assert max(limit for _, limit, _ in solver.first) <= SHARE * ONE_LEAF.time_limit
    assert max(limit for _, limit, _ in solver.second) <= SHARE_AGAIN * ONE_LEAF.time_limit
    assert solver.second  # the search where the allocation asks for more, once for a budget, from what is known
    assert all(start is not None for _, _, start in solver.second)
    by_row = [budgets for budgets, _, _ in solver.second]
    assert len(by_row) <= 2 * len(set(by_row))


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_a_range_of_sparsities_solves_no_budget_twice(limit):
    weight, gram = made(4, rows=2, n=8)
    first = state_problem(weight, gram, Setting("prune", sparsity=0.5, scope="layer"))
    problems, seen = [first, at_sparsity(first, 0.625)], []

    class Counting(Brute):
        def _solve(self, problem, options, start):
            seen.append((problem.weight.tobytes(), int(problem.pattern.keep[0])))
            return super()._solve(problem, options, start)

    results = solve_curve(problems, Counting(), Options(time_limit=limit))
    assert len(seen) == len(set(seen))
    for problem, result in zip(problems, results, strict=True):
        assert result.upper == pytest.approx(solve_layer(problem, Brute(), Options(time_limit=None)).upper)


def test_a_budget_that_is_solved_again_never_gets_worse():
    row = state_problem(*made(2, rows=1, n=8), Setting("prune", sparsity=0.5)).row(0)
    curve = Curve(row, 8)
    curve.solve(4, Relaxed([]), ONE_LEAF)
    lower, upper, result = curve.lower.copy(), curve.upper.copy(), curve.solved[4]
    assert curve.open_at(4) == [4]
    curve.solve(4, Silent([]), ONE_LEAF)
    again = curve.solved[4]
    assert (again.lower, again.upper, again.proven) == (result.lower, result.upper, result.proven)
    assert again.proof is result.proof
    assert (curve.lower == lower).all()
    assert (curve.upper == upper).all()
    assert curve.open_at(4) == []
    curve.again.clear()
    curve.solve(4, Brute(), ONE_LEAF)
    assert curve.solved[4].lower == pytest.approx(optimum(row, 4))
    assert (curve.lower >= lower).all()
    assert (curve.upper <= upper).all()


class Cut(Composite):
    """As `Auto` is of rows of 73 to 128 inputs."""

    name = "cut"
    summary = ""
    methods = frozenset({"prune"})
    proves = "bound"

    def parts(self, problem):
        return Bound(), BranchAndBound()


@pytest.mark.parametrize("seed", range(3))
def test_more_nodes_lose_no_rigour(seed):
    weight, gram = made(seed, rows=3, n=12)
    problem = state_problem(weight, gram, Setting("prune", sparsity=0.6, scope="layer"))
    best = solve_layer(problem, Brute(), Options(time_limit=None)).upper
    layer, found = Layer("made", weight, gram[None]), None
    for nodes in (2, 6, 20, 100, None):  # the limit is met by nothing: what ends a search is the nodes
        found = solve_layer(problem, Cut(), Options(time_limit=1000.0, node_limit=nodes))
        rigorous = found.bound_kind is BoundKind.RIGOROUS
        # a search may end within its nodes where the tree of its proof does not: which ones do is the processor's
        assert rigorous or (nodes is not None and nodes < 20 and found.status is Status.OPTIMAL)
        assert 0 < found.lower <= best <= found.upper
        proven = verify_certificate(build_certificate(layer, problem, found), weight, layer.grams, layer.sha256)
        # such a tree has proven .93 of what its search found, and more
        assert (found.lower if rigorous else 0.9 * found.lower) <= proven.lower <= best
    assert found.status is Status.OPTIMAL


@pytest.mark.parametrize("update", [True, False])
def test_trees_are_for_free_weights_and_limits(update):
    setting = Setting("prune", sparsity=0.6, scope="layer", update=update)
    problem = state_problem(*made(0, rows=3, n=12), setting)
    assert isinstance(parts_of(Cut(), problem)[-1], Proving if update else BranchAndBound)
    assert not isinstance(parts_of(BranchAndBound(), problem)[-1], Proving)  # who names a solver gets that one


def test_a_point_by_swaps_is_no_worse():
    row = state_problem(*made(5, rows=1, n=10), Setting("prune", sparsity=0.5)).row(0)
    curve = Curve(row, 10)
    curve.better_point(7, ONE_LEAF)
    curve.solve(8, Relaxed([]), ONE_LEAF)
    before = curve.upper.copy()
    for k in (3, 5):
        curve.better_point(k, ONE_LEAF)
        assert (curve.point(k) != 0).sum() <= k
        assert curve.upper[k] == row.certified(curve.point(k)).upper >= optimum(row, k) * (1 - 1e-12)
    assert (curve.upper <= before).all()
    assert curve.upper[4] < before[4]
    assert curve.reasons(5, 5) == [Reason.TIME, Reason.FINISHED]  # of 5 there is a point only


def test_claims_stop_with_the_clock_and_need_a_split():
    row = state_problem(*made(3, rows=1, n=8), Setting("prune", sparsity=0.5)).row(0)
    curve, clock = Curve(row, 8), Clock(ONE_LEAF)
    curve.solve(4, Silent([]), ONE_LEAF)
    assert curve.claims(4, "two", ONE_LEAF, clock) == {}
    curve.solve(4, Relaxed([]), ONE_LEAF)
    claims = curve.claims(4, "two", ONE_LEAF, clock)
    assert claims
    assert 4 not in claims
    for k, result in claims.items():
        assert 0 < result.proven <= optimum(row, k) * (1 + 1e-9)
    assert curve.claims(4, "two", ONE_LEAF, Clock(Options(time_limit=0.0))) == {}
