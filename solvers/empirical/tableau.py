"""The sweep tableau of a pruned row: weights and errors of any set of kept inputs, and the effect of a change."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray

from ..kernels.apart import FLAGS, MATRIX, NUMBERS, REAL, TRUTH, VECTOR, WHOLE, apart, inner
from ..kernels.sparing import assign, assign_matrix

PIVOT = 1e-13
"""An input whose conditional variance is below this part of its variance depends on the others up to rounding."""


@apart(None, MATRIX, WHOLE)
def sweep(t: FloatArray, k: int) -> None:
    """Move input k into or out of the kept set (Goodnight, "A tutorial on the SWEEP operator", 1979).

    With S kept: T_SS = -H_SS^-1, T_Sj = H_SS^-1 H_Sj, T_S,last = x_S, T_jj' = H_jj' - H_jS H_SS^-1 H_Sj', and the
    last diagonal entry is the error e.
    """
    size = len(t)
    pivot = t[k, k]
    inverse = 1.0 / pivot
    row = t[k].copy()
    for i in range(size):
        if i != k:
            f = row[i] * inverse
            for j in range(size):
                t[i, j] -= f * row[j]
    direction = 1.0 if pivot > 0.0 else -1.0
    for j in range(size):
        t[k, j] = direction * row[j] * inverse
        t[j, k] = t[k, j]
    t[k, k] = -inverse


@apart(MATRIX, MATRIX, VECTOR, REAL, python=True)
def tableau(h: FloatArray, b: FloatArray, c: float) -> FloatArray:
    """T with nothing kept: [[H, b], [b', c]] for b = Hw and c = w'Hw."""
    n = len(b)
    t = np.empty((n + 1, n + 1))
    assign_matrix(t, h)
    assign(t[:, n], b)
    assign(t[n], b)
    t[n, n] = c
    return t


@apart(None, MATRIX, NUMBERS, NUMBERS, WHOLE, TRUTH, VECTOR)
def set_unit(t: FloatArray, start: IntArray, inputs: IntArray, u: int, inside: bool, variance: FloatArray) -> None:
    """Sweep the inputs of unit u, inputs[start[u]:start[u + 1]], in (those that add more than rounding) or out."""
    for at in range(start[u], start[u + 1]):
        i = inputs[at]
        if inside:
            if t[i, i] > PIVOT * variance[i]:
                sweep(t, i)
        elif t[i, i] < 0.0:
            sweep(t, i)


@apart(None, MATRIX, NUMBERS, NUMBERS, FLAGS, VECTOR)
def refill(t: FloatArray, start: IntArray, inputs: IntArray, kept: BoolArray, variance: FloatArray) -> None:
    """Sweep in kept inputs that were left out because they depended on an input that has been pruned since."""
    for u in range(len(kept)):
        if kept[u]:
            for at in range(start[u], start[u + 1]):
                i = inputs[at]
                if t[i, i] > PIVOT * variance[i]:
                    sweep(t, i)


@inner()
def gain(t: FloatArray, start: IntArray, inputs: IntArray, u: int, variance: FloatArray) -> float:
    """How much the error falls if unit u, which is pruned, is kept."""
    if start[u + 1] - start[u] != 1:
        return gain_of_many(t, start, inputs, u, variance)
    n, i = len(t) - 1, inputs[start[u]]
    return t[i, n] * t[i, n] / t[i, i] if t[i, i] > PIVOT * variance[i] else 0.0


@apart(REAL, MATRIX, NUMBERS, NUMBERS, WHOLE, VECTOR)
def gain_of_many(t: FloatArray, start: IntArray, inputs: IntArray, u: int, variance: FloatArray) -> float:
    """The same for a unit of any number of inputs: b_u' A_uu^-1 b_u, dependent inputs left out."""
    first, n = start[u], len(t) - 1
    m = start[u + 1] - first
    a = np.empty((m + 1, m + 1))
    for s in range(m):
        i = inputs[first + s]
        for v in range(m):
            a[s, v] = t[i, inputs[first + v]]
        a[s, m] = a[m, s] = t[i, n]
    a[m, m] = 0.0
    for s in range(m):
        if a[s, s] > PIVOT * variance[inputs[first + s]]:
            sweep(a, s)
    return -a[m, m]


@apart(REAL, MATRIX, NUMBERS, NUMBERS, WHOLE)
def removal_cost(t: FloatArray, start: IntArray, inputs: IntArray, u: int) -> float:
    """How much the error rises if unit u, which is kept, is pruned: x_u' ((H_SS^-1)_uu)^-1 x_u."""
    first, n = start[u], len(t) - 1
    m = start[u + 1] - first
    a = np.empty((m + 1, m + 1))
    for s in range(m + 1):
        for v in range(m + 1):
            a[s, v] = 0.0
    for s in range(m):
        i = inputs[first + s]
        if t[i, i] < 0.0:
            for v in range(m):
                j = inputs[first + v]
                if t[j, j] < 0.0:
                    a[s, v] = t[i, j]
            a[s, m] = a[m, s] = t[i, n]
    for s in range(m):
        if a[s, s] < 0.0:
            sweep(a, s)
    return a[m, m]
