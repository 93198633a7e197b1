"""Products in tiles against NumPy's, at every width where the code changes, and that nothing beside is touched."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from pvq.solvers.kernels import tiles
from pvq.solvers.kernels.tiles import ROWS, WIDTH


@njit
def subtract_product(out, row, lo, hi, factors, column, rows, first, last):  # type: ignore[no-untyped-def]
    tiles.subtract_product(out, row, lo, hi, factors, column, rows, first, last)


@pytest.mark.parametrize("width", [*range(2 * WIDTH + 2), 3 * WIDTH, 4 * WIDTH + 1])
@pytest.mark.parametrize("terms", [0, 1, 2, 7])
def test_only_the_tile_changes_and_by_the_product(width: int, terms: int) -> None:
    rng = np.random.default_rng(width + 100 * terms)
    factors, rows = rng.normal(size=(9, ROWS + 3)), rng.normal(size=(9, width + 5))
    out = rng.normal(size=(ROWS + 2, width + 4))
    expected = out.copy()
    lo, first, column = 3, 2, 1
    expected[1 : 1 + ROWS, lo : lo + width] -= (
        factors[first : first + terms, column : column + ROWS].T @ rows[first : first + terms, lo : lo + width]
    )
    subtract_product(out, 1, lo, lo + width, factors, column, rows, first, first + terms)
    np.testing.assert_allclose(out, expected, rtol=1e-13, atol=1e-13)
    beside = np.ones(out.shape, np.bool_)
    beside[1 : 1 + ROWS, lo : lo + width] = False
    assert (out[beside] == expected[beside]).all()


def test_the_result_may_share_memory_with_rows_above_it() -> None:
    a = np.random.default_rng(1).normal(size=(12, 12))
    expected = a.copy()
    expected[8:12, 8:] -= a[:8, 8:12].T @ a[:8, 8:]
    subtract_product(a, 8, 8, 12, a, 8, a, 0, 8)
    np.testing.assert_allclose(a, expected, rtol=1e-13, atol=1e-13)
