"""Products with |H| in 32 bits: never below the true ones, and not far above them."""

from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.majorant import Majorant


def true_product(gram, row):
    values = [Fraction(abs(value)) for value in row]
    return [sum(Fraction(abs(h)) * v for h, v in zip(line, values, strict=True)) for line in gram.matrix.tolist()]


@pytest.mark.parametrize("n", [1, 2, 9, 40])
@pytest.mark.parametrize("kind", ["regular", "singular", "dead", "apart", "far apart", "large", "small"])
def test_never_below_the_true_product(kind, n):
    rng = np.random.default_rng(n)
    for _ in range(5):
        a = rng.standard_normal((1 if kind == "singular" else 2 * n, n))
        if kind == "dead":
            a[:, rng.integers(n)] = 0.0
        if kind == "apart":
            a *= 10.0 ** rng.uniform(-40, 40, n)
        if kind == "far apart":  # squares of numbers as far from each other as float64 goes
            a *= 10.0 ** rng.choice([-150, 0, 140], n)
        a *= {"large": 1e140, "small": 1e-150}.get(kind, 1.0)
        gram = Gram(a.T @ a, 0.0, n) if kind == "far apart" else Gram.from_array(a.T @ a)
        reach = 290 if kind == "far apart" else 20
        rows = np.abs(rng.standard_normal((3, n))) * 10.0 ** rng.uniform(-reach, 20, (3, n))
        rows[0, rng.integers(n)] = 0.0
        rows[1, np.arange(n) != rng.integers(n)] = 0.0
        rows[2] = 0.0
        found = Majorant.of(gram).times(rows)
        for row, product in zip(rows.tolist(), found.tolist(), strict=True):
            for value, true in zip(product, true_product(gram, row), strict=True):
                assert Fraction(value) >= true


def test_not_far_above_it_and_infinite_where_numbers_are():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((1500, 700)) * 10.0 ** rng.uniform(-4, 4, 700)
    gram, rows = Gram.from_array(a.T @ a), np.abs(rng.standard_normal((4, 700)))
    assert (Majorant.of(gram).times(rows) <= 1.0002 * (rows @ np.abs(gram.matrix))).all()
    rows[0, 3] = np.inf
    assert not np.isfinite(Majorant.of(gram).times(rows)[0]).any()
