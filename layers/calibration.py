"""Where calibration data comes from: photographs, a folder of images, a text file, an array."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import photos
from .batches import grouped
from .decode import open_image
from .documents import read_documents
from .foreign import foreign, one_line
from .format import LayerError
from .images import image_files
from .models import Model
from .text import Packing, token_batches

if TYPE_CHECKING:
    from PIL.Image import Image

SOURCES = "expected zoo:photos, a folder of images, a text file for a language model, or a .npy array"


@dataclass(frozen=True)
class Calibration:
    """Batches for a model.

    Parameters
    ----------
    source : name for the files, without folders.
    count : number of batches.
    batches : starts a pass over them; each is a tensor, or the keyword arguments of the model.
    attribution : of the data, where it has to be given.
    note : what the reader should know of it.
    """

    source: str
    count: int
    batches: Callable[[], Iterator[Any]]
    attribution: str | None = None
    note: str | None = None


def open_calibration(
    source: str | os.PathLike[str],
    model: Model,
    batch_size: int = 8,
    limit: int | None = None,
    packing: Packing | None = None,
) -> Calibration:
    """Open a calibration source for a model.

    Parameters
    ----------
    source : `zoo:photos`, a folder of images, a text file (one sequence per line, of a `.jsonl` file one object),
        or a `.npy` array whose first axis is the samples and which the model gets as it is.
    batch_size : samples per batch.
    limit : most samples to use, lines of a text file; images are then spread evenly over the folder.
    packing : of text.

    Raises
    ------
    LayerError
        There is nothing usable at the source, or the model cannot take its kind of data.
    """
    for what, value in (("batch size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise LayerError(f"{what} is {value}, expected at least 1")
    packing = Packing() if packing is None else packing
    path = Path(source)
    is_text = str(source) != "zoo:photos" and os.path.isfile(path) and path.suffix != ".npy"
    if packing.given and not is_text and (str(source) == "zoo:photos" or os.path.exists(path)):
        raise LayerError(f"{source}: {' and '.join(packing.given)} is for text files")
    if str(source) == "zoo:photos":
        count = min(photos.COUNT, limit or photos.COUNT)
        crops = photos.photo_crops

        def images() -> Iterator[Image]:
            return (crop for _, crop in zip(range(count), crops(), strict=False))

        return _images("zoo:photos", images, count, model, batch_size, photos.ATTRIBUTION)
    if os.path.isdir(path):
        files = image_files(path, limit)
        return _images(path.name, lambda: map(open_image, files), len(files), model, batch_size)
    if not os.path.isfile(path):
        raise LayerError(f"{path}: no such calibration source; {SOURCES}")
    if path.suffix == ".npy":
        return _array(path, batch_size, limit)
    return _text(path, model, batch_size, limit, packing)


def _images(
    name: str,
    images: Callable[[], Iterator[Image]],
    count: int,
    model: Model,
    batch_size: int,
    attribution: str | None = None,
) -> Calibration:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise LayerError("images need Pillow: pip install pillow") from None

    def prepared(image: Image) -> torch.Tensor:
        with foreign(f"{model.source}: its preprocessing fails on a {image.width} x {image.height} image"):
            return model.transform(image)

    def batches() -> Iterator[torch.Tensor]:
        # pictures that keep their sizes cannot share a batch with others
        for batch in grouped(map(prepared, images()), batch_size, lambda pixels: tuple(pixels.shape)):
            yield torch.stack(batch)

    return Calibration(name, -(-count // batch_size), batches, attribution)


def _array(path: Path, batch_size: int, limit: int | None) -> Calibration:
    expected = "expected a .npy array (samples, ...) of real numbers or token ids"
    try:
        # mapped, because calibration data may be larger than memory; nothing is unpickled
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LayerError(f"{path}: not readable as an array ({one_line(error)}); {expected}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim < 2 or array.size == 0:
        shape, kind = getattr(array, "shape", "?"), getattr(array, "dtype", type(array).__name__)
        raise LayerError(f"{path}: shape {shape} and type {kind} cannot be calibration data; {expected}")
    used = min(len(array), limit or len(array))
    wide = np.float64 if array.dtype.kind == "f" else np.int64

    def batches() -> Iterator[torch.Tensor]:
        for start in range(0, used, batch_size):
            yield torch.from_numpy(np.array(array[start : min(start + batch_size, used)], dtype=wide))

    return Calibration(path.name, -(-used // batch_size), batches)


def _text(path: Path, model: Model, batch_size: int, limit: int | None, packing: Packing) -> Calibration:
    if model.tokenizer is None:
        raise LayerError(f"{path}: {model.source} has no tokenizer for a text file; {SOURCES}")
    texts = read_documents(path, packing.column)[:limit]
    found = token_batches(path, texts, model, batch_size, packing)
    wanted = packing.tokens
    note = None
    if wanted is not None and found.total < 0.9 * wanted:
        note = f"{path} gives {found.total} of the {wanted} tokens that were asked for"
    return Calibration(path.name, found.count, found.batches, note=note)
