# mypy: disable-error-code="attr-defined"
"""A kernel as machine code of a GPU, kept in numba's cache folder: compiling takes ten seconds."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .driver import GpuError


@dataclass(frozen=True)
class Kernel:
    """What is compiled."""

    make: Callable[[], tuple[Any, tuple[Any, ...]]]
    """The function and the types of its arguments; it imports numba.cuda."""
    folder: Path
    sources: tuple[str, ...]
    """Files in it that the machine code depends on."""
    registers: int
    """Of a thread, at most."""
    variant: str = ""
    """Names what else it depends on."""


def missing() -> str | None:
    """One line on the packages that are not installed; None if all are."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed; pip install 'pvq-bound[gpu]'"
    return None


def kernel_image(kernel: Kernel, capability: tuple[int, int]) -> tuple[bytes, str]:
    """Machine code for a GPU, and the name of its entry.

    Raises
    ------
    GpuError
        numba-cuda is not installed, or cannot compile.
    """
    why = missing()
    if why is not None:
        raise GpuError(why)
    source = b"".join((kernel.folder / name).read_bytes() for name in kernel.sources)
    version = importlib.metadata.version("numba-cuda")
    words = f"{kernel.variant} {capability} {version} {kernel.registers}".encode()
    name = f"gpu-{hashlib.sha256(source + words).hexdigest()[:24]}.cubin"
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folders = [*([Path(chosen)] if chosen else []), kernel.folder / "__pycache__"]
    for folder in folders:
        with suppress(OSError):
            entry, image = (folder / name).read_bytes().split(b"\n", 1)
            return image, entry.decode()
    image, entry_name = compile_kernel(kernel, capability)
    for folder in folders:
        with suppress(OSError):
            _write(folder / name, entry_name.encode() + b"\n" + image)
            break
    return image, entry_name


def compile_kernel(kernel: Kernel, capability: tuple[int, int]) -> tuple[bytes, str]:
    """As `kernel_image`, without a cache; numba-cuda asks for a driver."""
    try:
        from numba import cuda

        function, types = kernel.make()
        text = cuda.compile(function, types, cc=capability, device=False, abi="numba", output="ptx")[0]
        found = re.search(r"\.entry\s+([^\s(]+)", text)
        assert found is not None
        return _linked(text, capability, kernel.registers), found.group(1)
    except Exception as error:  # whatever does not fit: versions of compiler, linker, numpy
        line = str(error).strip().splitlines()
        raise GpuError(
            f"numba-cuda cannot compile for this GPU: {line[0] if line else type(error).__name__}"
        ) from error


def _linked(text: str, capability: tuple[int, int], registers: int) -> bytes:
    """Machine code from the compiler's text, by the linker of the same version: a driver may be older."""
    from cuda.bindings import nvjitlink

    options = [f"-arch=sm_{capability[0]}{capability[1]}", f"-maxrregcount={registers}", "-O3"]
    linker = nvjitlink.create(len(options), options)
    data = text.encode()
    nvjitlink.add_data(linker, nvjitlink.InputType.PTX, data, len(data), "kernel")
    nvjitlink.complete(linker)
    image = bytearray(nvjitlink.get_linked_cubin_size(linker))
    nvjitlink.get_linked_cubin(linker, image)
    return bytes(image)


def _write(path: Path, data: bytes) -> None:
    """All of a file or none of it: another process may be writing the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)
