"""From the sources of a model and of calibration data to layer files."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .calibration import Calibration, open_calibration
from .extract import Progress, all_names, choose_layers, extract_layers, moved
from .files import folder_made
from .foreign import foreign
from .format import Layer, LayerError, array_sha256
from .models import Model, load_model, load_weights, shorten
from .outputs import OutputError, check_folder, check_outputs
from .parts import check_model, not_covered, unwrapped
from .text import Packing
from .together import save_layers, with_grams_of

TYPES = ("float64", "float32", "bfloat16", "float16")
"""What a model may compute in; sums are float64 in any case."""


class Extraction:
    """A model, calibration data and a folder, checked before the long pass; `save` writes what came out of it.

    Parameters
    ----------
    model : a source that `load_model` understands, or a loaded model.
    layer : glob over module names, or several; one that starts with `!` takes names away again.
    calibration : a source that `open_calibration` understands.
    out_dir : folder for the files, made if it is not there.
    weights : state dict or safetensors file for the model.
    name : of the model, for the files; None: that of its source.
    batch_size, limit : samples per batch, and most samples to use.
    packing : how text becomes sequences.
    device : torch device that runs the model and holds one (groups, n, n) float64 array per chosen layer.
    dtype : one of `TYPES` that the model computes in, weights included; None: as it is.

    Raises
    ------
    LayerError
        Whatever is wrong with model, layers, calibration data or folder.
    """

    def __init__(
        self,
        model: str | Model,
        layer: str | Sequence[str],
        calibration: str | os.PathLike[str],
        out_dir: str | os.PathLike[str],
        *,
        weights: str | os.PathLike[str] | None = None,
        name: str | None = None,
        batch_size: int = 8,
        limit: int | None = None,
        packing: Packing | None = None,
        device: str = "cpu",
        dtype: str | None = None,
    ) -> None:
        if dtype not in (None, *TYPES):
            raise LayerError(f"dtype {dtype!r} is none of {', '.join(TYPES)}")
        if isinstance(model, str):
            model = load_model(model, weights)
        elif weights is not None:
            load_weights(model.module, weights)
        self.module = unwrapped(model.module)
        self.model = replace(model, module=self.module, name=model.name if name is None else name)
        check_model(self.module)
        chosen = choose_layers(self.module, layer)  # before the data is opened: the most frequent mistake
        data = open_calibration(calibration, self.model, batch_size, limit, packing)
        self.folder = Path(out_dir)
        names = file_names(self.model.name, all_names(self.module))
        self.files = {name: self.folder / f"{names[name]}.npz" for name in chosen}
        read = [None if source is None else os.fspath(source) for source in (calibration, weights)]
        try:
            check_folder(self.folder)  # now, and not after a long pass
            if os.path.isdir(self.folder):
                check_outputs({f"layer {name}": file for name, file in self.files.items()}, read)
        except OutputError as error:
            raise LayerError(str(error)) from None
        with foreign(f"device {device!r} cannot be used"):
            self.module = self.module.to(device, None if dtype is None else getattr(torch, dtype))
        self.batches = Batches(data, self.module)

    def left_out(self) -> str | None:
        """A line about weights of the model that are no layers; None if there are none."""
        missed, share = not_covered(self.module)
        return f"not a layer, {share:.1%} of the model's weights: {shorten(missed)}" if missed else None

    def save(self, layers: Mapping[str, Layer]) -> list[Path]:
        """Write the layers that came out of the pass, by module name; raises `LayerError` if one cannot be."""
        data = self.batches.data
        about: dict[str, Any] = {"model": self.model.source, "calibration": data.source, **self.model.about}
        if data.attribution is not None:
            about["calibration_attribution"] = data.attribution
        complete: dict[Path, Layer] = {}
        for name, found in layers.items():
            meta = {**found.meta, **about}
            meta["hashes"] = {**meta["hashes"], "calibration": self.batches.digest.hexdigest()}
            own = Layer(self.files[name].stem, found.weight, found.grams, found.samples, meta, found.activations)
            complete[self.files[name]] = with_grams_of(own, found)
        try:
            with folder_made(self.folder):
                paths, failed = save_layers(complete, self.model.name)
        except OutputError as error:
            raise LayerError(str(error)) from None
        if failed:
            raise LayerError("; ".join(failed))
        return paths


def layers_in_memory(
    source: str,
    layer: str | Sequence[str],
    calibration: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    batch_size: int = 8,
    limit: int | None = None,
    packing: Packing | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
) -> dict[str, Layer]:
    """Layers of a model by their module names, from the sources of it and of calibration data; no file is written.

    Raises
    ------
    LayerError
        As `Extraction` and `extract_layers`.
    """
    model = load_model(source, weights)
    choose_layers(model.module, layer)  # before the data is opened: the most frequent mistake
    data = open_calibration(calibration, model, batch_size, limit, packing)
    with foreign(f"device {device!r} cannot be used"):
        module = model.module.to(device)
    return extract_layers(module, layer, Batches(data, module), progress=progress, say=say)


class Batches:
    """The batches of a source where the model takes them, hashed as they pass by."""

    def __init__(self, data: Calibration, module: torch.nn.Module) -> None:
        parameter = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        self.data, self.device, self.dtype = data, parameter.device, parameter.dtype
        self.digest = hashlib.sha256()

    def __len__(self) -> int:
        return self.data.count

    def __iter__(self) -> Iterator[Any]:
        for batch in self.data.batches():
            for tensor in batch.values() if isinstance(batch, Mapping) else (batch,):
                self.digest.update(array_sha256(tensor.numpy()).encode())
            yield moved(batch, self.device, self.dtype)


def file_names(model: str, layers: Iterable[str]) -> dict[str, str]:
    """Names of files without `.npz` for all layers of a model.

    Leading underscores and a trailing `_conv` of each part of a module name are dropped
    (`_blocks.3._depthwise_conv` becomes `blocks.3.depthwise`), unless two layers would then share a name.
    """
    names = list(layers)
    prefix = re.sub(r"\W", "_", model)
    plain = {name: re.sub(r"[^\w.]", "_", name) for name in names}
    short = {
        name: ".".join(part.lstrip("_").removesuffix("_conv") or part for part in plain[name].split("."))
        for name in names
    }
    often = Counter(name.casefold() for name in short.values())  # some file systems do not tell A from a
    chosen = {name: short[name] if often[short[name].casefold()] == 1 else plain[name] for name in names}
    return {name: f"{prefix}.{file}" if file else prefix for name, file in chosen.items()}
