"""From a model to layer files: all chosen layers in one pass over the calibration data."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .calibration import open_calibration
from .capture import capture, weight_matrix
from .checks import FloatArray
from .foreign import foreign
from .format import SCHEMA, Layer, LayerError, array_sha256, save_layer
from .gram import Call, GramAccumulator, columns
from .models import Model, load_model, load_weights, shorten
from .outputs import OutputError, check_outputs
from .parts import Part, candidates, check_model, not_covered, second_names, unwrapped
from .text import Packing

Progress = Callable[[int, int | None], None]
"""Called with the number of batches done and of all batches (None if unknown)."""


def extract(
    model: str | Model,
    layer: str | Sequence[str],
    calibration: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    name: str | None = None,
    keep_activations: int = 0,
    batch_size: int = 8,
    limit: int | None = None,
    packing: Packing | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write one layer file for every chosen layer of a model.

    Parameters
    ----------
    model : a source that `load_model` understands, or a loaded model.
    layer : glob over module names, or several; one that starts with `!` takes names away again.
    calibration : a source that `open_calibration` understands.
    out_dir : folder for the files, made if it is not there.
    weights : state dict or safetensors file for the model.
    name : of the model, for the files; None: that of its source.
    keep_activations : also store the first so many columns of X.
    batch_size, limit : samples per batch, and most samples to use.
    packing : how text becomes sequences.
    device : torch device that runs the model and holds one (groups, n, n) float64 array per chosen layer.
    progress : called after every batch.
    say : called with a line about layers that no sample reached and are left out, and about weights that are no
        layers.

    Returns
    -------
    The files, in the order of the modules. Names are `MODEL.LAYER.npz` (see `file_names`).

    Raises
    ------
    LayerError
        Whatever is wrong with model, layers, calibration data or folder; then nothing has been written.
    """
    if isinstance(model, str):
        model = load_model(model, weights)
    elif weights is not None:
        load_weights(model.module, weights)
    model = replace(model, module=unwrapped(model.module), name=model.name if name is None else name)
    check_model(model.module)
    chosen = choose_layers(model.module, layer)  # before the data is opened: the most frequent mistake
    data = open_calibration(calibration, model, batch_size, limit, packing)
    if data.note is not None and say is not None:
        say(data.note)
    folder = Path(out_dir)
    _check_folder(folder)  # now, and not after a long pass
    names = file_names(model.name, _all_names(model.module))
    files = {name: folder / f"{names[name]}.npz" for name in chosen}
    read = [None if source is None else os.fspath(source) for source in (calibration, weights)]
    try:
        if folder.is_dir():
            check_outputs({f"layer {name}": file for name, file in files.items()}, read)
    except OutputError as error:
        raise LayerError(str(error)) from None
    with foreign(f"device {device!r} cannot be used"):
        module = model.module.to(device)
    parameter = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    digest = hashlib.sha256()

    def batches() -> Iterator[Any]:
        for batch in data.batches():
            for tensor in batch.values() if isinstance(batch, Mapping) else (batch,):
                digest.update(array_sha256(tensor.numpy()).encode())
            yield _moved(batch, parameter.device, parameter.dtype)

    def counted(done: int, _: int | None) -> None:
        if progress is not None:
            progress(done, max(done, data.count))

    layers = extract_layers(
        module,
        list(chosen),
        batches(),
        keep_activations=keep_activations,
        progress=counted,
        say=say,
        exact_names=True,
    )
    missed, share = not_covered(module)
    if missed and say is not None:
        say(f"not a layer, {share:.1%} of the model's weights: {shorten(missed)}")
    about: dict[str, Any] = {"model": model.source, "calibration": data.source, **model.about}
    if data.attribution is not None:
        about["calibration_attribution"] = data.attribution
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LayerError(f"{folder}: cannot be written: {error.strerror or error}") from None
    paths, failed = [], []
    for name, found in layers.items():
        meta = {**found.meta, **about}
        meta["hashes"] = {**meta["hashes"], "calibration": digest.hexdigest()}
        complete = Layer(files[name].stem, found.weight, found.grams, found.samples, meta, found.activations)
        try:
            paths.append(save_layer(files[name], complete))
        except LayerError as error:  # a smaller layer may still fit
            failed.append(str(error))
    if failed:
        raise LayerError("; ".join(failed))
    return paths


def extract_layers(
    module: nn.Module,
    layer: str | Sequence[str],
    batches: Iterable[Any],
    *,
    keep_activations: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    exact_names: bool = False,
) -> dict[str, Layer]:
    """Weights and Gram matrices of chosen layers of a module of your own.

    The module runs in evaluation mode and is left as it was. Memory is one float64 (groups, n, n) array per chosen
    layer, and `gram.CHUNK_BYTES` for unfolding, whatever the amount of data.

    Parameters
    ----------
    module : any module; what can be chosen of it is said by `parts.candidates`.
    layer : glob over module names, or several (see `extract`).
    batches : each a tensor, a tuple of positional or a dict of keyword arguments of the module. An
        `attention_mask` of shape (batch, positions) among keyword arguments also says which samples are padding.
    keep_activations : also keep the first so many columns of X.
    progress : called after every batch.
    say : called with a line about layers that no sample reached, which are left out; None: a warning.
    exact_names : take `layer` as names, not globs.

    Returns
    -------
    Layers by module name.

    Raises
    ------
    LayerError
        Nothing matches, a batch does not fit, no sample reached any of the chosen layers.
    """
    if keep_activations < 0:
        raise LayerError(f"keep_activations is {keep_activations}, expected 0 or more")
    module = unwrapped(module)
    check_model(module)
    names = list(layer) if exact_names else choose_layers(module, layer)
    known = _all_names(module)
    records: dict[str, _Record] = {}
    total = len(batches) if isinstance(batches, Sized) else None
    mask: Tensor | None = None

    def seen(name: str, call: Call) -> None:
        if name not in records:
            records[name] = _Record(call, keep_activations)
        try:
            records[name].add(call, mask)
        except LayerError as error:
            raise LayerError(f"{name}: {error}") from None

    with _evaluating(module), torch.no_grad(), capture(module, {name: known[name] for name in names}, seen):
        for done, batch in enumerate(batches, start=1):
            mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
            mask = mask if mask is not None and mask.dim() == 2 else None
            _run(module, batch)
            if progress is not None:
                progress(done, total)
    reached = [name for name in names if name in records and records[name].accumulator.samples]
    silent = [name for name in names if name not in reached]
    if not reached:
        raise LayerError(
            f"no calibration sample reached {shorten(silent)}; choose other layers or give other data"
        )
    if silent:
        count = f"{len(silent)} of {len(names)} layers"
        line = f"left out, no calibration sample reached them: {count}: {shorten(silent)}"
        if say is None:
            warnings.warn(line, stacklevel=2)
        else:
            say(line)
    layers = {}
    for name in reached:
        try:
            layers[name] = records[name].layer(name, known[name])
        except LayerError as error:
            raise LayerError(f"{name}: {error}") from None
    return layers


def choose_layers(module: nn.Module, layer: str | Sequence[str]) -> list[str]:
    """Names of the candidates that match, in the order of the model.

    Raises
    ------
    LayerError
        Nothing matches; the message lists what exists.
    """
    globs = [layer] if isinstance(layer, str) else list(layer)
    wanted = [glob for glob in globs if not glob.startswith("!")] or ["*"]
    unwanted = [glob[1:] for glob in globs if glob.startswith("!")]
    second = second_names(module)
    every = _all_names(module)
    known = [name for name in every if name not in second]

    def among(name: str, globs: list[str]) -> bool:
        return any(fnmatchcase(name, glob) for glob in globs)

    names = [name for name in known if among(name, wanted) and not among(name, unwanted)]
    # a shared module is extracted once, under its first name if that is wanted too
    chosen = {id(every[name].module) for name in names}
    for name in second:
        if name in every and among(name, wanted) and not among(name, unwanted):
            if id(every[name].module) not in chosen:
                names.append(name)
            chosen.add(id(every[name].module))
    if not names:
        exist = shorten(known, 40) or "none: the model has no Linear, Conv1d or Conv2d"
        raise LayerError(f"no layer matches {' '.join(globs)!r}; layers are: {exist}")
    return names


def _all_names(module: nn.Module) -> dict[str, Part]:
    """Candidates by all their names, the second ones of shared modules too."""
    found = candidates(module)
    return found | {name: found[first] for name, first in second_names(module).items() if first in found}


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


class _Record:
    """What is known of one layer during the pass, from its first call on."""

    def __init__(self, call: Call, keep: int) -> None:
        self.first = replace(call, input=torch.empty(0))  # the input itself must not stay in memory
        self.weight = weight_matrix(call.weight)
        self.accumulator = GramAccumulator(call.groups, self.weight.shape[1], keep)

    def add(self, call: Call, mask: Tensor | None) -> None:
        same = call.weight is self.first.weight or torch.equal(weight_matrix(call.weight), self.weight)
        if not same or call.groups != self.first.groups:
            raise LayerError("uses another weight from call to call, so it has no single Gram matrix")
        for piece in columns(call, mask):
            self.accumulator.add(piece)

    def layer(self, name: str, part: Part) -> Layer:
        gram: FloatArray = self.accumulator.gram()
        weight: FloatArray = self.weight.numpy()
        meta: dict[str, Any] = {
            "schema": SCHEMA,
            "module": name,
            "kind": part.kind,
            "shape": list(self.first.weight.shape),
            "groups": self.first.groups,
            "hashes": {"weight": array_sha256(weight), "gram": array_sha256(gram)},
        }
        if part.bare:
            # which part of which tensor of the model this is, and whether it is stored as (in, out)
            meta["parameter"] = part.parameter
            meta["index"] = part.index
            meta["rows"] = None if part.rows is None else list(part.rows)
            meta["transposed"] = self.first.weight.stride() != part.view().stride()
        if self.first.kernel:
            meta["stride"] = list(self.first.stride)
            meta["padding"] = [list(both) for both in self.first.padding]
            meta["dilation"] = list(self.first.dilation)
        return Layer(name, weight, gram, self.accumulator.samples, meta, self.accumulator.activations())


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise LayerError(f"{folder}: cannot be written: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK):
        raise LayerError(f"{folder}: cannot be written: no permission in {nearest}")


def _run(module: nn.Module, batch: Any) -> None:
    """One batch through the module."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    batch = _moved(batch, device, None)
    shapes = [tuple(t.shape) for t in _tensors(batch)]
    with foreign(f"the model fails on a batch of shape {shapes}"):
        if isinstance(batch, Mapping):
            module(**batch)
        elif isinstance(batch, tuple | list):
            module(*batch)
        else:
            module(batch)


def _tensors(batch: Any) -> list[Tensor]:
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else [batch]
    return [part for part in parts if isinstance(part, Tensor)]


def _moved(batch: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """A batch on a device; its floating-point tensors in a type, if one is given."""
    if isinstance(batch, Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else None)
    if isinstance(batch, Mapping):
        return {name: _moved(part, device, dtype) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(_moved(part, device, dtype) for part in batch)
    return batch


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each part then gets its own mode back."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
