"""A run's folder, opened: what it holds, and the one function that writes results."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pvq.bounds.setting import Setting
from pvq.layers.files import folder_made, write_atomically
from pvq.layers.lock import only_writer
from pvq.layers.outputs import check_folder

from .record import COLUMNS, WORDS, Piece, Record, checked, joined
from .schema import NAME, LedgerError, connect, has_sums, said, transaction
from .sums import Total, kept_totals, sum_chunk, sum_task, totals_of_chunks
from .told import (
    METHODS,
    about_of,
    check_chunk,
    check_kinds,
    check_one_of,
    check_sizes,
    fields_of,
    legible,
)

ROW = f"SELECT {', '.join(COLUMNS)} FROM rows"
LAYER = "id, name, path, sha256, rows, inputs, grams, bytes, changed, skipped"
GAP = "SELECT layer, bits, why FROM gaps"
TASK = "id, layer, side, bits, sparsity, storage_bits, macs"
PUT = (
    f"INSERT INTO rows ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "
    f"ON CONFLICT (chunk, row) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in COLUMNS[2:])}"
)


@dataclass(frozen=True)
class LayerEntry:
    """A layer of a run."""

    id: int
    name: str
    path: Path
    sha256: str
    rows: int
    inputs: int
    grams: int
    bytes: int | None
    changed: int | None
    """Time of the file's last change, in ns: where it is another one, the numbers are read again."""
    skipped: str | None


@dataclass(frozen=True)
class LayerTask:
    """One layer under one setting."""

    id: int
    layer: int
    side: str
    """quant, prune or joint."""
    bits: int | None
    sparsity: float | None
    storage_bits: float | None
    macs: float | None
    setting: Setting
    facts: Mapping[str, Any]


class Ledger:
    """A run that is open for reading, or through `writing` for one writer."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder, self._db, self._with_sums = folder, connection, has_sums(connection)
        with self._legible("its settings or its layers"):
            self.about = about_of(connection.execute("SELECT name, value FROM about"))
            self.layers = list(map(_layer, connection.execute(f"SELECT {LAYER} FROM layers ORDER BY id")))
        self.faults: list[str] = []
        """What this process was told that contradicts what is known."""

    @classmethod
    @contextmanager
    def reading(cls, folder: Path) -> Iterator[Ledger]:
        """Open a run, also while another process writes it."""
        connection = connect(folder, write=False)
        try:
            yield cls(folder, connection)
        except sqlite3.Error as error:
            raise LedgerError(f"{folder}: {NAME} cannot be read: {error}") from None
        finally:
            connection.close()

    @classmethod
    @contextmanager
    def writing(cls, folder: Path) -> Iterator[Ledger]:
        """Open a run as its only writer.

        Raises
        ------
        LedgerError
            No run, or one that cannot be written.
        OutputError
            Another process writes it.
        """
        connect(folder, write=False).close()  # what is no run is not locked either
        with only_writer(folder / NAME):
            connection = connect(folder, write=True)
            try:
                yield cls(folder, connection)
            except sqlite3.Error as error:
                raise LedgerError(f"{folder}: {NAME} cannot be used: {error}") from None
            finally:
                connection.close()

    def _legible(self, what: str) -> AbstractContextManager[None]:
        return legible(f"{self.folder}: {NAME}", what)

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked for when the run was made."""
        return dict(self.about["settings"])

    def tasks(self) -> list[LayerTask]:
        """All of them, in order of layers."""
        query = f"SELECT {TASK}, setting, facts FROM tasks ORDER BY id"
        layers, paired = {layer.id for layer in self.layers}, self.about["method"] == "both"
        with self._legible("its tasks"):
            return [_task(row, layers, paired) for row in self._db.execute(query)]

    def gaps(self) -> list[tuple[int, int, str]]:
        """Layer, bits and reason of the pairs that there are not."""
        layers = {layer.id for layer in self.layers}
        with self._legible("its gaps"):
            found = [(layer, int(bits), str(why)) for layer, bits, why in self._db.execute(GAP)]
            for layer, _, _ in found:
                check_one_of("layer", layer, layers)
        return found

    def totals(self, task: int | None = None) -> dict[int, Total]:
        """By task, from the sums that are kept."""
        if self._with_sums:
            with self._legible("the sums of its tasks"):
                return kept_totals(self._db, task)
        with self._legible("the sums of its chunks"):
            return totals_of_chunks(self._db, task)

    def rows(self, task: int) -> Iterator[Record]:
        """Rows of a task that have a result, in order."""
        query = f"{ROW} WHERE chunk = ? ORDER BY row"
        chunks = self._db.execute("SELECT id FROM chunks WHERE task = ? ORDER BY first", (task,)).fetchall()
        for (chunk,) in chunks:
            for row in self._db.execute(query, (chunk,)):
                yield self._record(row)

    def _record(self, row: Sequence[Any]) -> Record:
        with self._legible("a row"):
            return checked(row)

    def count_widths(self, ratios: Sequence[float]) -> list[tuple[str, int | None, str, int, int]]:
        """Side, bits, kind, number of the class of upper / lower (0: solved; the last: lower is 0), and rows."""
        cases = "".join(f"WHEN r.upper <= {ratio!r} * r.lower THEN {i} " for i, ratio in enumerate(ratios, 1))
        last = len(ratios) + 2
        width = f"CASE WHEN r.solved THEN 0 WHEN r.lower <= 0 THEN {last} {cases}ELSE {last - 1} END"
        query = (
            f"SELECT t.side, t.bits, r.kind, {width} AS width, count(*) FROM rows r "
            "JOIN chunks c ON c.id = r.chunk JOIN tasks t ON t.id = c.task GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        )
        found = list(self._db.execute(query))
        with self._legible("its rows"):
            for side, _, kind, _, _ in found:
                check_one_of("side", side, METHODS)
                check_one_of("kind", kind, WORDS["kind"])
        return found

    def packages(self) -> list[dict[str, str]]:
        """Versions that results were made with."""
        query = "SELECT packages FROM versions ORDER BY id"
        with self._legible("its versions"):
            return [fields_of(text) for (text,) in self._db.execute(query)]

    def methods(self) -> list[str]:
        """Empirical methods by which the rows of some chunk were scored."""
        texts = self._db.execute("SELECT DISTINCT empirical FROM chunks WHERE empirical <> '{}'").fetchall()
        with self._legible("the sums of its chunks"):
            return sorted({name for (text,) in texts for name in fields_of(text)})

    def proofs(self) -> list[tuple[int, str]]:
        """Task and file, beside the database, of each proof that some row's lower end rests on."""
        query = (
            "SELECT c.task, r.certificate FROM rows r JOIN chunks c ON c.id = r.chunk "
            "WHERE r.certificate IS NOT NULL GROUP BY c.task, r.certificate ORDER BY c.task, min(r.row)"
        )
        return [(task, str(name)) for task, name in self._db.execute(query)]

    def chunk_faults(self) -> list[tuple[int, str]]:
        """Chunks that could not be worked on, by id, and why."""
        query = "SELECT id, fault FROM chunks WHERE fault IS NOT NULL ORDER BY id"
        return [(number, str(why)) for number, why in self._db.execute(query)]

    def due(self, task: int, effort: float = -1.0, asked: str | None = None) -> list[tuple[int, int, int]]:
        """Chunks (id, first, stop) with rows that are open and that no run has given as much to.

        asked : the solver, as `RowSearch.asked`; None for rows that have no result at all.
        """
        new = "known < stop - first"
        worth = new if asked is None else f"solved < stop - first AND ({new} OR effort < ? OR asked <> ?)"
        query = f"SELECT id, first, stop FROM chunks WHERE task = ? AND {worth} ORDER BY first"
        return list(self._db.execute(query, (task,) if asked is None else (task, effort, asked)))

    def due_rows(self, chunk: int, effort: float = -1.0, asked: str | None = None) -> list[int]:
        """Rows of a chunk that are due, as `due`."""
        first, stop = self._db.execute("SELECT first, stop FROM chunks WHERE id = ?", (chunk,)).fetchone()
        with self._legible("a chunk"):
            check_chunk(first, stop)
        over = "" if asked is None else " AND (solved OR (effort >= ? AND asked = ?))"
        query = f"SELECT row FROM rows WHERE chunk = ?{over}"
        known = self._db.execute(query, (chunk,) if asked is None else (chunk, effort, asked))
        done = {row for (row,) in known}
        return [row for row in range(first, stop) if row not in done]

    def check_folders(self, *names: str) -> None:
        """Raise `LedgerError` where files could not be written into these folders beside the database."""
        with said(self.folder):
            for name in names:
                check_folder(self.folder / name)

    def record(self, piece: Piece) -> int:
        """Commit results: what is known of a row becomes the intersection with what is told, and never wider.

        Files come before the rows that name them. Returns how many rows were new.

        Raises
        ------
        LedgerError
            A file cannot be written, or the database takes nothing more: a full disk, or a row that is none of
            this chunk. Then nothing of it is committed, and its rows are due again.
        """
        for name, data in piece.files.items():
            path = self.folder / name
            with said(self.folder), folder_made(path.parent):
                write_atomically(path, partial(_put, data))
        with transaction(self.folder, self._db) as db:
            found = db.execute("SELECT task, first, stop FROM chunks WHERE id = ?", (piece.chunk,)).fetchone()
            if found is None:
                raise LedgerError(f"{self.folder}: has no chunk {piece.chunk}")
            task, first, stop = found
            if any(not (first <= r.row < stop and r.chunk == piece.chunk) for r in piece.records):
                raise LedgerError(f"{self.folder}: chunk {piece.chunk} is of rows {first} to {stop - 1}")
            if piece.facts:
                db.execute(
                    "UPDATE tasks SET facts = ? WHERE id = ? AND facts IS NULL", (json.dumps(piece.facts), task)
                )
            known = {row[1]: self._record(row) for row in db.execute(f"{ROW} WHERE chunk = ?", (piece.chunk,))}
            before, written = len(known), {}
            for new in piece.records:
                if new.row in known:
                    kept, fault = joined(known[new.row], new, self.about["gap"])
                    if fault is not None:
                        self._fault(piece.chunk, fault)
                    if kept is known[new.row]:
                        continue
                else:
                    kept = new
                known[new.row] = written[new.row] = kept
            versions = self._version(piece.packages)
            db.executemany(PUT, [(*astuple(r)[:-1], versions) for r in written.values()])
            sum_chunk(db, piece.chunk, list(known.values()))
            if self._with_sums:
                sum_task(db, task)
        return len(known) - before

    def keep(self, task: int, facts: Mapping[str, Any]) -> None:
        """Commit facts about a task, in the place of those of the same names."""
        with transaction(self.folder, self._db) as db:
            (text,) = db.execute("SELECT facts FROM tasks WHERE id = ?", (task,)).fetchone()
            with self._legible("its tasks"):
                known = fields_of(text or "{}")
            db.execute("UPDATE tasks SET facts = ? WHERE id = ?", (json.dumps({**known, **facts}), task))

    def failed(self, chunk: int, why: str, tries: int = 1) -> None:
        """Say that a chunk could not be worked on; the rest goes on, and a later run tries again."""
        with transaction(self.folder, self._db) as db:
            db.execute("UPDATE chunks SET fault = ?, tries = tries + ? WHERE id = ?", (why, tries, chunk))

    def cleared(self, chunk: int) -> None:
        """What was wrong with a chunk is forgotten: it is worked on again."""
        if self._db.execute("SELECT fault FROM chunks WHERE id = ?", (chunk,)).fetchone()[0] is not None:
            with transaction(self.folder, self._db) as db:
                db.execute("UPDATE chunks SET fault = NULL WHERE id = ?", (chunk,))

    def _fault(self, chunk: int, why: str) -> None:
        self.faults.append(why)
        self._db.execute("UPDATE chunks SET fault = ? WHERE id = ?", (why, chunk))

    def _version(self, packages: Mapping[str, str]) -> int:
        text = json.dumps(dict(packages), sort_keys=True)
        # asked each time: what one commit has put in is gone where that is rolled back
        self._db.execute("INSERT OR IGNORE INTO versions (packages) VALUES (?)", (text,))
        query = "SELECT id FROM versions WHERE packages = ?"
        return int(self._db.execute(query, (text,)).fetchone()[0])


def _layer(row: Sequence[Any]) -> LayerEntry:
    number, name, path, *rest = row
    entry = LayerEntry(number, name, Path(path), *rest)
    check_kinds(entry)
    check_sizes(rows=entry.rows, inputs=entry.inputs, grams=entry.grams)
    return entry


def _task(row: Sequence[Any], layers: Collection[int], paired: bool) -> LayerTask:
    *about, setting, facts = row
    task = LayerTask(*about, setting=Setting.from_json(fields_of(setting)), facts=fields_of(facts or "{}"))  # type: ignore[misc]
    check_kinds(task)
    check_one_of("layer", task.layer, layers)
    check_one_of("side", task.side, (task.setting.method,))
    check_sizes(storage_bits=task.storage_bits or 0.0, macs=task.macs or 0.0)
    if paired and (task.bits is None or (task.sparsity is None) == (task.side == "prune")):
        raise ValueError("half of a pair is missing")
    return task


def _put(data: bytes, file: Any) -> None:
    file.write(data)
