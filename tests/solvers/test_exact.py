"""Exact errors against rational arithmetic written out."""

from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.solvers.exact import as_integers, exact_error, rounded_up


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e150])
def test_it_is_the_sum_of_exact_products(scale):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((9, 5)) * 10.0 ** rng.uniform(-6, 6, 5)
    problem = Problem(
        scale * rng.standard_normal(5),
        Gram.from_array(a.T @ a),
        Grid(scale * np.arange(-2.0, 3)[None], np.zeros(5, int)),
    )
    for x in (problem.grid.nearest(problem.weight), np.zeros(5), scale * np.full(5, 2.0)):
        u = [Fraction(w) - Fraction(v) for w, v in zip(problem.weight.tolist(), x.tolist(), strict=True)]
        h = problem.hessian.tolist()
        wanted = sum(u[i] * Fraction(h[i][j]) * u[j] for i in range(5) for j in range(5))
        assert exact_error(problem, x) == wanted


def test_numbers_of_any_size_are_kept():
    a = np.array([0.0, -0.0, 5e-324, -1.7e308, 0.1, 3.0])
    whole, exponent = as_integers(a)
    assert [Fraction(int(k)) * Fraction(2) ** exponent for k in whole] == [Fraction(v) for v in a.tolist()]
    assert as_integers(np.zeros(3))[0].tolist() == [0, 0, 0]


def test_rounding_goes_up():
    assert rounded_up(Fraction(1, 10)) == 0.1  # the double nearest to 1/10 lies above it
    assert rounded_up(Fraction(1, 3)) == np.nextafter(1 / 3, 1)
    assert rounded_up(Fraction(1, 4)) == 0.25
