"""The kernel as `bounds.cuda` compiles it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pvq.bounds.cuda.image import Kernel

REGISTERS = 80
"""Of a thread: 24 warps on a multiprocessor."""


def kernel(quads: int) -> Kernel:
    """The kernel for rows of at most 32 `quads` inputs."""

    def make() -> tuple[Any, tuple[Any, ...]]:
        from .kernel import build
        from .primitives import GPU

        return build(GPU, quads), signature()

    sources = ("arithmetic.py", "kernel.py", "primitives.py", "queue.py")
    return Kernel(make, Path(__file__).parent, sources, REGISTERS, str(quads))


def signature() -> tuple[Any, ...]:
    """Types of the kernel's arguments."""
    from numba import float32, int32, int64, uint8

    f, i, b, l = float32[::1], int32[::1], uint8[::1], int64[::1]
    sizes = [int32] * 8 + [float32] * 3
    plans = [f, f, f, i, i, i]
    boxes = [f, f, f, i, i, i, b]
    rows = [i, i, i, f, i]
    leaves = [i, i, f, b, l]
    return (*sizes, *plans, *boxes, *rows, *leaves)
