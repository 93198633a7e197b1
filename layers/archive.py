"""Arrays of an npz file that may be hostile: what it says of itself is checked before anything is allocated."""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

BASE, RATIO = 2**28, 20
"""Bytes that any file may unpack to, and times its own size on top: numbers of a layer shrink threefold."""
MEMBERS = 64
"""Arrays of a file at most."""


class ArchiveError(ValueError):
    """A file is not an archive of plain arrays, or asks for more than its size justifies; one line."""


def read_arrays(path: Path, base: int = BASE) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an npz file by name; every member is one, so that a pickle anywhere is found.

    Parameters
    ----------
    base : bytes that it may unpack to, beside RATIO times its own size.

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
        most = base + RATIO * os.fstat(file.fileno()).st_size
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                return _read(archive, most)
        except (ArchiveError, MemoryError):
            raise
        except Exception as error:  # zipfile, zlib, struct and numpy each raise their own for damage
            raise ArchiveError("a damaged or incomplete npz file") from error


def _read(archive: zipfile.ZipFile, most: int) -> dict[str, npt.NDArray[Any]]:
    members = archive.infolist()
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ArchiveError(f"member {member.filename!r} is not an array")
    names = [member.filename.removesuffix(".npy") for member in members]
    if len(members) > MEMBERS or len(set(names)) < len(names):
        raise ArchiveError("a damaged or incomplete npz file")
    total = sum(member.file_size for member in members)
    if total > most:
        raise ArchiveError(f"unpacks to {total:.3g} bytes, more than a file of its size may: {most:.3g}")
    return {name: _array(archive, member) for name, member in zip(names, members, strict=True)}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(member) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ArchiveError("holds a pickled object, which is never loaded")
        left = member.file_size - file.tell()
        if math.prod(shape) * dtype.itemsize != left:
            raise ArchiveError("a damaged or incomplete npz file")
        data = io.BytesIO(file.read(left)).getbuffer()
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")
