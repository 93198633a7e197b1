"""Somebody's published results, to stand beside those of a comparison: a small CSV format."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.layers.reading import Unreadable, read_text

from .compress import BASE, METHODS

COLUMNS = ("source", "model", "measure", "method", "bits", "value")
"""method: original, quant or prune; bits: empty for the original, of prune those that its sparsity costs."""
ORIGINAL = "original"


def read_published(path: Path) -> list[dict[str, Any]]:
    """What a table says, a document for each model: as those of a `Study`, without rates, with a `source`.

    Parameters
    ----------
    path : a CSV file with the columns `COLUMNS`, one number a line.

    Raises
    ------
    ProblemError
        One line that says which line of it is wrong.
    """
    try:
        lines = csv.DictReader(StringIO(read_text(path), newline=""), strict=True)
        if sorted(lines.fieldnames or []) != sorted(COLUMNS):
            raise Unreadable(f"has the columns {', '.join(lines.fieldnames or [])}, expected {', '.join(COLUMNS)}")
        found: dict[tuple[str, str, str], dict[str, Any]] = {}
        for line in lines:
            _add(found, line, f"line {lines.line_num}")
    except (Unreadable, csv.Error) as error:
        raise ProblemError(f"`published`: {path} {error}") from None
    if not found:
        raise ProblemError(f"`published`: {path} has no results")
    return list(found.values())


def _add(found: dict[tuple[str, str, str], dict[str, Any]], line: Mapping[Any, Any], where: str) -> None:
    words = {name: str(line[name] or "").strip() for name in COLUMNS}
    if None in line or not all(words[name] for name in ("source", "model", "measure")):
        raise Unreadable(f"{where} needs a source, a model, a measure, and nothing beside the columns")
    method, bits = words["method"], words["bits"]
    try:
        value = float(words["value"])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Unreadable(f"{where} has the value '{words['value'][:40]}', expected a number")
    key = words["model"], words["measure"], words["source"]
    about = {"task": key[0], "measure": key[1], "source": key[2], "bits": [], "original": None, "cells": []}
    document = found.setdefault(key, about)
    if method == ORIGINAL and not bits:
        known, document["original"] = document["original"], {"test": value}
    elif method in METHODS and bits in map(str, range(1, BASE + 1)):
        same = (method, int(bits))
        known = next((cell for cell in document["cells"] if (cell["method"], cell["bits"]) == same), None)
        document["cells"].append({"method": method, "bits": int(bits), "test": value})
        document["bits"] = sorted({*document["bits"], int(bits)})
    else:
        expected = f"{' or '.join(METHODS)} and bits from 1 to {BASE}, or {ORIGINAL} and none"
        raise Unreadable(f"{where} has the method '{method[:40]}' and the bits '{bits[:40]}', expected {expected}")
    if known is not None:
        raise Unreadable(f"{where} says again what {method} {bits} of {key[0][:40]} is")
