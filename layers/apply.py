"""The best weights back into the model they are of, and what their error is when the model runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import torch
from torch import Tensor, nn

from .calibration import Calibration
from .capture import capture, weight_matrix
from .extract import all_names, evaluating, run_batch
from .extraction import Batches
from .files import write_atomically
from .foreign import foreign
from .format import LayerError, array_sha256
from .gram import Call, columns
from .models import Model, load_model
from .outputs import OutputError, check_folder, check_outputs
from .parts import Part, check_model, plain, unwrapped
from .solutions import Solution

AGREES = 1e-6
"""Relative difference of a measured error from the certified one that float64 sums explain."""


@dataclass(frozen=True)
class Applied:
    """A layer that has its new weights.

    Attributes
    ----------
    module : name of the layer.
    rows : how many of its rows are new.
    out : how many it has.
    certified : e(x) that was certified for them.
    measured : mean squared difference of the outputs of these rows on calibration data; None without any.
    allowed : how far from each other these two may be: `AGREES` relative, and what rounding x to the type of the
        model changes, at most 2 sqrt(e d) + d with d the mean squared output of the rounding.
    also : other names of the tensor, which changes under them too.
    """

    module: str
    rows: int
    out: int
    certified: float
    measured: float | None
    allowed: float
    also: tuple[str, ...]

    @property
    def agrees(self) -> bool | None:
        """Whether the measured error is the certified one; None where nothing was measured."""
        return None if self.measured is None else abs(self.measured - self.certified) <= self.allowed


@dataclass(frozen=True)
class _Change:
    """A solution at its place."""

    part: Part
    solution: Solution
    new: Tensor
    """(out, n) of the layer, float64."""

    def stored(self) -> Tensor:
        """`new` as it is in the model's type."""
        return self.new.to(self.part.view().dtype).to(torch.float64)

    def put(self) -> None:
        place = self.part.view()
        matrix = self.new.T if self.solution.meta.get("transposed") else self.new
        with torch.no_grad():
            place.copy_(matrix.reshape(place.shape))


def apply_solutions(
    module: nn.Module,
    solutions: Sequence[Solution],
    batches: Iterable[Any] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> list[Applied]:
    """Put weights into a module, all of them or none.

    Parameters
    ----------
    module : the model that the layers were extracted from, with the weights it had then.
    batches : as for `extract_layers`; the error of each layer is measured before it gets its new weights.
    progress : called after every batch.

    Raises
    ------
    LayerError
        A solution is of no layer of the model, or of other weights than it has; nothing has changed then.
    """
    module = unwrapped(module)
    check_model(module)
    parts = all_names(module)
    changes: dict[str, _Change] = {}
    for solution in solutions:
        name = solution.module
        if name in changes:
            both = " and ".join(each.words for each in (changes[name].solution, solution))
            raise LayerError(f"there are two results for {name} ({both}); take one of them")
        if name not in parts:
            some = ", ".join(list(parts)[:8])
            raise LayerError(f"the model has no layer {name}; layers are: {some}")
        changes[name] = _change(name, parts[name], solution)
    places: dict[tuple[int, int | None, tuple[int, int] | None], str] = {}
    for name, change in changes.items():
        place = id(getattr(change.part.module, change.part.parameter)), change.part.index, change.part.rows
        if places.setdefault(place, name) != name:
            raise LayerError(f"{places[place]} and {name} are one tensor of the model; give one result for it")
    measured = {} if batches is None else _measure(module, changes, batches, progress)
    for change in changes.values():
        change.put()
    applied = []
    for name, change in changes.items():
        error, allowed = measured.get(name, (None, 0.0))
        rows, certified = len(change.solution.rows), change.solution.error
        applied.append(Applied(name, rows, len(change.new), certified, error, allowed, _also(module, change.part)))
    return applied


def _change(name: str, part: Part, solution: Solution) -> _Change:
    if part.parameter not in part.module._parameters:
        raise LayerError(
            f"{name}: its weight is computed from other tensors; make it a plain one first "
            "(remove_parametrizations, prune.remove)"
        )
    old = weight_matrix(part.view())
    if solution.meta.get("transposed"):
        old = old.T.contiguous()
    out, n = solution.meta["shape"]
    if tuple(old.shape) != (out, n):
        raise LayerError(
            f"{name}: the result is of shape {out} x {n}, the layer of {' x '.join(map(str, old.shape))}"
        )
    if array_sha256(old.numpy()) != solution.meta["weight_sha256"]:
        raise LayerError(f"{name}: the result is of other weights than the model has")
    if solution.inputs != (0, n):
        first, last = solution.inputs
        raise LayerError(f"{name}: the result is of inputs {first}:{last} only, which no layer has by themselves")
    new = old.clone()
    new[list(solution.rows)] = torch.from_numpy(solution.weight.copy())
    return _Change(part, solution, new)


def _also(module: nn.Module, part: Part) -> tuple[str, ...]:
    """Parameters of other modules that are the same tensor: a head may share its embedding's."""
    own = getattr(part.module, part.parameter)
    return tuple(
        plain(f"{name}.{key}")
        for name, owner in module.named_modules()
        for key, value in owner._parameters.items()
        if value is own and owner is not part.module
    )


def _measure(
    module: nn.Module,
    changes: Mapping[str, _Change],
    batches: Iterable[Any],
    progress: Callable[[int, int | None], None] | None,
) -> dict[str, tuple[float, float]]:
    """Mean squared difference of the outputs of each layer, and how far from e(x) rounding may put it."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    deltas = {}
    for name, change in changes.items():
        old = weight_matrix(change.part.view())
        old = old.T if change.solution.meta.get("transposed") else old
        # both at once: what the outputs differ by, and what rounding to the model's type adds to it
        deltas[name] = torch.stack([old - change.stored(), change.new - change.stored()])
    mask: Tensor | None = None
    zeros = torch.zeros(2, dtype=torch.float64)

    def seen(name: str, call: Call) -> None:
        delta = deltas[name]
        for piece in columns(call, mask):
            groups, n, samples = piece.shape
            moved = delta.to(piece.device).reshape(2, groups, -1, n)
            outputs = torch.einsum("dgon,gns->dgos", moved, piece)
            sums[name] = sums.get(name, zeros) + outputs.square().sum((1, 2, 3)).cpu()
            counts[name] = counts.get(name, 0) + samples

    parts = {name: change.part for name, change in changes.items()}
    total = len(batches) if isinstance(batches, Sized) else None
    with ExitStack() as stack:
        stack.enter_context(evaluating(module))
        stack.enter_context(torch.no_grad())
        stack.enter_context(capture(module, parts, seen))
        for done, batch in enumerate(batches, start=1):
            mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
            mask = mask if mask is not None and mask.dim() == 2 else None
            run_batch(module, batch)
            if progress is not None:
                progress(done, None if total is None else max(done, total))
    found = {}
    for name in sums:
        error, rounding = (float(value) / counts[name] for value in sums[name])
        certified = changes[name].solution.error
        found[name] = error, AGREES * certified + 2 * (max(error, certified) * rounding) ** 0.5 + rounding
    return found


def apply_to_model(
    source: str,
    solutions: Sequence[Solution],
    weights: Path | None = None,
    calibration: Callable[[Model], Calibration] | None = None,
    device: str = "cpu",
    progress: Callable[[int, int | None], None] | None = None,
) -> tuple[Model, list[Applied]]:
    """Load a model and apply; the model with its new weights. `calibration` opens the data for it."""
    model = load_model(source, weights)
    if calibration is None:
        return model, apply_solutions(model.module, solutions)
    with foreign(f"device {device!r} cannot be used"):
        module = model.module.to(device)
    return model, apply_solutions(module, solutions, Batches(calibration(model), module), progress)


def save_model(model: Model, out: Path) -> None:
    """Write a model: a folder of Hugging Face's where it can, else its tensors as safetensors.

    Parameters
    ----------
    out : a file ending in .safetensors, or a folder that is not there yet or empty.

    Raises
    ------
    LayerError
        It cannot be written; nothing is there then.
    """
    if out.suffix == ".safetensors":
        _save_tensors(model.module, out)
        return
    out = Path(os.path.realpath(out))  # a link to an empty folder stays one
    part = out.with_name(f".pvq-{os.getpid()}-{token_hex(8)}.part")  # not that of a run that was killed
    try:
        part.mkdir()
        save_pretrained: Any = getattr(model.module, "save_pretrained", None)
        if save_pretrained is not None:
            with foreign(f"{out}: cannot be written"):
                save_pretrained(part)
                if model.tokenizer is not None:
                    _save_tokenizer(model.tokenizer, part)
        else:
            _save_tensors(model.module, part / "model.safetensors")
        if os.path.isdir(out):
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise LayerError(f"{out}: cannot be written: {error.strerror or error}") from None
    finally:
        if os.path.isdir(part):
            shutil.rmtree(part, ignore_errors=True)


def check_place(out: Path, read: Iterable[Path | str | None] = ()) -> None:
    """Raise `LayerError` for a place that `save_model` would not write to, or that is one of the files read."""
    if out.suffix == ".safetensors":
        try:
            check_outputs({"--out": out}, read)
        except OutputError as error:
            raise LayerError(str(error)) from None
        return
    folder = out.absolute().parent
    if os.path.lexists(out) and not (os.path.isdir(out) and os.access(out, os.R_OK) and not any(out.iterdir())):
        raise LayerError(f"{out} is there already; name a new or an empty folder, or a .safetensors file")
    if not os.path.isdir(folder):
        raise LayerError(f"{out}: there is no folder {folder}")
    try:
        check_folder(folder)
    except OutputError as error:
        raise LayerError(str(error)) from None


def _save_tensors(module: nn.Module, path: Path) -> None:
    from safetensors.torch import save

    # tensors that share memory are written each, so that every name is there again
    state = {plain(name): value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    write_atomically(path, lambda file: file.write(save(state, {"format": "pt"})))


def _save_tokenizer(tokenizer: Callable[[], Any], folder: Path) -> None:
    try:
        opened = tokenizer()
    except LayerError:
        return  # a model without the files of one has none to save
    opened.save_pretrained(folder)
