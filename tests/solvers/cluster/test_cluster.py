"""A run on worker processes: what jobs of one process find, after kill -9 of workers and of the run itself."""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pvq
import pytest
from pvq.bounds.errors import ProblemError
from pvq.layers.format import LayerError, save_layer

from compare_cases import random_layer
from run_cases import FAST, lines, two_layers

pytest.importorskip("distributed", reason="dask is not installed")
from pvq.solvers.cluster import connect, driver, worker


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes behind a scheduler, which every test of this file uses."""
    found = connect.connect("local:2", threading.Event())
    assert found is not None
    yield found
    found.close()


@pytest.fixture(scope="module")
def address(cluster) -> str:
    return cluster.ours.scheduler_address


SEEDS = itertools.count(1)


@pytest.fixture
def layers(tmp_path) -> Path:
    """Two layers that no worker has seen yet."""
    return two_layers(tmp_path / "layers", next(SEEDS))


def long_run(folder: Path) -> pvq.Ledger:
    """Rows that take some tens of milliseconds each, so that a kill falls among them."""
    (folder / "layers").mkdir()
    save_layer(folder / "layers" / "a.npz", random_layer("regular", 1, rows=64, n=24))
    return pvq.Ledger.create(folder / "run", folder / "layers", "quant", bits=[3, 4])


def found_by(run: pvq.Ledger) -> list:
    document = run.document()
    for layer in document["layers"]:
        for pair in layer["pairs"]:
            pair.update(seconds=0, time_limit=0)
    return document["layers"]


def test_whoever_works_finds_the_same(tmp_path, layers, address) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": address}))
    found = []
    for i, where in enumerate(({"jobs": 2}, {"cluster": address}, {"cluster": str(file)})):
        run = pvq.Ledger.create(tmp_path / f"run{i}", layers, bits=[3])
        ended = run.go(solver="bnb", time_limit=None, full=True, **where)
        assert (ended["solved"], ended["faults"], ended["notes"], ended["interrupted"]) == (16, [], [], False)
        found.append(found_by(run))
    assert found[0] == found[1] == found[2]


def test_bound_and_compare_go_through_a_run_of_the_moment(cli, tmp_path, layers, address) -> None:
    file, files = tmp_path / "found.json", sorted(layers.glob("*.npz"))
    words = ("--method", "quant", "--bits", 3, *FAST, "--json", file)
    assert cli("bound", layers, *words, "--cluster", address).code == 0
    results = json.loads(file.read_text())["results"]
    assert len(results) == 2
    for result, path in zip(results, files, strict=True):
        assert cli("bound", path, *words).code == 0
        alone = json.loads(file.read_text())
        assert result["total"]["lower"] == alone["total"]["lower"]
        assert result["total"]["model"] == alone["total"]["model"]
        assert [row["upper"] for row in result["rows"]] == [row["upper"] for row in alone["rows"]]
    words = (layers, "--bits", "3:4", *FAST, "--json", file)
    assert cli("compare", *words, "--cluster", address, "--send", "--ledger", tmp_path / "run").code == 0
    found = verdicts(file)
    assert cli("compare", *words).code == 0
    assert verdicts(file) == found
    assert pvq.Ledger(tmp_path / "run").status()["known"] == 32


def verdicts(file: Path) -> dict:
    layers = json.loads(file.read_text())["layers"]
    return {(layer["name"], pair["bits"]): pair["verdict"] for layer in layers for pair in layer["pairs"]}


def test_layers_that_workers_cannot_see_are_sent(tmp_path, layers, address, monkeypatch) -> None:
    run = pvq.Ledger.create(tmp_path / "run", layers, bits=[3])
    data = driver.Cluster._data

    def hidden(self, chunk):
        sent = data(self, chunk)
        chunk.path.unlink(missing_ok=True)
        return sent

    monkeypatch.setattr(driver.Cluster, "_data", hidden)
    ended = run.go(solver="bnb", time_limit=None, full=True, cluster=address, send=True)
    assert (ended["solved"], ended["faults"]) == (16, [])
    assert not list(layers.glob("*.npz"))


def test_a_layer_that_workers_do_not_see_ends_the_run_with_a_word(tmp_path, layers, address, monkeypatch) -> None:
    run = pvq.Ledger.create(tmp_path / "run", layers, bits=[3])
    submit = driver.Cluster.submit

    def hiding(self, line, chunk):
        chunk.path.unlink(missing_ok=True)
        submit(self, line, chunk)

    monkeypatch.setattr(driver.Cluster, "submit", hiding)
    with pytest.raises(LayerError, match="no such file where a worker runs"):
        run.go(solver="bnb", cluster=address)


def test_after_kill_9_of_a_worker_others_go_on_and_nothing_proven_is_lost(tmp_path, cluster, address) -> None:
    run, before = long_run(tmp_path), {}

    def kill(rows: int) -> None:
        if not before:
            before.update(lines(run.folder))
            pids = cluster.client.run(os.getpid)
            os.kill(next(iter(pids.values())), signal.SIGKILL)

    ended = run.go(solver="bnb", time_limit=None, cluster=address, progress=kill)
    assert 0 < len(before) < 128
    assert (ended["solved"], ended["faults"]) == (128, [])
    assert any("was lost" in note for note in ended["notes"])
    assert before.items() <= lines(run.folder).items()


def test_after_kill_9_of_the_run_it_goes_on(tmp_path, address, cluster) -> None:
    run = long_run(tmp_path)
    code = "import sys; from pvq.bounds.app.main import pvq; sys.argv[0] = 'pvq'; pvq()"
    words = [sys.executable, "-c", code, "run", "go", str(run.folder), *FAST, "--cluster", address]
    going = subprocess.Popen(words)
    while going.poll() is None and not lines(run.folder):
        time.sleep(0.02)
    assert going.poll() is None
    going.send_signal(signal.SIGKILL)
    going.wait()
    before = lines(run.folder)
    assert 0 < len(before) < 128
    ended = run.go(solver="bnb", time_limit=None, cluster=address)
    assert (ended["solved"], ended["faults"]) == (128, [])
    assert before.items() <= lines(run.folder).items()


def test_a_stop_keeps_what_is_proven(tmp_path, address) -> None:
    run, stop = long_run(tmp_path), threading.Event()
    ended = run.go(solver="bnb", time_limit=None, cluster=address, stop=stop, progress=lambda rows: stop.set())
    assert ended["interrupted"]
    assert 0 < ended["known"] < 128
    assert len(lines(run.folder)) == ended["known"]


def test_workers_of_other_versions_are_refused(cli, tmp_path, layers, cluster, address) -> None:
    run = pvq.Ledger.create(tmp_path / "run", layers, bits=[3])
    workers = list(cluster.client.nthreads())

    def pretend() -> None:  # local functions travel as they are
        worker.versions = lambda: {"pvq-bound": "9", "numba": "9", "numpy": "9"}

    def honest() -> None:
        importlib.reload(worker)

    name = worker.__name__

    def hide() -> None:
        sys.hidden, sys.modules[name] = importlib.import_module(name), None

    def show() -> None:
        sys.modules[name] = sys.__dict__.pop("hidden")

    cluster.client.run(hide)
    try:
        ended = cli("run", "go", run.folder, *FAST, "--cluster", address)
    finally:
        cluster.client.run(show)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert "it cannot say what it has: ModuleNotFoundError" in ended.err
    assert sorted(cluster.client.nthreads()) == sorted(workers)  # a chunk, which they cannot read, would end them
    try:
        cluster.client.run(pretend)
        ended = cli("run", "go", run.folder, *FAST, "--cluster", address)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert "can work on this run" in ended.err
        assert "it has pvq-bound 9" in ended.err
        cluster.client.run(honest, workers=workers[:1])
        found = run.go(solver="bnb", time_limit=None, full=True, cluster=address)
        assert (found["solved"], found["faults"]) == (16, [])
        assert [note for note in found["notes"] if "is refused: it has pvq-bound 9" in note and workers[1] in note]
    finally:
        cluster.client.run(honest)


def test_processes_of_this_machine(cli, tmp_path, layers) -> None:
    run = pvq.Ledger.create(tmp_path / "run", layers, "prune", sparsity=[0.5])
    ended = cli("run", "go", run.folder, *FAST, "--cluster", "local:1")
    assert (ended.code, ended.err) == (0, "")
    assert "8 are solved" in ended.out


def test_processes_of_this_machine_keep_memory_and_have_one_thread(cluster) -> None:
    """With dask's MALLOC_TRIM_THRESHOLD_ large arrays are mapped anew each time: a third of a run's time."""
    for found in cluster.client.run(lambda: dict(os.environ)).values():
        assert "MALLOC_TRIM_THRESHOLD_" not in found
        assert found["OMP_NUM_THREADS"] == found["OPENBLAS_NUM_THREADS"] == "1"


def test_bad_input_is_one_line(cli, tmp_path, layers, monkeypatch) -> None:
    run = pvq.Ledger.create(tmp_path / "run", layers, bits=[3]).folder
    monkeypatch.setattr(connect, "ANSWER", 0.3)
    left: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: left.append(told.exc_value))
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"address": 3}')
    for words, says in (
        (("--cluster", "tcp://127.0.0.1:9"), "no scheduler answers at tcp://127.0.0.1:9"),
        (("--cluster", "tcp://127.0.0.1"), "no scheduler answers at tcp://127.0.0.1 (missing port"),
        (("--cluster", "tls://127.0.0.1:9"), "no scheduler answers at tls://127.0.0.1:9 (TLS expects"),
        (("--cluster", "nothing://here"), "no scheduler answers at nothing://here; every dask speaks tcp://"),
        (
            ("--cluster", "ucx://127.0.0.1:9"),
            "no scheduler answers at ucx://127.0.0.1:9; every dask speaks tcp://",
        ),
        (("--cluster", "inproc://x"), "no scheduler answers at inproc://x"),
        (("--cluster", "local:0"), "--cluster local:N needs a worker"),
        (("--cluster", "elsewhere"), "there is no file 'elsewhere'"),
        (("--cluster", wrong), "is no scheduler file"),
        (("--cluster", "local:2", "--jobs", "2"), "--jobs is for threads"),
        (("--send",), "--send is for a --cluster"),
    ):
        ended = cli("run", "go", run, *FAST, *words)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert says in ended.err
    gc.collect()
    assert left == []  # of clients that could not be made


def test_without_dask_it_is_said(tmp_path, layers, monkeypatch) -> None:
    run = pvq.Ledger.create(tmp_path / "run", layers, bits=[3])
    for name in [name for name in sys.modules if name.startswith("pvq.solvers.cluster")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ProblemError, match="needs dask: pip install"):
        run.go(cluster="local:1")
    assert run.go(solver="bnb", jobs=2)["known"] == 16
