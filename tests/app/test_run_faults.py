"""Files that `pvq run go` keeps beside the database: what cannot be written ends the run, and nothing is lost."""

import os
import sqlite3

import pytest
from pvq.layers.solutions import load_solution

from faults import files_of_at_most, hidden, in_turn
from run_cases import FAST, two_layers

KEEP = ("--weights", "--certificates")


@pytest.fixture
def run(cli, tmp_path):
    """A run of eight rows that has not begun."""
    folder = tmp_path / "run"
    words = ("--method", "quant", "--bits", "2")
    assert cli("run", "init", folder, "--layers", two_layers(tmp_path / "layers"), *words).code == 0
    return folder


def rows(folder):
    """Weights and certificate of each row that has a result."""
    database = sqlite3.connect(folder / "ledger.sqlite")
    try:
        return database.execute("SELECT weights, certificate FROM rows").fetchall()
    finally:
        database.close()


def all_are_there(cli, run):
    """Whether a run that goes on keeps a file of each kind for every row."""
    assert cli("run", "go", run, *KEEP, *FAST).code == 0
    assert len(rows(run)) == 8
    for weights, certificate in rows(run):
        load_solution(run / weights)
        assert (run / certificate).is_file()
    return hidden(run) == []


@pytest.mark.parametrize("option", KEEP)
@pytest.mark.parametrize("what", ["file", "link to nothing", "circle", "pipe"])
def test_what_is_no_folder_is_refused_before_the_search(cli, run, option, what):
    place = run / option.strip("-")
    if what == "file":
        place.write_text("precious")
    elif what == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("nowhere" if what == "link to nothing" else place.name)
    done = cli("run", "go", run, option, *FAST)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"pvq: cannot write {place}: ")
    assert rows(run) == []
    assert what != "file" or place.read_text() == "precious"


def test_a_closed_folder_is_refused_before_the_search(run, tmp_path):
    for option in KEEP:
        (run / option.strip("-")).mkdir(mode=0o555)
    for code, out, err in in_turn([["run", "go", str(run), option, *FAST] for option in KEEP], tmp_path):
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "permission denied" in err
    assert rows(run) == []


@pytest.mark.parametrize("option", KEEP)
def test_a_file_that_cannot_be_written_ends_the_run_and_its_rows_stay_due(cli, run, option):
    place = run / option.strip("-")
    place.mkdir()
    (place / "2").write_text("in the way")  # of the files of the second layer
    done = cli("run", "go", run, *KEEP, *FAST)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"pvq: cannot write {place / '2'}")
    assert len(rows(run)) == 4
    (place / "2").unlink()
    assert all_are_there(cli, run)


def test_a_quota_leaves_no_empty_folder_and_the_run_goes_on(cli, run):
    with files_of_at_most(20):
        done = cli("run", "go", run, *KEEP, *FAST)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert [path.name for path in run.iterdir() if path.is_dir()] == []
    assert hidden(run) == []
    assert all_are_there(cli, run)
