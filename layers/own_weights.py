"""Weights of somebody's own for one layer, or their scales: from npy, npz, safetensors or a state dict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .archive import ArchiveError, read_arrays
from .arrays import Plain, plain
from .format import Layer, LayerError

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".bin")


SCALE, ZERO = ("scale", "scales", "weight_scale"), ("zero", "zeros", "zero_point", "weight_zero_point")
"""What files call scales and zero points."""

Arrays = tuple[list[str], Callable[[str], Plain]]


def read_own_weights(path: str | os.PathLike[str], layer: Layer) -> Plain:
    """The weights that a file has for a layer.

    In a file of several arrays they are called `weight`, or as the layer or its module, with `.weight` or without;
    a single array needs no name.

    Raises
    ------
    LayerError
        Unreadable, or no such array in it; one line that lists what there is.
    """
    with opened(Path(path)) as (found, read):
        names = ["weight", *(name + end for name in _names(layer) for end in (".weight", ""))]
        return read(_chosen(path, found, names))


def read_own_scales(path: str | os.PathLike[str], layer: Layer) -> Plain | dict[str, Plain]:
    """Scales of a layer in a file, `scale` and perhaps `zero`; else its quantized weights, which have them.

    Scales are called `scale`, `scales` or `weight_scale`, zero points `zero`, `zeros`, `zero_point` or
    `weight_zero_point`, with the name of the layer or its module and a dot before it or without.

    Raises
    ------
    LayerError
        As `read_own_weights`.
    """
    with opened(Path(path)) as (found, read):
        given = {}
        for key, words in (("scale", SCALE), ("zero", ZERO)):
            names = [*words, *(f"{name}.{word}" for name in _names(layer) for word in words)]
            at = next((name for name in names if name in found), None)
            if at is not None:
                given[key] = read(at)
        if "scale" in given:
            return given
    return read_own_weights(path, layer)


def _names(layer: Layer) -> list[str]:
    return [str(layer.meta.get("module", layer.name)), layer.name]


@contextmanager
def opened(path: Path) -> Iterator[Arrays]:
    """The names of a file's arrays, and what reads one of them."""
    if path.suffix not in SUFFIXES:
        raise LayerError(f"{path}: weights are read from files ending in {', '.join(SUFFIXES)}")
    if not os.path.isfile(path):
        raise LayerError(f"{path}: no such file")
    try:
        if path.suffix == ".npy":
            import numpy as np

            # mapped: a header cannot allocate
            yield [""], lambda _: plain(np.load(path, mmap_mode="r", allow_pickle=False))
        elif path.suffix == ".npz":
            arrays: Mapping[str, Any] = read_arrays(path)
            yield list(arrays), lambda name: plain(arrays[name])
        elif path.suffix == ".safetensors":
            with _safetensors(path) as opened:
                yield opened
        else:
            from .models import read_state

            state = read_state(path)
            yield list(state), lambda name: plain(state[name])
    except (ArchiveError, OSError, ValueError, EOFError) as error:
        if isinstance(error, LayerError):
            raise
        raise LayerError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


@contextmanager
def _safetensors(path: Path) -> Iterator[Arrays]:
    from safetensors import SafetensorError, safe_open

    def read(name: str) -> Plain:
        if file.get_slice(name).get_dtype() != "BF16":
            return plain(file.get_tensor(name))
        with safe_open(path, framework="pt") as again:  # numpy has no bfloat16
            return plain(again.get_tensor(name))

    try:
        with safe_open(path, framework="numpy") as file:
            yield list(file.keys()), read
    except SafetensorError as error:
        raise LayerError(f"{path}: not a safetensors file: {error}") from None
    except ImportError:
        hint = "pip install 'pvq-bound[extract]'"
        raise LayerError(f"{path} has bfloat16 tensors, which need torch: {hint}") from None


def _chosen(path: str | os.PathLike[str], found: Sequence[str], names: Sequence[str]) -> str:
    """The first name that is there, or the only one that is."""
    if len(found) == 1:
        return found[0]
    for name in names:
        if name in found:
            return name
    some = ", ".join(sorted(found)[:8]) or "nothing"
    raise LayerError(f"{path}: no array is called {', '.join(names[:3])}; it has {some}")
