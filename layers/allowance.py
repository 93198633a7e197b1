"""How much a layer file may unpack to: what its shapes justify, whatever its own size."""

from __future__ import annotations

import os
from contextlib import suppress

from .archive import ArchiveError, Shapes

MOST = 2**32
"""Bytes of a file whose shapes fit: zeros shrink to nothing, 11008 inputs make a Gram matrix of 970 MB."""
LIFTED = "PVQ_LAYER_BYTES"
"""Variable of the environment with another number of bytes."""


def allowance(shapes: Shapes) -> int:
    """Bytes that a file may unpack to if its weights, Gram matrices and activations fit each other, else 0."""
    weight, gram, activations = (shapes.get(name, ()) for name in ("weight", "gram", "activations"))
    if len(weight) != 2 or (gram and (gram[-2:] != weight[1:] * 2 or len(gram) > 3)):
        return 0
    if len(gram) == 3 and (gram[0] < 1 or weight[0] % gram[0]):
        return 0
    if activations and (len(activations) not in (2, 3) or activations[-1] != weight[1]):
        return 0
    if shapes.get("samples", ()) not in ((), (1,)) or shapes.get("meta", ()) not in ((), (1,)):
        return 0
    with suppress(ValueError, OverflowError):
        return int(float(os.environ.get(LIFTED, MOST)))
    return MOST


def how_to_lift(error: ArchiveError) -> str:
    """What to do about a file that asks for more, at the end of a line."""
    return f"; {LIFTED}=1e11 in the environment allows so many bytes" if str(error).startswith("unpacks") else ""
