"""The folder of a comparison: records, weights and checkpoints of its cells."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvq.layers.files import folder_made, write_atomically, write_json
from pvq.layers.format import LayerError
from pvq.layers.outputs import check_folder

if TYPE_CHECKING:
    from torch import nn

    from .train import Cell

ABOUT = "finetune.json"
SCHEMA = "pvq.finetune-folder/1"
ORIGINAL = "original.safetensors"


class Folder:
    """Where cells are kept: a run that was stopped goes on there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path, task: str) -> Folder:
        """A folder of a task: new, or one in which a comparison of the same task was begun.

        Raises
        ------
        LayerError
            It has other files, or is of another task.
        OutputError
            It cannot be made or written.
        """
        about = path / ABOUT
        check_folder(path)
        if os.path.isfile(about):
            known = _read(about)
            if known is None or known.get("schema") != SCHEMA or known.get("task") != task:
                raise LayerError(f"{path} is of another comparison, not of {task}; name another one with --folder")
        elif os.path.isdir(path) and any(path.iterdir()):
            raise LayerError(f"{path} has other files; name a new folder with --folder")
        else:
            with folder_made(path):
                write_json(about, {"schema": SCHEMA, "task": task})
        return cls(path)

    def record(self, cell: Cell) -> Path:
        """File of what is known of a cell."""
        return self.path / f"{cell.key}.json"

    def checkpoint(self, cell: Cell) -> Path:
        """File of a cell that is being trained."""
        return self.path / f"{cell.key}.checkpoint"

    def weights(self, cell: Cell) -> Path:
        """File of the weights of a trained cell, a state dict that fits the model of the task."""
        return self.path / (ORIGINAL if cell.method == "original" else f"{cell.key}.safetensors")

    def keep_weights(self, cell: Cell, module: nn.Module) -> None:
        """Write the weights of a trained cell."""
        from safetensors.torch import save

        state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}
        write_atomically(self.weights(cell), lambda file: file.write(save(state)))

    def load(self, model: nn.Module, file: Path) -> nn.Module:
        """A copy of the task's model with the weights of a file."""
        from safetensors.torch import load_file

        module = copy.deepcopy(model)
        module.load_state_dict(load_file(file))
        return module

    def original(self, model: nn.Module) -> nn.Module:
        """A copy of the task's model with the weights that all cells start from."""
        return self.load(model, self.path / ORIGINAL)

    def original_hash(self) -> str:
        """SHA-256 of the file of these weights; empty where there is none."""
        file = self.path / ORIGINAL
        return sha256(file.read_bytes()).hexdigest() if os.path.isfile(file) else ""

    def known(self, cell: Cell) -> dict[str, Any] | None:
        """What is known of a cell that is finished, and started from these weights; None where it is not."""
        found = _read(self.record(cell))
        if found is None or found.get("cell") != asdict(cell) or not os.path.isfile(self.weights(cell)):
            return None
        if cell.method != "original" and found.get("original") != self.original_hash():
            return None
        return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
