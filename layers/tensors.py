"""Weight tensors of a model or of a checkpoint file, without calibration."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .foreign import foreign
from .format import LayerError
from .state import base_of, is_part

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
    other: tuple[str, ...] = ()
    """Tensors with at least 2 dimensions of another type, packed weights for example."""
    share: float = 0.0
    """Part of all numbers that are in none of `arrays`; names that were not asked for do not count."""


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
    if os.path.isfile(path) and path.suffix in FILES:
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
    asked = {key: value for key, value in tensors.items() if wanted(key)}
    floating = {key: value for key, value in asked.items() if value.is_floating_point()}
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
    few = [value.numel() for value in floating.values() if value.dim() < LEAST_DIMENSIONS]
    other = {key: v.numel() for key, v in asked.items() if key not in floating and v.dim() >= LEAST_DIMENSIONS}
    kept = sum(value.numel() for value in chosen.values())

    def arrays() -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
        for key, value in chosen.items():
            with foreign(f"{name}: {key} of type {value.dtype} cannot be read"):
                array = value.detach().cpu().double().numpy()
            yield key, array

    return _tensors(name, arrays(), len(chosen), kept, few, other)


def _tensors(
    name: str,
    arrays: Iterator[tuple[str, npt.NDArray[np.float64]]],
    count: int,
    kept: int,
    few: Sequence[int],
    other: Mapping[str, int],
) -> Tensors:
    """From the numbers in the chosen tensors, in each with few dimensions, and in each of another type."""
    missed = sum(few) + sum(other.values())
    return Tensors(name, arrays, count, len(few), tuple(other), missed / max(1, kept + missed))


def _parameters(module: Any) -> dict[str, Any]:
    """Weights of a live module: its parameters, what parametrizations make of theirs, masks beside the masked."""
    buffers = {key: value for key, value in module.named_buffers() if key.endswith(("_mask", "_u"))}
    every = {**dict(module.named_parameters()), **buffers}
    found: dict[str, Any] = {}
    for key, value in every.items():
        before, inside, after = key.rpartition("parametrizations.")
        if inside:
            own = after.partition(".")[0]
            found[before + own] = getattr(module.get_submodule(before.rstrip(".")), own)
        elif key not in buffers or key.endswith("_u") or base_of(key, every):
            found[key] = value
    return {".".join(part for part in key.split(".") if part != "_orig_mod"): found[key] for key in found}


def _state_dict(path: Path) -> dict[str, Any]:
    from .models import read_state

    return read_state(path)


def _safetensors(path: Path, wanted: Callable[[str], bool]) -> Tensors:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            keys = list(file.keys())
            if any(base_of(key, keys) or is_part(key, keys) for key in keys):
                return _of(path.stem, _state_dict(path), wanted)
            slices = {key: file.get_slice(key) for key in keys if wanted(key)}
            shapes = {key: part.get_shape() for key, part in slices.items()}
            types = {key: part.get_dtype() for key, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise LayerError(f"{path}: not a safetensors file: {error}") from None
    large = [key for key, shape in shapes.items() if len(shape) >= LEAST_DIMENSIONS]
    chosen = [key for key in large if types[key] in (*NUMPY_TYPES, *TORCH_TYPES)]
    other = {key: math.prod(shapes[key]) for key in large if key not in chosen}
    floating = [key for key in types if types[key] in (*NUMPY_TYPES, *TORCH_TYPES)]
    few = [math.prod(shapes[key]) for key in floating if len(shapes[key]) < LEAST_DIMENSIONS]
    need = sorted({types[key] for key in chosen}.intersection(TORCH_TYPES))
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

    kept = sum(math.prod(shapes[key]) for key in chosen)
    return _tensors(path.stem, arrays(), len(chosen), kept, few, other)
