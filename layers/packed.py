"""Weights as the GPTQ layout packs them: whole numbers in 32-bit words, scales and zero points of groups.

`qweight` (n b / 32, out) has the numbers of the inputs one after the other, `qzeros` (groups, out b / 32) those
of the rows, each b bits long, the lowest bits first, across words where b does not divide 32; `scales` is
(groups, out), `g_idx` (n,) the group of each input. A weight is scale (q - zero). Files of the first version hold
zero - 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import FloatArray
from .format import LayerError

PARTS = ("qweight", "qzeros", "scales", "g_idx")
WIDTHS = (2, 3, 4, 8)
ENDINGS = {"v1": 1, "v2": 0}
"""What is added to the stored zero points of a version."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Quantized weights whose grid is known.

    Parameters
    ----------
    weight : (out, n) float64, scale (q - zero) without rounding.
    bits : of a number.
    group : consecutive inputs, in the order below, that share a scale.
    scale, zero : (out or 1, groups); levels are scale ({0, ..., 2^bits - 1} - zero).
    order : inputs in the order of their groups; None where they are in it.
    form : gptq v1, gptq v2 or compressed-tensors.
    """

    weight: FloatArray
    bits: int
    group: int
    scale: FloatArray
    zero: FloatArray
    order: npt.NDArray[np.int64] | None = None
    form: str = ""


def unpack(words: npt.NDArray[Any], bits: int, count: int) -> npt.NDArray[np.int64]:
    """(rows, count) numbers of so many bits from (rows, words) 32-bit words, the lowest bits first."""
    stream = np.unpackbits(np.ascontiguousarray(words.astype("<i4")).view(np.uint8), axis=1, bitorder="little")
    digits = stream[:, : count * bits].reshape(len(words), count, bits)
    return digits.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))


def read_gptq(
    name: str, parts: Mapping[str, npt.NDArray[Any]], original: FloatArray, version: str | None, group: int | None
) -> Packed:
    """Unpack one layer.

    Parameters
    ----------
    name : of the layer, for messages.
    parts : the arrays by the names in `PARTS`; `g_idx` may be missing.
    original : (out, n) weights as they were.
    version : v1 or v2 as the checkpoint says; None: the one whose weights are closer to the original.
    group : inputs of a group as the checkpoint says, -1 for all; None: from the shapes.

    Raises
    ------
    LayerError
        Arrays that do not fit each other or the layer; the message names the first.
    """
    out, n = original.shape
    qweight, qzeros, scales = (_matrix(name, parts, key) for key in PARTS[:3])
    bits = 32 * len(qweight) // n
    if bits not in WIDTHS or len(qweight) != -(-n * bits // 32) or qweight.shape[1] != out:
        shape = " x ".join(map(str, qweight.shape))
        raise LayerError(
            f"{name}.qweight of {shape} words is not that of {out} x {n} weights at 2, 3, 4 or 8 bits"
        )
    if type(group) not in (int, type(None)):
        raise LayerError(f"{name}: its checkpoint says groups of {group!r} inputs, expected a whole number")
    groups = len(scales)
    if scales.shape[1] != out or qzeros.shape != (groups, -(-out * bits // 32)):
        raise LayerError(f"{name}: scales {scales.shape} and qzeros {qzeros.shape} do not fit {out} rows")
    if not np.isfinite(scales).all() or not (scales > 0).all():
        raise LayerError(f"{name}.scales must be positive")
    group = (-(-n // groups) if group is None else n if group in (-1, 0) else group) if groups > 1 else n
    index = _groups(name, parts.get("g_idx"), n, group, groups)
    scale = scales.T.astype(np.float64)
    stored = unpack(qzeros, bits, out).T.astype(np.float64)
    levels = unpack(qweight.T, bits, n).astype(np.float64)
    made = {}
    for known, offset in ENDINGS.items():
        if version in (None, known):
            made[known] = scale[:, index] * (levels - (stored + offset)[:, index])
    chosen = min(made, key=lambda known: float(np.square(made[known] - original).sum()))
    order = None if (np.diff(index) >= 0).all() else np.argsort(index, kind="stable")
    if (np.sort(index) != np.arange(n) // group).any():
        raise LayerError(f"{name}.g_idx has groups of other sizes than {group} inputs each")
    return Packed(made[chosen], bits, group, scale, stored + ENDINGS[chosen], order, f"gptq {chosen}")


def _matrix(name: str, parts: Mapping[str, npt.NDArray[Any]], key: str) -> npt.NDArray[Any]:
    array = parts.get(key)
    kinds = "f" if key == "scales" else "iu"
    if array is None or array.ndim != 2 or array.dtype.kind not in kinds or array.size == 0:
        found = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
        raise LayerError(f"{name}.{key} is {found}, expected a matrix of {'numbers' if kinds == 'f' else 'words'}")
    return array


def _groups(name: str, given: npt.NDArray[Any] | None, n: int, group: int, groups: int) -> npt.NDArray[np.int64]:
    """(n,) group of each input."""
    index = np.arange(n) // group if given is None or not given.size else given.astype(np.int64).ravel()
    if index.shape != (n,) or index.min() < 0 or index.max() >= groups:
        raise LayerError(f"{name}.g_idx does not give each of {n} inputs one of {groups} groups")
    return index
