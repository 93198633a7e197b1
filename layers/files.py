"""Files that are written whole or not at all, and what is left of a run that was killed."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from .lock import CLOSED_ON_EXEC, NO_LINK, OPEN_FILES_CAN_GO, hold
from .outputs import Named, OutputError, Place, place_of

TEMPORARY = re.compile(r"\.pvq-\d+-[0-9a-f]{16}\.tmp")
"""Names of files that are being written, with the process that writes them."""
BINARY = getattr(os, "O_BINARY", 0)
PARTIAL = 1 << 16
"""Bytes handed to a device at once."""


def write_atomically(path: Named, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file, then put it in the place of `path`; the file is the old or the new one, whole.

    Links stay links, and the file behind them is replaced; it keeps its mode and, where allowed, its owner. What
    is no regular file (a device, a pipe, /dev/stdout) gets the bytes.

    Raises
    ------
    OutputError
        The system refuses: no space, no right, no folder. Then nothing has changed.
    """
    place = place_of(path)
    try:
        if place.is_replaced:
            _replace(place, write)
        else:
            _write_through(place, write)
    except OSError as error:
        raise OutputError.of(path, error) from None


def _replace(place: Place, write: Callable[[BinaryIO], object]) -> None:
    remove_dead(place.path.parent)
    temporary, file = _new_file(place.path.parent)
    try:
        with file:
            if place.found is not None and hasattr(os, "fchown"):
                with suppress(PermissionError):  # another's file that the group may write
                    os.fchown(file.fileno(), place.found.st_uid, place.found.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(place.found.st_mode))
            write(file)
            file.flush()
            os.fsync(file.fileno())  # network file systems say only here that a quota is used up
            if OPEN_FILES_CAN_GO:
                os.replace(temporary, place.path)  # while the lock is held: nobody takes the file for a dead run's
        if not OPEN_FILES_CAN_GO:
            os.replace(temporary, place.path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _new_file(folder: Path) -> tuple[Path, BinaryIO]:
    """A new file that is locked as long as its process lives."""
    while True:
        path = folder / f".pvq-{os.getpid()}-{token_hex(8)}.tmp"
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | CLOSED_ON_EXEC | BINARY, 0o666)
        with suppress(OSError):  # a file system without locks: then nobody can take it for dead either
            hold(number)
        if os.fstat(number).st_nlink:  # else another run took it for dead before it was locked
            return path, os.fdopen(number, "w+b")
        os.close(number)


def remove_dead(folder: Path) -> None:
    """Remove what killed runs left in a folder: temporary files that no process holds a lock on."""
    with suppress(OSError):
        names = [entry.name for entry in os.scandir(folder) if TEMPORARY.fullmatch(entry.name)]
        for name in names:
            with suppress(OSError):
                number = os.open(folder / name, os.O_RDWR | CLOSED_ON_EXEC | NO_LINK)
                try:
                    hold(number)
                    os.unlink(folder / name)
                finally:
                    os.close(number)


def _write_through(place: Place, write: Callable[[BinaryIO], object]) -> None:
    whole = io.BytesIO()  # archives seek, pipes cannot
    write(whole)
    if place.descriptor is None:
        number = os.open(place.path, os.O_WRONLY | CLOSED_ON_EXEC | BINARY)
    else:
        if sys.stdout is not None:  # what was printed before comes before
            sys.stdout.flush()
        number = os.dup(place.descriptor)
    try:
        left = whole.getbuffer()
        while left:
            left = left[os.write(number, left[:PARTIAL]) :]
    finally:
        os.close(number)


@contextmanager
def folder_made(folder: Path) -> Iterator[None]:
    """A folder is there inside, with those above it; of what was made nothing that stays empty is left.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    made = list(takewhile(lambda path: not os.path.lexists(path), (folder, *folder.parents)))
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.of(folder, error) from None
        yield
    finally:
        for path in made:
            with suppress(OSError):  # it holds something
                path.rmdir()


def write_text(path: Named, text: str) -> None:
    """Write text in UTF-8, whole or not at all; a name that is no text keeps its bytes in escapes."""
    data = text.encode("utf-8", "backslashreplace")
    write_atomically(path, lambda file: file.write(data))


def write_json(path: Named, document: Mapping[str, Any]) -> None:
    """Write JSON to a file, or to standard output for '-'; never NaN, infinity or -0.0."""
    parts = [f"{json.dumps(key)}: {_value(value)}" for key, value in document.items()]
    text = "{" + ",\n ".join(parts) + "}\n"
    if str(path) == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_text(path, text)


def _value(value: Any) -> str:
    """JSON with one line for each element of a list (each row): long results stay readable and diffable."""
    if isinstance(value, list) and value:
        return "[" + ",\n  ".join(json.dumps(_plain(item), allow_nan=False) for item in value) + "]"
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    """The value with every -0.0, the sign of which means nothing here, as 0.0."""
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def write_each(show: Callable[[], object], *writes: tuple[Named | None, Callable[[Named], object]]) -> None:
    """Print, then write all files, also after one has failed: a full disk costs no result that fits elsewhere.

    Parameters
    ----------
    show : prints the result; left out where a file is '-', standard output.
    writes : where to, None where it is not wanted, and what writes there.

    Raises
    ------
    OutputError
        What failed, in one line.
    BrokenPipeError
        The reader of standard output has gone, and nothing else failed.
    """
    said: list[str] = []
    gone: BrokenPipeError | None = None
    wanted = [partial(write, path) for path, write in writes if path is not None]
    if all(str(path) != "-" for path, _ in writes):
        wanted.insert(0, show)  # type: ignore[arg-type]
    for write in wanted:
        try:
            write()
        except OutputError as error:
            said.append(str(error))
        except BrokenPipeError as error:
            gone = error
        except OSError as error:
            said.append(str(OutputError.of("standard output", error)))
    if said:
        raise OutputError("; ".join(said))
    if gone is not None:
        raise gone


class Record:
    """A JSON file that is kept up to date during a long run: a write that fails is said once and tried again."""

    def __init__(self, path: Named | None, every: float) -> None:
        self._path, self._every, self._pause, self._said = path, every, every, False
        self._last = time.monotonic()

    def update(self, document: Callable[[], Mapping[str, Any]]) -> None:
        """Write if it is time; only what can be replaced, since a pipe would get one document after the other."""
        begin = time.monotonic()
        if self._path is None or str(self._path) == "-" or begin - self._last < self._pause:
            return
        try:
            if place_of(self._path).is_replaced:
                write_json(self._path, document())
        except OutputError as error:
            if not self._said:
                print(f"{error}; the run goes on and tries again", file=sys.stderr, flush=True)
            self._said = True
        self._last = time.monotonic()
        self._pause = max(self._every, 10 * (self._last - begin))  # a long record takes a tenth of the time
