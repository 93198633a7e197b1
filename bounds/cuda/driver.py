"""The CUDA driver, as far as one kernel needs it: its C interface, which does not change."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from numpy.typing import NDArray

OLDEST = 12_000
"""Version of CUDA that the driver must know."""

MAJOR, MINOR, MULTIPROCESSORS, SHARED, LARGE_SHARED = 75, 76, 16, 97, 8
"""Numbers of attributes: three of a device, bytes of shared memory of one block, and its limit for a function."""

NOT_READY = 600


class GpuError(RuntimeError):
    """There is no GPU that can be used; one line that says why."""


@cache
def _library() -> Any:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError:
        raise GpuError("no NVIDIA driver is installed") from None


def call(name: str, *arguments: Any) -> None:
    """Call a function of the driver.

    Raises
    ------
    GpuError
        It says that it failed.
    """
    code = getattr(_library(), name)(*arguments)
    if code:
        words = ctypes.c_char_p()
        _library().cuGetErrorString(code, ctypes.byref(words))
        raise GpuError(f"the NVIDIA driver says: {(words.value or b'error').decode()} ({name}: {code})")


def _number(name: str, *arguments: Any) -> int:
    value = ctypes.c_int()
    call(name, ctypes.byref(value), *arguments)
    return value.value


@dataclass(frozen=True)
class Device:
    """The first GPU that the driver lists."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    shared: int
    """Bytes of shared memory that one block may have."""
    context: Any

    def enter(self) -> None:
        """Make it the calling thread's."""
        call("cuCtxSetCurrent", self.context)


_opening = threading.Lock()


@cache
def _opened() -> Device:
    call("cuInit", 0)
    version = _number("cuDriverGetVersion")
    if version < OLDEST:
        raise GpuError(f"the NVIDIA driver knows CUDA {version // 1000}, and {OLDEST // 1000} is needed")
    if _number("cuDeviceGetCount") == 0:
        raise GpuError("the NVIDIA driver sees no GPU")
    device = _number("cuDeviceGet", 0)
    name = ctypes.create_string_buffer(128)
    call("cuDeviceGetName", name, 128, device)
    major, minor, processors, shared = (
        _number("cuDeviceGetAttribute", attribute, device) for attribute in (MAJOR, MINOR, MULTIPROCESSORS, SHARED)
    )
    if major < 7:
        raise GpuError(f"{name.value.decode()} is too old: 7.0 is the least compute capability")
    context = ctypes.c_void_p()
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    return Device(name.value.decode(), (major, minor), processors, shared, context)


def device() -> Device:
    """The GPU, opened once; its context belongs to the calling thread.

    Raises
    ------
    GpuError
        There is none, or its driver is too old.
    """
    with _opening:
        found = _opened()
    found.enter()
    return found


class Stream:
    """A queue of work on the device."""

    def __init__(self) -> None:
        self._stream = ctypes.c_void_p()
        call("cuStreamCreate", ctypes.byref(self._stream), 1)  # independent of the default stream

    @property
    def handle(self) -> Any:
        return self._stream

    def idle(self) -> bool:
        """Whether everything in it is done."""
        code = _library().cuStreamQuery(self._stream)
        if code == NOT_READY:
            return False
        call("cuStreamSynchronize", self._stream)  # says what went wrong
        return True

    def wait(self) -> None:
        """Until it is idle."""
        call("cuStreamSynchronize", self._stream)


class Memory:
    """Bytes on the device, freed with the object."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._address = ctypes.c_uint64()
        call("cuMemAlloc_v2", ctypes.byref(self._address), ctypes.c_size_t(size))
        self._free = _library().cuMemFree_v2

    @property
    def address(self) -> int:
        return self._address.value

    def __del__(self) -> None:
        if getattr(self, "_address", None) is not None and self._address.value:
            self._free(self._address)


def upload(address: int, array: NDArray[Any], stream: Stream) -> None:
    """Copy an array that the caller keeps until the stream has done it."""
    data = ctypes.c_void_p(array.ctypes.data)
    call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), data, ctypes.c_size_t(array.nbytes), stream.handle)


def download(address: int, array: NDArray[Any], stream: Stream) -> None:
    """Copy back into an array; there after `wait`."""
    data = ctypes.c_void_p(array.ctypes.data)
    call("cuMemcpyDtoHAsync_v2", data, ctypes.c_uint64(address), ctypes.c_size_t(array.nbytes), stream.handle)


def fill(address: int, value: int, words: int, stream: Stream) -> None:
    """Write a 32-bit number so many times."""
    at, number = ctypes.c_uint64(address), ctypes.c_uint(value & 0xFFFFFFFF)
    call("cuMemsetD32Async", at, number, ctypes.c_size_t(words), stream.handle)


class Function:
    """A kernel of a loaded module."""

    def __init__(self, image: bytes, name: str) -> None:
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        call("cuModuleLoadData", ctypes.byref(self._module), image)
        call("cuModuleGetFunction", ctypes.byref(self._function), self._module, name.encode())

    def blocks(self, threads: int, shared: int) -> int:
        """Blocks of so many threads that a multiprocessor holds at once; allows them that much shared memory."""
        call("cuFuncSetAttribute", self._function, LARGE_SHARED, shared)
        size = ctypes.c_size_t(shared)
        return _number("cuOccupancyMaxActiveBlocksPerMultiprocessor", self._function, threads, size)

    def launch(self, blocks: int, threads: int, shared: int, stream: Stream, arguments: Sequence[Any]) -> None:
        """Start it; `arguments` are ctypes numbers, read before this returns."""
        pointers = (ctypes.c_void_p * len(arguments))(*[ctypes.addressof(value) for value in arguments])
        sizes = (blocks, 1, 1, threads, 1, 1, shared)
        call("cuLaunchKernel", self._function, *sizes, stream.handle, pointers, None)


def flat(size: int, item: int, address: int) -> list[Any]:
    """An array of one dimension as numba.cuda passes it: two owners, size, bytes an item, data, shape, strides."""
    count, width = ctypes.c_int64(size), ctypes.c_int64(item)
    return [ctypes.c_void_p(0), ctypes.c_void_p(0), count, width, ctypes.c_uint64(address), count, width]
