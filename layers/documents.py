"""Text files: one sequence on each line, or one JSON object with a text."""

from __future__ import annotations

import json
from pathlib import Path

from .format import LayerError
from .reading import Unreadable, read_text

COLUMN = "text"
"""The text of a JSON object, where nothing else is said."""


def read_documents(path: Path, column: str | None = None) -> list[str]:
    """The texts of a file that are not blank: its lines, or of a `.jsonl` file one entry of each line's object.

    Parameters
    ----------
    column : name of that entry, `text` without.

    Raises
    ------
    LayerError
        It is not UTF-8 text, blank, or a line is not an object with that entry.
    """
    if path.suffix == ".jsonl":
        return _not_blank(path, _texts(path, _lines(path), COLUMN if column is None else column))
    if column is not None:
        raise LayerError(f"{path}: text_column is for .jsonl files, which have an object on each line")
    return _not_blank(path, _lines(path))


def _lines(path: Path) -> list[str]:
    try:
        text = read_text(path, "utf-8-sig", most=None)  # long corpora are nothing unusual
    except Unreadable as error:
        raise LayerError(f"{path} {error}; expected UTF-8 text, one sequence per line") from None
    # a text inside JSON may have other ends of lines
    return text.split("\n") if path.suffix == ".jsonl" else text.splitlines()


def _not_blank(path: Path, texts: list[str]) -> list[str]:
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise LayerError(f"{path}: holds no text; expected one sequence per line")
    return texts


def _texts(path: Path, lines: list[str], column: str) -> list[str]:
    texts = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where, expected = f"{path}: line {number}", f"expected a JSON object with a text '{column}'"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            raise LayerError(f"{where} is not JSON; {expected}") from None
        if not isinstance(entry, dict) or column not in entry:
            found = ", ".join(list(entry)[:8]) if isinstance(entry, dict) else type(entry).__name__
            raise LayerError(f"{where} has no '{column}' (found {found or 'nothing'}); {expected}")
        if not isinstance(entry[column], str):
            raise LayerError(f"{where}: '{column}' is a {type(entry[column]).__name__}; {expected}")
        texts.append(entry[column])
    return texts
