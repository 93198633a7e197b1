"""What a ledger keeps: intervals only shrink, sums are those of the rows, and nothing committed is lost."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pvq.bounds.layer_problem import Setting
from pvq.layers.format import save_layer
from pvq.layers.outputs import OutputError
from pvq.solvers.compare.network import Member, found_in
from pvq.solvers.ledger.agenda import cut
from pvq.solvers.ledger.ledger import Ledger
from pvq.solvers.ledger.plan import Asked, create, rows_at_a_time, rows_of_chunk
from pvq.solvers.ledger.record import Piece, Record, joined
from pvq.solvers.ledger.schema import NAME, LedgerError
from pvq.solvers.ledger.sums import totals_of_chunks

from compare_cases import random_layer

KINDS = ("none", "numerical", "rigorous")


def made(folder: Path, rows: int = 6) -> Path:
    """A run of one layer under one setting."""
    path = save_layer(folder / "a.npz", random_layer("regular", 1, rows=rows))
    create(folder / "run", found_in(path), Asked("quant", (Setting("quant", bits=3),), words={"bits": [3]}))
    return folder / "run"


def record(lower=0.0, upper=1.0, kind="numerical", row=0, **more) -> Record:
    kind = kind if lower > 0 else "none"
    values = {
        "chunk": 1, "row": row, "lower": lower, "proven": lower if kind == "rigorous" else 0.0, "upper": upper,
        "reference": 4.0, "kind": kind, "solved": False, "status": "bound_only", "reason": "finished",
        "solver": "bnb", "asked": "auto", "nodes": 1, "seconds": 0.5, "verify_seconds": 0.25, "rounding": 1e-15,
        "effort": 10.0,
    }  # fmt: skip
    return Record(**{**values, **more})


def piece(*records: Record) -> Piece:
    return Piece(1, records, {"pvq-bound": "0"})


ENDS = st.tuples(st.floats(0, 1), st.floats(1, 2), st.sampled_from(KINDS)).map(lambda e: record(*e))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.lists(ENDS, min_size=2, max_size=6))
def test_a_row_is_the_intersection_of_all_that_was_told(told) -> None:
    kept = told[0]
    for new in told[1:]:
        before = kept
        kept, fault = joined(kept, new, 1e-6)
        assert fault is None
        assert before.lower <= kept.lower
        assert before.proven <= kept.proven
        assert kept.upper <= before.upper
    assert kept.lower == max(r.lower for r in told)
    assert kept.upper == min(r.upper for r in told)
    assert kept.proven == max(r.proven for r in told)
    assert kept.kind in {r.kind for r in told if r.lower == kept.lower} | ({"numerical"} if kept.solved else set())
    assert (kept.kind == "rigorous") == (kept.proven == kept.lower and kept.proven > 0)


def test_a_commit_that_is_refused_takes_nothing_from_the_next(tmp_path) -> None:
    with Ledger.writing(made(tmp_path)) as ledger:
        with pytest.raises(LedgerError):
            ledger.record(piece(record(0.9, 0.8)))  # the first of all: its versions are rolled back with it
        assert ledger.record(piece(record())) == 1
        assert ledger.packages() == [{"pvq-bound": "0"}]


def test_results_that_exclude_each_other_change_nothing_and_are_said() -> None:
    old = record(0.5, 1.0)
    for new in (record(1.1, 1.2), record(0.1, 0.4)):
        kept, fault = joined(old, new, 1e-6)
        assert kept is old
        assert "exclude each other" in str(fault)
    kept, fault = joined(old, record(1.0 + 1e-12, 1.5), 1e-6)  # rounding of one number by two routes
    assert (kept.lower, kept.upper, kept.solved, fault) == (1.0, 1.0, True, None)
    other = replace(record(0.6, 0.9), reference=5.0)
    assert joined(old, other, 1e-6)[0] is old  # another problem


def test_what_is_written_is_the_intersection_and_sums_are_those_of_the_rows(tmp_path) -> None:
    folder = made(tmp_path)
    rng = np.random.default_rng(0)
    best: dict[int, tuple[float, float]] = {}
    with Ledger.writing(folder) as ledger:
        for _ in range(40):
            some = rng.choice(6, size=rng.integers(1, 4), replace=False)
            told = [record(*rng.uniform((0, 1), (1, 2)), row=int(i), empirical='{"rtn": 2.0}') for i in some]
            ledger.record(piece(*told))
            for r in told:
                lower, upper = best.get(r.row, (0.0, math.inf))
                best[r.row] = max(lower, r.lower), min(upper, r.upper)
        rows = list(ledger.rows(1))
        assert {r.row: (r.lower, r.upper) for r in rows} == best
        total = ledger.totals()[1]
    assert (total.rows, total.known, total.numerical) == (6, 6, 6)
    assert total.lower <= math.fsum(r.lower for r in rows) <= np.nextafter(total.lower, 9)
    assert total.upper >= math.fsum(r.upper for r in rows) >= np.nextafter(total.upper, 0)
    assert total.empirical == {"rtn": 12.0}
    with Ledger.reading(folder) as ledger:
        assert ledger.totals()[1] == total
    with closing(sqlite3.connect(folder / NAME)) as database:
        assert totals_of_chunks(database)[1] == total


def test_the_database_itself_refuses_to_forget(tmp_path) -> None:
    folder = made(tmp_path)
    with Ledger.writing(folder) as ledger:
        ledger.record(piece(record(0.5, 1.0, "rigorous")))
    database = sqlite3.connect(folder / NAME)
    for change in ("lower = 0.4", "upper = 1.1", "proven = 0.1", "lower = 1.5", "kind = 'sampled'"):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(f"UPDATE rows SET {change}")
    with pytest.raises(sqlite3.IntegrityError, match="stays"):
        database.execute("DELETE FROM rows")
    database.execute("UPDATE rows SET upper = 0.9")  # what is better is taken
    database.close()


def test_only_rows_of_the_chunk_are_taken_and_a_refused_piece_leaves_nothing(tmp_path) -> None:
    folder = made(tmp_path)
    with Ledger.writing(folder) as ledger:
        for wrong in (record(row=6), record(row=-1), replace(record(row=1), chunk=2)):
            with pytest.raises(LedgerError, match="chunk 1 is of rows 0 to 5"):
                ledger.record(piece(record(row=2), wrong))
        with pytest.raises(LedgerError, match="cannot be used"):
            ledger.record(piece(record(row=2), record(0.9, 0.8, row=3)))  # no interval
        assert ledger.totals()[1].known == 0


def test_rows_are_due_until_they_are_solved_or_have_had_as_much(tmp_path) -> None:
    folder = made(tmp_path)
    with Ledger.writing(folder) as ledger:
        ledger.record(piece(record(row=0), record(0.5, 0.5, row=1, solved=True), record(row=2, effort=-1.0)))
        assert ledger.due_rows(1) == [3, 4, 5]
        assert ledger.due_rows(1, 10.0, "auto") == [2, 3, 4, 5]
        assert ledger.due_rows(1, 11.0, "auto") == [0, 2, 3, 4, 5]
        assert ledger.due_rows(1, 5.0, "bnb") == [0, 2, 3, 4, 5]
        ledger.record(piece(*(record(row=i, effort=20.0) for i in (0, 2, 3, 4, 5))))
        assert ledger.due(1, 20.0, "auto") == []
        assert ledger.due(1, math.inf, "auto") == [(1, 0, 6)]


def test_a_run_has_one_writer_and_any_readers(tmp_path) -> None:
    folder = made(tmp_path)
    code = (
        "import sys; from pathlib import Path; from pvq.solvers.ledger.ledger import Ledger\n"
        "try:\n  with Ledger.writing(Path(sys.argv[1])): print('written')\nexcept Exception as e: print(e)"
    )
    with Ledger.writing(folder) as ledger:
        ledger.record(piece(record()))
        ended = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
        assert f"process {os.getpid()}" in ended.stdout
        with pytest.raises(OutputError), Ledger.writing(folder):
            pass
        with Ledger.reading(folder) as other:
            assert other.totals()[1].known == 1
    ended = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert ended.stdout == "written\n"


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:4]
from test_ledger import Ledger, piece, record
with Ledger.writing(Path(sys.argv[1])) as ledger:
    for turn in range(10**6):
        row = turn % 6
        ledger.record(piece(record(0.5 - 0.4 / (turn + 1), 1 + 1 / (turn + 1), "rigorous", row=row)))
        print(turn, flush=True)
"""


def test_what_was_committed_before_a_kill_is_there(tmp_path) -> None:
    folder = made(tmp_path)
    here = Path(__file__).parent
    words = [sys.executable, "-c", WRITER, folder, here, here.parents[1] / "helpers"]
    for wait in (1, 9, 40):
        writer = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(wait)]
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout.read().splitlines() if line]
        writer.stdout.close()
        writer.wait()
        with Ledger.writing(folder) as ledger:  # the lock of a dead process holds nobody up
            rows = {r.row: r for r in ledger.rows(1)}
            assert sqlite3.connect(folder / NAME).execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for turn in told:
            assert rows[turn % 6].lower >= 0.5 - 0.4 / (turn + 1)
            assert rows[turn % 6].upper <= 1 + 1 / (turn + 1)


def test_chunks_of_long_rows_take_whole_batches_and_share_a_gram_matrix(tmp_path) -> None:
    assert [rows_of_chunk(n) for n in (40, 192, 512, 1024, 4096)] == [150, 256, 128, 64, 64]
    assert all(rows_of_chunk(n) % 64 == 0 for n in (129, 700, 1000))
    members = [Member(tmp_path / f"{n}.npz", f"{n}", "0" * 64, 6, n, 3) for n in (8, 256)]
    create(tmp_path / "run", members, Asked("quant", (Setting("quant", bits=3),)))
    with Ledger.reading(tmp_path / "run") as ledger:
        assert ledger.due(1) == [(1, 0, 6)]
        assert ledger.due(2) == [(2, 0, 2), (3, 2, 4), (4, 4, 6)]
        assert json.loads(json.dumps(ledger.about["gap"])) == 1e-6


def test_what_is_handed_out_is_a_part_of_ten_minutes_at_most() -> None:
    assert [rows_at_a_time(40, effort) for effort in (0.0, 10.0, 60.0, 3600.0, math.inf)] == [256, 60, 10, 1, 1]
    assert [rows_at_a_time(4096, effort) for effort in (1.0, 60.0, math.inf)] == [256, 64, 64]
    assert cut([0, 1, 5, 6, 7, 9], 0, 3) == [(0, [0, 1]), (3, [5]), (6, [6, 7]), (9, [9])]
