"""A run's database that was altered: strict tables refuse it, and what they cannot refuse is said in one line."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pvq
import pytest
from pvq.bounds.errors import ProblemError
from pvq.layers.format import save_layer
from pvq.solvers.ledger.schema import NAME, VERSION

from compare_cases import random_layer

WRONG = ("text", "[1]", '{"a": "b"}', "null", -1, 10**17, 9e999, None)
JSON = {"value", "setting", "facts", "empirical", "grid", "packages"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A run of pairs and one of quantized rows, with results."""
    folder = tmp_path_factory.mktemp("runs")
    path = save_layer(folder / "a.npz", random_layer("regular", 1, rows=2))
    made = {
        "both": pvq.Ledger.create(folder / "both", path, bits=[1, 3]),
        "quant": pvq.Ledger.create(folder / "quant", path, "quant", bits=[3]),
    }
    for run in made.values():
        run.go(solver="bnb", time_limit=None, full=True)
    return {name: run.folder for name, run in made.items()}


def columns(run: Path) -> list[tuple[str, str, str]]:
    """Every table and column, and its type."""
    database = sqlite3.connect(run / NAME)
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = [
        (table, row[1], row[2]) for table in tables for row in database.execute(f"PRAGMA table_info({table})")
    ]
    database.close()
    return found


def loose(run: Path, to: Path, version: int = VERSION) -> Path:
    """The same run with tables that take anything."""
    shutil.copytree(run, to)
    database = sqlite3.connect(to / NAME, isolation_level=None)
    database.execute("PRAGMA legacy_alter_table = ON")
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for name in names:
        database.execute(f"ALTER TABLE {name} RENAME TO strict_{name}")
        database.execute(f"CREATE TABLE {name} AS SELECT * FROM strict_{name}")
    for name in names:
        database.execute(f"DROP TABLE strict_{name}")
    database.execute(f"PRAGMA user_version = {version}")
    database.close()
    return to


def alter(run: Path, table: str, column: str, value: object) -> None:
    """Put another value where a column has its largest."""
    database = sqlite3.connect(run / NAME, isolation_level=None)
    try:
        database.execute("PRAGMA foreign_keys = ON")
        last = f"(SELECT max({column}) FROM {table})"
        database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} IS {last}", (value,))
    finally:
        database.close()


def test_what_is_no_number_and_no_object_is_refused_by_the_tables(runs, tmp_path) -> None:
    run = shutil.copytree(runs["both"], tmp_path / "run")
    refused = set()
    for table, column, kind in columns(run):
        for value in ("text", "{", "[1]") if column in JSON else ("text",) if kind != "TEXT" else ():
            if (column, value) == ("value", "[1]"):
                continue
            with pytest.raises(sqlite3.Error):
                alter(run, table, column, value)
            refused.add((table, column))
    assert {("rows", "lower"), ("chunks", "upper"), ("tasks", "bits"), ("layers", "rows")} < refused
    assert pvq.Ledger(run).status() == pvq.Ledger(runs["both"]).status()


@pytest.mark.parametrize(
    "change",
    [
        *("rows lower much", "rows upper 9e999", "rows grid [1]", "rows kind proven", "sums upper much"),
        *('sums empirical {"rtn": "x"}', "sums seconds -1", "sums known null", "tasks setting {"),
        *("tasks layer 99", "tasks facts [1]", "layers rows many", "about value {", "versions packages 1"),
    ],
)
def test_a_value_that_is_none_is_one_line(cli, runs, tmp_path, change) -> None:
    table, column, value = change.split(maxsplit=2)
    run = loose(runs["quant"], tmp_path / "run")
    alter(run, table, column, value)
    ended = [cli("run", "status", run), cli("run", "export", run, "-o", tmp_path / "run.json")]
    if table in ("rows", "sums"):
        assert ended.pop(table == "sums").code == 0  # a status is made of sums, the file of rows
    for end in ended:
        assert (end.code, end.err.count("\n")) == (2, 1), end
        assert "ledger.sqlite was altered or is damaged" in end.err
    assert (tmp_path / "run.json").exists() == (table == "sums")


def test_runs_of_older_versions_are_used_as_they_are(runs, tmp_path) -> None:
    """Sums of tasks are then made of those of chunks, and are the same; one that is wrong is a line."""
    for name, whole in runs.items():
        old = loose(whole, tmp_path / name, version=2)
        with closing(sqlite3.connect(old / NAME, isolation_level=None)) as database:
            database.execute("DROP TABLE sums")
        assert pvq.Ledger(old).status() == pvq.Ledger(whole).status()
        assert pvq.Ledger(old).document() == pvq.Ledger(whole).document()
    alter(old, "chunks", "upper", "much")
    with pytest.raises(ProblemError, match="the sums of its chunks"):
        pvq.Ledger(old).status()


@pytest.mark.parametrize(("name", "version"), [("both", VERSION), ("quant", 1)])
def test_nothing_in_a_database_ends_in_anything_else(runs, tmp_path, name, version) -> None:
    start = loose(runs[name], tmp_path / "start", version)
    whole, refused, told = {}, 0, 0
    for table, column, _ in [("", "", ""), *columns(start)]:
        for value in WRONG if table else (None,):
            run = shutil.copytree(start, tmp_path / "run")
            if table:
                alter(run, table, column, value)
            try:
                opened = pvq.Ledger(run)
                found = [opened.status(), opened.distribution(), opened.document(), repr(opened)]
                for suffix in (".json", ".csv"):
                    opened.export(tmp_path / f"rows{suffix}")
                whole.setdefault("first", found)
            except ProblemError as error:
                refused += "\n" not in str(error)
                told += 1
            shutil.rmtree(run)
    assert whole["first"][0]["solved"] == whole["first"][0]["rows"]
    assert told == refused > 100
