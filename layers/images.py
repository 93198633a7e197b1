"""From image files to the tensors a vision model was trained on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .format import LayerError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Preprocess:
    """Resize the shorter side, cut the centre, subtract a mean and divide by a deviation per channel.

    Parameters
    ----------
    size : side of the square the model sees, in pixels.
    resize : length of the shorter side before cutting, in pixels.
    mean, std : per channel, for values 0 to 255.
    """

    size: int
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Image) -> Tensor:
        """An RGB image as a (3, size, size) float64 tensor."""
        import torch
        from PIL.Image import Resampling

        scale = self.resize / min(image.size)
        width, height = (max(self.resize, round(side * scale)) for side in image.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        image = image.convert("RGB").resize((width, height), Resampling.BICUBIC)
        pixels = np.asarray(image.crop((left, top, left + self.size, top + self.size)), dtype=np.float64)
        return torch.from_numpy((pixels - self.mean) / self.std).permute(2, 0, 1).contiguous()


IMAGENET = Preprocess(224, 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""What most ImageNet models use; the default where a model does not say."""


def image_files(folder: Path, limit: int | None = None) -> list[Path]:
    """Image files below a folder, sorted; with a limit, that many of them spread evenly.

    Raises
    ------
    LayerError
        There are none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and os.path.isfile(path))
    if not files:
        known = " ".join(sorted(SUFFIXES))
        raise LayerError(f"{folder}: no images in this folder or below; expected files ending in {known}")
    if limit is None or limit >= len(files):
        return files
    # folders are often sorted by class: the first files alone would show one class
    return [files[i * len(files) // limit] for i in range(limit)]
