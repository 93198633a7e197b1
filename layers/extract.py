"""From a model to layers: all that are chosen in one pass over the calibration data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from .capture import capture, weight_matrix
from .checks import FloatArray
from .foreign import foreign
from .format import SCHEMA, Layer, LayerError, array_sha256
from .gram import Call, GramAccumulator
from .models import shorten
from .parts import Part, candidates, check_model, second_names, unwrapped
from .sharing import Sums
from .together import with_grams_of

Progress = Callable[[int, int | None], None]
"""Called with the number of batches done and of all batches (None if unknown)."""


def extract_layers(
    module: nn.Module,
    layer: str | Sequence[str],
    batches: Iterable[Any],
    *,
    keep_activations: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
) -> dict[str, Layer]:
    """Weights and Gram matrices of chosen layers of a module of your own.

    The module runs in evaluation mode and is left as it was. Memory is one float64 (groups, n, n) array per chosen
    layer, one for all that get the same inputs, and `gram.CHUNK_BYTES` for unfolding, whatever the amount of data.

    Parameters
    ----------
    module : any module; what can be chosen of it is said by `parts.candidates`.
    layer : glob over module names, or several; one that starts with `!` takes names away again.
    batches : each a tensor, a tuple of positional or a dict of keyword arguments of the module. An
        `attention_mask` of shape (batch, positions) among keyword arguments also says which samples are padding.
    keep_activations : also keep the first so many columns of X.
    progress : called after every batch, with the number of those done and of all, None if `batches` has no length.
    say : called with a line about layers that no sample reached, which are left out; None: a warning.

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
    names = choose_layers(module, layer)
    known = all_names(module)
    records: dict[str, _Record] = {}
    total = len(batches) if isinstance(batches, Sized) else None
    mask: Tensor | None = None

    sums = Sums(keep_activations)

    def seen(name: str, call: Call) -> None:
        if name not in records:
            records[name] = _Record(call)
        try:
            records[name].check(call)
            sums.add(name, call, mask)
        except LayerError as error:
            raise LayerError(f"{name or 'the model'}: {error}") from None

    with evaluating(module), torch.no_grad(), capture(module, {name: known[name] for name in names}, seen):
        for done, batch in enumerate(batches, start=1):
            mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
            mask = mask if mask is not None and mask.dim() == 2 else None
            run_batch(module, batch)
            sums.end_batch()
            if progress is not None:
                progress(done, None if total is None else max(done, total))
    found = {name: sums.accumulator(name) for name in names}
    reached = {name: of for name, of in found.items() if of is not None and of.samples}
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
    first: dict[GramAccumulator, Layer] = {}
    for name, accumulator in reached.items():
        try:
            layer_found = records[name].layer(name, known[name], accumulator)
            layers[name] = with_grams_of(layer_found, first.setdefault(accumulator, layer_found))
        except LayerError as error:
            raise LayerError(f"{name or 'the model'}: {error}") from None
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
    every = all_names(module)
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
        exist = shorten([name or "'' (the model itself)" for name in known], 40)
        exist = exist or "none: the model has no Linear, Conv1d or Conv2d"
        raise LayerError(f"no layer matches {' '.join(globs)!r}; layers are: {exist}")
    return names


def all_names(module: nn.Module) -> dict[str, Part]:
    """Candidates by all their names, the second ones of shared modules too."""
    found = candidates(module)
    return found | {name: found[first] for name, first in second_names(module).items() if first in found}


class _Record:
    """What is known of one layer during the pass, from its first call on."""

    def __init__(self, call: Call) -> None:
        self.first = replace(call, input=torch.empty(0))  # the input itself must not stay in memory
        self.weight = weight_matrix(call.weight)

    def check(self, call: Call) -> None:
        """Raise `LayerError` for a call with another weight than the first one."""
        same = call.weight is self.first.weight or torch.equal(weight_matrix(call.weight), self.weight)
        if not same or call.groups != self.first.groups:
            raise LayerError("uses another weight from call to call, so it has no single Gram matrix")

    def layer(self, name: str, part: Part, accumulator: GramAccumulator) -> Layer:
        """The layer; those of one accumulator share the array of their Gram matrix."""
        gram: FloatArray = accumulator.gram()
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
        return Layer(name, weight, gram, accumulator.samples, meta, accumulator.activations())


def run_batch(module: nn.Module, batch: Any) -> None:
    """One batch through the module."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    batch = moved(batch, device, None)
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


def moved(batch: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """A batch on a device; its floating-point tensors in a type, if one is given."""
    if isinstance(batch, Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else None)
    if isinstance(batch, Mapping):
        return {name: moved(part, device, dtype) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(moved(part, device, dtype) for part in batch)
    return batch


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each part then gets its own mode back."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
