"""The process a solver runs in: takes solves as JSON lines on stdin, answers in JSON lines on stdout.

    python -m pvq.benchmarks.worker

It answers "ready" once the row is stated and layer-wide work is done, "step" now and then while the solver runs,
and one of "result", "refused" and "error" at the end. What solvers print goes to stderr. Rows that
are solved at once are solved when the first of them is asked for; the answers to the others are at hand then.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pvq.bounds.problem import Problem
    from pvq.solvers.base import Solver
    from pvq.solvers.result import Result

FEW = 8
"""Inputs of a row that are solved to warm up."""

STEP = 0.02  # seconds between two reported steps of a run, until they grow with its length


def main() -> None:
    """Answer until stdin ends."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # native code prints too
    sys.stdout = sys.stderr

    def say(**words: Any) -> None:
        out.write(json.dumps(words) + "\n")

    for line in sys.stdin:
        _answer(json.loads(line), say)


def _answer(task: Mapping[str, Any], say: Callable[..., None]) -> None:
    from pvq.solvers.base import SolverUnavailable, UnsupportedProblem

    try:
        _solve(task, say)
    except SolverUnavailable as error:
        say(event="refused", outcome="licence", why=one_line(error))
    except UnsupportedProblem as error:
        say(event="refused", outcome="unsupported", why=one_line(error))
    except MemoryError as error:
        say(event="error", outcome="memory", why=one_line(error))
    except Exception as error:
        say(event="error", outcome="error", why=f"{type(error).__name__}: {one_line(error)}")


@dataclass(frozen=True, eq=False)
class _Solved:
    """Rows that were solved at once."""

    of: str
    """The task but for the row."""
    prepare: float
    prepare_cpu: float
    """Processor time of layer-wide work."""
    wall: float
    """Seconds of a row."""
    cpu: float
    """Its processor time."""
    memory: float
    results: Mapping[int, Result]


_last: _Solved | None = None


def _solve(task: Mapping[str, Any], say: Callable[..., None]) -> None:
    from pvq.solvers.base import Options
    from pvq.solvers.bound.layer_wide import LayerWide
    from pvq.solvers.registry import get_solver
    from pvq.solvers.rows import quick_point

    from .problems import problem_of

    global _last
    row, of = task["row"], json.dumps({key: value for key, value in task.items() if key != "row"}, sort_keys=True)
    if task["together"] and _last is not None and _last.of == of:
        say(event="ready", seconds=_last.prepare)
        _result(problem_of(Path(task["layer"]), task["setting"], row), _last, row, task["verify"], say)
        return
    begin = time.perf_counter()
    rows = task["together"] or [row]
    problems = [problem_of(Path(task["layer"]), task["setting"], number) for number in rows]
    solver: Solver = get_solver(task["solver"]) if task["points"] else LayerWide(points=False)
    if not solver.is_available():
        hint = (
            f"pip install 'pvq-bound[{solver.extra}]'" if solver.extra else f"needs {', '.join(solver.requires)}"
        )
        say(event="refused", outcome="missing", why=f"not installed: {hint}")
        return
    solver.check(problems[0])
    busy = time.process_time()
    solver.prepare(*problems)
    prepare_cpu = time.process_time() - busy
    _warm_up(solver, problems[0])
    _forget_peak()
    prepare = time.perf_counter() - begin
    say(event="ready", seconds=prepare)

    start, busy = time.perf_counter(), time.process_time()
    last = -STEP

    def report(lower: float, upper: float) -> None:
        nonlocal last
        now = time.perf_counter() - start
        if now - last >= max(STEP, 0.02 * now):
            last = now
            say(event="step", seconds=now, lower=float(lower), upper=float(upper))

    options = Options(
        time_limit=task["time_limit"],
        gap=task["gap"],
        node_limit=task["node_limit"],
        device=task["device"],
        threads=task["threads"],
        seed=task["seed"],
        report=report if task["steps"] and len(rows) == 1 else None,
    )
    if len(rows) == 1:
        results = [solver.solve(problems[0], options)]
    else:
        starts = [None if task["points"] else quick_point(problem) for problem in problems]
        results = solver.solve_rows(problems, options, starts)
    wall = (time.perf_counter() - start) / len(rows)
    cpu = (time.process_time() - busy) / len(rows)
    _last = _Solved(of, prepare, prepare_cpu, wall, cpu, peak_memory(), dict(zip(rows, results, strict=True)))
    _result(problems[rows.index(row)], _last, row, task["verify"], say)


def _result(problem: Problem, solved: _Solved, row: int, verify: bool, say: Callable[..., None]) -> None:
    result, verified = solved.results[row], None
    if verify and result.proof is not None:
        from pvq.bounds.presolve import presolve
        from pvq.bounds.verify.row import NotProven, lower_bound

        with suppress(NotProven):
            verified = lower_bound(presolve(problem).problem or problem, result.proof, margin=1.0)
    say(
        event="result",
        x=result.x.tolist(),
        lower=float(result.lower),
        upper=float(result.upper),
        status=result.status.value,
        reason=result.reason.value,
        fault=result.fault.value if result.fault is not None else "",
        bound_kind=result.bound_kind.value,
        nodes=int(result.nodes),
        seconds=float(result.seconds),
        wall=solved.wall,
        cpu=solved.cpu,
        prepare_cpu=solved.prepare_cpu,
        memory=solved.memory,
        verified=verified,
        info={key: value for key, value in result.info.items() if _is_plain(value)},
    )


_warm: set[tuple[Any, ...]] = set()


def _warm_up(solver: Solver, problem: Problem) -> None:
    """Solve a few inputs of the row once for each kind of problem: kernels compile, packages load, nobody counts.

    Only solvers of this package: what theirs `prepare` leaves out is known, a plug-in's solve may do anything.
    """
    from pvq.solvers.base import Options

    sparsity, grid = problem.sparsity, problem.grid
    kind = (solver.name, problem.method, grid and grid.count, sparsity and (sparsity.kind, sparsity.update))
    if kind in _warm or not type(solver).__module__.startswith("pvq."):
        return
    _warm.add(kind)
    few = problem.take(np.flatnonzero(problem.gram.live)[:FEW])
    if solver.why_unsupported(few) is None:
        with suppress(Exception):  # the row itself will tell
            solver.prepare(few)
            solver.solve(few, Options(time_limit=None))


def _is_plain(value: object) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def one_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def peak_memory() -> float:
    """GB of resident memory at the peak since the last solve began; since the process began where not Linux."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024e-9 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        unit = 1e-9 if sys.platform == "darwin" else 1024e-9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _forget_peak() -> None:
    with suppress(OSError), open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")


if __name__ == "__main__":
    main()
