"""Partial moments of Student's t."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import special, stats

from ..gram import FloatArray


@cache
def density_at_zero(df: float) -> float:
    """f(0); remembered, because scipy spends more time on its arguments than we on an integral."""
    return float(stats.t.pdf(0.0, df))


def student_partial(df: float, order: int, x: FloatArray) -> FloatArray:
    """Integral A_p of t^p f(t) over 0 <= t <= x, f the t density, x >= 0 finite.

    Few degrees of freedom: A_p = f(0) x^(p+1)/(p+1) 2F1((p+1)/2, (df+1)/2; (p+3)/2; -x^2/df), from t^2 = u x^2.
    Else, for x < 1, Pfaff's transformation of it: f(x) x^(p+1)/(p+1) 2F1(1, (df+1)/2; (p+3)/2; x^2/(df+x^2)), a
    series of positive terms; and beyond, by parts with g(t) = -(df + t^2) f(t) / (df - 1), an antiderivative of
    t f(t): A_1 = g(x) - g(0), A_p (df - p) = (df - 1) x^(p-1) g(x) + (p - 1) df A_{p-2}. (2F1 itself overflows for
    many degrees of freedom, and by parts a small x loses its digits.)
    """
    x = np.asarray(x, dtype=np.float64)
    at_zero = density_at_zero(df)
    half = (order + 3) / 2
    if df < max(3, order + 2):
        factor = special.hyp2f1((order + 1) / 2, (df + 1) / 2, half, -x * x / df)
        return np.asarray(at_zero * x ** (order + 1) / (order + 1) * factor)
    density = at_zero * np.exp(-(df + 1) / 2 * np.log1p(x * x / df))
    near = x < 1
    ratio = x[near] ** 2 / (df + x[near] ** 2)
    series = term = np.ones(len(ratio))
    for k in range(30):  # terms shrink by at least 1/(1 + df) <= 1/4 in the end: 4^-30 is below an ulp
        term = term * ratio * (((df + 1) / 2 + k) / (half + k))
        series = series + term
    value = density * x ** (order + 1) / (order + 1)
    value[near] *= series
    x, density = x[~near], density[~near]
    g = -(df + x * x) * density / (df - 1)
    if order == 0:
        value[~near] = special.stdtr(df, x) - 0.5
    elif order == 1:
        value[~near] = g + df * at_zero / (df - 1)
    else:
        lower = student_partial(df, order - 2, x)
        value[~near] = ((df - 1) * x ** (order - 1) * g + (order - 1) * df * lower) / (df - order)
    return np.asarray(value)
