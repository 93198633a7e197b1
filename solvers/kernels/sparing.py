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

from .apart import inner

ZERO: Any = np.int64(0)
ONE: Any = np.int64(1)
NONE: Any = np.int64(-1)
"""Arguments of compiled functions in place of the literals, and first values of what becomes one."""


@inner()
def assign(out: np.ndarray, values: np.ndarray) -> None:
    """out[:len(values)] = values, for vectors that do not overlap."""
    for i in range(len(values)):
        out[i] = values[i]


@inner()
def assign_matrix(out: np.ndarray, values: np.ndarray) -> None:
    """The same for matrices, and the first rows and columns of `out`."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[i, j] = values[i, j]
