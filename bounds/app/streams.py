"""The three standard streams as the user left them: closed, on a full disk, or with a reader that has gone."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any


class _Forgiving(io.FileIO):
    """A stream that loses what it cannot hold: a log on a full disk must not end a search."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def prepare_streams() -> None:
    """Make streams take any text, standard error any fault; files that are opened later get no standard number.

    A closed standard output stays closed: what goes there is dropped, and `--json -` is refused.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # the lowest free number, which is this one; reading only, so that nothing is taken for written
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
            os.set_inheritable(number, True)
    if sys.stderr is sys.__stderr__:  # not a test's
        encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
        raw = io.BufferedWriter(_Forgiving(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # closed, or a test's
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
