"""Numbers of a proof with fewer digits, so that its file is smaller: any v and any D below H prove something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pvq.bounds.gram import FloatArray

BITS = 24
"""Of a significand, as in float32: the 29 bits of 0 that follow are packed away, and the bounds of 32 rows of 2048
inputs change in the ninth digit."""


def shortened(a: FloatArray, rounding: Callable[[FloatArray], FloatArray] = np.rint) -> FloatArray:
    """The array with numbers of 24 bits, in the range of float64.

    Parameters
    ----------
    rounding : of whole numbers, `numpy.floor` for those that must not grow.
    """
    significand, exponent = np.frexp(a)
    return np.asarray(np.ldexp(rounding(np.ldexp(significand, BITS)), exponent - BITS), dtype=np.float64)
