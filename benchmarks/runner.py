"""Run solves, each solver in a process of its own with hard limits on time and memory."""

from __future__ import annotations

import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from .tasks import Task

LOOK = 0.05
"""Seconds between two looks at a running solver's memory: at a few GB/s it overshoots by some 100 MB at most."""

PREPARE = 600.0
"""Seconds for starting, compiling and layer-wide work, which are not counted as a row's time."""

RESULT = "result"


def grace(time_limit: float) -> float:
    """Seconds a solver may take beyond its limit before it is ended: to stop, and to have its proof verified,
    which can take as long as the search."""
    return 5.0 + 1.5 * time_limit


@dataclass(frozen=True)
class Run:
    """What one solve of one instance came to. `judge` fills in what only we may say."""

    instance: str
    solver: str
    """Label."""
    repetition: int
    outcome: str
    """A `Status` of the solver, or refused: unsupported, licence, missing, unknown (no such solver),
    instance (the row cannot be stated); or ended: hung, memory, crashed, error; or wrong (see `judge`)."""
    why: str = ""
    x: tuple[float, ...] | None = None
    lower: float | None = None
    upper: float | None = None
    seconds: float | None = None
    """Of the row: preparation of the row and solve, without compilation and layer-wide work."""
    wall: float | None = None
    prepare: float | None = None
    """Start of the row's problem, compilation and layer-wide work."""
    cpu: float | None = None
    """Processor time of the row, its verification included."""
    prepare_cpu: float | None = None
    """Of layer-wide work, and of compiling where that is new."""
    nodes: int | None = None
    memory: float | None = None
    """GB of resident memory at the peak, of the whole process."""
    bound_kind: str = "none"
    reason: str = ""
    """A `Reason` of the solver: why it stopped."""
    fault: str = ""
    """A `Fault` of its answer, if any."""
    info: dict[str, Any] | None = None
    name: str = ""
    """Of the solver behind the label."""
    verified: float | None = None
    """What its proof was found to prove, where that was asked for and it handed one over."""
    steps: tuple[tuple[float, float, float], ...] = ()
    """(seconds, lower, upper) while it ran, as the solver reported them."""

    @property
    def key(self) -> tuple[str, str, int]:
        """As `Task.key`."""
        return self.instance, self.solver, self.repetition


OnRun = Callable[[Run], None]


def run_tasks(
    tasks: Iterable[Task],
    stop: threading.Event,
    on_run: OnRun,
    jobs: int = 1,
    steps: bool = False,
    verify: bool = False,
) -> None:
    """Run tasks in order; a solver that crashes, hangs or eats memory is ended and the next task goes on.

    Parameters
    ----------
    stop : set it, and running solvers are ended and nothing more is started.
    on_run : called with each finished run, one call at a time.
    jobs : tasks run at the same time (they disturb each other's times).
    steps : record (seconds, lower, upper) while solvers run.
    verify : check proofs once more, outside the solver.
    """
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    lock = threading.Lock()

    def work() -> None:
        processes: dict[tuple[str, int], Process] = {}
        try:
            while not stop.is_set():
                try:
                    task = waiting.get_nowait()
                except queue.Empty:
                    return
                place = task.entry.label, task.limits.threads
                process = processes.get(place)
                if process is None or not process.is_alive:
                    if process is not None:
                        process.kill()
                    process = processes[place] = Process(task.limits.threads)
                run = _one(process, task, stop, steps, verify)
                if run is not None:
                    with lock:
                        on_run(run)
        finally:
            for process in processes.values():
                process.kill()

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for future in [pool.submit(work) for _ in range(jobs)]:
                future.result()
        except BaseException:
            stop.set()
            raise


def _one(process: Process, task: Task, stop: threading.Event, steps: bool, verify: bool) -> Run | None:
    """One solve; None if it was stopped from outside."""
    instance, limits = task.instance, task.limits
    blank = Run(instance.name, task.entry.label, task.repetition, "", name=task.entry.solver)
    process.send(
        {
            "layer": str(instance.layer),
            "setting": instance.setting.as_json(),
            "row": instance.row,
            "together": instance.together,
            "solver": task.entry.solver,
            "time_limit": limits.time_limit,
            "gap": limits.gap,
            "node_limit": task.entry.node_limit,
            "device": task.entry.device,
            "points": task.entry.points,
            "threads": limits.threads,
            "seed": limits.seed + task.repetition,
            "steps": steps,
            "verify": verify,
        }
    )
    end, prepare, peak = time.monotonic() + PREPARE, None, 0.0
    seen: list[tuple[float, float, float]] = []
    begin = time.monotonic()
    while True:
        if stop.is_set():
            process.kill()
            return None
        answer = process.receive(LOOK)
        peak = max(peak, process.memory())
        if answer is None:
            took = time.monotonic() - begin
            blank = replace(blank, prepare=prepare, memory=peak, steps=tuple(seen))
            if peak > limits.memory:
                process.kill()
                return replace(blank, outcome="memory", why=f"ended above {limits.memory:g} GB", seconds=took)
            if not process.is_alive:
                return replace(blank, outcome=process.crash, why=process.last_words, seconds=took)
            if time.monotonic() > end:
                process.kill()
                what = "still preparing" if prepare is None else "deaf to its limit"
                return replace(blank, outcome="hung", why=f"{what}, ended after {took:.1f} s", seconds=took)
            continue
        event = answer.pop("event")
        if event == "ready":
            prepare, begin = answer["seconds"], time.monotonic()
            limit = limits.time_limit * max(1, len(instance.together))
            end = begin + limit + grace(limit)
        elif event == "step":
            seen.append((answer["seconds"], answer["lower"], answer["upper"]))
        elif event == RESULT:
            answer["outcome"], answer["x"] = answer.pop("status"), tuple(answer["x"])
            return replace(blank, **answer, prepare=prepare, steps=tuple(seen))
        else:
            return replace(blank, **answer, prepare=prepare)


class Process:
    """A worker process: `send` a task, `receive` its answers."""

    def __init__(self, threads: int, module: str = "pvq.benchmarks.worker") -> None:
        environment = dict(os.environ)
        for name in ("OPENBLAS", "OMP", "MKL", "NUMEXPR", "NUMBA", "BLIS"):
            environment[f"{name}_NUM_THREADS"] = str(threads)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by kill)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours; and what a solver starts is ended with it
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        self._buffer = b""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, task: dict[str, Any]) -> None:
        """Hand it a task."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died: `receive` will tell
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """The next answer, None if there is none within `timeout` seconds."""
        if b"\n" not in self._buffer and self._selector.select(timeout):
            chunk = os.read(self._out.fileno(), 1 << 16)
            self._buffer += chunk
            if not chunk:  # it closed its end: dead, or about to be
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout)
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        answer: dict[str, Any] = json.loads(line)
        return answer

    def memory(self) -> float:
        """GB of resident memory; 0 where it cannot be told (not Linux), so there no limit holds."""
        try:
            with open(f"/proc/{self._process.pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
        except (OSError, IndexError):
            return 0.0

    @property
    def crash(self) -> str:
        """memory if it seems to have run out of it, else crashed."""
        words = self.last_words.lower()
        return (
            "memory" if any(hint in words for hint in ("bad_alloc", "memoryerror", "out of memory")) else "crashed"
        )

    @property
    def last_words(self) -> str:
        """How it ended and its last line on stderr."""
        code = self._process.poll()
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {signal.Signals(-code).name}"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 4000))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1].strip()}" if lines else how

    def kill(self) -> None:
        """End it and what it started."""
        if self._out.closed:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        self._out.close()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._log.close()
