"""Where an output goes: behind links, into a device or a descriptor, and not onto an input or another output."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRAM = ".gram"
"""Ending of a Gram matrix that layers beside it share; not .npz: a folder's layers are its .npz files."""
HOPS = 40
"""Links followed before a chain of them counts as a circle, as in Linux."""
DESCRIPTORS = re.compile(r"/proc/\d+(/task/\d+)?/fd|/dev/fd")
"""Folders whose entries are open files of a process."""

Named = str | Path


class OutputError(Exception):
    """An output cannot be written; the message is one line that names it."""

    @classmethod
    def of(cls, path: Named, error: OSError) -> OutputError:
        """What the system said of a path."""
        return cls(f"cannot write {path}: {error.strerror or error}")


@dataclass(frozen=True)
class Place:
    """What stands behind the name of an output."""

    path: Path
    """Behind all links; the file itself need not exist."""
    descriptor: int | None = None
    """An open file of this process, as /dev/stdout or /dev/fd/5 name one."""
    found: os.stat_result | None = None
    """None where nothing is there yet."""

    @property
    def is_replaced(self) -> bool:
        """Whether a whole new file takes the place of the old one; if not, bytes are written through."""
        return self.descriptor is None and (self.found is None or stat.S_ISREG(self.found.st_mode))

    @property
    def identity(self) -> tuple[Any, ...] | None:
        """Equal for two names of one file, also of one that is not there yet; None where many may write."""
        if self.found is None:
            with suppress(OSError):
                folder = os.stat(self.path.parent)
                return (folder.st_dev, folder.st_ino, self.path.name)
            return (str(self.path),)
        if stat.S_ISCHR(self.found.st_mode):  # a terminal, /dev/null
            return None
        return (self.found.st_dev, self.found.st_ino)


def place_of(path: Named) -> Place:
    """Follow links, but not those of /proc/PID/fd: a descriptor's file keeps its offset, and may have no name.

    Raises
    ------
    OutputError
        A circle of links, a descriptor that is not open, or a folder that cannot be looked into.
    """
    name = os.path.abspath(path)
    try:
        for _ in range(HOPS):
            folder = os.path.realpath(os.path.dirname(name))
            last = os.path.basename(name)
            if DESCRIPTORS.fullmatch(folder) and last.isdecimal():
                if folder != "/dev/fd" and folder.split("/")[2] != str(os.getpid()):
                    break  # another process's
                return Place(Path(name), int(last), os.fstat(int(last)))
            name = os.path.join(folder, last)
            if not os.path.islink(name):
                break
            name = os.path.normpath(os.path.join(folder, os.readlink(name)))
        else:
            raise OutputError(f"cannot write {path}: its links go in a circle")
        try:
            return Place(Path(name), found=os.stat(name))
        except FileNotFoundError:
            return Place(Path(name))
    except OSError as error:
        raise OutputError.of(path, error) from None
    except ValueError as error:  # a zero byte
        raise OutputError(f"cannot write {str(path)!r}: {error}") from None


def check_outputs(
    outputs: Mapping[str, Named | None],
    inputs: Iterable[Named | None] = (),
    suffixes: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Refuse before any work what could not be written after it, or would destroy something.

    Two names are the same file by device and inode; by folder and last name where there is no file yet.

    Parameters
    ----------
    outputs : paths by option; None where an option was not given, '-' is standard output.
    inputs : files that the command reads; what is None or does not exist is left out. Shared Gram matrices beside
        them may be read with them.
    suffixes : endings that an option's file must have.

    Raises
    ------
    OutputError
        The first output that cannot be written, or is an input, another output or where standard output goes.
    """
    taken: dict[tuple[Any, ...], str] = {}
    for named in _with_shared(inputs):
        with suppress(OutputError, ValueError):
            identity = place_of(named).identity
            if identity is not None and os.path.exists(str(named)):
                taken[identity] = f"{named}, which is read"
    streams = _streams()
    for option, path in outputs.items():
        if path is None:
            continue
        if str(path) == "-":
            if sys.stdout is None:
                raise OutputError(f"cannot write {option} -: standard output is closed")
            continue
        place = check_output(path, (suffixes or {}).get(option, ()))
        identity = place.identity
        if identity is None:
            continue
        if identity in taken:
            raise OutputError(f"cannot write {option} {path}: it is the same file as {taken[identity]}")
        if identity in streams and place.is_replaced:
            raise OutputError(f"cannot write {option} {path}: {streams[identity]} goes there already")
        taken[identity] = f"that of {option}"


def _with_shared(inputs: Iterable[Named | None]) -> Iterator[Named]:
    """The inputs, each with the Gram files in its folder, one of which it may point to."""
    for named in inputs:
        if named is not None:
            yield named
            with suppress(OSError, ValueError):
                yield from Path(named).parent.glob(f"*{GRAM}")


def _streams() -> dict[tuple[Any, ...], str]:
    """The files that standard output and standard error are."""
    found = {}
    for number, name in ((2, "standard error"), (1, "standard output")):
        with suppress(OSError):
            place = Place(Path(f"/dev/fd/{number}"), number, os.fstat(number))
            if place.identity is not None:
                found[place.identity] = name
    return found


def check_folder(folder: Named) -> None:
    """Refuse before any work a folder that could not be made after it, or in which nothing could be.

    Raises
    ------
    OutputError
        Something else has its name or is on the way to it, or there is no right.
    """
    nearest = Path(folder).absolute()
    while True:
        try:
            is_folder = stat.S_ISDIR(os.stat(nearest).st_mode)
            break
        except (FileNotFoundError, NotADirectoryError):
            if os.path.islink(nearest):
                raise OutputError(f"cannot write {folder}: {nearest} is a link to nothing") from None
            nearest = nearest.parent
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            raise OutputError.of(folder, error) from None
    if not is_folder:
        raise OutputError(f"cannot write {folder}: {nearest} is no folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {folder}: permission denied in {nearest}")


def check_output(path: Named, suffixes: tuple[str, ...] = ()) -> Place:
    """Where an output goes; raises `OutputError` if it could not be written later."""
    if suffixes and Path(path).suffix not in suffixes:
        raise OutputError(f"cannot write {path}: its name must end in {' or '.join(suffixes)}")
    place = place_of(path)
    folder = place.path.parent
    mode = 0 if place.found is None else place.found.st_mode
    if stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {path}: it is a folder")
    if stat.S_ISBLK(mode) or (stat.S_ISSOCK(mode) and place.descriptor is None):
        raise OutputError(f"cannot write {path}: it is a {'disk' if stat.S_ISBLK(mode) else 'socket'}")
    if place.descriptor is not None:
        import fcntl  # descriptors have names where there is fcntl

        if fcntl.fcntl(place.descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OutputError(f"cannot write {path}: it is open for reading only")
        return place
    if not os.path.isdir(folder):
        raise OutputError(f"cannot write {path}: there is no folder {folder}")
    if mode and not os.access(place.path, os.W_OK):
        raise OutputError(f"cannot write {path}: permission denied")
    if place.is_replaced and not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: permission denied in its folder")
    return place
