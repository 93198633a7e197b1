"""What a model is evaluated on: labelled images, text, arrays with labels, or unlabelled calibration data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .archive import ArchiveError, read_arrays
from .batches import grouped
from .calibration import Calibration, open_calibration
from .decode import open_image
from .foreign import foreign
from .format import LayerError
from .images import image_files
from .models import Model
from .text import Packing

if TYPE_CHECKING:
    import numpy.typing as npt

INPUTS, LABELS = ("x", "inputs", "images"), ("y", "labels", "targets")
"""Names of the arrays of an npz file."""
UNLABELLED = -100
"""Label of what does not count, as in torch's losses."""


@dataclass(frozen=True)
class EvaluationData:
    """Batches with their labels.

    Parameters
    ----------
    source : name without folders.
    count : number of batches.
    batches : starts a pass over them; each is (what the model takes, labels or None). Labels are (samples,), or
        those of the positions of a sample; for text each position has the next token.
    is_text : whether labels are next tokens, so that there is a perplexity.
    classes : names of the classes by label, where folders have names.
    """

    source: str
    count: int
    batches: Callable[[], Iterator[tuple[Any, Tensor | None]]]
    is_text: bool = False
    classes: tuple[str, ...] = ()


def open_evaluation(
    source: str | os.PathLike[str],
    model: Model,
    batch_size: int = 8,
    limit: int | None = None,
    packing: Packing | None = None,
) -> EvaluationData:
    """Open what a model is evaluated on.

    Parameters
    ----------
    source : a folder with one folder of images a class, in the order of their names, or numbered by the classes of
        the model; a `.npz` file of arrays `x` and `y`; a text file; or what `open_calibration` takes, without
        labels.
    batch_size, limit, packing : as for `open_calibration`.

    Raises
    ------
    LayerError
        There is nothing usable at the source.
    """
    path = Path(source)
    for what, value in (("batch size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise LayerError(f"{what} is {value}, expected at least 1")
    if os.path.isdir(path) and (classes := _class_folders(path)):
        return _labelled_images(path, classes, model, batch_size, limit)
    if os.path.isfile(path) and path.suffix == ".npz":
        return _arrays(path, batch_size, limit)
    data = open_calibration(source, model, batch_size, limit, packing)
    is_text = str(source) != "zoo:photos" and os.path.isfile(path) and path.suffix != ".npy"
    if is_text and predicts_next(model.module):
        return EvaluationData(data.source, data.count, lambda: _next_tokens(data), True)
    return EvaluationData(data.source, data.count, lambda: ((batch, None) for batch in data.batches()))


def predicts_next(module: nn.Module) -> bool:
    """Whether a transformers model gives logits of the next token at each position."""
    config = getattr(module, "config", None)
    name = type(module).__name__
    return name.endswith(("ForCausalLM", "LMHeadModel")) and not getattr(config, "is_encoder_decoder", False)


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """Folders with images in them; empty where none has any."""
    found = {}
    for below in sorted(
        path for path in folder.iterdir() if os.path.isdir(path) and not path.name.startswith(".")
    ):
        try:
            found[below.name] = image_files(below)
        except LayerError:
            continue
    return found


def _labelled_images(
    folder: Path, classes: Mapping[str, list[Path]], model: Model, batch_size: int, limit: int | None
) -> EvaluationData:
    if loose := [path for path in image_files(folder) if path.parent == folder]:
        raise LayerError(f"{folder}: {loose[0].name} is in no folder of a class; put every image into one")
    numbered = all(name.isdecimal() for name in classes)
    if len(classes) < 2 and not numbered:
        raise LayerError(f"{folder}: one folder of images, expected one for each class (or numbered folders)")
    labels = {name: int(name) if numbered else k for k, name in enumerate(classes)}
    pairs = [(file, labels[name]) for name, files in classes.items() for file in files]
    if limit is not None and limit < len(pairs):  # sorted by class: spread evenly
        pairs = [pairs[i * len(pairs) // limit] for i in range(limit)]

    def samples() -> Iterator[tuple[Tensor, int]]:
        for file, label in pairs:
            image = open_image(file)
            with foreign(f"{model.source}: its preprocessing fails on {file}"):
                yield model.transform(image), label

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in grouped(samples(), batch_size, lambda sample: tuple(sample[0].shape)):
            yield torch.stack([pixels for pixels, _ in batch]), torch.tensor([label for _, label in batch])

    return EvaluationData(folder.name, -(-len(pairs) // batch_size), batches, False, tuple(classes))


def _arrays(path: Path, batch_size: int, limit: int | None) -> EvaluationData:
    expected = "expected arrays x (samples, ...) and y (samples,)"
    try:
        arrays = read_arrays(path)
    except (ArchiveError, OSError) as error:
        raise LayerError(f"{path}: {' '.join(str(error).split())}; {expected}") from None
    x, y = (_named(path, arrays, names, expected) for names in (INPUTS, LABELS))
    if x.dtype.kind not in "fiu" or x.ndim < 2 or not len(x):
        raise LayerError(f"{path}: x of shape {x.shape} and type {x.dtype} cannot be given to a model; {expected}")
    if y.dtype.kind not in "iu" or y.ndim < 1 or len(y) != len(x):
        raise LayerError(f"{path}: y of shape {y.shape} and type {y.dtype} is not {len(x)} labels; {expected}")
    used = min(len(x), limit or len(x))
    wide = np.float64 if x.dtype.kind == "f" else np.int64

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, used, batch_size):
            part = slice(start, min(start + batch_size, used))
            yield torch.from_numpy(x[part].astype(wide)), torch.from_numpy(y[part].astype(np.int64))

    return EvaluationData(path.name, -(-used // batch_size), batches)


def _named(path: Path, arrays: Mapping[str, npt.NDArray[Any]], names: tuple[str, ...], expected: str) -> Any:
    found = next((name for name in names if name in arrays), None)
    if found is None:
        there = ", ".join(arrays) or "nothing"
        raise LayerError(f"{path}: no array is called {' or '.join(names)} (found {there}); {expected}")
    return arrays[found]


def _next_tokens(data: Calibration) -> Iterator[tuple[Any, Tensor]]:
    """Each batch with the token after each of its positions; the last has none."""
    for batch in data.batches():
        labels = batch["input_ids"].roll(-1, dims=1)
        labels[:, -1] = UNLABELLED
        yield batch, labels
