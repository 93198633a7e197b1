"""The process that cells are trained in: takes them as JSON lines on stdin, answers in JSON lines on stdout.

    python -m pvq.benchmarks.finetune.worker

It answers "epoch" after every epoch, "unkept" where a checkpoint cannot be written, and "result" or "error"
at the end.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pvq.layers.foreign import one_line


def main() -> None:
    """Answer until stdin ends."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a task's own code may print
    sys.stdout = sys.stderr

    def say(**words: Any) -> None:
        out.write(json.dumps(words) + "\n")

    def epoch_done(done: int) -> None:
        say(event="epoch", done=done)

    def unkept(why: str) -> None:
        say(event="unkept", why=why)

    import torch

    torch.set_num_threads(1)  # cells run side by side, and sums do not depend on the number of cores
    for line in sys.stdin:
        try:
            say(event="result", result=run(json.loads(line), epoch_done, unkept))
        except Exception as error:
            say(event="error", why=f"{type(error).__name__}: {one_line(error)}")


def run(
    order: Mapping[str, Any], epoch_done: Callable[[int], object], unkept: Callable[[str], object]
) -> dict[str, Any]:
    """Train one cell, and put its record and weights into the folder.

    Parameters
    ----------
    order : task, folder, cell and device.
    epoch_done, unkept : as in `train`.
    """
    import torch
    from pvq.layers.files import write_json

    from .devices import repeatable
    from .folder import Folder
    from .representations import activation_sqnr
    from .train import Cell, train

    folder, cell, device = Folder(Path(order["folder"])), Cell(**order["cell"]), order["device"]
    task = _task(order["task"])
    if cell.method != "original":
        task = dataclasses.replace(task, model=folder.original(task.model))
    with repeatable(device, task.deterministic):
        module, known = train(task, cell, device, folder.checkpoint(cell), epoch_done, unkept)
        folder.keep_weights(cell, module)
        if cell.method != "original":
            known["original"] = folder.original_hash()
            on = torch.device(device)
            inputs = map(task.inputs, task.validation)
            known["activation_sqnr_db"] = activation_sqnr(task.model.to(on), module, inputs)
    write_json(folder.record(cell), known)
    folder.checkpoint(cell).unlink(missing_ok=True)
    return known


@cache
def _task(source: str) -> Any:
    from .sources import load_task

    return load_task(source)


if __name__ == "__main__":
    main()
