"""A Gram matrix in a file of its own, beside the layer files that share it: found by name, checked by hash."""

from __future__ import annotations

import json
import re
import stat
import threading
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from .allowance import allowance, how_to_lift
from .archive import ArchiveError, Shapes, read_arrays
from .checks import FloatArray, LayerError, array_sha256, real_array
from .files import write_atomically
from .outputs import GRAM, OutputError

SCHEMA = "pvq.gram/1"
NAME = re.compile(r"[\w][\w.\-]*\.gram", re.ASCII)
"""Of a file in the folder of the layer file, and of no other."""
HASH = re.compile(r"[0-9a-f]{64}")

_in_memory: WeakValueDictionary[str, FloatArray] = WeakValueDictionary()
_lock = threading.Lock()


def save_gram(folder: Path, model: str, grams: FloatArray) -> dict[str, str]:
    """Write a file for (groups, n, n) and return what layer files say of it.

    Its name has its hash: another matrix never takes the place of one that some layer file points to.

    Raises
    ------
    LayerError
        It cannot be written.
    """
    digest = array_sha256(grams)
    file = f"{re.sub(r'[^A-Za-z0-9_]', '_', model)}.{digest[:16]}{GRAM}"
    arrays: dict[str, Any] = {"gram": grams, "meta": np.array(json.dumps({"schema": SCHEMA, "sha256": digest}))}
    try:
        write_atomically(folder / file, lambda to: np.savez_compressed(to, **arrays))
    except OutputError as error:
        raise LayerError(str(error)) from None
    return {"file": file, "sha256": digest}


def load_gram(folder: Path, pointer: Any, inputs: int) -> FloatArray:
    """The matrices (groups, n, n) that a layer file of n inputs points to.

    Raises
    ------
    LayerError
        The pointer is none, or the file is missing, no such file, or not the one that was meant; one line.
    """
    file, digest = (pointer.get(key) for key in ("file", "sha256")) if isinstance(pointer, dict) else (None, None)
    if not (isinstance(file, str) and NAME.fullmatch(file) and isinstance(digest, str) and HASH.fullmatch(digest)):
        raise LayerError("points to no Gram file: expected its name, NAME.gram in the same folder, and sha256")
    path, of = folder / file, f"its Gram file {file}"

    def allowed(shapes: Shapes) -> int:
        shape = shapes.get("gram", ())
        return allowance({"weight": (shape[0], inputs), "gram": shape}) if len(shape) == 3 else 0

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
            raise LayerError(f"{of} is no regular file")
        arrays = read_arrays(path, only=("gram",), allowance=allowed)
    except FileNotFoundError:
        raise LayerError(f"{of} is missing; put it beside the layer file or extract the layer again") from None
    except MemoryError:
        raise LayerError(f"{of} is larger than the memory that is left") from None
    except ArchiveError as error:
        raise LayerError(f"{of} cannot be read: {error}{how_to_lift(error)}") from None
    except OSError as error:
        raise LayerError(f"{of} cannot be read: {error.strerror or error}") from None
    if "gram" not in arrays or arrays["gram"].ndim != 3:
        raise LayerError(f"{of} has no gram (groups, in, in)")
    grams = real_array(arrays["gram"], f"{of}: gram")
    if array_sha256(grams) != digest:
        raise LayerError(f"{of} has another matrix than when the layer was written; extract the layer again")
    return grams


def one_array(pointer: dict[str, str], grams: FloatArray) -> FloatArray:
    """The array that layers in memory share, where one of them points to the same file; else this one.

    Parameters
    ----------
    pointer : from which `load_gram` has read the matrices.
    grams : those matrices as a layer has them; whoever has written to a shared array keeps it alone.
    """
    with _lock:
        known = _in_memory.get(pointer["sha256"])
        if known is not None and np.array_equal(known, grams):
            return known
        _in_memory[pointer["sha256"]] = grams
    return grams
