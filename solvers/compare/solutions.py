"""The best weights of each side of a pair as files."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from pvq.bounds.errors import ProblemError
from pvq.layers.files import folder_made
from pvq.layers.format import Layer, LayerError
from pvq.layers.outputs import OutputError, check_folder
from pvq.layers.solutions import Solution, load_solution, save_solution, solution_name

from .schema import read_record
from .side import Side

FOLDER = "solutions"
"""Entry of a record: the folder of the weights, as it was named when they were saved."""


class SolutionFolder:
    """Where the weights of sides are written; a file that cannot be is said in `failed`, and the run goes on."""

    def __init__(self, folder: Path, layers: Iterable[Path]) -> None:
        """Look at the folder, which is made with its first file.

        Parameters
        ----------
        layers : files that are compared.

        Raises
        ------
        ProblemError
            It cannot be made or written, or a layer is in it: files of solutions look like those of layers.
        """
        self.folder, self.failed, self._making = folder, list[str](), threading.Lock()
        try:
            check_folder(folder)
        except OutputError as error:
            raise ProblemError(str(error)) from None
        for path in layers:
            if os.path.isfile(path) and os.path.exists(folder) and os.path.samefile(path.parent, folder):
                raise ProblemError(
                    f"cannot write `save_solutions` {folder}: {path.name} in it is compared; name another folder"
                )

    def write(self, layer: Layer, bits: int, side: Side) -> None:
        """Write the weights of a side."""
        setting = side.problem.setting
        rows, inputs = side.problem.rows, side.problem.inputs
        about = {"technique": setting.method, "bits": bits, "sparsity": setting.sparsity}
        found = Solution.of(layer, side.x, rows, inputs, side.interval.upper, **about)
        path = self.folder / solution_name(layer.name, setting.method, bits)
        try:
            if os.path.lexists(path):
                load_solution(path)  # anything else that is there stays
            with self._making, folder_made(self.folder):
                save_solution(path, found)
        except OutputError as error:
            self.failed.append(str(error))
        except LayerError as error:
            self.failed.append(f"it is not replaced: {error}")


def folder_of_record(path: Path) -> Path:
    """Where the weights of a comparison are, by its record `pvq.compare/1`.

    Raises
    ------
    ProblemError
        It is no record, none were saved, or the folder is gone.
    """
    folder = read_record(path, "use").get(FOLDER)
    if not isinstance(folder, str):
        raise ProblemError(f"{path} names no weights: `pvq compare --save-solutions` keeps them")
    for place in (Path(folder), path.parent / folder):  # as it was named; or beside the record, if both were moved
        if os.path.isdir(place):
            return place
    raise ProblemError(f"{path} has its weights in {folder}, which is not there; give the folder itself")
