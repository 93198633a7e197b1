"""The blocks of a D side by side, as many at once as have as many inputs: a row has tens of small ones."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..gram import FloatArray, IntArray
from ..proof import Below


class Alike(NamedTuple):
    """Blocks with as many inputs."""

    number: list[int]
    """Of each in its D."""
    inputs: IntArray
    """(blocks, m)."""
    matrices: FloatArray
    """(blocks, m, m)."""
    sizes: FloatArray
    """(blocks, m, m) of their entries."""


_alike: WeakKeyDictionary[Below, list[Alike]] = WeakKeyDictionary()


def alike(below: Below) -> list[Alike]:
    """The blocks by how many inputs they have; done once for all rows that share D."""
    known = _alike.get(below)
    if known is not None:
        return known
    by_size: dict[int, list[int]] = {}
    for number, block in enumerate(below.blocks):
        by_size.setdefault(len(block.inputs), []).append(number)
    found = []
    for numbers in by_size.values():
        matrices = np.array([below.blocks[b].matrix for b in numbers])
        inputs = np.array([below.blocks[b].inputs for b in numbers])
        found.append(Alike(numbers, inputs, matrices, np.abs(matrices)))
    _alike[below] = found
    return found


def times(a: FloatArray, x: FloatArray) -> FloatArray:
    """Products of matrices and vectors side by side."""
    return np.asarray(np.matmul(a, x[..., None])[..., 0])
