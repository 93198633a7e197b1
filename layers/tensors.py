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
from .state import base_of

FILES = (".safetensors", ".pt", ".pth", ".bin")
NUMPY_TYPES = ("F64", "F32", "F16")
TORCH_TYPES = ("BF16", "F8_E4M3", "F8_E5M2")
"""Floating-point types of safetensors, those that numpy knows and others."""
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

    A `.safetensors` file needs no torch (bfloat16 and float8 excepted). A state dict (`.pt`, `.pth`, `.bin`) is
    never unpickled beyond tensors. Of parameters that share memory only the first is given. `only`: globs.

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
    return _of(model.name, _parameters(model.module), wanted)


def _of(name: str, tensors: Mapping[str, Any], wanted: Callable[[str], bool]) -> Tensors:
    """Of torch tensors by name."""
    from .state import dense, effective

    tensors = {key: dense(key, value, name) for key, value in tensors.items()}
    tensors = effective(tensors, name)
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


def _parameters(module: Any) -> dict[str, Any]:
    """Parameters, with the masks that pruning keeps beside them."""
    parameters = dict(module.named_parameters())
    masks = {key: value for key, value in module.named_buffers() if key.endswith("_mask")}
    return {**parameters, **{key: mask for key, mask in masks.items() if base_of(key, {**parameters, **masks})}}


def _state_dict(path: Path) -> dict[str, Any]:
    from .models import read_state

    return read_state(path)


def _safetensors(path: Path, wanted: Callable[[str], bool]) -> Tensors:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            keys = list(file.keys())
            if any(base_of(key, keys) for key in keys):
                return _of(path.stem, _state_dict(path), wanted)
            slices = {key: file.get_slice(key) for key in keys if wanted(key)}
            floating = {
                key: (len(part.get_shape()), part.get_dtype())
                for key, part in slices.items()
                if part.get_dtype() in (*NUMPY_TYPES, *TORCH_TYPES)
            }
    except (SafetensorError, OSError) as error:
        raise LayerError(f"{path}: not a safetensors file: {error}") from None
    chosen = [key for key, (dimensions, _) in floating.items() if dimensions >= LEAST_DIMENSIONS]
    need = sorted({floating[key][1] for key in chosen}.intersection(TORCH_TYPES))
    if need:
        from importlib.util import find_spec

        if find_spec("torch") is None:
            raise LayerError(
                f"{path} has {' and '.join(need)} tensors, which need torch: pip install 'pvq-bound[extract]'"
            )

    def arrays() -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
        with safe_open(path, framework="pt" if need else "numpy") as file:
            for key in chosen:
                tensor = file.get_tensor(key)
                array = tensor.double().numpy() if need else tensor.astype(np.float64)
                yield key, array

    return Tensors(path.stem, arrays(), len(chosen), len(floating) - len(chosen))
