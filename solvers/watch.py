"""Work that Ctrl-C can leave behind, whatever it is doing."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

GRACE = 0.5
"""Seconds that work has to end by itself, with what it has proven, once it is asked to."""

HURRY = 5e-4
"""Seconds after which a thread of Python gives way to another one, once an interrupt waits for an answer. With the
usual 5e-3 a compiler in another thread made answers, which read and write files, three times as long."""

POLL = 0.05
"""Seconds between two looks at the event; a signal is heard between them."""


USUAL = sys.getswitchinterval()

_left: list[Thread] = []
_ahead: list[Thread] = []


def is_work_left() -> bool:
    """Whether work that nobody waits for still goes on: then a process ends only by `os._exit`."""
    return work_left() > 0 or any(thread.is_alive() for thread in _ahead)


def ahead(work: Callable[[], T]) -> Done[T]:
    """Begin what will be asked for, in a thread of its own."""
    done: Done[T] = Done()
    _ahead[:] = [thread for thread in _ahead if thread.is_alive()]
    _ahead.append(Thread(target=lambda: done.fill(work), daemon=True, name="ahead"))
    _ahead[-1].start()
    return done


def work_left() -> int:
    """How many pieces of work that were left behind still go on."""
    return sum(thread.is_alive() for thread in _left)


def leave(thread: Thread) -> None:
    """Leave a daemon thread behind that does not end by itself."""
    _left.append(thread)


def unhurried() -> None:
    """Threads take turns as usual again, unless work that was left behind is still to be kept short."""
    if not is_work_left():
        sys.setswitchinterval(USUAL)


@dataclass
class Done(Generic[T]):
    """What became of the work."""

    value: T | None = None
    error: BaseException | None = None
    ended: Event = field(default_factory=Event)

    def fill(self, work: Callable[[], T]) -> None:
        """Do it, and keep its value or its error."""
        try:
            self.value = work()
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def wait(self) -> T | None:
        """The value when it is there."""
        self.ended.wait()
        return self.get()

    def get(self) -> T | None:
        """The value; raises the error."""
        if self.error is not None:
            raise self.error
        return self.value


class Calls:
    """Calls that watched work has made in the thread that waits for it: a user's callback stays in its thread."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], object], Done[object]]] = SimpleQueue()
        self._left = Event()

    def make(self, call: Callable[[], object]) -> None:
        """Have the call made, and wait for it; its error is raised here. Work that was left behind makes none."""
        done: Done[object] = Done()
        self._asked.put((call, done))
        while not done.ended.wait(POLL):
            if self._left.is_set():
                return
        done.get()

    def serve(self, seconds: float) -> None:
        """Make calls for so long, at least until the first."""
        try:
            call, done = self._asked.get(timeout=seconds)
        except Empty:
            return
        done.fill(call)

    def leave(self) -> None:
        """Make no more."""
        self._left.set()


def watched(
    work: Callable[[], T],
    stop: Event,
    grace: float = GRACE,
    calls: Calls | None = None,
    left: Callable[[], float] = lambda: math.inf,
) -> T | None:
    """The value of `work()`, or None where it goes on `grace` seconds after `stop` was set, or has no time left.

    A compiled kernel, LAPACK and the compiler hear no signal until they return. So the work runs in a thread of
    its own, which is left behind: the caller ends the process, or lets the thread end when it hears the event.

    Parameters
    ----------
    calls : what the work has called in this thread meanwhile.
    left : seconds that are left for it.
    """
    done: Done[T] = Done()
    calls = Calls() if calls is None else calls

    def run() -> None:
        done.fill(work)
        calls.make(lambda: None)  # wakes the waiting thread

    thread = Thread(target=run, daemon=True, name="watched")
    thread.start()
    try:
        while not done.ended.is_set():
            calls.serve(POLL)
            if stop.is_set():
                sys.setswitchinterval(HURRY)  # work that is left behind may hold the interpreter as well
            if (stop.is_set() and not _ends(done, calls, grace)) or (left() <= 0 and not done.ended.is_set()):
                _left.append(thread)
                return None
    except BaseException:
        stop.set()
        _left.append(thread)
        raise
    finally:
        calls.leave()
    return done.get()


def _ends(done: Done[T], calls: Calls, grace: float) -> bool:
    """Whether the work ends within its grace."""
    end = time.monotonic() + grace
    while not done.ended.is_set() and time.monotonic() < end:
        calls.serve(POLL)
    return done.ended.is_set()
