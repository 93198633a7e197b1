"""Orders of the inputs, and H with some inputs relaxed to real numbers."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from ..gram import FloatArray, IntArray
from ..order import vblast_order


def decision_order(matrix: FloatArray) -> IntArray:
    """(n,) inputs in the order in which they are decided: the next has the largest pivot (V-BLAST).

    The pivot of input i among a set that is not yet decided is 1 / ((H_set)^-1)_ii. H enters with a part in 1e10
    of its diagonal added, for the order alone: any order is valid where one is used.
    """
    shifted = matrix + 1e-10 * max(matrix.diagonal().mean(), 1e-300) * np.eye(len(matrix))
    return vblast_order(np.linalg.inv(shifted))[::-1]


def factor(matrix: FloatArray, order: IntArray) -> FloatArray:
    """L with L L' = H in reversed order of decision: the input decided first is last, its pivot L_nn^2."""
    reverse = order[::-1]
    permuted = matrix[np.ix_(reverse, reverse)]
    unit = max(float(permuted.diagonal().mean()), 1e-300)
    for floor in (0.0, 1e-13, 1e-11, 1e-8):  # a singular H: what is tested holds for any triangular matrix
        permuted.flat[:: len(matrix) + 1] += floor * unit
        try:
            return np.asarray(np.linalg.cholesky(permuted))
        except np.linalg.LinAlgError:
            continue
    raise np.linalg.LinAlgError("H is indefinite")


def relaxed(matrix: FloatArray, keep: IntArray) -> FloatArray:
    """C_S = H_SS - H_SR H_RR^+ H_RS: the least error when the inputs outside S may be any real numbers.

    Proof. min over u_R of u'Hu is u_S' C_S u_S; grid points are real numbers, so the relaxed optimum is at most
    the optimum. H itself, not H + eps I, whose Schur complement is larger. That H - C_S (padded with zeros) is
    positive semidefinite up to rounding is checked.

    Raises
    ------
    ValueError
        Rounding left more than it may.
    """
    rest = np.setdiff1d(np.arange(len(matrix)), keep)
    if not len(rest):
        return matrix
    inner, cross = matrix[np.ix_(rest, rest)], matrix[np.ix_(rest, keep)]
    values, vectors = scipy.linalg.eigh(inner)
    large = values > len(matrix) * np.finfo(float).eps * max(values[-1], 0.0)
    half = (vectors[:, large] / np.sqrt(values[large])).T @ cross
    result = matrix[np.ix_(keep, keep)] - half.T @ half
    result = (result + result.T) / 2
    padded = matrix.copy()
    padded[np.ix_(keep, keep)] -= result
    padded.flat[:: len(padded) + 1] += 1e-10 * np.trace(matrix)
    try:
        np.linalg.cholesky(padded)
    except np.linalg.LinAlgError:
        raise ValueError("the Schur complement is not below H") from None
    return np.asarray(result)
