"""Photographs that ship inside scikit-image and scikit-learn: calibration data without a download."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .format import LayerError

if TYPE_CHECKING:
    from PIL.Image import Image

SEED = 0
# (package, file, crops). Only photographs: no drawings, charts, text pages, microscopy or near duplicates.
# The textures and the grey photographs give fewer crops, because the networks were trained on colour.
PHOTOS = (
    ("skimage", "data/astronaut.png", 8),
    ("skimage", "data/chelsea.png", 8),
    ("skimage", "data/coffee.png", 8),
    ("skimage", "data/rocket.jpg", 8),
    ("skimage", "data/motorcycle_left.png", 8),
    ("sklearn", "datasets/images/china.jpg", 8),
    ("sklearn", "datasets/images/flower.jpg", 8),
    ("skimage", "data/camera.png", 2),
    ("skimage", "data/coins.png", 2),
    ("skimage", "data/brick.png", 1),
    ("skimage", "data/grass.png", 1),
    ("skimage", "data/gravel.png", 1),
    ("skimage", "data/clock_motion.png", 1),
)
COUNT = sum(crops for _, _, crops in PHOTOS)
SMALLEST = 0.45
"""Smallest side of a crop as a share of the photograph's shorter side."""
ATTRIBUTION = (
    "photographs shipped in scikit-image (public domain or CC0; motorcycle: Middlebury 2014 stereo benchmark, "
    "D. Scharstein et al.) and scikit-learn (china.jpg and flower.jpg: CC BY 2.0, danielbuechele and vultilion "
    "on Flickr)"
)


def photo_crops() -> Iterator[Image]:
    """Yield `COUNT` square RGB crops, always the same ones in the same order.

    The first crop of each photograph is the largest centred square, the others have random size, place and
    mirroring from a fixed seed.

    Raises
    ------
    LayerError
        A package or a photograph is not installed.
    """
    from PIL import Image

    for package, file, count in PHOTOS:
        # random.Random promises the same numbers in every Python version, numpy's generators do not
        numbers = random.Random(f"{SEED} {file}")
        with Image.open(photo_path(package, file)) as stored:
            photo = stored.convert("RGB")
        width, height = photo.size
        shorter = min(width, height)
        for crop in range(count):
            side = shorter if crop == 0 else round(shorter * (SMALLEST + (1 - SMALLEST) * numbers.random()))
            across, down = (0.5, 0.5) if crop == 0 else (numbers.random(), numbers.random())
            left, top = round(across * (width - side)), round(down * (height - side))
            square = photo.crop((left, top, left + side, top + side))
            mirrored = crop > 0 and numbers.random() < 0.5
            yield square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else square


def photo_path(package: str, file: str) -> Path:
    """Path of a file inside an installed package, without importing the package."""
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / file
        if os.path.isfile(path):
            return path
    raise LayerError(
        f"zoo:photos needs {file} of {package}, which is not installed: pip install scikit-image scikit-learn"
    )
