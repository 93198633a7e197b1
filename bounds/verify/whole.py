"""A float64 matrix in whole numbers, and products of them."""

from __future__ import annotations

from ..gram import FloatArray


def integers(h: FloatArray) -> tuple[list[list[int]], int]:
    """The matrix times a power of two, as integers, and that power."""
    ratios = [[value.as_integer_ratio() for value in row] for row in h.tolist()]
    scale = max(below for row in ratios for _, below in row)
    return [[above * (scale // below) for above, below in row] for row in ratios], scale


def times(h: list[list[int]], z: list[int]) -> list[int]:
    return [sum(a * b for a, b in zip(row, z, strict=True)) for row in h]
