"""One set of rows for every outside back-end, against enumeration and against our engine."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options, SolverUnavailable, UnsupportedProblem
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.brute import Brute
from pvq.solvers.outside.cvxpy_mip import BACKENDS, Cvxpy
from pvq.solvers.registry import get_solver
from pvq.solvers.result import BoundKind, Reason, Status

INSTANCES = Path(__file__).parents[3] / "benchmarks" / "instances"
N = 6


def backend(name):
    """A solver by name (`cvxpy:SCIP` is CVXPY with SCIP behind it); skips the test if it is not installed."""
    if name.startswith("cvxpy:"):
        behind = name.split(":")[1]
        solver, modules = Cvxpy((behind,)), ("cvxpy", BACKENDS[behind].module)
    else:
        solver = get_solver(name)
        modules = solver.requires
    if any(importlib.util.find_spec(module) is None for module in modules):
        pytest.skip(f"{name} is not installed")
    return solver


OWN = ("gurobi", "gurobi-bigm", "scip", "scip-bigm", "xpress", "xpress-bigm", "cplex", "coptpy")
EXACT = (*OWN, "cvxpy:SCIP", "cvxpy:GUROBI")
RELAXATIONS = ("sdp", "sdp-paper")

# free licences; CVXPY's auxiliary variables count
SMALL = {"cvxpy:GUROBI": 24, "xpress": 33, "xpress-bigm": 33}

GRAMS = ("regular", "ill-conditioned", "dead", "tiny", "singular", "duplicated")
GRIDS = ("even", "uneven")
PATTERNS = ("row", "nm", "block")
CASES = (
    [(grid, "none", "update") for grid in GRIDS]
    + [(grid, pattern, "update") for grid in GRIDS for pattern in PATTERNS]
    + [("none", pattern, update) for pattern in PATTERNS for update in ("update", "fixed")]
)


def gram(rng, kind):
    a = rng.standard_normal((N - 2 if kind == "singular" else 30, N))
    if kind == "duplicated":
        a[:, 0] = a[:, -1]
    if kind == "dead":
        a[:, rng.integers(N)] = 0
    if kind == "ill-conditioned":
        a *= 10.0 ** rng.uniform(-2, 0, N)
    if kind == "tiny":
        a *= 1e-7
    return Gram.from_array(a.T @ a / len(a))


def make(case, kind, seed=0):
    grid, pattern, update = case
    rng = np.random.default_rng([seed, CASES.index(case), GRAMS.index(kind)])
    w = rng.standard_normal(N) * rng.choice([0.5, 1, 3])  # 3: far outside the grid
    levels = {
        "even": np.arange(-2, 2) * rng.uniform(0.3, 1, (2, 1)),
        "uneven": np.sort([rng.choice(np.arange(-9, 9) * 0.37, 4, replace=False) for _ in range(2)], axis=1),
    }
    free = update == "update"
    patterns = {
        "row": Sparsity.row(N, int(rng.integers(1, N)), free),
        "nm": Sparsity.nm(N, 1, 2, free),
        "block": Sparsity.blocks(N, 2, int(rng.integers(1, N // 2)), free),
    }
    grid = Grid(levels[grid], rng.integers(0, 2, N)) if grid in levels else None
    return Problem(w, gram(rng, kind), grid, patterns.get(pattern))


def instance(name, row, n, method):
    with np.load(INSTANCES / f"efficientnet_lite0.{name}.npz") as file:
        weight, h = file["weight"].astype(float), file["gram"].astype(float)[:n, :n]
    grid = Grid(np.arange(-8, 8) * (np.abs(weight).max() / 9)[None, None], np.zeros(n, int))
    patterns = {
        "prune": Sparsity.row(n, n // 4),
        "nm": Sparsity.nm(n, 2, 4),
        "block": Sparsity.blocks(n, 2, n // 8),
        "fixed": Sparsity.row(n, n // 4, update=False),
        "joint": Sparsity.row(n, n // 2),
        "joint nm": Sparsity.nm(n, 2, 4),
    }
    on_grid = grid if method in ("quant", "joint", "joint nm") else None
    return Problem(weight[row, :n], Gram.from_array(h), on_grid, patterns.get(method))


def is_refused(problem):
    """Free weights need a finite big-M."""
    return problem.method == "prune" and problem.sparsity.update and problem.gram.rank < problem.gram.live.sum()


# SCIP takes 10 to 50 times as long as Gurobi
SLOW_KINDS = {"scip": GRAMS[:4], "scip-bigm": GRAMS[3:], "cvxpy:SCIP": GRAMS[:1], "cvxpy:GUROBI": GRAMS[1:3]}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in EXACT for kind in SLOW_KINDS.get(name, GRAMS)]
)
def test_agrees_with_enumeration(name, kind):
    solver = backend(name)
    for case in CASES:
        problem = make(case, kind)
        if is_refused(problem):
            with pytest.raises(UnsupportedProblem, match="bnb") as error:
                solver.solve(problem)
            assert "\n" not in str(error.value)
            continue
        optimum, rounding = Brute().solve(problem).upper, 1e-12 * problem.reference
        found = solver.solve(problem)
        assert problem.is_feasible(found.x)
        assert found.lower <= optimum * (1 + 1e-9) + rounding
        assert found.upper == pytest.approx(optimum, rel=1e-6, abs=rounding)
        # CVXPY's norms cost accuracy; see BACKENDS
        assert found.lower >= found.upper * (1 - (1e-4 if "cvxpy" in name else 1e-6)) - rounding
        trivial = "trivial" in found.info  # answered, with a proof, before the solver is asked
        assert found.bound_kind is (BoundKind.RIGOROUS if trivial else BoundKind.NUMERICAL)


@pytest.mark.parametrize("kind", GRAMS)
@pytest.mark.parametrize("name", RELAXATIONS)
def test_relaxations_bound_the_optimum(name, kind):
    solver = backend(name)
    for case in CASES:
        problem = make(case, kind)
        if solver.why_unsupported(problem) is not None:
            continue
        found, optimum = solver.solve(problem), Brute().solve(problem).upper
        rounding = 1e-12 * problem.reference
        assert found.reason is Reason.FINISHED  # a lower end of 0 where H is singular
        assert found.lower <= optimum * (1 + 1e-9) + rounding
        assert optimum <= found.upper * (1 + 1e-9) + rounding
        if "relaxation" in found.info and problem.gram.rank == problem.gram.live.sum():
            # the bound comes from a feasible dual point, and reaches the relaxation's own value where D > 0 can
            assert found.lower >= found.info["relaxation"] * (1 - 1e-4) - 1e-8 * problem.reference


def test_box_strengthens_the_relaxation():
    problem = instance("conv_stem", 0, 20, "quant")
    assert backend("sdp").solve(problem).lower > 1.1 * backend("sdp-paper").solve(problem).lower > 0


@pytest.mark.parametrize(("name", "rows"), [("gurobi", 4), ("scip", 1)])
@pytest.mark.parametrize("method", ["prune", "quant", "nm", "block", "fixed", "joint", "joint nm"])
def test_real_rows_have_the_optimum_of_our_engine(name, rows, method):
    solver, options = backend(name), Options(time_limit=60)
    for row in range(rows):
        problem = instance("blocks.4.expand", row, 24, method)
        found, ours = solver.solve(problem, options), BranchAndBound().solve(problem, options)
        assert found.status is ours.status is Status.OPTIMAL
        assert found.upper == pytest.approx(ours.upper, rel=1e-6)
        assert found.lower <= ours.upper


@pytest.mark.parametrize("method", ["prune", "quant"])
@pytest.mark.parametrize("name", [*EXACT, "sdp"])
def test_limit_keeps_both_ends(name, method):
    n = SMALL.get(name, 48)
    solver, problem = backend(name), instance("blocks.9.expand", 0, n, method)
    best = BranchAndBound().solve(problem, Options(time_limit=60))
    for limit in (0.0, 0.05):
        begin = time.process_time()
        found = solver.solve(problem, Options(time_limit=limit))
        assert found.status in (Status.TIME_LIMIT, Status.BOUND_ONLY) or (limit > 0 and found.lower > 0)
        assert found.lower <= best.upper * (1 + 1e-9)
        assert found.upper >= best.lower * (1 - 1e-9)
        assert time.process_time() - begin < 5  # a limit that is not heard of at all, not a timing


@pytest.mark.parametrize("name", OWN)
def test_stop_ends_the_solve(name):
    solver, options = backend(name), Options(time_limit=100)
    threading.Timer(0.3, options.stop.set).start()
    found = solver.solve(instance("blocks.9.expand", 2, SMALL.get(name, 60), "quant"), options)
    assert found.status is Status.INTERRUPTED
    assert 0 <= found.lower < found.upper


@pytest.mark.parametrize("name", ["gurobi-bigm", "scip"])
def test_interrupt_reaches_python_and_stdout_stays_clean(name, capfd):
    solver, options = backend(name), Options(time_limit=100)
    before = signal.signal(signal.SIGINT, lambda *_: options.stop.set())
    try:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        found = solver.solve(instance("blocks.9.expand", 2, 60, "quant"), options)
    finally:
        signal.signal(signal.SIGINT, before)
    assert options.stop.is_set()
    assert found.status is Status.INTERRUPTED
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", ["gurobi", "gurobi-bigm", "cvxpy:GUROBI"])
def test_too_small_licence_is_one_line(name):
    solver = backend(name)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((400, 210))
    grid = Grid(np.arange(-2.0, 2)[None], np.zeros(210, int))
    problem = Problem(rng.standard_normal(210), Gram.from_array(a.T @ a), grid)
    message = ""
    try:
        solver.solve(problem, Options(time_limit=0.01))
    except SolverUnavailable as error:
        message = str(error)
    if not message:
        pytest.skip("this machine has a full Gurobi licence")
    assert "licence is too small" in message
    assert "\n" not in message


def test_cvxpy_without_a_solver_is_one_line():
    backend("cvxpy")
    with pytest.raises(SolverUnavailable, match="needs one of XPRESS"):
        Cvxpy(("XPRESS",)).solve(make(("even", "none", "update"), "regular"))


def test_unsupported_rows_name_the_reason():
    with pytest.raises(UnsupportedProblem, match="takes quant, not prune"):
        backend("sdp-paper").solve(make(("none", "row", "update"), "regular"))
    with pytest.raises(UnsupportedProblem, match="equal steps"):
        backend("sdp-paper").solve(make(("uneven", "none", "update"), "regular"))
    large = Problem(np.ones(200), Gram.from_array(np.eye(200)), sparsity=Sparsity.row(200, 50))
    with pytest.raises(UnsupportedProblem, match="at most 128 inputs"):
        backend("sdp").solve(large)


def test_known_optimum_needs_no_solver():
    grid = Grid(np.arange(-2.0, 2)[None], np.zeros(N, int))
    problem = Problem(np.array([1.0, 0, -1, -2, 1, 1]), Gram.from_array(np.eye(N)), grid)
    for name in ("gurobi", "scip", "cvxpy", "sdp"):
        found = backend(name).solve(problem)
        assert (found.status, found.lower, found.upper) == (Status.OPTIMAL, 0.0, 0.0)


def test_listing_imports_no_solver():
    code = """
import sys
from pvq.solvers.registry import solver_class, solver_names
for name in solver_names():
    solver_class(name).is_available(), solver_class(name).summary, solver_class(name).licence
print([module for module in ("gurobipy", "pyscipopt", "cvxpy", "clarabel", "torch") if module in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
