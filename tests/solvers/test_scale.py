"""The scale as a variable, against every grid point at its own best scale."""

import itertools

import numpy as np
import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.verify import verify_certificate
from pvq.layers.format import Layer
from pvq.solvers.base import Options
from pvq.solvers.certify import build_certificate
from pvq.solvers.free_scale import FreeRow, interval_bound
from pvq.solvers.result import Reason, Status
from pvq.solvers.scale import ScaleSearch, solve_scales


def layer(rng, rows, n, kind, **setting):
    a = rng.standard_normal((max(1, n - 1) if kind == "singular" else 20, n))
    if kind == "dead":
        a[:, 0] = 0
    w = rng.standard_normal((rows, n)) * rng.choice([0.1, 1, 30])
    words = {"bits": 2, "granularity": "channel", "range": "optimal", **setting}
    return state_problem(w, a.T @ a / len(a), Setting("quant", **words), free_scale=True)


def least_over_scales(problem, rows, low, high):
    """min over grid points of every row and one scale in [low, high], by trying all points of each row."""
    at = float(problem.grid.scale[0 if len(problem.grid.scale) == 1 else rows[0], 0])
    parts = []
    for i in rows:
        row = problem.row(i)
        levels = [row.grid.of(j) / at for j in range(row.n)]
        c = np.array(list(itertools.product(*levels)))
        along, square = c @ row.hessian @ row.weight, np.einsum("ki,ij,kj->k", c, row.hessian, c)
        parts.append((row.reference, along, square))
    if len(rows) == 1:
        reference, along, square = parts[0]
        with np.errstate(all="ignore"):
            s = np.clip(np.where(square > 0, along / square, low), low, high)
        return float((reference - 2 * s * along + s * s * square).min())
    scales = np.geomspace(low, high, 20_001)  # only an upper end of the minimum
    total = np.zeros(len(scales))
    for reference, along, square in parts:
        best = np.full(len(scales), np.inf)
        for a, b in zip(along, square, strict=True):
            np.minimum(best, reference - 2 * scales * a + scales**2 * b, out=best)
        total += best
    return float(total.min())


@pytest.mark.parametrize("kind", ["regular", "singular", "dead"])
@pytest.mark.parametrize("grid", ["int", "int-asym", "ternary"])
def test_one_scale_a_row(kind, grid):
    rng = np.random.default_rng(0)
    for _ in range(5):
        problem = layer(rng, 3, 4, kind, grid=grid, bits=None if grid == "ternary" else 2)
        best, result = solve_scales(problem, Options(time_limit=None, gap=1e-4))
        for i, row in enumerate(result.rows):
            start = float(problem.grid.scale[i, 0])
            optimum = least_over_scales(problem, [i], start / 4, start * 4)
            tiny = 1e-9 * row.reference
            assert row.result.lower <= optimum + tiny
            assert optimum <= row.result.upper + tiny
            assert row.result.upper - row.result.lower <= 1e-4 * row.result.upper + tiny
            assert row.result.status is Status.OPTIMAL
            assert best.row(i).is_feasible(row.result.x)
            assert start / 4 <= best.grid.scale[i, 0] <= start * 4


def test_one_scale_for_all_rows():
    rng = np.random.default_rng(1)
    for _ in range(3):
        problem = layer(rng, 3, 4, "regular", granularity="tensor")
        best, result = solve_scales(problem, Options(time_limit=None, gap=1e-2))
        start = float(problem.grid.scale[0, 0])
        sampled = least_over_scales(problem, [0, 1, 2], start / 4, start * 4)
        assert result.lower <= sampled * (1 + 1e-9)
        assert result.upper <= sampled * (1 + 1e-2)
        assert result.upper - result.lower <= 1.001e-2 * result.upper
        assert all(row.lower is None for row in result.rows)
        assert best.grid.scale.shape == (1, 1)
        assert result.upper == pytest.approx(sum(row.result.upper for row in result.rows))


def test_a_bound_of_an_interval_holds_at_every_scale_in_it():
    rng = np.random.default_rng(2)
    for _ in range(10):
        problem = layer(rng, 1, 4, "regular")
        start = float(problem.grid.scale[0, 0])
        row = FreeRow(problem.row(0))
        for _ in range(10):
            u = np.sort(1 / (start * 2 ** rng.uniform(-1, 1, 2)))
            centre, half = u.mean(), (u[1] - u[0]) / 2
            slope, k = rng.standard_normal() * row.reference * centre, row.reference * 10 ** rng.uniform(-3, 2)
            least = row.least(centre, slope, k, Options(time_limit=None)).least
            bound = interval_bound(least, slope, k, centre, half)
            for v in np.linspace(u[0], u[1], 7):
                assert bound <= least_over_scales(problem, [0], 1 / v, 1 / v) * (1 + 1e-9) + 1e-12 * row.reference


def test_a_stop_leaves_a_bound():
    problem = layer(np.random.default_rng(3), 1, 6, "regular", bits=4)
    options = Options()
    options.stop.set()
    search = ScaleSearch(problem, [0], options, 1)
    search.run()
    assert search.reason is Reason.INTERRUPT
    assert 0 <= search.lower <= search.upper < np.inf


def test_joint():
    rng = np.random.default_rng(4)
    a = rng.standard_normal((20, 5))
    setting = Setting("joint", bits=3, granularity="channel", range="optimal", sparsity=0.5)
    problem = state_problem(rng.standard_normal((2, 5)), a.T @ a, setting, free_scale=True)
    best, result = solve_scales(problem, Options(time_limit=None, gap=1e-3))
    for i, row in enumerate(result.rows):
        assert row.result.status is Status.OPTIMAL
        assert best.row(i).is_feasible(row.result.x)
        assert np.count_nonzero(row.result.x) <= 2


def test_what_it_does_not_take():
    rng = np.random.default_rng(5)
    with pytest.raises(ProblemError, match="tensor or channel"):
        solve_scales(layer(rng, 1, 4, "regular", granularity="group:2"), Options())
    with pytest.raises(ProblemError, match="is for pvq-bound"):
        state_problem(rng.standard_normal((1, 3)), np.eye(3), Setting("quant", bits=2, range="optimal"))


def test_the_command(cli, expand40):
    import json

    words = [
        "bound",
        expand40,
        "--method",
        "quant",
        "--bits",
        2,
        "--inputs",
        "0:8",
        "--rows",
        "0:3",
        "--range",
        "optimal",
    ]
    ended = cli(*words, "--granularity", "channel", "--compare", "rtn", "--json", "-", "--quiet")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert document["total"]["status"] == "optimal"
    assert all(row["upper"] <= row["empirical"]["rtn"] for row in document["rows"])
    assert cli(*words, "--solver", "gurobi").code == 2


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_a_row_of_zeros_has_no_scale_to_fit(granularity):
    """Its error is 0 at any scale, and the others keep their bounds."""
    rng = np.random.default_rng(5)
    a, w = rng.standard_normal((20, 4)), rng.standard_normal((3, 4))
    words = {"bits": 2, "granularity": granularity, "range": "optimal"}
    without = state_problem(w[[0, 2]], a.T @ a / 20, Setting("quant", **words), free_scale=True)
    w[1] = 0.0
    problem = state_problem(w, a.T @ a / 20, Setting("quant", **words), free_scale=True)
    options = Options(time_limit=None, gap=1e-6 if granularity == "channel" else 0.1)
    _, result = solve_scales(problem, options)
    _, expected = solve_scales(without, options)
    assert [row.result.status for row in result.rows][:3:2] == [row.result.status for row in expected.rows]
    assert 0 < result.lower <= result.upper <= expected.upper * (1 + options.gap)
    assert result.upper >= expected.lower
    assert result.rows[1].result.upper == 0.0
    assert not result.rows[1].result.x.any()
    if granularity == "channel":
        assert result.status is Status.OPTIMAL


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("size", [1e150, 1e-155, 1e-158])
def test_a_row_next_to_the_ends_of_float64(granularity, size):
    """1 / scale or its square, or an error times what holds rows back, is none that float64 has."""
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((20, 3)), rng.standard_normal((3, 3))
    gram = a.T @ a / 20
    w[1:] = np.round(w[1:])
    w[0] *= size
    layer = Layer("made", w, gram)
    setting = Setting("quant", 2, granularity=granularity, range="optimal")
    problem = state_problem(w, layer.grams, setting, free_scale=True)
    best, result = solve_scales(problem, Options(time_limit=None, gap=1e-2))
    assert 0 < result.lower <= result.upper < np.inf
    proven = verify_certificate(build_certificate(layer, best, result), w, layer.grams, layer.sha256)
    assert proven.lower <= result.upper
    if granularity == "tensor":
        assert 0 < result.lower <= proven.lower
        assert result.status is Status.OPTIMAL
