"""Ctrl-C: an event that solvers hear, so that what is proven so far is kept, and an end in any case."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread, current_thread, main_thread
from typing import NoReturn

SOON = 0.1
"""Seconds in which Python's own handler has run, if it can."""
LATEST = 1.0
"""Seconds after which a command that nobody listens to Ctrl-C in is ended from outside."""

_listening: list[Event] = []
"""Events of `stop_on_interrupt` that are waited for."""
_taken = 0
"""Signals that set one of them."""


@contextmanager
def stop_on_interrupt(*signals: signal.Signals) -> Iterator[Event]:
    """An event that Ctrl-C (SIGINT) or SIGTERM, or other `signals`, set; the second raises KeyboardInterrupt.

    Outside the main thread, which alone hears signals, the event is only an event.
    """
    stop = Event()
    if current_thread() is not main_thread():
        yield stop
        return

    def handle(number: int, frame: object) -> None:
        global _taken
        if stop.is_set():
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            _taken += 1
        stop.set()

    before = {number: signal.getsignal(number) for number in signals or (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler is not None}  # None: not Python's
    for number in before:
        signal.signal(number, handle)
    _listening.append(stop)
    try:
        yield stop
    finally:
        _listening.remove(stop)
        for number, handler in before.items():
            signal.signal(number, handler)


class Guard:
    """What became of Ctrl-C in a command."""

    unheard = False
    """Whether it came while no `stop_on_interrupt` was open, or for the second time: whatever is raised then is
    its doing."""

    def __init__(self) -> None:
        self._before = _taken

    @property
    def taken(self) -> int:
        """Signals that a `stop_on_interrupt` has heard since."""
        return _taken - self._before


@contextmanager
def ended_by_interrupt(name: str) -> Iterator[Guard]:
    """A command that Ctrl-C ends with exit code 130 within LATEST seconds, wherever it is.

    Outside `stop_on_interrupt` Python raises KeyboardInterrupt, but only between two of its own instructions, and
    imports and callbacks may lose it. So a thread hears of the signal as well, and ends the process by itself.
    """
    guard = Guard()
    if current_thread() is not main_thread():
        yield guard
        return
    read, write = os.pipe()
    with suppress(AttributeError, OSError):  # pipes of Windows
        os.set_blocking(write, False)
    over = Event()

    def watch() -> None:
        seen = 0
        while (heard := os.read(read, 1)) and not over.is_set():
            if heard[0] != signal.SIGINT:
                continue
            seen += 1
            time.sleep(SOON)
            if any(not stop.is_set() for stop in _listening) or seen <= guard.taken:
                continue
            guard.unheard = True
            if not over.wait(LATEST):
                _end(name)

    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    Thread(target=watch, daemon=True, name="interrupt").start()
    try:
        yield guard
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(write)  # the thread reads the end of the pipe, and ends


def _end(name: str) -> NoReturn:
    with suppress(OSError):
        cursor = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides it
        os.write(2, f"{cursor}{name}: interrupted\n".encode())
    os._exit(130)
