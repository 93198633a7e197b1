"""Limits of a verification: said when they are reached, and no other answer changes with them."""

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration, Order
from pvq.bounds.verify import NotProven, lower_bound, verify_certificate
from pvq.bounds.verify.budget import limited
from pvq.bounds.verify.exact import exact_lower_bound

from certificate_cases import EXAMPLES


def test_no_time_establishes_nothing():
    for _, _, weight, gram, certificate in EXAMPLES:
        with limited(0.0), pytest.raises(NotProven, match="not established within 0 s"):
            verify_certificate(certificate, weight, gram, certificate.sha256)


def test_enough_time_changes_nothing():
    for _, _, weight, gram, certificate in EXAMPLES[::5]:
        free = verify_certificate(certificate, weight, gram, certificate.sha256)
        with limited(3600.0):
            assert verify_certificate(certificate, weight, gram, certificate.sha256).rows == free.rows


def test_nodes_end_a_search():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20, 8))
    grid = Grid(np.array([[-1.0, -0.5, 0.0, 0.5, 1.0]]), np.zeros(8, np.int64))
    problem = Problem(rng.standard_normal(8), Gram.from_array(a.T @ a / 20), grid)
    proof = Enumeration(Order(np.arange(8), np.zeros((9, 8))), 0.1 * problem.reference)
    for check in (lower_bound, exact_lower_bound):
        with limited(None, 10), pytest.raises(NotProven, match="cannot be repeated"):
            check(problem, proof)
        assert check(problem, proof) > 0
