"""The one place where text goes to a terminal, a pipe or a log: names as they are, numbers never cut."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import TextColumn
from rich.text import Text

UNLIMITED = 10_000
"""Columns of a pipe or file: lines there have no width."""


class Printer(Console):
    """A console that takes no text for markup, cuts no cell, and leaves a closed pipe to its caller."""

    def __init__(self, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        closed = None if stream is not None else open(os.devnull, "w")  # noqa: SIM115  (as long as the console)
        super().__init__(stderr=stderr, file=closed, markup=False, emoji=False, highlight=False)
        if not self.is_terminal:
            self.width = UNLIMITED

    def table(self, table: RenderableType) -> None:
        """Print a table, on a narrow terminal with lines that are too long rather than with numbers cut."""
        width = self.width
        self.width = UNLIMITED
        least = Measurement.get(self, self.options, table).minimum
        self.width = max(width, least)
        self.print(table)
        self.width = width

    def say(self, *parts: str, name: str = "", style: str = "") -> None:
        """Print a line without breaking it; a name at its start is bold."""
        line = Text.assemble((printable(name), "bold"), "".join(parts), style=style)
        self.print(line, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Raise the error that rich would turn into exit code 1, before files are written."""
        raise BrokenPipeError


def printable(name: str) -> str:
    """A name with its control characters in escapes: a newline or a terminal code in it would fake output."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def plain_column(text: str) -> TextColumn:
    """A column of a progress bar that takes no name for markup."""
    return TextColumn(text, markup=False)
