"""`pvq run`: against `pvq bound` and `pvq compare`, after kill -9 and Ctrl-C, and with bad input."""

from __future__ import annotations

import csv
import json
import math
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pvq
import pytest
from pvq.layers.format import save_layer
from pvq.layers.solutions import load_solution
from pvq.solvers.compare.schema import read_record

from compare_cases import random_layer
from faults import without_root_rights
from run_cases import FAST, lines, two_layers


@pytest.fixture
def layers(tmp_path) -> Path:
    return two_layers(tmp_path / "layers")


def command(*words) -> list[str]:
    code = "import sys; from pvq.bounds.app.main import pvq; sys.argv[0] = 'pvq'; pvq()"
    return [sys.executable, "-c", code, *map(str, words)]


def status(cli, run: Path) -> dict:
    ended = cli("run", "status", run, "--json", "-")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_verdicts_are_those_of_compare_and_the_file_is_a_record(cli, tmp_path, layers) -> None:
    assert cli("run", "init", tmp_path / "run", "--layers", layers, "--bits", "1:3").code == 0
    ended = cli("run", "go", tmp_path / "run", *FAST, "--full")
    assert ended.code == 0, ended.err
    assert cli("run", "export", tmp_path / "run", "-o", tmp_path / "run.json").code == 0
    mine = read_record(tmp_path / "run.json")
    theirs = pvq.compare(layers, range(1, 4), solver="bnb", time_limit=0, full=True).document
    compared = 0
    for one, other in zip(mine["layers"], theirs["layers"], strict=True):
        assert (one["name"], one["sha256"]) == (other["name"], other["sha256"])
        for a, b in zip(one["pairs"], other["pairs"], strict=True):
            assert a["verdict"] == b["verdict"]
            for side in ("quant", "prune") if a["verdict"] != "skipped" else ():
                assert a[side]["rows_optimal"] == 4
                assert a[side]["lower"] <= b[side]["upper"] * (1 + 1e-9)
                assert b[side]["lower"] <= a[side]["upper"] * (1 + 1e-9)
                compared += 1
    assert compared == 8  # at 1 bit nothing of 8 weights is kept
    found = status(cli, tmp_path / "run")
    assert found["known"] == found["rows"] == found["solved"] == 32
    assert [line["skipped"] for line in found["verdicts"]] == [2, 0, 0]
    assert cli("run", "go", tmp_path / "run", *FAST).code == 0  # nothing is left to do
    assert status(cli, tmp_path / "run") == found


def test_a_stronger_run_improves_what_is_open_and_keeps_what_is_proven(cli, tmp_path, layers) -> None:
    run = tmp_path / "run"
    assert cli("run", "init", run, "--layers", layers, "--method", "quant", "--bits", "3").code == 0
    opened = pvq.Ledger(run)
    weak = opened.go(solver="bnb", time_limit=1e-9)
    assert weak["known"] == 8
    before = {(r["row"]): r for result in opened.document()["results"] for r in result["rows"]}
    strong = opened.go(solver="bnb", time_limit=None, jobs=2)
    assert strong["solved"] == 8
    results = opened.document()["results"]
    assert [result["schema"] for result in results] == ["pvq.result/1"] * 2
    assert len(before) == 4
    for result, name in zip(results, ("regular", "tied"), strict=True):
        layer = pvq.load_layer(layers / f"{name}.npz")
        truth = pvq.bound(layer, pvq.Quant(3), solver="bnb", time_limit=None)
        assert result["total"]["status"] == "optimal"
        for row, exact in zip(result["rows"], truth.document["rows"], strict=True):
            assert row["upper"] == exact["upper"]
            assert (row["scale"], row["zero"]) == (exact["scale"], exact["zero"])


def test_an_effort_takes_up_what_is_open_and_is_kept_apart(cli, tmp_path) -> None:
    (tmp_path / "layers").mkdir()
    save_layer(tmp_path / "layers" / "a.npz", random_layer("regular", 2, rows=2, n=80))
    run = tmp_path / "run"
    assert cli("run", "init", run, "--layers", tmp_path / "layers", "--method", "quant", "--bits", "2").code == 0
    ends = []
    for words in ((), ("--effort", "high"), ("--effort", "high")):
        ended = cli("run", "go", run, "--solver", "bound", "--time-limit", "0", "--certificates", *words)
        assert ended.code == 0, ended.err
        with sqlite3.connect(run / "ledger.sqlite") as db:
            ends.append(db.execute("SELECT lower, asked, seconds FROM rows ORDER BY row").fetchall())
        db.close()
    assert [asked for _, asked, _ in ends[0]] == ["bound"] * 2
    assert [asked for _, asked, _ in ends[1]] == ["bound, effort high"] * 2
    assert all(after >= before for (before, *_), (after, *_) in zip(ends[0], ends[1], strict=True))
    assert ends[2] == ends[1]  # nothing was due
    proofs = sorted(path.name for path in (run / "certificates").rglob("*.npz"))
    words = ("0-0-bound-all-high", "0-0-bound-all", "1-1-bound-all-high", "1-1-bound-all")
    assert proofs == [f"{word}.npz" for word in words]  # none takes the place of another
    assert cli("run", "go", run, "--effort", "higher").code == 2


def test_jobs_change_nothing(tmp_path, layers) -> None:
    found = []
    for jobs in (1, 3):
        run = pvq.Ledger.create(tmp_path / f"run{jobs}", layers, bits=[3])
        run.go(solver="bnb", time_limit=None, jobs=jobs)
        document = run.document()
        for layer in document["layers"]:
            for pair in layer["pairs"]:
                pair.update(seconds=0, time_limit=0)
        found.append(document["layers"])
    assert found[0] == found[1]


def test_after_kill_9_the_run_goes_on_and_nothing_proven_is_lost(cli, tmp_path) -> None:
    (tmp_path / "layers").mkdir()
    save_layer(tmp_path / "layers" / "a.npz", random_layer("regular", 1, rows=64, n=24))
    run = tmp_path / "run"
    words = ("--layers", tmp_path / "layers", "--method", "quant", "--bits", "3:4")
    assert cli("run", "init", run, *words).code == 0
    rows: dict = {}
    going = subprocess.Popen(command("run", "go", run, *FAST))
    while going.poll() is None and not rows:
        time.sleep(0.02)
        rows = lines(run)
    assert going.poll() is None
    going.send_signal(signal.SIGKILL)
    going.wait()
    before, rows = rows, lines(run)
    assert before.items() <= rows.items()
    assert 0 < len(rows) < 128
    assert cli("run", "go", run, *FAST, "--jobs", "2").code == 0
    kept = lines(run)
    assert rows.items() <= kept.items()  # solved rows are not touched again
    found = status(cli, run)
    assert found["solved"] == found["rows"] == len(kept) == 128


def test_an_interrupt_keeps_what_is_proven(tmp_path) -> None:
    path = save_layer(tmp_path / "a.npz", random_layer("regular", 1, rows=64, n=24))
    run = pvq.Ledger.create(tmp_path / "run", path, "quant", bits=[4])
    going = subprocess.Popen(command("run", "go", run.folder, *FAST), stdout=subprocess.PIPE, text=True)
    while going.poll() is None and not lines(run.folder):
        time.sleep(0.02)
    going.send_signal(signal.SIGINT)
    out, _ = going.communicate()
    assert going.returncode == 130
    known = run.status()["known"]
    assert 0 < known < 64
    assert f"{known} of 64 rows have a result" in out
    assert not list(run.folder.glob(".*lock"))


def test_tables_weights_and_proofs(cli, tmp_path, layers) -> None:
    run = tmp_path / "run"
    words = ("--method", "quant", "--bits", "3", "--layers", layers / "regular.npz")
    assert cli("run", "init", run, *words).code == 0
    words = (*("--weights", "--certificates", "--compare", "rtn,gptq"), *("--time-limit", "0", "--quiet"))
    assert cli("run", "go", run, *words).code == 0
    assert cli("run", "export", run, "-o", tmp_path / "rows.csv").code == 0
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == [0, 1, 2, 3]
    layer = pvq.load_layer(layers / "regular.npz")
    proven = 0
    for row in rows:
        solution = load_solution(run / row["weights"])
        x = solution.weight[solution.rows.index(int(row["row"]))]
        gap = layer.weight[int(row["row"])] - x
        error = gap @ layer.grams[0] @ gap
        assert error == pytest.approx(float(row["upper"]), rel=1e-9)
        assert float(row["lower"]) <= float(row["upper"]) <= float(row["error_gptq"]) * (1 + 1e-9)
        if row["certificate"]:
            checked = pvq.verify(run / row["certificate"], layer)
            claimed = [claim.row for claim in pvq.load_certificate(run / row["certificate"]).rows]
            lower, upper = checked.verified.rows[claimed.index(int(row["row"]))]
            assert lower >= float(row["proven"]) * (1 - 1e-12)  # the verifier's second look, rounded anew
            assert upper == pytest.approx(float(row["upper"]), rel=1e-9)
            proven += 1
    assert proven == 4
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert cli("run", "export", run, "-o", tmp_path / "rows.parquet").code == 0
    table = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [r["lower"] for r in table] == [float(r["lower"]) for r in rows]
    assert [r["error_rtn"] for r in table] == [float(r["error_rtn"]) for r in rows]


def test_bad_input_is_one_line(cli, tmp_path, layers) -> None:
    def refused(*words, says):
        ended = cli(*words)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert says in ended.err, ended.err

    run = tmp_path / "run"
    refused("run", "status", run, says="no such folder")
    refused("run", "go", layers, says="no run: it has no ledger.sqlite")
    refused("run", "init", layers, "--layers", layers, says="holds other files")
    refused("run", "init", run, "--layers", tmp_path, says="has no layer files")
    refused("run", "init", run, "--layers", layers, "--method", "prune", says="needs --sparsity")
    refused("run", "init", run, "--layers", layers, "--sparsity", "0.5", says="takes its sparsity from --bits")
    refused("run", "init", run, "--layers", layers, "--bits", "1", says="nothing to bound")
    words = ("--method", "prune", "--sparsity", "0.5", "--block", "3")
    refused("run", "init", run, "--layers", layers, *words, says="3 does not divide the 8 inputs of 'regular1'")
    refused("run", "init", tmp_path / "no" / "run", "--layers", layers, "--bits", "3", says="No such file")
    assert not run.exists()
    assert cli("run", "init", run, "--layers", layers, "--bits", "3").code == 0
    refused("run", "init", run, "--layers", layers, says="is a run already")
    refused("run", "go", run, "--solver", "gptq", says="proves nothing")
    refused("run", "go", run, "--time-limit", "-1", says="must not be negative")
    refused("run", "export", run, "-o", tmp_path / "rows.xlsx", says=".json, .csv, .parquet")
    refused("run", "export", run, "-o", run / "ledger.sqlite", says="ledger.sqlite")
    newer = shutil.copytree(run, tmp_path / "newer")
    for change, says in (("user_version = 9", "newer version"), ("application_id = 7", "another program's")):
        database = sqlite3.connect(newer / "ledger.sqlite")
        database.execute(f"PRAGMA {change}")
        database.close()
        refused("run", "status", newer, says=says)
    (newer / "ledger.sqlite").write_bytes(b"no database" * 99)
    refused("run", "go", newer, says="not a database")
    save_layer(layers / "tied.npz", random_layer("tied", 2, rows=4))
    refused("run", "go", run, *FAST, says="has changed since the run was made")
    (layers / "tied.npz").unlink()
    refused("run", "go", run, *FAST, says="No such file")


def test_a_closed_folder_can_be_looked_at_but_not_written(tmp_path, layers) -> None:
    run = pvq.Ledger.create(tmp_path / "run", layers, bits=[3])
    run.folder.chmod(0o555)
    (run.folder / "ledger.sqlite").chmod(0o444)
    try:
        ends = {}
        for word in ("status", "go"):
            words = ("--quiet",) if word == "go" else ()
            ends[word] = subprocess.run(
                command("run", word, run.folder, *words),
                capture_output=True,
                text=True,
                preexec_fn=without_root_rights,
            )
    finally:
        run.folder.chmod(0o755)
    assert ends["status"].returncode == 0, ends["status"].stderr
    assert "0 of 16 rows" in ends["status"].stdout
    assert (ends["go"].returncode, ends["go"].stderr.count("\n")) == (2, 1)
    assert "ermission denied" in ends["go"].stderr
    assert math.isfinite(run.status()["seconds"])
