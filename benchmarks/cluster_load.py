"""What a cluster would do with a large model: measured seconds and overheads, and workers that are simulated.

`python -m pvq.benchmarks.cluster_load seconds 1024 64` measures a chunk of made rows, `overhead` what a chunk and
a message cost a scheduler and a run, and `table` plays models on clusters with the program's own choice of chunks.
"""

from __future__ import annotations

import heapq
import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from pvq.bounds.layer_problem import Setting
from pvq.layers.format import save_layer
from pvq.solvers.ledger.plan import LONG_SECONDS, rows_of_chunk
from pvq.solvers.ledger.record import Piece, Record
from pvq.solvers.ledger.work import KEPT_LAYERS, Chunk, RowSearch, Shelf, work_on

from .made import made_layer

NETWORK = 1e9 / 8
"""Bytes a second that the machine with the layer files sends, to all workers together."""
LIMIT = 10.0
"""Seconds that a row may take."""
WORKERS = (2, 10, 100, 1000)
MODELS = {
    "7B (32 blocks of 4096)": 32 * ((4096, 4096),) * 4 + 32 * ((11008, 4096),) * 2 + 32 * ((4096, 11008),),
    "70B (80 blocks of 8192)": 80 * ((8192, 8192), (1024, 8192), (1024, 8192), (8192, 8192))
    + 80 * ((28672, 8192), (28672, 8192), (8192, 28672)),
}
"""Rows and inputs of the linear layers."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one core: of a row of n inputs, of what its layer shares, and of what a scheduler has to do."""

    row: float = LONG_SECONDS
    """Times n^2, of rows that long, see docs/cluster.md."""
    shared: float = 4.2e-10
    """Times n^3: 3.6 s at 2048 inputs."""
    task: float = 6.5e-3
    message: float = 6e-5


def chunk_of(path: Path, sha256: str, rows: range, method: str) -> Chunk:
    """Rows of a layer at 4 bits or 75 % sparsity, ten seconds each."""
    setting = Setting("quant", bits=4) if method == "quant" else Setting("prune", sparsity=0.75)
    search = RowSearch(time_limit=LIMIT)
    return Chunk(1, path, sha256, setting, None, rows.start, rows.stop, tuple(rows), 1, search)


def seconds(n: int, rows: int) -> None:
    """Processor time of a chunk, and of what its layer shares, by two chunks of one layer after another."""
    from threadpoolctl import threadpool_limits

    with TemporaryDirectory() as folder, threadpool_limits(1, user_api="blas"):
        for method in ("quant", "prune"):
            for size in (n, n):  # the first time compiles
                layer = made_layer(f"made:{size}x{2 * rows}:0")
                path = save_layer(Path(folder) / f"{size}.npz", layer)
                shelf, spent, known = Shelf(), [], 0
                for first in (0, rows):
                    pieces: list[Piece] = []
                    begin = time.process_time()
                    part = chunk_of(path, layer.sha256, range(first, first + rows), method)
                    work_on(part, shelf, threading.Event(), pieces.append)
                    spent.append(time.process_time() - begin)
                    known = sum(record.lower > 0 for piece in pieces for record in piece.records)
                words = f"{spent[1] / rows:.2f} s a row ({spent[1] / rows / size**2:.2g} n^2)"
                shared = spent[0] - spent[1]
                words += f"; shared {shared:.1f} s ({shared / size**3:.2g} n^3); {known} with a bound"
                print(f"{method}, {size} inputs, {rows} rows: {words}", flush=True)


def made_piece(chunk: int) -> Piece:
    """Sixty-four rows as a worker tells of them."""
    words = ("numerical", False, "bound_only", "finished", "bound", "auto", 1, 0.1, 0.0, 1e-16, 10.0)
    grid = '{"scale": 0.0123456789012345, "zero": 0}'
    records = [
        Record(chunk, row, 0.123456789, 0.0, 0.987654321, 2.0, *words, grid=grid, empirical='{"gptq": 1.5}')
        for row in range(64)
    ]
    return Piece(chunk, tuple(records), {"pvq-bound": "0.1.0", "numpy": "2", "scipy": "1", "numba": "0"})


def overhead(count: int = 2000) -> None:
    """Processor time of a scheduler and of a run for a chunk that takes no time, and for one message more."""
    from pvq.solvers.cluster.connect import connect
    from pvq.solvers.cluster.driver import Cluster

    told: dict[int, tuple[float, float, float]] = {}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        scheduler = subprocess.Popen([*dask, "--scheduler-file", str(file), "--no-dashboard"], **quiet)
        words = ["--scheduler-file", str(file), "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
        workers = subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", *words], **quiet)
        try:
            while not os.path.isfile(file) or not file.read_text().strip():
                time.sleep(0.1)
            for messages in (1, 11):
                connection = connect(str(file), threading.Event())
                assert connection is not None
                connection.client.wait_for_workers(2)
                connection.client.run(_play(messages))
                cluster = Cluster(connection, False, threading.Event())
                told[messages] = _timed(cluster, count, scheduler.pid)
                cluster.close()
        finally:
            for process in (workers, scheduler):
                process.terminate()
                process.wait()
    for name, values in (
        ("a chunk with a message", told[1]),
        ("a message more", tuple((b - a) / 10 for a, b in zip(told[1], told[11], strict=True))),
    ):
        wall, theirs, mine = (1e3 * value for value in values)
        print(f"{name}: {wall:.2f} ms, scheduler {theirs:.2f} ms of a core, run {mine:.2f} ms of a core")
    print(f"a message of 64 rows: {len(pickle.dumps(made_piece(1)))} bytes")


def _play(messages: int) -> Any:
    """What makes workers tell of a chunk at once, so many times."""
    piece = made_piece(1)

    def play() -> None:
        from pvq.solvers.cluster import worker

        def work(chunk: Any, shelf: Any, stop: Any, tell: Any) -> None:
            for _ in range(messages):
                tell(piece)
                time.sleep(0.002 if messages > 1 else 0)

        worker.work_on = work
        worker.EVERY = 0.0
        worker.os.path.isfile = lambda path: True

    return play


def _timed(cluster: Any, count: int, scheduler: int) -> tuple[float, float, float]:
    """Wall time, processor time of the scheduler and of this process, for a chunk."""
    chunks, done = iter(range(count)), 0
    before, mine, begin = _processor_time(scheduler), time.process_time(), time.perf_counter()
    for number in itertools.islice(chunks, cluster.slots):
        cluster.submit(0, chunk_of(Path("a"), "a", range(64), "quant") if number >= 0 else None)
    while done < count:
        told = cluster.get(1.0)
        if told is not None and told.ended:
            assert told.error is None, told.error
            done += 1
            if next(chunks, None) is not None:
                cluster.submit(0, chunk_of(Path("a"), "a", range(64), "quant"))
    spent = time.perf_counter() - begin, _processor_time(scheduler) - before, time.process_time() - mine
    return tuple(value / count for value in spent)  # type: ignore[return-value]


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Played:
    """How a simulated run went."""

    hours: float
    work: float
    shared: float
    terabytes: float
    chunks: int
    load: float
    """Part of a core that the scheduler is busy for."""


def simulate(layers: tuple[tuple[int, int], ...], count: int, costs: Costs) -> Played:
    """One setting of every layer on so many workers: the program's own choice of chunks, in made-up time."""
    from pvq.solvers.cluster import driver
    from pvq.solvers.cluster.worker import End, Message

    given: list[tuple[str, Any]] = []
    client = SimpleNamespace(
        subscribe_topic=lambda topic, handler: None,
        nthreads=lambda: [f"w{i}" for i in range(count)],
        submit=lambda function, unit, sent, workers, **more: given.append((workers[0], unit)) or _FUTURE,
        run=lambda *words, **more: None,
    )
    driver.Queue = lambda name, client: SimpleNamespace(get=_silent, close=lambda: None)
    at = SimpleNamespace(client=client, where="played", close=lambda last, soon: None)
    cluster: Any = driver.Cluster(at, False, threading.Event())
    setting, search, todo = Setting("quant", bits=4), RowSearch(), _chunks(layers)
    kept: dict[str, OrderedDict[str, None]] = {}
    ending: list[tuple[float, int, Any]] = []
    now = line_free = work = shared = sent = messages = 0.0
    chunks = out = 0
    while True:
        while out < cluster.slots and (found := next(todo, None)) is not None:
            name, first, rows = found
            part = (first, first + rows, tuple(range(first, first + rows)))
            cluster.submit(0, Chunk(chunks, Path(name), name, setting, None, *part, 1, search))
            chunks, out = chunks + 1, out + 1
        for worker, unit in given:
            m, n = layers[int(unit.chunk.sha256)]
            mine, begin = kept.setdefault(worker, OrderedDict()), now
            if unit.chunk.sha256 not in mine:
                size = 8.0 * (m * n + n * n)
                line_free = begin = max(line_free, now) + size / NETWORK
                begin += costs.shared * n**3
                sent, shared = sent + size, shared + costs.shared * n**3
                mine[unit.chunk.sha256] = None
                while len(mine) > KEPT_LAYERS:
                    mine.popitem(last=False)
            lasts = min(LIMIT, costs.row * n**2) * len(unit.chunk.rows)
            work, messages = work + lasts, messages + 1
            heapq.heappush(ending, (begin + lasts, unit.number, unit))
        given.clear()
        if not ending:
            break
        now, _, unit = heapq.heappop(ending)
        cluster._inbox.put(Message(unit.number, unit.turn, None, End()))
        while (told := cluster.get(0)) is not None:
            out -= told.ended
    cluster.close()
    load = (chunks * costs.task + messages * costs.message) / now
    return Played(now / 3600, work / 3600, shared / 3600, sent / 1e12, chunks, load)


_FUTURE = SimpleNamespace(release=lambda: None, add_done_callback=lambda call: None)


def _silent(timeout: float | None = None, batch: bool = False) -> list[bytes]:
    time.sleep(timeout or 0.0)
    if not batch:
        raise TimeoutError
    return []


def _chunks(layers: tuple[tuple[int, int], ...]) -> Any:
    """Number of the layer, first row and rows of every chunk, in order."""
    for i, (m, n) in enumerate(layers):
        size = rows_of_chunk(n)
        for first in range(0, m, size):
            yield str(i), first, min(size, m - first)


def table(costs: Costs) -> None:
    """Models on clusters, as Markdown."""
    print("| model | workers | chunks | hours | times one core | core hours | of them shared | sent | scheduler |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, layers in MODELS.items():
        for count in WORKERS:
            found = simulate(layers, count, costs)
            core = found.work + found.shared
            words = f"{found.hours:.3g} | {core / found.hours:.0f} | {core:.3g} | {found.shared:.3g}"
            words += f" | {found.terabytes:.2g} TB | {100 * found.load:.2g} % of a core |"
            print(f"| {name} | {count} | {found.chunks} | {words}", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["seconds", n, rows]:
            seconds(int(n), int(rows))
        case ["overhead", *count]:
            overhead(*map(int, count))
        case ["table", *values]:
            table(replace(Costs(), **{k: float(v) for k, v in (word.split("=") for word in values)}))
        case _:
            sys.exit(__doc__)
