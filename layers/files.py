"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place."""
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        write(Path(name))
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str, document: dict[str, Any]) -> None:
    """Write JSON to a file, or to standard output for '-'; never NaN or infinity."""
    parts = [f"{json.dumps(key)}: {_value(value)}" for key, value in document.items()]
    text = "{" + ",\n ".join(parts) + "}\n"
    if path == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_atomically(path, lambda temporary: temporary.write_text(text))


def _value(value: Any) -> str:
    """JSON with one line for each element of a list (each row): long results stay readable and diffable."""
    if isinstance(value, list) and value:
        return "[" + ",\n  ".join(json.dumps(item, allow_nan=False) for item in value) + "]"
    return json.dumps(value, allow_nan=False)
