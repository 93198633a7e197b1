"""The error of a point in exact rational arithmetic: float64 numbers are integers times powers of two."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem


def as_integers(a: FloatArray) -> tuple[NDArray[np.object_], int]:
    """Integers k and an exponent s with a = k 2^s exactly, for finite a."""
    mantissa, exponent = np.frexp(a)
    whole = (mantissa * 2.0**53).astype(np.int64).astype(object)
    exponent = np.where(a == 0, 0, exponent - 53)
    least = int(exponent.min(initial=0))
    return np.asarray(whole << (exponent - least).astype(object)), least


def exact_error(problem: Problem, x: FloatArray) -> Fraction:
    """(w - x)' H (w - x) without any rounding; O(n^2) operations on integers of a few hundred bits."""
    gram: Gram = problem.gram
    h, h_exponent = gram.memo("integers", lambda: as_integers(gram.matrix))
    both, exponent = as_integers(np.concatenate([problem.weight, x]))
    u = both[: problem.n] - both[problem.n :]
    total = int(u @ (h @ u))
    exponent = 2 * exponent + h_exponent
    return Fraction(total << exponent) if exponent >= 0 else Fraction(total, 1 << -exponent)


def rounded_up(value: Fraction) -> float:
    """The least float64 that is not below a value."""
    near = float(value)
    return near if Fraction(near) >= value else math.nextafter(near, math.inf)
