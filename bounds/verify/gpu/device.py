"""Launches of the kernel on a GPU."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cuda.driver import Function, Memory, Stream, device, download, fill, flat, upload
from ...cuda.image import Kernel, kernel_image
from .search import Back, Items, Numbers

THREADS, WARP = 128, 32
"""Of a block, and of a warp."""
REGISTERS = 80
"""Of a thread: 24 warps on a multiprocessor."""
MEMORY = 2**30
"""Bytes for the centres of all warps at most: of long rows there are fewer warps."""
ALIGNED = 256

ARRAYS = {
    **dict.fromkeys(("pivot", "inverse", "slope", "diagonal", "start", "rows", "partial", "least"), np.float64),
    **dict.fromkeys(("level", "first", "rest", "drawn", "low", "many", "nodes", "done"), np.int32),
    **dict.fromkeys(("value", "path"), np.uint8),
}
"""The kernel's arrays, in the order of its arguments."""


def sizes(n: int, most: int, warps: int) -> dict[str, int]:
    """Numbers in each of the arrays."""
    of_row = {"pivot": n, "inverse": n, "slope": n * n, "diagonal": n * n, "start": n}
    of_items = {"value": most * n, "level": most, "first": most, "rest": most, "drawn": 1}
    levels = warps * (n + 1)
    of_warps = {"rows": levels * n // 2, "partial": levels, "low": levels, "many": levels, "path": warps * n}
    return {**of_row, **of_items, **of_warps, "nodes": warps, "done": warps, "least": warps}


def compiled() -> tuple[Any, tuple[Any, ...]]:
    """The kernel and the types of its arguments."""
    from numba import float64, from_dtype, int32

    from .kernel import build
    from .primitives import GPU

    arrays = [from_dtype(np.dtype(kind))[::1] for kind in ARRAYS.values()]
    return build(GPU), (int32, int32, int32, float64, float64, *arrays)


KERNEL = Kernel(compiled, Path(__file__).parent, ("device.py", "kernel.py", "primitives.py"), REGISTERS, "verify")


class Device:
    """A launcher on the first GPU."""

    def __init__(self) -> None:
        """Compile the kernel.

        Raises
        ------
        GpuError
            There is no GPU that can be used.
        """
        self._device = device()
        self.name = self._device.name
        self._function = Function(*kernel_image(KERNEL, self._device.capability))
        self._stream = Stream()
        self._memory: Memory | None = None
        self._places: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._warps = 0
        self._numbers: Numbers | None = None

    def begin(self, numbers: Numbers, most: int) -> int:
        """See `Launcher`."""
        self._device.enter()
        n, of_block = len(numbers.start), THREADS // WARP
        blocks = self._function.blocks(THREADS, 0) * self._device.multiprocessors
        blocks = max(1, min(blocks, MEMORY // (4 * n * (n + 1) * of_block)))
        self._numbers, self._warps = numbers, blocks * of_block
        self._sizes, size = sizes(n, most, self._warps), 0
        offsets = {}
        for name, kind in ARRAYS.items():
            offsets[name] = size
            size += -(-self._sizes[name] * np.dtype(kind).itemsize // ALIGNED) * ALIGNED
        if self._memory is None or self._memory.size < size:
            self._memory = None  # the old one is freed first
            self._memory = Memory(size)
        self._places = {name: self._memory.address + offset for name, offset in offsets.items()}
        self._upload(numbers._asdict())
        return self._warps

    def _upload(self, arrays: dict[str, Any]) -> None:
        kept = [
            (name, np.ascontiguousarray(array, ARRAYS[name]).ravel())
            for name, array in arrays.items()
            if name in ARRAYS
        ]
        for name, array in kept:
            upload(self._places[name], array, self._stream)
        self._stream.wait()

    def run(self, items: Items, threshold: float, spend: int) -> Back:
        """See `Launcher`; Ctrl-C and clocks wait until it ends."""
        numbers = self._numbers
        assert numbers is not None
        self._device.enter()
        self._upload(items._asdict())
        fill(self._places["drawn"], 0, 1, self._stream)
        n, stream = len(numbers.start), self._stream
        scalars = [ctypes.c_int32(n), ctypes.c_int32(len(items.level)), ctypes.c_int32(spend)]
        arguments = [*scalars, ctypes.c_double(numbers.top), ctypes.c_double(threshold)]
        for name, kind in ARRAYS.items():
            arguments += flat(self._sizes[name], np.dtype(kind).itemsize, self._places[name])
        self._function.launch(self._warps * WARP // THREADS, THREADS, 0, stream, arguments)
        found: dict[str, NDArray[Any]] = {}
        for name in ("drawn", "low", "many", "path", "nodes", "done", "least"):
            found[name] = np.empty(self._sizes[name], ARRAYS[name])
            download(self._places[name], found[name], stream)
        stream.wait()
        return back_of(found, self._warps)


def back_of(found: dict[str, NDArray[Any]], warps: int) -> Back:
    """From the arrays of the device."""
    low, many, path = (found[name].reshape(warps, -1) for name in ("low", "many", "path"))
    many[:, 0] = 0  # the kernel writes levels
    return Back(int(found["drawn"][0]), low, many, path, found["nodes"], found["done"], found["least"])
