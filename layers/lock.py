"""One writer for a file that a long run keeps up to date.

The lock is the system's, on an open file: flock where there is fcntl, else that of msvcrt. It ends with its
process, also by kill -9. `filelock`, the usual library, is built on the same two calls, but leaves its file behind
for ever: it cannot tell who still waits for it. Here a waiter looks whether the file that it has locked is still
the one of that name. Windows cannot remove an open file, so there the holder removes it after it has let go, and
the name stays where another looks at it in that moment.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .outputs import Named, OutputError, place_of

if sys.platform == "win32":
    import msvcrt

    BEYOND = 2**30
    """Where the locked byte is: locks of Windows also keep others from reading, and nobody reads there."""

    def hold(number: int) -> None:
        """Lock an open file, or raise BlockingIOError where another has it."""
        os.lseek(number, BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
        finally:
            os.lseek(number, 0, os.SEEK_SET)

else:
    import fcntl

    def hold(number: int) -> None:
        """Lock an open file, or raise BlockingIOError where another has it, OSError where none can be."""
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


CLOSED_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
OPEN_FILES_CAN_GO = sys.platform != "win32"
"""Whether an open file can be removed or replaced."""


@contextmanager
def only_writer(path: Named | None) -> Iterator[None]:
    """Hold a file for this process, so that no other run replaces what this one wrote.

    The lock is a file `.NAME.lock` beside it that says who holds it. The system ends the lock with the process,
    however that ends; the file is removed by its holder, or by the next one. Pipes and devices are not locked.

    Raises
    ------
    OutputError
        Another process holds it; the message says which.
    """
    place = None if path is None or str(path) == "-" else place_of(path)
    if place is None or not place.is_replaced:
        yield
        return
    lock = place.path.with_name(f".{place.path.name}.lock")
    try:
        number = _locked(lock)
    except BlockingIOError:
        raise OutputError(f"cannot write {path}: {_holder(lock)} is writing it; wait or choose another") from None
    except OSError as error:
        raise OutputError.of(lock, error) from None
    try:
        os.truncate(number, 0)
        os.write(number, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        if not OPEN_FILES_CAN_GO:
            os.close(number)
        with suppress(OSError):
            os.unlink(lock)  # while it is held: who opened it before sees that it is gone, and makes a new one
        if OPEN_FILES_CAN_GO:
            os.close(number)


def _locked(lock: Path) -> int:
    """An open file behind `lock` that is ours alone; raises BlockingIOError where it is another's."""
    while True:
        number = os.open(lock, os.O_CREAT | os.O_RDWR | CLOSED_ON_EXEC | NO_LINK, 0o666)
        try:
            hold(number)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(lock), os.fstat(number)):
                    return number
        except BlockingIOError:
            os.close(number)
            raise
        except OSError:  # a file system without locks
            return number
        os.close(number)  # its holder removed it meanwhile


def _holder(lock: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        words = lock.read_text().strip()
        if words.isprintable() and 0 < len(words) < 300:
            return words
    return "another process"
