"""Seconds that numba has spent compiling, or loading what it has compiled: no row's limit pays for that."""

from __future__ import annotations

import sys
import threading
import time
from types import ModuleType

_lock = threading.Lock()
_open: set[int] = set()
"""Threads that are compiling."""
_spent, _began = 0.0, 0.0
_heard: ModuleType | None = None


def compile_seconds() -> float:
    """So far in this process, with what is under way; 0 before numba is loaded."""
    _listen()
    with _lock:
        return _spent + (time.perf_counter() - _began if _open else 0.0)


def working_seconds() -> float:
    """A clock like `time.perf_counter` that stands still while numba compiles, and goes back by rounding at most.

    The time is read once, with the lock: a thread that waits between two reads would lose what it waited for.
    """
    _listen()
    with _lock:
        now = time.perf_counter()
        return now - (_spent + (now - _began if _open else 0.0))


def _listen() -> None:
    """Hear of every function that numba compiles, or loads from its cache, from its first import on."""
    global _heard
    events = sys.modules.get("numba.core.event")
    if events is None or events is _heard or not hasattr(events, "register"):
        return
    with _lock:
        if _heard is events:
            return
        _heard = events

    class Compiling(events.Listener):  # type: ignore[name-defined, misc]
        def on_start(self, event: object) -> None:
            started()

        def on_end(self, event: object) -> None:
            ended()

    events.register("numba:compiler_lock", Compiling())


_depth: dict[int, int] = {}


def started() -> None:
    """A thread begins to compile a function, perhaps for another one that it compiles."""
    global _began
    me = threading.get_ident()
    with _lock:
        _depth[me] = _depth.get(me, 0) + 1
        if not _open:
            _began = time.perf_counter()
        _open.add(me)


def ended() -> None:
    """It has done that."""
    global _spent
    me = threading.get_ident()
    with _lock:
        if me not in _open:  # it began before anybody listened
            return
        _depth[me] -= 1
        if _depth[me] > 0:
            return
        _depth.pop(me)
        _open.discard(me)
        if not _open:
            _spent += time.perf_counter() - _began
