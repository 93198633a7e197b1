"""Image files as 8-bit RGB, upright: what a mode's numbers mean decides the scale."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .foreign import foreign
from .format import LayerError

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION, BITS, PHOTOMETRIC, WHITE_IS_ZERO = 0x0112, 258, 262, 0
"""Tags of EXIF and TIFF."""
FULL_SCALES = (1.0, 255.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1)
"""White in files whose mode (32-bit integers, floats) does not say it."""


def open_image(path: Path) -> Image:
    """An image file in RGB, upright.

    Transparency is dropped, as the loaders of training data do. EXIF data that cannot be read counts as none.

    Raises
    ------
    LayerError
        The file is not an image that can be read, or its numbers have no scale.
    """
    from PIL import Image

    with foreign(f"{path}: not a readable image"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about EXIF data, which does not matter
        with Image.open(path) as image:
            image.load()
            turn = _turn(image)
            rgb = _eight_bits(image, path)
        return rgb if turn is None else rgb.transpose(turn)


def _turn(image: Image) -> Any:
    """What turns an image upright; None for nothing, and where EXIF data is broken."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        return turns.get(image.getexif()[ORIENTATION])
    except Exception:  # a picture with broken EXIF is still a picture; the reader raises whatever it meets
        return None


def _eight_bits(image: Image, path: Path) -> Image:
    """An image of any mode in RGB."""
    if image.mode.startswith("I;16"):
        tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
        bits = tags.get(BITS, 16)  # 12-bit files come as 16-bit numbers up to 4095
        white = 2.0 ** (bits[0] if isinstance(bits, tuple) else bits) - 1
        shares = np.asarray(image).astype(np.float64) / white
        return _grey(1 - shares if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else shares)
    if image.mode in ("I", "F"):
        pixels = np.asarray(image).astype(np.float64)
        # the readers of these formats scale to 16 bits, and say I
        scales: tuple[float, ...] = FULL_SCALES if image.mode == "F" else FULL_SCALES[1:]
        if image.mode == "I" and image.format in ("PNG", "PPM"):
            scales = (65535.0,)
        least, most = float(pixels.min()), float(pixels.max())
        white = next((scale for scale in scales if most <= scale), np.nan)
        if not (least >= 0 and white >= most):  # NaN fails too
            known = ", ".join(f"{scale:.10g}" for scale in scales)
            raise LayerError(
                f"{path}: pixels from {least:g} to {most:g} have no known scale; "
                f"expected 0 to {known}: store it with 8 or 16 bits"
            )
        return _grey(pixels / white)
    if "transparency" in image.info or image.mode in ("PA", "La", "RGBa"):
        image = image.convert("RGBA")  # Pillow warns where a palette's transparency is dropped in one step
    return image.convert("RGB")


def _grey(shares: npt.NDArray[np.float64]) -> Image:
    """Grey values 0 (black) to 1 (white) as RGB."""
    from PIL import Image

    return Image.fromarray(np.rint(255 * shares).clip(0, 255).astype(np.uint8)).convert("RGB")
