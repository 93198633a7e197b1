"""Weights of somebody's own for one layer: from npy, npz, safetensors or a state dict."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .archive import ArchiveError, read_arrays
from .arrays import Plain, plain
from .format import Layer, LayerError

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".bin")


def read_own_weights(path: str | os.PathLike[str], layer: Layer) -> Plain:
    """The weights that a file has for a layer.

    In a file of several arrays they are called `weight`, or as the layer or its module, with `.weight` or without;
    a single array needs no name.

    Raises
    ------
    LayerError
        Unreadable, or no such array in it; one line that lists what there is.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise LayerError(f"{path}: weights are read from files ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise LayerError(f"{path}: no such file")
    module = str(layer.meta.get("module", layer.name))
    names = ["weight", *(name + end for name in (module, layer.name) for end in (".weight", ""))]
    try:
        if path.suffix == ".npy":
            import numpy as np

            return plain(np.load(path, mmap_mode="r", allow_pickle=False))  # a header cannot allocate
        if path.suffix == ".npz":
            arrays: Mapping[str, Any] = read_arrays(path)
            return plain(arrays[_chosen(path, list(arrays), names)])
        if path.suffix == ".safetensors":
            return _safetensors(path, names)
    except (ArchiveError, OSError, ValueError, EOFError) as error:
        if isinstance(error, LayerError):
            raise
        raise LayerError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    from .models import read_state

    state = read_state(path)
    return plain(state[_chosen(path, list(state), names)])


def _safetensors(path: Path, names: Sequence[str]) -> Plain:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            name = _chosen(path, list(file.keys()), names)
            if file.get_slice(name).get_dtype() != "BF16":
                return plain(file.get_tensor(name))
        with safe_open(path, framework="pt") as file:  # numpy has no bfloat16
            return plain(file.get_tensor(name))
    except SafetensorError as error:
        raise LayerError(f"{path}: not a safetensors file: {error}") from None
    except ImportError:
        hint = "pip install 'pvq-bound[extract]'"
        raise LayerError(f"{path} has bfloat16 tensors, which need torch: {hint}") from None


def _chosen(path: Path, found: Sequence[str], names: Sequence[str]) -> str:
    """The first name that is there, or the only one that is."""
    if len(found) == 1:
        return found[0]
    for name in names:
        if name in found:
            return name
    some = ", ".join(sorted(found)[:8]) or "nothing"
    raise LayerError(f"{path}: no array is called {', '.join(names[:3])}; it has {some}")
