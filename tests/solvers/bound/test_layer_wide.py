"""One diagonal for all sparsities of a layer: its bounds hold, also on degenerate layers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.solvers.base import Options
from pvq.solvers.bound.layer_wide import LayerWide
from pvq.solvers.brute import Brute
from pvq.solvers.layer import solve_layer
from pvq.solvers.result import Status
from pvq.solvers.rows import prepare

from ..empirical.conftest import GRAMS, gram


@pytest.mark.parametrize("kind", GRAMS)
@pytest.mark.parametrize("pattern", ["row", "block", "nm"])
def test_bounds_hold_at_every_sparsity(kind: str, pattern: str) -> None:
    rng = np.random.default_rng(3)
    solver, positive = LayerWide(), 0
    for _ in range(2):
        weight, h, checked = rng.normal(size=(3, 8)), gram(kind, 8, rng), None
        for kept in (1, 2, 3):
            if pattern == "nm":
                setting = Setting("prune", nm=(kept, 4))
            else:
                setting = Setting("prune", sparsity=1 - kept / 4, block=2 if pattern == "block" else None)
            problem = state_problem(weight, h, setting, checked=checked)
            checked = problem.grams
            prepare(problem, (solver,), Options())
            best = solve_layer(problem, Brute(), Options(time_limit=None))
            for i, row in enumerate(best.rows):
                result = solver.solve(problem.row(i), Options(), row.result.x)
                assert result.status is not Status.FAILED
                assert result.upper == pytest.approx(row.result.upper, abs=1e-12 * row.reference)
                slack = 1e-9 * row.result.upper + 1e-12 * row.reference  # rounding of the errors
                assert result.lower <= row.result.upper + slack
                positive += result.lower > 0.1 * row.result.upper
    assert positive > 0 or kind in (
        "singular",
        "duplicated",
        "ill-conditioned",
    )  # no positive diagonal below those


def test_a_row_without_a_point_gets_one() -> None:
    h = gram("regular", 8, np.random.default_rng(0))
    problem = state_problem(np.random.default_rng(1).normal(size=(1, 8)), h, Setting("prune", sparsity=0.5))
    result = LayerWide().solve(problem.row(0))
    assert problem.row(0).is_feasible(result.x)
    assert 0 < result.lower < result.upper


COMPILED = """
import gc, sys
import numpy as np
from numba.core.registry import CPUDispatcher
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options
from pvq.solvers.bound.layer_wide import LayerWide

n, rng = 100, np.random.default_rng(0)
a = rng.standard_normal((2 * n, n))
grid = Grid(np.arange(-8, 8)[None] * 0.3, np.zeros(n, int)) if sys.argv[1] == "quant" else None
pattern = None if grid else Sparsity.row(n, n // 4)
rows = [Problem(rng.standard_normal(n), Gram.from_array(a.T @ a / n), grid, pattern) for _ in range(2)]


def code():
    kernels = [one for one in gc.get_objects() if isinstance(one, CPUDispatcher)]
    return {(one.py_func.__qualname__, str(kind)) for one in kernels for kind in one.overloads}


solver = LayerWide()
solver.prepare(*rows)
before = code()
found = solver.solve_rows(rows, Options(time_limit=60), [None, None])
assert [one.bound_kind.value for one in found] == ["rigorous"] * 2, found
print(len(before), sorted(code() - before))
"""


@pytest.mark.parametrize("method", ["quant", "prune"])
def test_the_first_rows_and_their_proofs_compile_nothing(method: str) -> None:
    """In a process of its own: what one has compiled stays compiled."""
    done = subprocess.run([sys.executable, "-c", COMPILED, method], capture_output=True, text=True, check=True)
    kernels, late = done.stdout.split(" ", 1)
    assert int(kernels) >= 5
    assert late.strip() == "[]"
