"""On a GPU, where there is one: random rows on every even grid, long rows, limits."""

import threading

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.verify import lower_bound
from pvq.solvers.bnb import BranchAndBound, enumeration
from pvq.solvers.bnb.gpu.here import found_here
from pvq.solvers.bound.rows import bound_batch
from pvq.solvers.options import Options
from pvq.solvers.result import Reason, Status

HERE, WHY = found_here()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not HERE, reason=WHY)]


def row(rng, n, bits, spread=1.0):
    a = rng.standard_normal((n + n // 2 + 8, n)) @ (np.eye(n) + 0.3 * rng.standard_normal((n, n)) / np.sqrt(n))
    top = 2**bits
    values = rng.uniform(0.8, 4) / top * (np.arange(top) - top // 2)
    weight = spread * rng.standard_normal(n)
    return Problem(weight, Gram.from_array(a.T @ a / n), Grid(values[None], np.zeros(n, np.int64)))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_random_rows(monkeypatch, bits):
    """Also rows far outside their grid, where more leaves than can be written down lie within the slack."""
    rng = np.random.default_rng(bits)
    problems = [
        row(rng, int(rng.integers(8, 49 if bits < 4 else 33)), bits, rng.choice([0.5, 1, 1.5])) for _ in range(50)
    ]
    expected = [BranchAndBound().solve(problem) for problem in problems]
    monkeypatch.setattr(enumeration, "BRIEF", 0)
    monkeypatch.setattr(enumeration, "row_lattice", lambda row: None)
    monkeypatch.setattr(enumeration.GridSearch, "quick", lambda search, budget: Reason.NODES)
    for problem, cpu in zip(problems, expected, strict=True):
        gpu = BranchAndBound().solve(problem, Options(device="gpu"))
        assert gpu.lower <= cpu.upper
        assert cpu.lower <= gpu.upper
        if cpu.status is Status.OPTIMAL:
            assert gpu.status is Status.OPTIMAL
            assert gpu.upper == pytest.approx(cpu.upper, rel=2e-6)


def test_a_row_of_112_inputs_and_limits():
    problem = row(np.random.default_rng(0), 112, 4)
    limited = BranchAndBound().solve(problem, Options(time_limit=0.3, device="gpu"))
    assert limited.info["device"].startswith("gpu")
    assert limited.lower > 0
    options = Options(time_limit=None, device="gpu")
    threading.Timer(0.5, options.stop.set).start()
    stopped = BranchAndBound().solve(problem, options)
    assert stopped.status in (Status.INTERRUPTED, Status.OPTIMAL)
    assert max(stopped.lower, limited.lower) <= min(stopped.upper, limited.upper)


def test_a_chunk_of_a_layer():
    """Blocks of 48 inputs prove no less than those of 16 that a CPU affords, and the verifier says the same."""
    rng = np.random.default_rng(1)
    first = row(rng, 240, 4)
    levels = np.arange(16) - 7.5
    problems = [
        Problem(rng.standard_normal(240), first.gram, Grid(scale * levels[None], np.zeros(240, np.int64)))
        for scale in rng.uniform(0.2, 0.4, 64)
    ]
    found = bound_batch(problems, Options(time_limit=None, device="gpu"), [None] * 64)
    expected = bound_batch(problems, Options(time_limit=None), [None] * 64)
    assert {outcome.info["device"][:3] for outcome in found} == {"gpu"}
    assert sum(outcome.lower for outcome in found) > sum(outcome.lower for outcome in expected)
    for problem, outcome in zip(problems[:8], found, strict=False):
        assert outcome.lower * (1 - 1e-6) <= lower_bound(problem, outcome.proof) <= problem.error(outcome.x)
