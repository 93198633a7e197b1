"""What is left of work that Ctrl-C leaves behind holds: every interval contains the optimum."""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, at_sparsity, state_problem
from pvq.bounds.verify import verify_certificate
from pvq.layers.format import Layer
from pvq.solvers import certify
from pvq.solvers.base import Options
from pvq.solvers.curve import solve_curve
from pvq.solvers.layer import solve_layer
from pvq.solvers.layer_scope import unfinished
from pvq.solvers.registry import get_solver
from pvq.solvers.result import BoundKind, Status
from pvq.solvers.row_curve import row_curves

N = 6


def layer(scope):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20, N))
    setting = Setting("prune", sparsity=0.5, scope=scope)
    return state_problem(rng.standard_normal((3, N)), a.T @ a / 20, setting)


class Stops(Exception):
    """Stands for the moment at which work is left behind."""


def stopped_after(solver, count):
    """A solver that breaks off after so many rows."""

    class Breaks(type(solver)):
        done = 0

        def _solve(self, problem, options, start):
            if problem.n == N:  # not what only compiles
                if Breaks.done == count:
                    raise Stops
                Breaks.done += 1
            return super()._solve(problem, options, start)

    return Breaks()


def test_finished_rows_of_a_range_of_sparsities_are_kept():
    problems = [at_sparsity(layer("row"), s) for s in (0.3, 0.5, 0.7)]
    so_far = [[] for _ in problems]
    engine, options = get_solver("bnb"), Options()
    whole = solve_curve(problems, engine, options)
    with pytest.raises(Stops):
        solve_curve(problems, stopped_after(engine, 4), options, so_far=so_far)
    results = [unfinished(problem, engine, options, rows) for problem, rows in zip(problems, so_far, strict=True)]
    assert [row.result.status for row in results[0].rows] == [Status.OPTIMAL, Status.OPTIMAL, Status.INTERRUPTED]
    assert [row.result.status for row in results[2].rows] == [Status.OPTIMAL] + [Status.INTERRUPTED] * 2
    for known, full in zip(results, whole, strict=True):
        assert known.status is Status.INTERRUPTED
        assert 0 < known.lower <= full.upper <= known.upper * (1 + 1e-9)


@pytest.mark.parametrize("done", range(0, 12, 3))
def test_rows_that_share_a_budget_keep_what_their_curves_know(done):
    problem = layer("layer")
    engine, options = get_solver("bnb"), Options()
    optimum = solve_layer(problem, engine, options)
    assert optimum.status is Status.OPTIMAL
    curves = row_curves(problem)
    if done:
        with pytest.raises(Stops):
            solve_layer(problem, stopped_after(engine, done), options, curves=curves)
    known = unfinished(problem, engine, options, [], curves)
    assert known.status is Status.INTERRUPTED
    assert sum((row.result.x != 0).sum() for row in known.rows) <= problem.budget
    assert known.lower <= optimum.upper <= known.upper * (1 + 1e-9)
    assert (known.lower > 0) == (known.bound_kind is not BoundKind.NONE)
    assert done < 9 or known.lower > 0.05 * optimum.lower


def test_a_row_left_out_has_a_feasible_point(monkeypatch):
    monkeypatch.setattr("pvq.solvers.rows.AT_ONCE", 2)
    problem = layer("row")
    known = unfinished(problem, get_solver("bnb"), Options(), [])
    for i, row in enumerate(known.rows):
        assert problem.row(i).is_feasible(row.result.x)
        assert row.result.upper >= problem.row(i).error(row.result.x)
    assert known.lower == 0.0


@pytest.mark.parametrize(("scope", "done"), [("row", 2), ("layer", 9)])
def test_a_certificate_after_an_interrupt_checks_nothing_new(monkeypatch, scope, done):
    """What is proven is in it; of the rest it claims 0 without the factorisation that would show it."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20, N))
    data = Layer("l", rng.standard_normal((3, N)), a.T @ a / 20)
    problem = state_problem(data.weight, data.grams, Setting("prune", sparsity=0.5, scope=scope))
    engine, options = get_solver("bnb"), Options(prove=True)
    curves = row_curves(problem) if problem.budget is not None else None
    known = []
    with pytest.raises(Stops):
        solve_layer(problem, stopped_after(engine, done), options, on_row=known.append, curves=curves)
    found = unfinished(problem, engine, options, known, curves)

    def never(*words):
        raise AssertionError("checked after an interrupt")

    with monkeypatch.context() as patched:
        patched.setattr(certify, "row_lower", never)
        patched.setattr(certify, "proven_budgets", never)
        made = certify.build_certificate(data, problem, found)
    verified = verify_certificate(made, data.weight, data.grams, data.sha256)
    assert made.lower <= verified.lower <= verified.upper <= made.upper
    assert verified.lower > 0 or scope == "row"
    assert sum(claim.proof is not None for row in made.rows for claim in row.lower) >= 1
