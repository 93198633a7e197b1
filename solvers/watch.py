"""Work that Ctrl-C can leave behind, whatever it is doing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

GRACE = 0.5
"""Seconds that work has to end by itself, with what it has proven, once it is asked to."""

POLL = 0.05
"""Seconds between two looks at the event; a signal is heard between them."""


_left: list[Thread] = []


def is_work_left() -> bool:
    """Whether work that was left behind still goes on: then a process ends only by `os._exit`."""
    return any(thread.is_alive() for thread in _left)


@dataclass
class Done(Generic[T]):
    """What became of the work."""

    value: T | None = None
    error: BaseException | None = None
    ended: Event = field(default_factory=Event)


def watched(work: Callable[[], T], stop: Event, grace: float = GRACE) -> T | None:
    """The value of `work()`, or None where it goes on `grace` seconds after `stop` was set.

    A compiled kernel, LAPACK and the compiler hear no signal until they return. So the work runs in a thread of
    its own, which is left behind: the caller ends the process.
    """
    done: Done[T] = Done()

    def run() -> None:
        try:
            done.value = work()
        except BaseException as error:
            done.error = error
        finally:
            done.ended.set()

    thread = Thread(target=run, daemon=True, name="watched")
    thread.start()
    while not done.ended.wait(POLL):
        if stop.is_set() and not done.ended.wait(grace):
            _left.append(thread)
            return None
    if done.error is not None:
        raise done.error
    return done.value
