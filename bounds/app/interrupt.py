"""Ctrl-C as an event that solvers hear, so that what is proven so far is kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread


@contextmanager
def stop_on_interrupt() -> Iterator[Event]:
    """An event that Ctrl-C (SIGINT) or SIGTERM sets; the second Ctrl-C raises KeyboardInterrupt as usual."""
    stop = Event()
    if current_thread() is not main_thread():
        yield stop
        return

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
