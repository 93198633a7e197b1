"""What spares compiling: assignments and numbers that numba does not compile more for than they are worth.

numba's own `out[:] = values` checks shapes, and the text of the message it would raise is string code, which is
compiled and optimised again in every function that calls one which assigns. A literal is a type of its own: what
is called with 0 and with a number is compiled twice, with all that it calls. And a function is optimised once more
in every function that calls it: the large ones are `apart`, those with one caller `inline`, which makes them a
part of it. Code that takes what Python or C hands over is a seventh of all: what Python calls is `entry`, with
none for C, and small functions that it does not call are `inner`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .apart import BORROWS, NUMBERS, REAL, VECTOR, WHOLE, apart, inner

ZERO: Any = np.int64(0)
ONE: Any = np.int64(1)
NONE: Any = np.int64(-1)
"""Arguments of compiled functions in place of the literals, and first values of what becomes one."""


@apart(VECTOR, WHOLE, REAL)
def constant(n: int, value: float) -> np.ndarray:
    """(n,) `value` everywhere."""
    out = np.empty(n)
    for i in range(n):
        out[i] = value
    return out


@apart(NUMBERS, WHOLE)
def nones(n: int) -> np.ndarray:
    """(n,) -1, which stands for no number."""
    out = np.empty(n, np.int64)
    for i in range(n):
        out[i] = -1
    return out


@apart(VECTOR, VECTOR, WHOLE)
def first_reals(values: np.ndarray, count: int) -> np.ndarray:
    """A copy of values[:count]."""
    out = np.empty(count)
    for i in range(count):
        out[i] = values[i]
    return out


@apart(NUMBERS, NUMBERS, WHOLE)
def first_numbers(values: np.ndarray, count: int) -> np.ndarray:
    """The same of integers."""
    out = np.empty(count, np.int64)
    for i in range(count):
        out[i] = values[i]
    return out


@inner(**BORROWS)
def assign(out: np.ndarray, values: np.ndarray) -> None:
    """out[:len(values)] = values, for vectors that do not overlap."""
    for i in range(len(values)):
        out[i] = values[i]


@inner(**BORROWS)
def assign_matrix(out: np.ndarray, values: np.ndarray) -> None:
    """The same for matrices, and the first rows and columns of `out`."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[i, j] = values[i, j]
