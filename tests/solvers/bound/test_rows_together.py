"""Layers whose rows are bounded in chunks: the same result whatever the jobs, valid, and with certificates."""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.verify import verify_certificate
from pvq.layers.format import Layer
from pvq.solvers.base import Options
from pvq.solvers.bound import Bound, rows
from pvq.solvers.bound.batch import layer as layer_module
from pvq.solvers.brute import Brute
from pvq.solvers.certify import build_certificate
from pvq.solvers.layer import solve_layer
from pvq.solvers.registry import get_solver
from pvq.solvers.result import BoundKind

SETTINGS = {
    "quant": Setting("quant", 2),
    "channel": Setting("quant", 2, "int-asym", "channel"),
    "groups": Setting("quant", 2, granularity="group:3", range="minmax"),
    "ternary": Setting("quant", grid="ternary"),
    "prune": Setting("prune", sparsity=0.6),
    "n:m": Setting("prune", nm=(1, 2)),
}
OPTIONS = Options(time_limit=None, prove=True)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Rows of more than 4 inputs count as long, chunks have 3 rows, blocks 3 inputs."""
    monkeypatch.setattr(rows, "LONG", 4)
    monkeypatch.setattr(rows, "CHUNK", 3)
    monkeypatch.setattr(layer_module, "SIZE", 3)


def layer(groups=1, dead=False, n=6, out=8):
    rng = np.random.default_rng(groups + 2 * dead)
    x = rng.standard_normal((groups, 60, n)) + 0.3 * rng.standard_normal((groups, 60, 1))
    if dead:
        x[..., 2] = 0
    return Layer("small", rng.standard_normal((out, n)), x.swapaxes(1, 2) @ x / 60)


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize(("groups", "dead"), [(1, False), (1, True), (2, False)])
def test_rows_in_chunks_are_bounded_and_certified(kind, groups, dead):
    data = layer(groups, dead)
    problem = state_problem(data.weight, data.grams, SETTINGS[kind])
    found = solve_layer(problem, Bound(), OPTIONS)
    assert [row.row for row in found.rows] == list(range(8))
    for i, row in enumerate(found.rows):
        best = Brute().solve(problem.row(i)).upper
        assert row.result.lower <= best * (1 + 1e-9)
        assert best <= row.result.upper * (1 + 1e-9)
        assert row.result.bound_kind is BoundKind.RIGOROUS
    certificate = build_certificate(data, problem, found)
    assert verify_certificate(certificate, data.weight, data.grams, data.sha256).unproven == 0


@pytest.mark.parametrize("kind", ["channel", "prune"])
def test_jobs_change_nothing(kind):
    data = layer()
    results = []
    for jobs in (1, 2):
        problem = state_problem(data.weight, data.grams, SETTINGS[kind])
        seen = []
        method = get_solver("magnitude" if kind == "prune" else "rtn")
        found = solve_layer(problem, Bound(), OPTIONS, [method], jobs, seen.append)
        assert sorted(row.row for row in seen) == list(range(8))
        results.append([(row.row, row.result.lower, row.result.upper, row.empirical) for row in found.rows])
    assert results[0] == results[1]


def test_trivial_rows_and_other_patterns_go_one_by_one():
    data = layer()
    for words in ({"sparsity": 0.5, "block": 2}, {"sparsity": 0.5, "update": False}, {"sparsity": 0.0}):
        setting = Setting("prune", **words)
        problem = state_problem(data.weight, data.grams, setting)
        for i, row in enumerate(solve_layer(problem, Bound(), OPTIONS).rows):
            best = Brute().solve(problem.row(i)).upper
            assert row.result.lower <= best * (1 + 1e-9)
            assert best <= row.result.upper * (1 + 1e-9)


def test_an_interrupt_leaves_the_other_rows_unsolved():
    data = layer()
    problem = state_problem(data.weight, data.grams, SETTINGS["quant"])
    options = Options(time_limit=None)

    def stop(row):
        options.stop.set()

    found = solve_layer(problem, Bound(), options, (), 1, stop)
    assert [row.result.status.value for row in found.rows[3:]] == ["interrupted"] * 5
    assert all(0 <= row.result.lower <= row.result.upper for row in found.rows)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_long_row_alone_is_bounded_the_same_way(kind, monkeypatch):
    """What one row at a time would prepare takes minutes at this size, inside the row's limit."""
    from pvq.solvers.bound import row as one_by_one

    monkeypatch.setattr(one_by_one, "bound_of_row", pytest.fail)
    data = layer()
    problem = state_problem(data.weight, data.grams, SETTINGS[kind])
    solver = Bound()
    solver.prepare(*(problem.row(i) for i in range(8)))
    for i in range(3):
        result = solver.solve(problem.row(i), OPTIONS)
        assert result.bound_kind is BoundKind.RIGOROUS
        assert result.lower <= Brute().solve(problem.row(i)).upper * (1 + 1e-9)
