"""Files of the best weights of a layer: the weights, the rows they are, and where in a model they belong."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .archive import ArchiveError, read_arrays
from .checks import FloatArray
from .files import write_atomically
from .foreign import foreign
from .format import Layer, LayerError, array_sha256
from .outputs import Named

SUFFIXES = (".npz", ".safetensors")
SCHEMA = "pvq.solution/1"
LONGEST = 200
"""Characters of a layer's name in that of its file; file systems take 255."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Weights that were found for rows of a layer.

    Parameters
    ----------
    weight : (rows, n) float64.
    rows : numbers of the rows.
    inputs : the inputs, half-open.
    meta : `schema`, `layer`, `module`, `shape` (out, n), `transposed`, `weight_sha256` of the weights that were
        compressed, `technique`, `bits`, `sparsity`, and `error`: e(x) that was certified, summed over the rows.
    """

    weight: FloatArray
    rows: tuple[int, ...]
    inputs: tuple[int, int]
    meta: Mapping[str, Any]

    @classmethod
    def of(
        cls, layer: Layer, weight: FloatArray, rows: Iterable[int], inputs: range, error: float, **about: Any
    ) -> Solution:
        """Of a layer, with what else is known of it."""
        meta = {
            "schema": SCHEMA,
            "layer": layer.name,
            "module": layer.meta.get("module", layer.name),
            "shape": [layer.out, layer.inputs],
            "transposed": bool(layer.meta.get("transposed", False)),
            "weight_sha256": array_sha256(layer.weight),
            "error": error,
            **about,
        }
        return cls(np.asarray(weight, dtype=np.float64), tuple(rows), (inputs.start, inputs.stop), meta)

    @property
    def module(self) -> str:
        """Name of the layer in its model."""
        return str(self.meta["module"])

    @property
    def error(self) -> float:
        """e(x) that was certified."""
        return float(self.meta["error"])

    @property
    def is_whole(self) -> bool:
        """Whether it has every weight of the layer."""
        return self.weight.shape == tuple(self.meta["shape"])

    @property
    def option(self) -> tuple[str, int]:
        """Technique and bits of the pair it belongs to."""
        return str(self.meta.get("technique", "")), int(self.meta.get("bits") or 0)

    @property
    def words(self) -> str:
        """Technique, bits and sparsity, as they are asked for: quant:4, prune:0.75, joint:4:0.5."""
        numbers = [self.meta.get(name) for name in ("bits", "sparsity")]
        return ":".join([self.option[0], *(f"{number}" for number in numbers if number is not None)])

    def is_of(self, technique: str, *numbers: float) -> bool:
        """Whether it is of a technique, and of all bits (1 or more) and sparsities (below 1) that are named."""
        known = (self.meta.get("bits"), self.meta.get("sparsity"))
        return self.option[0] == technique and all(known[number < 1] == number for number in numbers)


def save_solution(path: Named, solution: Solution) -> None:
    """Write a solution as .npz or .safetensors, whole or not at all."""
    write_atomically(path, lambda file: put_solution(file, solution, Path(path).suffix))


def put_solution(file: BinaryIO, solution: Solution, suffix: str = ".npz") -> None:
    """The bytes of such a file."""
    rows = _ranges(solution.rows)
    arrays: dict[str, Any] = {
        "weight": np.ascontiguousarray(solution.weight),
        "rows": np.array(rows[0] if len(rows) == 1 else rows),
        "inputs": np.array(solution.inputs),
    }
    meta = json.dumps(dict(solution.meta), allow_nan=False)
    if suffix == ".safetensors":
        from safetensors.numpy import save

        file.write(save(arrays, {"meta": meta}))
    else:
        np.savez_compressed(file, **arrays, meta=np.array(meta))


def load_solution(path: Path) -> Solution:
    """Read a solution.

    Raises
    ------
    LayerError
        One line that says what is wrong with the file.
    """
    try:
        arrays, text = _read(path)
        meta = json.loads(text)
    except (ArchiveError, OSError, ValueError, RecursionError) as error:
        raise LayerError(f"{path}: not a file of the best weights: {' '.join(str(error).split())}") from None
    wrong = _unfit(arrays, meta)
    if wrong is not None:
        raise LayerError(f"{path}: not a file of the best weights: {wrong}")
    ranges = np.atleast_2d(arrays["rows"])
    rows = tuple(int(row) for start, stop in ranges for row in range(start, stop))
    first, last = (int(end) for end in arrays["inputs"])
    return Solution(arrays["weight"].astype(np.float64), rows, (first, last), meta)


def found_in(paths: Sequence[Path]) -> Iterator[Solution]:
    """The solutions of files, and of the files of folders, read one by one.

    Raises
    ------
    LayerError
        A file is none, a folder has none.
    """
    return map(load_solution, files_of(paths))


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and those of folders; raises as `found_in`."""
    found = []
    for path in paths:
        files = [path]
        if os.path.isdir(path):
            with foreign(f"{path}: cannot be read"):
                files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
            if not files:
                raise LayerError(f"{path} has no files of the best weights ({' or '.join(SUFFIXES)})")
        elif not os.path.isfile(path):
            raise LayerError(f"{path}: no such file or folder")
        found += files
    return found


def solution_name(layer: str, technique: str, bits: int) -> str:
    """Name of the file of one side of a pair; layers whose names differ have files that differ."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", layer)[:LONGEST]
    if plain != layer:
        plain += f"-{hashlib.sha256(layer.encode()).hexdigest()[:8]}"
    return f"{plain}.{technique}{bits}.npz"


def _read(path: Path) -> tuple[dict[str, Any], str]:
    if path.suffix == ".npz":
        arrays = dict(read_arrays(path))
        meta = arrays.pop("meta", None)
        if meta is None or meta.size != 1 or meta.dtype.kind != "U":
            raise ArchiveError("it does not say which layer it is of; write it again with --solution")
        return arrays, str(meta.item())
    if path.suffix != ".safetensors":
        raise ArchiveError(f"its name must end in {' or '.join(SUFFIXES)}")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("meta")
            if text is None:
                raise ArchiveError("it does not say which layer it is of; write it again with --solution")
            return {name: file.get_tensor(name) for name in file.keys()}, text  # noqa: SIM118
    except SafetensorError as error:
        raise ArchiveError(str(error)) from None


def _unfit(arrays: Mapping[str, Any], meta: Any) -> str | None:
    """What a file lacks."""
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        return f"its meta is not {SCHEMA}"
    shape = meta.get("shape")
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(size) is int for size in shape)):
        return "it does not say the shape of the layer"
    if not all(isinstance(meta.get(name), str) for name in ("layer", "module", "weight_sha256")):
        return "it does not say which layer it is of"
    if type(meta.get("error")) not in (int, float) or not 0 <= meta["error"] < np.inf:
        return "it does not say an error"
    if type(meta.get("bits", 0)) not in (int, type(None)) or type(meta.get("technique", "")) is not str:
        return "its technique or bits are none"
    weight, rows, inputs = (arrays.get(name, np.empty(0)) for name in ("weight", "rows", "inputs"))
    if weight.ndim != 2 or weight.dtype.kind != "f" or not np.isfinite(weight).all():
        return "weight is no matrix of finite numbers"
    for name, array, most in (("rows", rows, 2), ("inputs", inputs, 1)):
        if array.dtype.kind not in "iu" or array.size == 0 or not 1 <= array.ndim <= most or array.shape[-1] != 2:
            return f"{name} are no ranges"
    # Python's integers: sums of a file's numbers may be beyond any type
    ranges, (first, last) = np.atleast_2d(rows).tolist(), inputs.tolist()
    ends = [end for part in ranges for end in part]
    if any(start >= stop for start, stop in ranges) or ends[0] < 0 or ends[-1] > shape[0] or ends != sorted(ends):
        return "rows are no ranges of the layer, one after the other"
    if not 0 <= first < last <= shape[1] or weight.shape != (sum(b - a for a, b in ranges), last - first):
        return "weight, rows and inputs do not fit each other"
    return None


def _ranges(rows: Sequence[int]) -> list[list[int]]:
    """Rows as half-open ranges, one of them where they are in a row."""
    if list(rows) == list(range(rows[0], rows[-1] + 1)):
        return [[rows[0], rows[-1] + 1]]
    return [[row, row + 1] for row in rows]
