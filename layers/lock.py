"""One writer for a file that a long run keeps up to date."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .outputs import Named, OutputError, place_of


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
        with suppress(OSError):
            os.unlink(lock)  # while it is held: who opened it before sees that it is gone, and makes a new one
        os.close(number)


def _locked(lock: Path) -> int:
    """An open file behind `lock` that is ours alone; raises BlockingIOError where it is another's."""
    while True:
        number = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
