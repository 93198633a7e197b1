"""Files and standard output: written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.layers.files import write_atomically


def check_writable(path: str | Path | None, suffixes: tuple[str, ...] = ()) -> None:
    """Raise `ProblemError` before any work is done if a file cannot be written later; '-' is standard output."""
    if path is None or str(path) == "-":
        return
    path = Path(path)
    folder = path.parent
    if suffixes and path.suffix not in suffixes:
        raise ProblemError(f"cannot write {path}: its name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ProblemError(f"cannot write {path}: it is a folder")
    if not folder.is_dir():
        raise ProblemError(f"cannot write {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise ProblemError(f"cannot write {path}: permission denied")


def write_solution(path: Path, weights: FloatArray, problem: LayerProblem) -> None:
    """Write the best weights as `weight` (rows, n), with the rows and inputs they belong to."""
    arrays: dict[str, Any] = {
        "weight": np.ascontiguousarray(weights),
        "rows": np.array([problem.rows.start, problem.rows.stop]),
        "inputs": np.array([problem.inputs.start, problem.inputs.stop]),
    }
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        write_atomically(path, lambda temporary: save_file(arrays, temporary))
    else:
        write_atomically(path, lambda temporary: np.savez_compressed(temporary, **arrays))
