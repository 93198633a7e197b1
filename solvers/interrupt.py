"""Ctrl-C as an event that solvers hear, so that what is proven so far is kept."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from typing import NoReturn


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
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.getsignal(number) for number in signals or (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler is not None}  # None: not Python's
    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_work_behind() -> NoReturn:
    """End the process with exit code 130 while a thread still works: at a usual exit Python would wait for it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(130)
