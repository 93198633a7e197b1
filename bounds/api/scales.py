"""Scales and zero points of somebody's own: as numbers, or behind quantized weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from pvq.bounds.codebooks import Codebook, codebook
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import Setting
from pvq.bounds.ranges import GIVEN
from pvq.bounds.recover import recover_scales
from pvq.layers.format import Layer

from .results import numbers


class AmbiguousScales(UserWarning):
    """Quantized weights that other scales would explain as well."""


class Given(NamedTuple):
    """Scales of somebody's own."""

    setting: Setting
    """The setting that says so."""
    scales: tuple[FloatArray, FloatArray]
    """Scales and zero points, (out or 1, groups)."""
    doubt: str | None = None
    """How many of them the weights do not determine."""


def given_scales(scales: Any, setting: Setting, levels: tuple[float, ...] | None, layer: Layer) -> Given:
    """Scales as they are, or recovered from quantized weights."""
    if not setting.quantizes:
        raise ProblemError("`scales` are for a grid, and this problem has none")
    setting = dataclasses.replace(setting, range=GIVEN)
    if isinstance(scales, Mapping):
        if not {"scale"} <= set(scales) <= {"scale", "zero"}:
            raise ProblemError(f"`scales` needs 'scale', and perhaps 'zero', not {sorted(map(str, scales))}")
        scale = _numbers(scales["scale"])
        zero = np.zeros_like(scale) if scales.get("zero") is None else _numbers(scales["zero"])
        if setting.granularity == "channel" and scale.shape == (1, layer.out):
            scale, zero = scale.T, zero.T
        return Given(setting, (scale, zero))
    given = numbers("scales", scales)
    weights = given.array.reshape(len(given.array), -1) if given.array.ndim > 2 else given.array
    if weights.shape != layer.weight.shape:
        raise ProblemError(f"`scales` are weights of shape {weights.shape}, the layer has {layer.weight.shape}")
    if not np.isfinite(weights).all():
        raise ProblemError("`scales` has NaN or infinite weights")
    book = Codebook(setting.grid, np.array(levels)) if levels else codebook(setting.grid, setting.bits)
    found = recover_scales(np.asarray(weights, dtype=np.float64), book, setting.granularity, given.eps)
    if not found.ambiguous:
        return Given(setting, (found.scale, found.zero))
    doubt = (
        f"the weights do not determine {found.ambiguous} of {found.scale.size} scales; "
        "the finest that explains them is taken (1 where all are 0)"
    )
    return Given(setting, (found.scale, found.zero), doubt)


def _numbers(values: Any) -> FloatArray:
    """(rows or 1, groups) numbers."""
    return np.atleast_2d(np.asarray(numbers("scales", values).array, dtype=np.float64))
