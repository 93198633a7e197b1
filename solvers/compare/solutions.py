"""The best weights of each side of a pair as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pvq.bounds.errors import ProblemError
from pvq.layers.format import Layer
from pvq.layers.solutions import Solution, save_solution, solution_name

from .side import Side


def solution_writer(folder: Path) -> Callable[[Layer, int, Side], None]:
    """What writes the weights of a side into a folder."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ProblemError(f"cannot write `save_solutions` {folder}: {error.strerror or error}") from None

    def write(layer: Layer, bits: int, side: Side) -> None:
        setting = side.problem.setting
        rows, inputs = side.problem.rows, side.problem.inputs
        about = {"technique": setting.method, "bits": bits, "sparsity": setting.sparsity}
        found = Solution.of(layer, side.x, rows, inputs, side.interval.upper, **about)
        save_solution(folder / solution_name(layer.name, setting.method, bits), found)

    return write
