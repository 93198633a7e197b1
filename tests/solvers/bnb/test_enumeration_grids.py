"""Every grid family against all of its points: 216 rows each, regular and degenerate, one or several scales."""

import numpy as np
import pytest
from pvq.bounds.certified import exact_error
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.result import Status

KINDS = ("regular", "singular", "duplicated", "dead", "ill-conditioned", "ties")
FAMILIES = {  # inputs such that all points can be tried
    "int": (2, 5),
    "int-sym": (3, 4),
    "int-asym": (2, 5),
    "ternary": (None, 6),
    "fp4-e2m1": (None, 3),
    "nf4": (None, 3),
    "fp8-e4m3": (None, 2),
    "file": (None, 4),
}


def gram(rng, n, kind):
    a = rng.standard_normal((max(1, n - 1) if kind == "singular" else 20, n))
    if kind == "duplicated":
        a[:, 0] = a[:, -1]
    if kind == "dead":
        a[:, rng.integers(n)] = 0
    if kind == "ill-conditioned":
        a = a @ rng.standard_normal((n, n)) * 10.0 ** rng.uniform(-4, 0, n)
    return a.T @ a / len(a)


def least(row):
    """The least error of all points."""
    points = np.stack(np.meshgrid(*(row.grid.of(j) for j in range(row.n)), indexing="ij"), axis=-1)
    u = row.weight - points.reshape(-1, row.n)
    return max(0.0, float(np.einsum("ki,ki->k", u @ row.hessian, u).min()))


def settings(rng, n, family, folder):
    bits, _ = FAMILIES[family]
    granularity = str(rng.choice(["tensor", "channel", f"group:{max(1, n // 2)}"]))
    if family == "file":
        path = folder / "levels.txt"
        path.write_text("\n".join(map(str, np.sort(rng.choice(np.arange(-20, 20), 5, replace=False) * 0.1))))
        family = str(path)
    return Setting("quant", bits, family, granularity, str(rng.choice(["mse", "minmax"])))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_optimum_is_that_of_all_points(family, kind, tmp_path):
    rng = np.random.default_rng([KINDS.index(kind), list(FAMILIES).index(family)])
    n = FAMILIES[family][1]
    for _ in range(9):
        w = rng.standard_normal((4, n)) * rng.choice([0.5, 1, 3])
        if kind == "ties":
            w = np.round(2 * w) / 2 + 0.25
        layer = state_problem(w, gram(rng, n, kind), settings(rng, n, family, tmp_path))
        for i in range(4):
            row = layer.row(i)
            found, optimum = BranchAndBound().solve(row, Options(time_limit=None)), least(row)
            rounding = 1e-12 * row.reference
            assert found.lower <= optimum * (1 + 1e-9) + rounding
            assert optimum - rounding <= found.upper * (1 + 1e-9) <= optimum * (1 + 1e-6) + 2 * rounding
            regular = row.gram.rank == row.gram.live.sum()
            # where H is singular the slack is larger, in units of the reference
            assert found.lower >= found.upper * (1 - 1e-5) - (rounding if regular else 1e-8 * row.reference)
            assert row.is_feasible(found.x)
            if regular:
                assert found.status is Status.OPTIMAL
            assert found.upper >= exact_error(row.gram, row.weight, found.x)
            # within eta: no point is better by more than half the gap and the stated slack
            assert found.upper <= optimum * (1 + 1e-6) + found.info.get("eta", 0.0) + rounding


def test_outside_solvers_agree_where_they_finish(expand40):
    from pvq.layers.format import load_layer
    from pvq.solvers.outside.gurobi import Gurobi

    if not Gurobi().is_available():
        pytest.skip("gurobipy is not installed")
    layer = load_layer(expand40)
    for bits, grid in ((3, "int"), (None, "ternary"), (None, "fp4-e2m1")):
        setting = Setting("quant", bits, grid, inputs=(0, 14), rows=(0, 3))
        problem = state_problem(layer.weight, layer.grams, setting)
        for i in range(3):
            ours = BranchAndBound().solve(problem.row(i))
            theirs = Gurobi().solve(problem.row(i), Options(time_limit=20))
            assert theirs.status is Status.OPTIMAL
            assert ours.status is Status.OPTIMAL
            assert ours.lower <= theirs.upper * (1 + 1e-9)
            assert ours.upper == pytest.approx(theirs.upper, rel=1e-3)
            assert ours.upper <= theirs.upper * (1 + 1e-6)
