"""Weight tensors of a model or of a checkpoint file, without calibration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .format import LayerError

FILES = (".safetensors", ".pt", ".pth", ".bin")
LEAST_DIMENSIONS = 2
"""Biases and the parameters of normalisations have fewer; nobody compresses them."""


@dataclass(frozen=True)
class Tensors:
    """The weight tensors of a model: floating-point parameters with at least 2 dimensions."""

    name: str
    arrays: Iterator[tuple[str, npt.NDArray[np.float64]]]
    """Name and float64 array of each, one at a time."""
    count: int
    left_out: int
    """Floating-point tensors with fewer dimensions."""


def open_tensors(
    source: str, weights: str | os.PathLike[str] | None = None, only: Sequence[str] | None = None
) -> Tensors:
    """Weight tensors of a model source (see `load_model`) or of a checkpoint file.

    A `.safetensors` file needs no torch (bfloat16 excepted). A state dict (`.pt`, `.pth`, `.bin`) is never
    unpickled beyond tensors. Of parameters that share memory only the first is given. `only`: globs of names.

    Raises
    ------
    LayerError
        The source cannot be read.
    """

    def wanted(name: str) -> bool:
        return not only or any(fnmatchcase(name, glob) for glob in only)

    path = Path(source)
    if path.is_file() and path.suffix in FILES:
        if weights is not None:
            raise LayerError(f"{path} holds the weights itself: leave out `weights`")
        if path.suffix == ".safetensors":
            return _safetensors(path, wanted)
        return _of(path.stem, _state_dict(path), wanted)
    if path.suffix in FILES:
        raise LayerError(f"{path}: no such file; expected a model source or a file ending in {', '.join(FILES)}")
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise LayerError(f"{source} needs torch: pip install 'pvq-bound[extract]' (a .safetensors file does not)")
    from .models import load_model

    model = load_model(source, weights)
    return _of(model.name, dict(model.module.named_parameters()), wanted)


def _of(name: str, tensors: Mapping[str, Any], wanted: Callable[[str], bool]) -> Tensors:
    """Of torch tensors by name."""
    floating = {key: value for key, value in tensors.items() if value.is_floating_point() and wanted(key)}
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    chosen = {}
    for key, value in floating.items():
        if value.dim() < LEAST_DIMENSIONS:
            continue
        memory = (value.data_ptr(), tuple(value.shape), tuple(value.stride()))
        if value.numel() and memory in seen:
            continue
        seen.add(memory)
        chosen[key] = value
    left_out = sum(value.dim() < LEAST_DIMENSIONS for value in floating.values())
    arrays = ((key, value.detach().cpu().double().numpy()) for key, value in chosen.items())
    return Tensors(name, arrays, len(chosen), left_out)


def _state_dict(path: Path) -> dict[str, Any]:
    import torch

    from .models import read_state

    return {key: value for key, value in read_state(path).items() if isinstance(value, torch.Tensor)}


def _safetensors(path: Path, wanted: Callable[[str], bool]) -> Tensors:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys() if wanted(key)}  # noqa: SIM118, not a dict
            floating = {
                key: (len(part.get_shape()), part.get_dtype())
                for key, part in slices.items()
                if part.get_dtype() in ("F64", "F32", "F16", "BF16")
            }
    except (SafetensorError, OSError) as error:
        raise LayerError(f"{path}: not a safetensors file: {error}") from None
    chosen = [key for key, (dimensions, _) in floating.items() if dimensions >= LEAST_DIMENSIONS]
    bfloat = any(floating[key][1] == "BF16" for key in chosen)
    if bfloat:
        from importlib.util import find_spec

        if find_spec("torch") is None:
            raise LayerError(f"{path} has bfloat16 tensors, which need torch: pip install 'pvq-bound[extract]'")

    def arrays() -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
        with safe_open(path, framework="pt" if bfloat else "numpy") as file:
            for key in chosen:
                tensor = file.get_tensor(key)
                array = tensor.double().numpy() if bfloat else tensor.astype(np.float64)
                yield key, array

    return Tensors(path.stem, arrays(), len(chosen), len(floating) - len(chosen))
