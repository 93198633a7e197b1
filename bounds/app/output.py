"""Files and standard output: written whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.layers.format import Layer
from pvq.solvers.layer import LayerResult
from pvq.solvers.layer_scope import nothing_kept


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


def _value(value: Any) -> str:
    """JSON with one line for each element of a list (each row): long results stay readable and diffable."""
    if isinstance(value, list) and value:
        return "[" + ",\n  ".join(json.dumps(item, allow_nan=False) for item in value) + "]"
    return json.dumps(value, allow_nan=False)


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


def write_certificate(path: Path, layer: Layer, problem: LayerProblem, result: LayerResult) -> None:
    """Write what has been proven of each row, with its proof; a row without one claims 0."""
    from pvq.bounds.certificate import Claim, RowClaim, certify, save_certificate

    from ..verify.row import SAFETY
    from ..verify.scope import shared_lower
    from ..verify.split import down, fsum_above, upper_bound

    rows = []
    for i, row in enumerate(result.rows):
        claims = [Claim(row.result.proven, row.result.proof)]
        if problem.budget is not None:
            solved = {**row.budgets, 0: nothing_kept(problem.row(i))}
            claims = [Claim(r.proven, r.proof, k) for k, r in sorted(solved.items()) if r.proof is not None]
        upper = upper_bound(problem.row(i), row.result.x, SAFETY)
        rows.append(RowClaim(row.row, row.result.x, upper, tuple(claims)))
    upper = fsum_above([row.upper for row in rows])
    if problem.budget is not None:
        curves = [{claim.keep: claim.lower for claim in row.lower if claim.keep is not None} for row in rows]
        lower = shared_lower(curves, problem.budget)
    else:
        lower = down(*(row.lower[0].lower for row in rows))
    certificate = certify(layer.name, layer.sha256, problem, rows, lower, upper)
    write_atomically(path, lambda temporary: save_certificate(temporary, certificate))


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
