"""What other people's code raises becomes one line that names the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .format import LayerError


@contextmanager
def foreign(step: str) -> Iterator[None]:
    """Run foreign code: whatever it raises is a LayerError that says at which step, and the first line of it.

    Parameters
    ----------
    step : what was tried and failed, as the start of the message.

    Raises
    ------
    LayerError
        In place of any other exception, and of an exit; Ctrl-C passes.
    """
    try:
        yield
    except LayerError:
        raise
    except SystemExit as error:  # a module that is a program
        raise LayerError(f"{step}: it ends the program (exit code {error.code})") from None
    except Exception as error:  # the reason for this file: packages raise what they like
        raise LayerError(f"{step}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The first line of what an exception says, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
