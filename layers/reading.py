"""Text and JSON from outside, read whole: no more than a limit, and what is wrong in one line."""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

MOST = 2**28
"""Bytes of a file: records of networks have some MB, and JSON takes ten times its size in memory."""


class Unreadable(ValueError):
    """What is wrong, to be said after the name of the file."""


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8", most: int | None = MOST) -> str:
    """The text of a file, which may be a pipe.

    Raises
    ------
    Unreadable
        It is not there or cannot be read, is longer than `most` bytes, or is not text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(-1 if most is None else most + 1)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from None
    if most is not None and len(data) > most:
        raise Unreadable(f"has more than {most >> 20} MiB")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8 text") from None


def read_json(path: str | os.PathLike[str]) -> Any:
    """The JSON of a file; NaN and infinity are none.

    Raises
    ------
    Unreadable
        As `read_text`; or it is not JSON, with the place.
    """
    text = read_text(path)
    try:
        return json.loads(text, parse_constant=_refused)
    except RecursionError:
        raise Unreadable("is not JSON of ours: it is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(f"is not JSON: {error}") from None


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
