"""Layers of one model that share their inputs: one array in memory, one file on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .format import Layer, LayerError, write_layer
from .gram_file import save_gram


def save_layers(files: Mapping[Path, Layer], model: str) -> tuple[list[Path], list[str]]:
    """Write layer files into one folder; layers that share a Gram matrix in memory share one file of it.

    Layers with activations have their matrix inside: a program that knows no such files would compute another one.

    Parameters
    ----------
    files : layers by the files that are to be written.
    model : name before the hash of Gram files.

    Returns
    -------
    The files that were written, and why others were not.
    """
    paths, failed = [], []
    often = Counter(id(layer.grams) for layer in files.values() if layer.activations is None)
    pointers: dict[int, dict[str, str]] = {}
    for path, layer in files.items():
        grams = id(layer.grams)
        try:
            if layer.activations is None and often[grams] > 1 and grams not in pointers:
                pointers[grams] = save_gram(path.parent, model, layer.grams)
            paths.append(write_layer(path, layer, pointers.get(grams) if layer.activations is None else None))
        except LayerError as error:  # a smaller layer may still fit
            failed.append(str(error))
    return paths, failed


def with_grams_of(layer: Layer, other: Layer) -> Layer:
    """The layer, with the array of the other's Gram matrices for its own where they are equal."""
    if np.array_equal(layer.grams, other.grams):
        object.__setattr__(layer, "grams", other.grams)
    return layer
