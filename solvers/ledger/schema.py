"""The database of a run: its tables, what they refuse by themselves, and how a file is opened.

Rows are written one transaction after the other, in SQLite's write-ahead log: what is committed outlives kill -9
of the process at any moment (a power cut may cost the last commits, and damages nothing).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from pvq.bounds.errors import ProblemError
from pvq.layers.outputs import OutputError

NAME = "ledger.sqlite"
APPLICATION = 0x70767131
"""What says that a database is one of ours ("pvq1")."""
VERSION, WITH_SUMS = 3, 3
"""Of the tables; a newer one is refused, and older ones are used as they are: those of version 1 check less, and
before WITH_SUMS there is no table of sums by task, so that a status reads all chunks."""
OLDEST_SQLITE = (3, 38)
"""The first with strict tables (3.37) and JSON that is always there."""
WAIT = 10.0
"""Seconds to wait for a reader that keeps the database busy."""

# `effort`: seconds a row that were allowed, infinite for no limit. `proven`: the largest rigorous lower bound,
# which stays where a numerical one is above it. Sums of a chunk are rounded outwards and made anew from its rows
# with every commit, so that they never drift, and then those of the task from its chunks. 9e999 is infinity.
TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL CHECK (json_valid(value))) WITHOUT ROWID, STRICT;
CREATE TABLE layers (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, sha256 TEXT NOT NULL,
    rows INTEGER NOT NULL, inputs INTEGER NOT NULL, grams INTEGER NOT NULL, bytes INTEGER, changed INTEGER,
    skipped TEXT, CHECK (rows >= 0 AND inputs >= 0 AND grams >= 0)) STRICT;
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY, layer INTEGER NOT NULL REFERENCES layers, side TEXT NOT NULL, bits INTEGER,
    sparsity REAL, setting TEXT NOT NULL, sha256 TEXT NOT NULL, storage_bits REAL, macs REAL, facts TEXT,
    UNIQUE (layer, sha256), CHECK (side IN ('quant', 'prune', 'joint')), CHECK (bits > 0),
    CHECK (sparsity BETWEEN 0 AND 1), CHECK (json_type(setting) = 'object'), CHECK (json_type(facts) = 'object'),
    CHECK (0 <= storage_bits AND storage_bits < 9e999), CHECK (0 <= macs AND macs < 9e999)) STRICT;
CREATE TABLE gaps (
    layer INTEGER NOT NULL REFERENCES layers, bits INTEGER NOT NULL CHECK (bits > 0), why TEXT NOT NULL) STRICT;
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, task INTEGER NOT NULL REFERENCES tasks, first INTEGER NOT NULL, stop INTEGER NOT NULL,
    known INTEGER NOT NULL DEFAULT 0, solved INTEGER NOT NULL DEFAULT 0, rigorous INTEGER NOT NULL DEFAULT 0,
    numerical INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, lower REAL NOT NULL DEFAULT 0,
    proven REAL NOT NULL DEFAULT 0, upper REAL NOT NULL DEFAULT 0, reference REAL NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0, effort REAL NOT NULL DEFAULT -1, asked TEXT NOT NULL DEFAULT '',
    empirical TEXT NOT NULL DEFAULT '{}', fault TEXT, tries INTEGER NOT NULL DEFAULT 0,
    CHECK (0 <= first AND first < stop AND stop - first <= 1000000), CHECK (0 <= known AND known <= stop - first),
    CHECK (0 <= solved AND solved <= known AND 0 <= rigorous AND 0 <= numerical AND 0 <= failed),
    CHECK (rigorous + numerical <= known AND failed <= known),
    CHECK (0 <= lower AND lower <= upper AND upper < 9e999), CHECK (0 <= proven),
    CHECK (0 <= reference AND reference < 9e999), CHECK (0 <= seconds AND seconds < 9e999),
    CHECK (json_type(empirical) = 'object')) STRICT;
CREATE INDEX chunks_of_task ON chunks (task, first);
CREATE INDEX faulty_chunks ON chunks (id) WHERE fault IS NOT NULL;
CREATE TABLE sums (
    task INTEGER PRIMARY KEY REFERENCES tasks, rows INTEGER NOT NULL, known INTEGER NOT NULL,
    solved INTEGER NOT NULL, rigorous INTEGER NOT NULL, numerical INTEGER NOT NULL, failed INTEGER NOT NULL,
    lower REAL NOT NULL, proven REAL NOT NULL, upper REAL NOT NULL, reference REAL NOT NULL,
    seconds REAL NOT NULL, empirical TEXT NOT NULL,
    CHECK (0 <= known AND known <= rows AND 0 <= solved AND solved <= known AND 0 <= rigorous AND 0 <= numerical),
    CHECK (0 <= failed AND rigorous + numerical <= known AND failed <= known),
    CHECK (0 <= lower AND lower <= upper AND (upper < 9e999 OR known < rows)), CHECK (0 <= proven),
    CHECK (0 <= reference AND reference < 9e999), CHECK (0 <= seconds AND seconds < 9e999),
    CHECK (json_type(empirical) = 'object')) STRICT;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY, packages TEXT NOT NULL UNIQUE CHECK (json_type(packages) = 'object')) STRICT;
CREATE TABLE rows (
    chunk INTEGER NOT NULL REFERENCES chunks, row INTEGER NOT NULL, lower REAL NOT NULL, proven REAL NOT NULL,
    upper REAL NOT NULL, reference REAL NOT NULL, kind TEXT NOT NULL, solved INTEGER NOT NULL,
    status TEXT NOT NULL, reason TEXT NOT NULL, solver TEXT NOT NULL, asked TEXT NOT NULL, nodes INTEGER NOT NULL,
    seconds REAL NOT NULL, verify_seconds REAL NOT NULL, rounding REAL NOT NULL, effort REAL NOT NULL,
    grid TEXT, empirical TEXT NOT NULL, weights TEXT, certificate TEXT, versions INTEGER REFERENCES versions,
    PRIMARY KEY (chunk, row), CHECK (0 <= proven AND proven <= lower AND lower <= upper AND upper < 9e999),
    CHECK (0 <= reference AND reference < 9e999), CHECK (0 <= seconds AND seconds < 9e999),
    CHECK (0 <= verify_seconds AND verify_seconds < 9e999), CHECK (0 <= rounding AND rounding < 9e999),
    CHECK (nodes >= 0), CHECK (solved IN (0, 1)), CHECK (kind IN ('rigorous', 'numerical', 'none')),
    CHECK (kind <> 'rigorous' OR proven = lower), CHECK (kind <> 'none' OR lower = 0),
    CHECK (json_type(grid) = 'object'), CHECK (json_type(empirical) = 'object')
    ) WITHOUT ROWID, STRICT;
CREATE TRIGGER intervals_shrink BEFORE UPDATE ON rows
    WHEN NEW.lower < OLD.lower OR NEW.proven < OLD.proven OR NEW.upper > OLD.upper
    BEGIN SELECT RAISE(ABORT, 'an interval may only shrink'); END;
CREATE TRIGGER rows_stay BEFORE DELETE ON rows BEGIN SELECT RAISE(ABORT, 'what is proven stays'); END;
"""


def files_of_run(folder: Path) -> list[Path]:
    """The database, its log and the log's index."""
    return [folder / f"{NAME}{ending}" for ending in ("", "-wal", "-shm")]


class LedgerError(ProblemError):
    """A folder is no run, or its database cannot be used; one line."""


def is_run(folder: Path) -> bool:
    """Whether there is a database in the folder."""
    return os.path.isfile(folder / NAME)


def make(folder: Path, fill: Callable[[sqlite3.Connection], object]) -> None:
    """Make the database of a run, whole or not at all; `fill(connection)` puts in what is to be done.

    Raises
    ------
    LedgerError
        The folder holds something, or cannot be written.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise LedgerError(f"a run needs SQLite {needed} or newer; this Python has {sqlite3.sqlite_version}")
    made = not os.path.lexists(folder)
    try:
        folder.mkdir(exist_ok=True)
        there = [path.name for path in folder.iterdir() if not path.name.startswith(f".{NAME}")]
    except OSError as error:
        raise LedgerError(f"cannot make a run in {folder}: {error.strerror or error}") from None
    if NAME in there:
        raise LedgerError(f"{folder} is a run already; `pvq run go` goes on with it")
    if there:
        raise LedgerError(f"{folder} holds other files; choose a new folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LedgerError(f"cannot make a run in {folder}: permission denied")
    new = folder / f".{NAME}.new"
    with said(folder):
        new.unlink(missing_ok=True)
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = OFF")  # nobody sees the file before it is whole
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(TABLES)
            connection.execute("BEGIN")
            fill(connection)
            connection.execute("COMMIT")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            connection.close()
            new.unlink(missing_ok=True)
            if made:
                folder.rmdir()
            raise
        connection.close()
        number = os.open(new, os.O_RDONLY)
        os.fsync(number)
        os.close(number)
        os.replace(new, folder / NAME)


def connect(folder: Path, write: bool) -> sqlite3.Connection:
    """Open the database of a run.

    Raises
    ------
    LedgerError
        No run, another program's database, tables of a newer version, or a folder that cannot be written.
    """
    path = folder / NAME
    if not os.path.isfile(path):
        what = "no such folder" if not os.path.isdir(folder) else f"no run: it has no {NAME}"
        raise LedgerError(f"{folder}: {what}; `pvq run init {folder}` makes one")
    with said(folder):
        connection = _opened(path, write)
        try:
            _check(folder, connection)
            if write:
                if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                    raise LedgerError(f"{folder}: its file system takes no database with a write-ahead log")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
    return connection


def has_sums(connection: sqlite3.Connection) -> bool:
    """Whether sums are kept for tasks."""
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] >= WITH_SUMS)


def _opened(path: Path, write: bool) -> sqlite3.Connection:
    place = f"file:{quote(os.path.abspath(path))}"
    if write:
        return sqlite3.connect(f"{place}?mode=rw", uri=True, isolation_level=None, timeout=WAIT)
    connection = sqlite3.connect(f"{place}?mode=ro", uri=True, isolation_level=None, timeout=WAIT)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        # a log needs a file for its index beside it, which a closed folder does not take; without a log none is
        connection.close()
        log = path.with_name(f"{NAME}-wal")
        if os.path.exists(log) and log.stat().st_size:
            raise
        return sqlite3.connect(f"{place}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return connection


def _check(folder: Path, connection: sqlite3.Connection) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise LedgerError(f"{folder}: {NAME} is another program's database")
    if version > VERSION:
        raise LedgerError(
            f"{folder}: made by a newer version of this program (its tables are {version}, here {VERSION}); "
            "update pvq-bound"
        )


@contextmanager
def said(folder: Path) -> Iterator[None]:
    """What SQLite and the system say, as one line."""
    try:
        yield
    except OutputError as error:
        raise LedgerError(str(error)) from None
    except sqlite3.Error as error:
        raise LedgerError(f"{folder}: {NAME} cannot be used: {error}") from None
    except OSError as error:
        raise LedgerError(f"{folder}: {error.strerror or error}") from None


@contextmanager
def transaction(folder: Path, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of what is written inside, or nothing of it."""
    with said(folder):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                connection.execute("ROLLBACK")
            raise
