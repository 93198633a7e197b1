"""Weights of somebody's model for the layers of ours: dense, packed, in one file or a folder of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import Plain, plain
from .format import Layer, LayerError
from .own_weights import opened
from .packed import PARTS, Packed, read_gptq
from .reading import read_text

CONFIGS = ("config.json", "quantize_config.json")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
MARKS = ("_orig_mod", "module")
COMPRESSED = "compressed-tensors"
SHOWN = 6


class Checkpoint:
    """The arrays of a model by name; `weights` gives those of a layer.

    Parameters
    ----------
    source : what it is called in messages.
    arrays : what reads each array, by its name.
    config : what the files say of the quantization, `quantization_config` of Hugging Face's.
    """

    def __init__(
        self, source: str, arrays: Mapping[str, Callable[[], Plain]], config: Mapping[str, Any] | None = None
    ) -> None:
        self.source, self.config = source, config or {}
        self._arrays = {_plain(name): read for name, read in arrays.items()}
        self._change: Callable[[str], str] = _same

    def fit(self, wanted: Sequence[str]) -> None:
        """Find how the names of the layers' tensors are written here: with a first part more or less.

        Raises
        ------
        LayerError
            No layer is there under any name.
        """
        firsts = {name.partition(".")[0] for name in self._arrays}
        ways: list[Callable[[str], str]] = [_same, _without_first]
        ways += [lambda name, first=first: f"{first}.{name}" for first in sorted(firsts)]  # type: ignore[misc]
        hits = [sum(self._find(way(name)) is not None for name in wanted) for way in ways]
        if not max(hits):
            there = ", ".join(sorted(self._arrays)[:SHOWN]) or "nothing"
            raise LayerError(
                f"{self.source}: has no layer of the model, as {', '.join(wanted[:3])}; it has {there}"
            )
        self._change = ways[hits.index(max(hits))]

    def weights(self, layer: Layer) -> Plain | Packed | None:
        """Weights (out, n) of a layer, None where there are none.

        Raises
        ------
        LayerError
            They are of another shape, not finite, or packed in a way that is not known.
        """
        name = self._change(tensor_of(layer))
        form = self._find(name)
        if form is None:
            return None
        own = name.removesuffix(".weight")
        if form == "gptq":
            parts = {key: self._arrays[f"{own}.{key}"]().array for key in PARTS if f"{own}.{key}" in self._arrays}
            kind = str(self.config.get("checkpoint_format", "gptq")) if self.config else None
            version = None if kind is None else "v2" if kind == "gptq_v2" else "v1"
            return read_gptq(own, parts, layer.weight, version, self.config.get("group_size"))
        if form == COMPRESSED:
            from .compressed import read_compressed

            start = f"{own}."
            given = {key.removeprefix(start): read for key, read in self._arrays.items() if key.startswith(start)}
            return read_compressed(own, given, self.config, layer.weight.shape)
        return _dense(name, self._arrays[name](), layer)

    def _find(self, name: str) -> str | None:
        """How the weights of a name are kept."""
        own = name.removesuffix(".weight")
        if f"{own}.qweight" in self._arrays:
            return "gptq"
        if f"{own}.weight_packed" in self._arrays or f"{own}.weight_scale" in self._arrays:
            return COMPRESSED
        return "dense" if name in self._arrays else None


@contextmanager
def open_checkpoint(source: str | os.PathLike[str]) -> Iterator[Checkpoint]:
    """Open a state dict or safetensors file, a folder of such files, or a model by its source.

    Raises
    ------
    LayerError
        There is no model, or a file of it cannot be read.
    """
    path = Path(source)
    if os.path.isdir(path) or os.path.isfile(path):
        files = [path] if os.path.isfile(path) else _files(path)
        config = _config(path if os.path.isdir(path) else path.parent)
        with ExitStack() as stack:
            arrays: dict[str, Callable[[], Plain]] = {}
            for file in files:
                names, read = stack.enter_context(opened(file))
                arrays |= {name: (lambda name=name, read=read: read(name)) for name in names}  # type: ignore[misc]
            yield Checkpoint(str(source), arrays, config)
        return
    if ":" not in str(source):
        raise LayerError(f"{source}: no such file or folder; expected a model's weights, or the source of a model")
    from .models import load_model

    yield of_state(str(source), load_model(str(source)).module.state_dict())


def of_state(source: str, state: Mapping[str, Any]) -> Checkpoint:
    """Of arrays or tensors by name."""

    def reading(name: str, value: Any) -> Callable[[], Plain]:
        def read() -> Plain:
            try:
                return plain(value)
            except (ValueError, TypeError) as error:
                raise LayerError(f"{source}: {name} {' '.join(str(error).split())}") from None

        return read

    return Checkpoint(source, {name: reading(name, value) for name, value in state.items()})


def _files(folder: Path) -> list[Path]:
    """The files of a model in a folder: all of the first kind that there is."""
    for suffix in WEIGHTS:
        files = sorted(file for file in folder.glob(f"*{suffix}") if not file.name.startswith("."))
        files = [file for file in files if file.name not in ("training_args.bin", "optimizer.pt", "scheduler.pt")]
        if files:
            return files
    raise LayerError(f"{folder}: no weights in this folder; expected files ending in {', '.join(WEIGHTS)}")


def _config(folder: Path) -> Mapping[str, Any]:
    """What the files beside the weights say of their quantization."""
    for name in CONFIGS:
        file = folder / name
        if not os.path.isfile(file):
            continue
        try:
            found = json.loads(read_text(file))  # with NaN and Infinity, which configurations of models hold
        except (ValueError, RecursionError):
            raise LayerError(f"{file}: not JSON, so nothing says how the weights are packed") from None
        given = found.get("quantization_config") if name == CONFIGS[0] and isinstance(found, dict) else found
        if isinstance(given, dict):
            return given
    return {}


def tensor_of(layer: Layer) -> str:
    """Name of the tensor that has the weights of a layer."""
    meta = layer.meta
    name, own = str(meta.get("module", layer.name)), meta.get("parameter")
    if own in (None, "weight"):
        return f"{name}.weight" if name else "weight"
    if meta.get("index") is not None:
        return name.removesuffix(f".{meta['index']}")
    owner = name.rpartition(".")[0]
    return f"{owner}.{own}" if owner else str(own)


def _dense(name: str, given: Plain, layer: Layer) -> Plain:
    array, meta = given.array, layer.meta
    if array.dtype.kind != "f":
        raise LayerError(f"{name} holds {array.dtype} and no scales of a known form beside it")
    if meta.get("index") is not None and array.ndim == 3:
        array = array[meta["index"]] if meta["index"] < len(array) else array[:0].reshape(0, 0)
    if meta.get("rows") is not None:
        array = array[slice(*meta["rows"])]
    if array.ndim > 2:  # a convolution: one row per output channel, in the order of its patches
        array = array.reshape(len(array), -1)
    if meta.get("transposed"):
        array = array.T
    if array.shape != layer.weight.shape:
        shapes = " x ".join(map(str, array.shape)), " x ".join(map(str, layer.weight.shape))
        raise LayerError(f"{name} is of {shapes[0]} weights, the layer of the model of {shapes[1]}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise LayerError(f"{name} has {int((~np.isfinite(array)).sum())} NaN or infinite weights")
    return Plain(array, given.eps)


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in MARKS)


def _same(name: str) -> str:
    return name


def _without_first(name: str) -> str:
    return name.partition(".")[2]
