"""Factors, inverses and solutions by LAPACK while other threads go on.

The functions of `scipy.linalg.lapack` hold the interpreter's lock, at 4096 inputs for seconds: rows side by side
wait for each other then, and an interrupt for both. The same library, called by its address, does not.
Matrices are symmetric, so that LAPACK's columns are our rows.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np
from pvq.bounds.gram import FloatArray
from scipy.linalg import cython_lapack

assert sys.byteorder == "little", "integers that LAPACK reads are written for machines whose low bytes come first"

Whole = ctypes.c_int64
"""An integer: a LAPACK whose own have 32 bits reads and writes the low half of it, the other half being 0."""

_INT, _POINTER = ctypes.POINTER(Whole), ctypes.c_void_p
_LOWER = ctypes.c_char_p(b"L")


def _function(name: str, *arguments: type) -> ctypes._CFunctionType:
    """LAPACK's function of that name: no lock is held in it."""
    capsule = cython_lapack.__pyx_capi__[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    return ctypes.CFUNCTYPE(None, ctypes.c_char_p, *arguments)(address)


_potrf = _function("dpotrf", _INT, _POINTER, _INT, _INT)
_potri = _function("dpotri", _INT, _POINTER, _INT, _INT)
_potrs = _function("dpotrs", _INT, _INT, _POINTER, _INT, _POINTER, _INT, _INT)


def factor(m: FloatArray) -> bool:
    """Replace m, (n, n), by its Cholesky factor, for the functions below; False if it is not positive definite."""
    return _in_place(_potrf, m)


def invert(m: FloatArray) -> bool:
    """Replace a factor, (n, n), by the inverse, of which only the upper triangle is written."""
    return _in_place(_potri, m)


def solve(factor: FloatArray, b: FloatArray) -> None:
    """Replace every row of b, (rows, n), by the solution that has it on the right side."""
    n, info = _checked(factor, (len(factor), len(factor))), Whole()
    _checked(b, (len(b), len(factor)))
    _potrs(_LOWER, n, Whole(len(b)), factor.ctypes.data, _apart(n), b.ctypes.data, _apart(n), info)
    assert info.value == 0


def _in_place(function: ctypes._CFunctionType, m: FloatArray) -> bool:
    n, info = _checked(m, (len(m), len(m))), Whole()
    function(_LOWER, n, m.ctypes.data, _apart(n), info)
    return info.value == 0


def _apart(n: Whole) -> Whole:
    """How far rows of so many numbers are from each other: 1 at least, as LAPACK wants it."""
    return Whole(max(1, n.value))


def _checked(a: FloatArray, shape: tuple[int, ...]) -> Whole:
    """The length of its rows; an array that LAPACK would read wrongly ends here."""
    if a.shape != shape or a.dtype != np.float64 or not (a.flags.c_contiguous and a.flags.writeable):
        raise ValueError(f"a contiguous array of float64, {shape}, not {a.shape} of {a.dtype}")
    return Whole(a.shape[-1])
