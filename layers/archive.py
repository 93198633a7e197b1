"""Arrays of an npz file that may be hostile: what it says of itself is checked before anything is allocated."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

BASE, RATIO = 2**28, 20
"""Bytes that any file may unpack to, and times its own size on top: numbers of a layer shrink threefold."""
MEMBERS = 64
"""Arrays of a file at most."""
SIDE_BY_SIDE = 2**26
"""Bytes from which arrays are unpacked two at a time: 4096 inputs and rows take 4.5 s one by one."""


class ArchiveError(ValueError):
    """A file is not an archive of plain arrays, or asks for more than its size justifies; one line."""


Shapes = Mapping[str, tuple[int, ...]]


def write_flat(file: BinaryIO, arrays: Mapping[str, tuple[npt.DTypeLike, Sequence[npt.NDArray[Any]]]]) -> None:
    """As `np.savez_compressed`, whose level takes four times as long for a tenth less where digits are random.

    Parameters
    ----------
    arrays : of each name the type of a flat array, and pieces of it, which are not put together in memory.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, (kind, pieces) in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                descr, size = npy.dtype_to_descr(np.dtype(kind)), sum(piece.size for piece in pieces)
                npy.write_array_header_1_0(member, {"descr": descr, "fortran_order": False, "shape": (size,)})
                for piece in pieces:
                    member.write(np.ascontiguousarray(piece, dtype=kind).data)


def read_arrays(
    path: Path,
    base: int = BASE,
    only: Container[str] | None = None,
    allowance: Callable[[Shapes], int] | None = None,
    *,
    ratio: int = RATIO,
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an npz file by name; every member must be one, so that a pickle anywhere is found.

    Parameters
    ----------
    base : bytes that it may unpack to, numbers counted as float64, beside `ratio` times its own size.
    only : names that are wanted; of the others only the headers are read.
    allowance : bytes that the shapes of what is wanted justify, asked where `base` does not.

    Raises
    ------
    ArchiveError
        No npz file, damaged, a pickle, a name twice, or arrays that are larger than the file can justify.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise ArchiveError("not an npz file")
        most = base + ratio * os.fstat(file.fileno()).st_size
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                return _read(archive, most, only, allowance)
        except (ArchiveError, MemoryError):
            raise
        except Exception as error:  # zipfile, zlib, struct and numpy each raise their own for damage
            raise ArchiveError("a damaged or incomplete npz file") from error


def _read(
    archive: zipfile.ZipFile,
    most: int,
    only: Container[str] | None,
    allowance: Callable[[Shapes], int] | None,
) -> dict[str, npt.NDArray[Any]]:
    members = archive.infolist()
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ArchiveError(f"member {member.filename!r} is not an array")
    names = [member.filename.removesuffix(".npy") for member in members]
    if len(members) > MEMBERS or len(set(names)) < len(names):
        raise ArchiveError("a damaged or incomplete npz file")
    headers = {name: _header(archive, member) for name, member in zip(names, members, strict=True)}
    wanted = [name for name in names if only is None or name in only]
    total = sum(headers[name].unpacked for name in wanted)
    if total > most and allowance is not None:
        most = max(most, allowance({name: headers[name].shape for name in wanted}))
    if total > most:
        raise ArchiveError(f"unpacks to {total:.3g} bytes, more than a file of its size may: {most:.3g}")
    if total < SIDE_BY_SIDE:
        return {name: _array(archive, headers[name]) for name in wanted}
    with ThreadPoolExecutor(2) as pool:  # unpacking holds no lock of the interpreter
        return dict(zip(wanted, pool.map(lambda name: _array(archive, headers[name]), wanted), strict=True))


@dataclass(frozen=True)
class _Header:
    """What a member says of itself."""

    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int
    """Where its numbers begin."""

    @property
    def unpacked(self) -> int:
        """Bytes of the array, as float64 where it has numbers: that is what becomes of them."""
        size = max(self.dtype.itemsize, 8) if self.dtype.kind in "fiub" else self.dtype.itemsize
        return math.prod(self.shape) * size


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Header:
    with archive.open(member) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ArchiveError("holds a pickled object, which is never loaded")
        left = member.file_size - file.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != left:
            raise ArchiveError("a damaged or incomplete npz file")
        return _Header(member, shape, fortran, dtype, file.tell())


def _array(archive: zipfile.ZipFile, header: _Header) -> npt.NDArray[Any]:
    with archive.open(header.member) as file:
        file.read(header.start)
        data = io.BytesIO(file.read(math.prod(header.shape) * header.dtype.itemsize)).getbuffer()
    order = "F" if header.fortran else "C"
    return np.frombuffer(data, dtype=header.dtype).reshape(header.shape, order=order)  # type: ignore[call-overload]
