"""The best weights as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.layers.files import write_atomically
from pvq.solvers.document import row_ranges

SOLUTIONS = (".npz", ".safetensors")
"""Endings of the file of the best weights."""


def write_solution(path: str | Path, weights: FloatArray, problem: LayerProblem) -> None:
    """Write the best weights as `weight` (rows, n), with the rows and inputs they belong to."""
    arrays: dict[str, Any] = {
        "weight": np.ascontiguousarray(weights),
        "rows": np.array(row_ranges(problem)),
        "inputs": np.array([problem.inputs.start, problem.inputs.stop]),
    }
    if Path(path).suffix == ".safetensors":
        from safetensors.numpy import save

        write_atomically(path, lambda file: file.write(save(arrays)))
    else:
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
