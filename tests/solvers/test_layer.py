"""Rows added up, in parallel, interrupted, and with a shared budget."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify import verify_certificate
from pvq.layers.format import Layer
from pvq.solvers.base import Clock, Options, Solver
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.brute import Brute
from pvq.solvers.certify import build_certificate
from pvq.solvers.layer import solve_layer
from pvq.solvers.layer_scope import as_proven
from pvq.solvers.result import BoundKind, Outcome, Reason, Status

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((4, 6))
A = RNG.standard_normal((20, 6))
GRAM = A.T @ A / 20


def layer(**words):
    return state_problem(WEIGHT, GRAM, Setting(**words))


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_add_up_to_the_layer(jobs):
    problem = layer(method="quant", bits=2)
    seen = []
    result = solve_layer(problem, Brute(), Options(), jobs=jobs, on_row=lambda row: seen.append(row.row))
    assert sorted(seen) == [0, 1, 2, 3]
    assert [row.row for row in result.rows] == [0, 1, 2, 3]
    difference = WEIGHT - result.weights
    assert result.upper == pytest.approx(np.einsum("ri,ij,rj", difference, GRAM, difference), rel=1e-12)
    assert result.reference == pytest.approx(np.einsum("ri,ij,rj", WEIGHT, GRAM, WEIGHT), rel=1e-12)
    assert result.status is Status.OPTIMAL


def test_an_interrupt_keeps_what_is_proven():
    problem = layer(method="prune", sparsity=0.5)
    options = Options()

    def stop_after_two(row):
        if row.row == 1:
            options.stop.set()

    result = solve_layer(problem, Brute(), options, on_row=stop_after_two)
    assert [row.result.status for row in result.rows] == [Status.OPTIMAL] * 2 + [Status.INTERRUPTED] * 2
    assert result.status is Status.INTERRUPTED
    assert result.lower == pytest.approx(sum(row.result.upper for row in result.rows[:2]))
    whole = solve_layer(problem, Brute())
    assert result.lower <= whole.lower <= whole.upper <= result.upper


class Good(Solver):
    """An empirical method that is as good as can be."""

    name = "good"
    summary = ""
    methods = frozenset({"quant", "prune"})

    def _solve(self, problem, options, start):
        return Outcome(Brute().solve(problem).x, 0.0)


class Poor(Good):
    """A bound, no search: its point is the fallback."""

    name = "poor"
    proves = "bound"

    def _solve(self, problem, options, start):
        return Outcome(None, Brute().solve(problem).lower / 2)


def test_the_upper_end_is_never_above_an_empirical_method():
    problem = layer(method="prune", sparsity=0.5)
    result = solve_layer(problem, Poor(), Options(), compare=[Good()])
    for row in result.rows:
        assert row.result.upper <= row.empirical["good"]
        assert row.result.lower == pytest.approx(row.result.upper / 2)
    assert result.empirical["good"] == pytest.approx(result.upper)
    assert result.status is Status.BOUND_ONLY


def row_optimum(problem, i, k):
    pattern = Sparsity.row(6, k, problem.setting.update)
    return Brute().solve(replace(problem.row(i), sparsity=pattern)).upper


@pytest.mark.parametrize("update", [True, False])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.8])
def test_layer_scope_is_the_best_allocation(update, sparsity):
    problem = layer(method="prune", sparsity=sparsity, scope="layer", update=update)
    result = solve_layer(problem, Brute(), Options())
    curves = [[row_optimum(problem, i, k) for k in range(7)] for i in range(4)]
    best = min(
        sum(curves[i][k] for i, k in enumerate(ks))
        for ks in itertools.product(range(7), repeat=4)
        if sum(ks) <= problem.budget
    )
    assert result.lower == pytest.approx(best)
    assert result.upper == pytest.approx(best)
    assert result.status is Status.OPTIMAL
    assert (result.weights != 0).sum() <= problem.budget
    assert all(row.lower is None for row in result.rows)


def test_layer_scope_holds_when_interrupted_at_once_and_with_weak_bounds():
    problem = layer(method="prune", sparsity=0.5, scope="layer")
    best = solve_layer(problem, Brute()).upper
    stopped = Options()
    stopped.stop.set()
    result = solve_layer(problem, Brute(), stopped)
    assert result.lower <= best <= result.upper
    assert result.status is Status.INTERRUPTED
    weak = solve_layer(problem, Poor(), Options(), compare=[Good()])
    assert weak.lower <= best <= weak.upper
    assert (weak.reason, weak.status) == (Reason.FINISHED, Status.BOUND_ONLY)  # no limit was met
    assert all(row.result.reason is Reason.FINISHED for row in weak.rows)
    late = solve_layer(problem, Poor(), Options(time_limit=0.0))
    assert (late.reason, late.status) == (Reason.TIME, Status.TIME_LIMIT)
    assert weak.bound_kind is BoundKind.NUMERICAL
    assert weak.empirical["good"] >= best * (1 - 1e-9)


@pytest.mark.parametrize("words", [{}, {"block": 2}, {"update": False}])
def test_layer_scope_is_rigorous_where_its_budgets_are(words):
    problem, made = layer(method="prune", sparsity=0.5, scope="layer", **words), Layer("made", WEIGHT, GRAM[None])
    best, options = solve_layer(problem, Brute()).upper, Options(prove=True, time_limit=None)
    found = solve_layer(problem, BranchAndBound(), options)
    assert found.bound_kind is BoundKind.RIGOROUS
    assert found.status is Status.OPTIMAL
    assert found.lower <= best
    proven = verify_certificate(build_certificate(made, problem, found), made.weight, made.grams, made.sha256)
    assert found.lower <= proven.lower <= best
    kinds = set()
    for row, missing in [(i, k) for i in range(4) for k in found.rows[i].budgets]:
        budgets = {k: result for k, result in found.rows[row].budgets.items() if k != missing}
        rows = tuple(replace(r, budgets=budgets if i == row else r.budgets) for i, r in enumerate(found.rows))
        unproven = replace(found, rows=rows, bound_kind=BoundKind.NUMERICAL)
        less = as_proven(problem, unproven, options.gap, Clock(options))
        assert less.lower <= best
        kinds.add(less.bound_kind)
        proven = verify_certificate(build_certificate(made, problem, less), made.weight, made.grams, made.sha256)
        assert (less.bound_kind is BoundKind.RIGOROUS) == (proven.lower >= found.upper * (1 - options.gap))
    assert BoundKind.NUMERICAL in kinds  # a budget that is needed has no other proof


def test_layer_scope_in_blocks():
    problem = layer(method="prune", sparsity=0.5, scope="layer", block=2)
    result = solve_layer(problem, Brute())
    assert result.status is Status.OPTIMAL
    assert problem.budget == 6
    used = (result.weights.reshape(4, 3, 2) != 0).any(axis=2).sum()
    assert used <= 6
