"""Arrays of a layer: what is refused, and how they become float64."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import plain

FloatArray = npt.NDArray[np.float64]

SMALLEST, LARGEST = 1e-306, 1e307
"""Of the product weight^2 gram of the largest entries, and of its sums: what float64 holds with all its digits."""
SHAPES = "expected weight (out, in) with gram (in, in) or (groups, in, in), or activations (samples, in)"


class LayerError(ValueError):
    """A layer cannot be read, written or extracted; the message is one line: what is wrong, what is expected."""


def array_sha256(*arrays: npt.NDArray[Any]) -> str:
    """Hash of arrays: of type, shape and content of each in turn, the same on every machine."""
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str}{little.shape}".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def gram_of(activations: FloatArray) -> FloatArray:
    """A'A / samples of (samples, in) or (groups, samples, in)."""
    with np.errstate(over="ignore", invalid="ignore"):  # overflow is reported as a gram that is not finite
        grams = activations.swapaxes(-1, -2) @ activations / activations.shape[-2]
        # BLAS may round the two triangles differently
        return 0.5 * grams + 0.5 * grams.swapaxes(-1, -2)


def array_of(values: Any, name: str) -> FloatArray:
    """A float64 array of finite numbers, from whatever holds them."""
    try:
        return real_array(plain(values).array, name)
    except ValueError as error:
        raise error if isinstance(error, LayerError) else LayerError(f"{name} is no array: {error}") from None


def real_array(array: npt.NDArray[Any], name: str) -> FloatArray:
    """A float64 copy of an array of finite real numbers."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiu":
        raise LayerError(f"{name} has type {array.dtype}, expected real numbers (float64, float32 or float16)")
    if array.size == 0:
        raise LayerError(f"{name} of shape {array.shape} is empty; {SHAPES}")
    with np.errstate(over="ignore"):
        real = np.array(array, dtype=np.float64, order="C")
    if not np.isfinite(real).all():
        raise LayerError(f"{name} has {int((~np.isfinite(real)).sum())} NaN or infinite entries, expected none")
    return real


def check_size(weight: FloatArray, grams: FloatArray) -> None:
    """Refuse numbers whose errors w'Hw and their sums float64 cannot hold; what is all zeros is left alone."""
    largest = [float(np.abs(array).max()) for array in (weight, grams)]
    if not all(largest):
        return
    w, h = (math.log10(value) for value in largest)
    terms = math.log10(weight.shape[0]) + 2 * math.log10(weight.shape[1])
    if 2 * w + h < math.log10(SMALLEST) or max(2 * w + h, 2 * w, h) + terms > math.log10(LARGEST):
        raise LayerError(
            f"the largest entry of weight is {largest[0]:.3g} and of gram {largest[1]:.3g}: float64 cannot hold "
            "the errors, of the size of weight^2 gram; multiply one of them by a constant"
        )


def summed_in_float32(stored: Any, grams: FloatArray, samples: int | None) -> bool:
    """Whether the array is float32, or is one that was divided by the number of samples afterwards."""
    if getattr(stored, "dtype", None) == np.float32:
        return True
    if samples is None:
        return False
    sums = grams * samples
    with np.errstate(over="ignore"):
        return bool((np.abs(sums - sums.astype(np.float32)) <= 4 * np.finfo(np.float64).eps * np.abs(sums)).all())


def check_groups(name: str, array: FloatArray, weight: FloatArray) -> None:
    """Refuse group counts that do not divide the rows."""
    if array.ndim != 3 or len(weight) % len(array):
        raise LayerError(f"{name} {array.shape} does not fit weight {weight.shape} (groups divide out); {SHAPES}")


def check_activations(activations: FloatArray, weight: FloatArray) -> None:
    """Refuse activations that are not those of the weight."""
    if activations.ndim == 3:
        check_groups("activations", activations, weight)
    if activations.ndim not in (2, 3) or activations.shape[-1] != weight.shape[-1] or weight.ndim != 2:
        raise LayerError(f"activations {activations.shape} does not fit weight {weight.shape}; {SHAPES}")
