"""The best weights of a run, put together from the files that its rows are in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pvq.bounds.outward import sum_up
from pvq.layers.format import LayerError
from pvq.layers.solutions import Solution, load_solution

from .ledger import LayerTask, Ledger
from .record import Record
from .schema import LedgerError, files_of_run


def weights_of_run(folder: Path) -> Iterator[Solution]:
    """One solution for each setting of each layer, of all rows whose weights were kept, read one by one.

    Raises
    ------
    LedgerError
        No run, one that kept no weights, or a file that is not what the database says.
    """
    known = False
    with Ledger.reading(folder) as ledger:
        for task in ledger.tasks():
            kept = [record for record in ledger.rows(task.id) if record.weights is not None]
            if kept:
                known = True
                yield _joined(folder, kept, task)
    if not known:
        raise LedgerError(
            f"{folder}: the run has kept no weights; `pvq run go --weights` keeps those of the rows it works on"
        )


def files_with_weights(folder: Path) -> list[Path]:
    """The files of a run, and those of weights that it names."""
    with Ledger.reading(folder) as ledger:
        names = {row.weights for task in ledger.tasks() for row in ledger.rows(task.id) if row.weights is not None}
    return [*files_of_run(folder), *(folder / name for name in sorted(names))]


def _joined(folder: Path, kept: Sequence[Record], task: LayerTask) -> Solution:
    """Rows of one setting, each from the file of its upper end."""
    parts: dict[str, tuple[Solution, dict[int, int]]] = {}
    x = []
    for record in kept:
        name = str(record.weights)
        if name not in parts:
            part = _read(folder, name)
            parts[name] = part, {row: place for place, row in enumerate(part.rows)}
        part, places = parts[name]
        if record.row not in places:
            raise LedgerError(f"{folder}: {name} has no row {record.row}, as the run says")
        x.append(part.weight[places[record.row]])
    some = [part for part, _ in parts.values()]
    if len({(part.meta["layer"], part.meta["weight_sha256"], part.inputs) for part in some}) > 1:
        raise LedgerError(f"{folder}: {' and '.join(list(parts)[:2])} are not of one layer")
    meta = {**some[0].meta, "error": sum_up(record.upper for record in kept)}
    meta |= {"bits": task.bits, "sparsity": task.sparsity}  # of its pair, where it has one
    return Solution(np.array(x), tuple(record.row for record in kept), some[0].inputs, meta)


def _read(folder: Path, name: str) -> Solution:
    try:
        return load_solution(folder / name)
    except LayerError as error:
        raise LedgerError(f"{folder}: the weights of its rows cannot be read: {error}") from None
