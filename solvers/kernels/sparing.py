"""What spares compiling: assignments and numbers that numba does not compile more for than they are worth.

numba's own `out[:] = values` checks shapes, and the text of the message it would raise is string code, which is
compiled and optimised again in every function that calls one which assigns. A literal is a type of its own: what
is called with 0 and with a number is compiled twice, with all that it calls. And a function is optimised once more
in every function that calls it: those with one caller are `inline`, which makes them a part of it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import njit

ZERO: Any = np.int64(0)
ONE: Any = np.int64(1)
NONE: Any = np.int64(-1)
"""Arguments of compiled functions in place of the literals, and first values of what becomes one."""


@contextmanager
def compiling() -> Iterator[None]:
    """Python's collector off: it goes through all that numba keeps, time and again, a seventh of the seconds."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@njit(cache=True, nogil=True)
def assign(out: np.ndarray, values: np.ndarray) -> None:
    """out[:len(values)] = values, for vectors that do not overlap."""
    for i in range(len(values)):
        out[i] = values[i]


@njit(cache=True, nogil=True)
def assign_matrix(out: np.ndarray, values: np.ndarray) -> None:
    """The same for matrices, and the first rows and columns of `out`."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[i, j] = values[i, j]
