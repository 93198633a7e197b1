"""Searches of the verifier on a GPU, where there is one: the CPU's results, long proofs, limits."""

import time

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration, Order
from pvq.bounds.verify import enumeration
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.gpu.searcher import on_gpu
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.bnb.gpu.here import found_here
from pvq.solvers.options import Options

from row_cases import order_of

HERE, WHY = found_here()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not HERE, reason=WHY)]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(enumeration, "FIRST", 0)
    return on_gpu()


def row(rng, n, bits):
    a = rng.standard_normal((n + n // 2 + 8, n)) @ (np.eye(n) + 0.3 * rng.standard_normal((n, n)) / np.sqrt(n))
    values = rng.uniform(0.8, 4) / 2**bits * (np.arange(2**bits) - 2 ** (bits - 1))
    weight = rng.choice([0.5, 1, 1.5]) * rng.standard_normal(n)
    return Problem(weight, Gram.from_array(a.T @ a / n), Grid(values[None], np.zeros(n, np.int64)))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_random_rows(gpu, bits):
    """Of 8 to 64 inputs: what is true is proven as by the CPU, and no more of what is not."""
    rng, compared = np.random.default_rng(bits), 0
    for _ in range(50):
        problem = row(rng, int(rng.integers(8, 65 if bits < 4 else 41)), bits)
        order, best = order_of(problem.hessian), BranchAndBound().solve(problem, Options(time_limit=2.0)).upper
        for factor in (0.5, 1 - 1e-7, 1 + 1e-7, 1.01):
            proof = Enumeration(order, best * factor)
            try:
                with limited(None, 10**8):
                    expected = lower_bound(problem, proof)
            except NotProven:
                continue
            with limited(None, 10**8 + 10**7, sweep=gpu):
                assert lower_bound(problem, proof) == pytest.approx(expected, rel=1e-9)
            compared += 1
    assert gpu.failed == ""
    assert compared > 100


def test_a_proof_of_112_inputs(gpu):
    problem = row(np.random.default_rng(0), 112, 4)
    found = BranchAndBound().solve(problem, Options(time_limit=20.0, device="gpu"))
    proof = Enumeration(order_of(problem.hessian), found.lower * 0.9)
    with limited(300.0, 10**12, sweep=gpu):
        assert lower_bound(problem, proof) == pytest.approx(proof.threshold, rel=1e-6)
    assert gpu.nodes > 10**6
    assert gpu.failed == ""


def test_limits(gpu):
    n = 60
    problem = Problem(np.full(n, 0.4), Gram.from_array(np.eye(n)), Grid(np.arange(3.0)[None], np.zeros(n, int)))
    proof = Enumeration(Order(np.arange(n), np.zeros((n + 1, n))), 9.5)
    began = time.monotonic()
    with limited(2.0, 10**15, sweep=gpu), pytest.raises(NotProven, match="not established within 2 s"):
        lower_bound(problem, proof)
    assert 1.9 < time.monotonic() - began < 4
    with limited(None, 10**8, sweep=gpu), pytest.raises(NotProven, match="within 100,000,000 nodes"):
        lower_bound(problem, proof)
    assert gpu.failed == ""
