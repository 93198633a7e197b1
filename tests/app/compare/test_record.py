"""The record of `pvq compare`: what it must be to go on from, who may write it, what a kill leaves of it."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pvq.bounds.errors import ProblemError
from pvq.layers.format import Layer, save_layer
from pvq.layers.lock import only_writer
from pvq.layers.outputs import OutputError
from pvq.solvers.compare import network, schema
from pvq.solvers.compare.verdict import OPEN, QUANT

from compare_cases import random_layer
from faults import hidden

KILLS = int(os.environ.get("PVQ_KILLS", "3"))
"""Moments at which a running comparison is killed."""


@pytest.fixture
def record(cli, tmp_path):
    """A record of two layers in a folder, as text."""
    folder = tmp_path / "net"
    folder.mkdir()
    for kind in ("regular", "singular"):
        save_layer(folder / f"{kind}.npz", random_layer(kind, 2))
    out = tmp_path / "out.json"
    assert cli("compare", folder, "--bits", "2:3", "--json", out, "--quiet").code == 0
    return json.loads(out.read_text())


def resumed(cli, tmp_path, document):
    """How a run goes on from a document; the file must be as it was where it is refused."""
    out = tmp_path / "out.json"
    out.write_text(document if isinstance(document, str) else json.dumps(document))
    before = out.read_text()
    ended = cli("compare", tmp_path / "net", "--bits", "2:3", "--json", out, "--resume", "--quiet")
    assert ended.code == 0 or (out.read_text() == before and len(ended.err.splitlines()) == 1)
    assert hidden(tmp_path) == []
    return ended


def places(value, path=()):
    """All entries of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


NOT_NEEDED = ("pattern", "model", "limited_by", "outliers_db", "zero_without_shift")


def at(document, path):
    for key in path[:-1]:
        document = document[key]
    return document, path[-1]


def test_a_record_without_any_of_its_entries_is_refused_or_does_not_need_it(record):
    free = ("settings", "summary", "environment", "pattern", "empirical", "failed_rows", "bits", "checks")
    tried = 0
    for path in list(places(record)):
        broken = json.loads(json.dumps(record))
        parent, key = at(broken, path)
        if isinstance(parent, list) or any(part in free for part in path[:-1]) or key in NOT_NEEDED:
            continue
        del parent[key]
        with pytest.raises(ProblemError, match=str(key)):
            schema.check_record(broken)
        tried += 1
    assert tried > 80


def test_entries_of_other_types_are_refused(record):
    tried = 0
    for path in list(places(record)):
        if path[0] != "layers":
            continue
        for other in ({}, [], "x", None, True, -1, 1e400, 10**400, 0.5):
            broken = json.loads(json.dumps(record))
            parent, key = at(broken, path)
            if "pattern" in path or parent[key] == other or type(parent[key]) is type(other):
                continue
            parent[key] = other
            try:
                schema.check_record(broken)
            except ProblemError:
                tried += 1
                continue
            assert is_harmless(path, other), (path, other)
    assert tried > 500


def is_harmless(path, other):
    """Texts, and numbers that say nothing false: limits, sizes and times, and no dB where there is no limit."""
    key = path[-1]
    may_be_none = ("skipped", "margin_db", "sqnr_min_db", "sqnr_max_db", "time_limit")
    number = isinstance(other, float) and math.isfinite(other) and not isinstance(key, int)
    return (
        key in ("words", "name", "file", "sha256", "reason")
        or (other is None and key in may_be_none)
        or (key == "skipped" and other == "x")
        or (key in ("empirical", "checks") and other == {})
        or (path[-2] == "model" and key == "refused" and other in (None, "x"))
        or (key == "limited_by" and other is None)
        or (path[-2] == "checks" and other == -1)
        or (key in ("pairs", "failed_rows") and other == [])
        or (number and key not in ("bits", "out", "in", "rows_bounded", "rows_optimal"))
        or (other == -1 and key in ("margin_db", "sqnr_min_db", "sqnr_max_db"))
    )


CHANGES = {
    "lower above upper": (lambda pair: pair["quant"].update(lower=1e9), "above upper"),
    "negative": (lambda pair: pair["quant"].update(lower=-1.0), "'lower' of quant at 2 bits"),
    "unproven": (lambda pair: pair["prune"].update(bound_kind="none", lower=1e-9), "nothing proves"),
    "another status": (lambda pair: pair.update(status="finished"), "'status' of 2 bits"),
    "another verdict": (lambda pair: pair.update(verdict="pruning"), "'verdict' of a pair"),
    "a verdict without its proof": (
        lambda pair: (
            pair["quant"].update(upper=1e6),
            pair["prune"].update(upper=1e6),
            pair.update(verdict=QUANT),
        ),
        "its intervals say",
    ),
    "no status": (lambda pair: pair.pop("status"), "has no 'status'"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_record_that_says_what_cannot_be_is_refused_in_one_line(cli, tmp_path, record, case):
    change, words = CHANGES[case]
    change(record["layers"][0]["pairs"][0])
    ended = resumed(cli, tmp_path, record)
    assert ended.code == 2
    assert words in ended.err


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"schema": "pvq.compare/1"}', "[" * 100_000])
def test_what_is_no_record_is_refused_in_one_line(cli, tmp_path, record, text):
    assert resumed(cli, tmp_path, text).code == 2


def test_not_a_number_is_refused(cli, tmp_path, record):
    record["layers"][0]["pairs"][0]["quant"]["lower"] = math.nan
    assert resumed(cli, tmp_path, record).code == 2


def test_twice_the_same_is_refused(record):
    for change in (
        lambda d: d["layers"].append(d["layers"][0]),
        lambda d: d["layers"][0]["pairs"].append(d["layers"][0]["pairs"][0]),
    ):
        broken = json.loads(json.dumps(record))
        change(broken)
        with pytest.raises(ProblemError, match="twice"):
            schema.check_record(broken)


def test_other_levels_in_the_same_file_are_another_problem(cli, tmp_path):
    path, levels, out = tmp_path / "a.npz", tmp_path / "lev.txt", tmp_path / "out.json"
    save_layer(path, random_layer("regular", 2))
    words = ("compare", path, "--grid", levels, "--bits", "2", "--json", out, "--quiet")
    levels.write_text("-1\n-0.3\n0.4\n1\n")
    assert cli(*words).code == 0
    assert json.loads(out.read_text())["settings"]["levels"] == [-1, -0.3, 0.4, 1]
    levels.write_text("-1 -0.3\n0.4 1.0\n")
    assert cli(*words, "--resume").code == 0
    before = out.read_text()
    levels.write_text("-1\n1\n")
    ended = cli(*words, "--resume")
    assert (ended.code, out.read_text()) == (2, before)
    assert "made with other levels than" in ended.err


def test_levels_replaced_in_mid_run_are_not_taken(cli, tmp_path, monkeypatch):
    path, levels, out = tmp_path / "a.npz", tmp_path / "lev.txt", tmp_path / "out.json"
    save_layer(path, random_layer("regular", 2))
    levels.write_text("-1\n-0.3\n0.4\n1\n")
    words = ("compare", path, "--grid", levels, "--bits", "2:4", "--quiet", "--json")
    assert cli(*words, tmp_path / "whole.json").code == 0
    after_each_pair(monkeypatch, lambda: levels.write_text("-1\n1\n"))
    assert cli(*words, out).code == 0
    whole, found = (json.loads(file.read_text())["layers"][0]["pairs"] for file in (tmp_path / "whole.json", out))
    assert [pair["quant"]["upper"] for pair in found] == [pair["quant"]["upper"] for pair in whole]


def after_each_pair(monkeypatch, do):
    compare_layer = network.compare_layer

    def changed(*arguments):
        for pair in compare_layer(*arguments):
            yield pair
            do()

    monkeypatch.setattr(network, "compare_layer", changed)


def damage(path):
    """Another file in its place at once: whoever reads meanwhile must not find an empty one."""
    other = path.with_name(f"{threading.get_ident()}.tmp")
    other.write_bytes(b"PK\x03\x04")
    other.replace(path)


FAULTS = {
    "changed": (lambda path: save_layer(path, random_layer("regular", 9)), "has changed since this run began"),
    "gone": (lambda path: path.unlink(missing_ok=True), "no such file"),
    "damaged": (damage, "damaged"),
}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_layer_replaced_in_mid_run_is_said_and_the_others_are_kept(cli, tmp_path, monkeypatch, fault, jobs):
    change, words = FAULTS[fault]
    folder, out = tmp_path / "net", tmp_path / "out.json"
    folder.mkdir()
    for number in range(jobs):  # the smallest come first, `jobs` at a time
        save_layer(folder / f"a{number}.npz", random_layer("regular", number))
    save_layer(folder / "b.npz", random_layer("singular", 2, rows=9))
    command = ("compare", folder, "--bits", "2:3", "--jobs", jobs, "--json", out)
    assert cli(*command, "--quiet").code == 0
    before = json.loads(out.read_text())["layers"][-1]["pairs"]
    after_each_pair(monkeypatch, lambda: change(folder / "b.npz"))
    for resume in ((), ("--resume",)):
        ended = cli(*command, *resume, "--quiet")
        assert ended.code == 2
        assert words in ended.err.splitlines()[-1]
        assert "singular2: not compared any more" in ended.out
        layers = json.loads(out.read_text())["layers"]
        assert [len(layer["pairs"]) for layer in layers[:-1]] == [2] * jobs
        assert words in layers[-1]["failed"]
        assert layers[-1]["pairs"] == []
        save_layer(folder / "b.npz", random_layer("singular", 2, rows=9))
    monkeypatch.undo()
    assert cli(*command, "--resume", "--quiet").code == 0
    layer = json.loads(out.read_text())["layers"][-1]
    assert "failed" not in layer
    assert [pair["verdict"] for pair in layer["pairs"]] == [pair["verdict"] for pair in before]


def test_what_was_proven_of_a_layer_that_is_damaged_now_stays(cli, tmp_path, record):
    name = record["layers"][1]["name"]
    (tmp_path / "net" / f"{name}.npz").write_text("x")
    (tmp_path / "net" / "singular.npz").rename(tmp_path / "net" / "singular.bak")
    ended = resumed(cli, tmp_path, record)
    assert ended.code == 0
    layer = json.loads((tmp_path / "out.json").read_text())["layers"][1]
    assert layer["pairs"] == record["layers"][1]["pairs"]
    assert "not an npz file" in layer["failed"]


def test_a_second_run_on_one_record_is_told_who_writes_it(cli, tmp_path, record):
    out = tmp_path / "out.json"
    (tmp_path / "link.json").symlink_to(out)
    with only_writer(out):
        for name in ("out.json", "link.json"):
            for more in ((), ("--resume",)):
                ended = cli("compare", tmp_path / "net", "--json", tmp_path / name, "--quiet", *more)
                assert ended.code == 2
                assert f"process {os.getpid()} on " in ended.err
    assert json.loads(out.read_text()) == record
    assert resumed(cli, tmp_path, record).code == 0


def test_the_lock_of_a_dead_run_is_no_lock(cli, tmp_path, record):
    (tmp_path / ".out.json.lock").write_text("process 1 on nowhere\n")
    assert resumed(cli, tmp_path, record).code == 0


COUNTS = """
import sys, time
from pvq.layers.lock import only_writer
from pvq.layers.outputs import OutputError
done = 0
while done < 40:
    try:
        with only_writer(sys.argv[1]):
            count = int(open(sys.argv[1]).read())
            time.sleep(0.0005)
            open(sys.argv[1], "w").write(str(count + 1))
            done += 1
    except OutputError:
        time.sleep(0.0002)
"""


def test_many_at_once_never_hold_it_together(tmp_path):
    """Also in the moment in which the holder removes its lock file."""
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-W", "ignore", "-c", COUNTS, tmp_path / "count"]
    running = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert (tmp_path / "count").read_text() == "160"
    assert hidden(tmp_path) == []


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".out.lock").symlink_to("precious")
    with pytest.raises(OutputError), only_writer(tmp_path / "out"):
        pass
    assert (tmp_path / "precious").read_text() == "x"


WRITES_ALWAYS = """
import sys
import pvq.bounds.app.compare.run as run
import pvq.comparing as comparing
from pvq.bounds.app.main import pvq
run.WRITE_EVERY = 0.0
compare_all = comparing.compare_all
def told(*arguments):
    print("comparing", flush=True)
    compare_all(*arguments)
comparing.compare_all = told
pvq()
"""


def test_kill_9_at_any_moment_loses_nothing_and_leaves_nothing(tmp_path):
    """What a record has, every later one has too, whenever the run in between is killed."""
    folder, out = tmp_path / "net", tmp_path / "out.json"
    folder.mkdir()
    for seed in range(12):
        save_layer(folder / f"{seed}.npz", random_layer("regular", seed))
    words = ["compare", str(folder), "--bits", "1:8", "--json", str(out), "--resume", "--quiet"]
    command = [sys.executable, "-c", WRITES_ALWAYS, *words]
    rng, known, killed, finished = random.Random(KILLS), {}, 0, 0
    while killed < KILLS:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "comparing\n"
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:  # it was done: begin anew
            finished += 1
            assert finished < 3 * KILLS + 3
            known = {}
            out.unlink()
            continue
        killed += 1
        found = pairs_of(out)
        for key, pair in known.items():
            assert found[key] == pair
        known = found
        assert len(hidden(tmp_path)) <= 2  # a file that is being written, and the lock
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert len(pairs_of(out)) == 12 * 8
    assert hidden(tmp_path) == []


def pairs_of(path: Path):
    if not path.exists():
        return {}
    layers = schema.read_record(path)["layers"]
    return {(layer["name"], pair["bits"]): pair for layer in layers for pair in layer["pairs"]}


def test_an_interrupted_pair_is_open_and_can_be_read(record):
    record["layers"][0]["pairs"][0].update(status="interrupted", verdict=OPEN)
    schema.check_record(record)


def test_every_layer_of_a_record_keeps_its_pairs_when_others_are_compared(cli, tmp_path, record):
    rng = np.random.default_rng(0)
    other = save_layer(tmp_path / "other.npz", Layer("other", rng.standard_normal((2, 6)), np.eye(6)))
    out = tmp_path / "out.json"
    assert cli("compare", other, "--bits", "4", "--json", out, "--resume", "--quiet").code == 0
    layers = {layer["name"]: layer["pairs"] for layer in json.loads(out.read_text())["layers"]}
    assert [pair["bits"] for pair in layers["other"]] == [4]
    for layer in record["layers"]:
        assert layers[layer["name"]] == layer["pairs"]
