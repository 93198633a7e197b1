"""Arrays of other libraries as numpy arrays: lists, numpy, and torch tensors without importing torch."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Plain(NamedTuple):
    """A numpy array, and how finely its numbers were stored before."""

    array: npt.NDArray[Any]
    eps: float
    """Distance from 1 to the next larger number of the type that the values had."""


def plain(values: Any) -> Plain:
    """A numpy array of whatever holds numbers: a torch tensor of any type, on any device, with or without grad.

    Raises
    ------
    ValueError
        A ragged list, or what is no real number.
    """
    if isinstance(values, Plain):
        return values
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        values = values.detach().cpu()
        dtype = values.dtype
        eps = sys.modules["torch"].finfo(dtype).eps if dtype.is_floating_point else _eps(np.dtype(np.float64))
        small = dtype.is_floating_point and dtype.itemsize < 4  # bfloat16 and float8, which numpy does not have
        return Plain((values.float() if small else values).numpy(), eps)
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"holds {array.dtype} where numbers are expected")
    return Plain(array, _eps(array.dtype))


def _eps(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)
