"""What a time limit and Ctrl-C mean for long rows, measured: `python tests/fuzz/time_limits.py --help`.

Each kind of problem is bounded by each solver at each limit; preparation and rows may both take as many times
limit + 10 % + 1 s as there are rows, without what numba compiles. Then each gets Ctrl-C at random moments and has
two seconds to print what is proven and leave with exit code 130. Only a quiet machine says anything.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as on the command line; before numpy

import numpy as np
import pvq
from pvq.layers.format import Layer, save_layer
from pvq.solvers.compile_time import compile_seconds
from pvq.solvers.limits import GRACE, OVERSHOOT
from pvq.solvers.watch import is_work_left

ANSWER = 2.0
"""Seconds in which Ctrl-C is answered."""

KINDS = {
    "quant": ("--method", "quant", "--bits", "4"),
    "prune": ("--method", "prune", "--sparsity", "0.75"),
    "2:4": ("--method", "prune", "--nm", "2:4"),
    "joint": ("--method", "joint", "--bits", "4", "--sparsity", "0.5"),
    "no-update": ("--method", "prune", "--sparsity", "0.75", "--no-update"),
    "scope layer": ("--method", "prune", "--sparsity", "0.75", "--scope", "layer"),
    "range optimal": ("--method", "quant", "--bits", "4", "--range", "optimal", "--granularity", "channel"),
}
SOLVERS = ("auto", "bound", "bnb")

BEGUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell without job control leaves it ignored
from pvq.bounds.app.main import pvq_bound
print("begun", file=sys.stderr, flush=True)
pvq_bound()
"""
"""A command that says when it hears signals."""


class Took(NamedTuple):
    """Seconds of a run, compiling not counted, and what came of it."""

    preparation: float
    rows: float
    ratio: float
    said: str


def made_layer(inputs: int, rows: int) -> Layer:
    """Weights, and a Gram matrix whose eigenvalues fall as those of activations do: a few large, many small."""
    rng = np.random.default_rng(inputs)
    scale = np.arange(1.0, inputs + 1.0) ** -0.5
    mixed = np.linalg.qr(rng.standard_normal((inputs, inputs)))[0] * scale
    x = rng.standard_normal((2 * inputs, inputs)) @ mixed.T
    return Layer(f"made {inputs}", rng.standard_normal((rows, inputs)), x.T @ x / len(x))


def problem_of(words: tuple[str, ...]) -> pvq.Problem:
    """The problem that options state."""
    from pvq.problems import problem_of

    plain = [word for word in words if word != "--no-update"]
    given = dict(zip(plain[::2], plain[1::2], strict=True))
    return problem_of(
        given["--method"],
        bits=int(given["--bits"]) if "--bits" in given else None,
        sparsity=float(given["--sparsity"]) if "--sparsity" in given else None,
        nm=given.get("--nm"),
        update="--no-update" not in words,
        scope=given.get("--scope", "row"),
        range=given.get("--range", "mse"),
        granularity=given.get("--granularity", "tensor"),
    )


def timed(layer: Layer, kind: str, solver: str, limit: float, rows: int) -> Took:
    """One run."""
    marks: list[float] = []

    def stage(name: str) -> None:
        marks.append(time.perf_counter() - compile_seconds())

    found = pvq.bound(
        layer, problem_of(KINDS[kind]), rows=(0, rows), solver=solver, time_limit=limit, stage=stage, methods=()
    )
    marks.append(time.perf_counter() - compile_seconds())
    while is_work_left():  # it would slow the next run down
        time.sleep(0.1)
    total = found.document["total"]
    ratio = total["lower"] / total["upper"] if total["upper"] else 1.0
    return Took(marks[1] - marks[0], marks[2] - marks[1], ratio, f"{total['status']}, {total['bound_kind']}")


def answered(file: Path, kind: str, solver: str, after: float) -> tuple[float, int, str]:
    """Seconds from Ctrl-C to the end, exit code, and what was said: `interval`, `a line`, or what is wrong."""
    words = [str(file), *KINDS[kind], "--solver", solver, "--rows", "0:4", "--time-limit", "0", "--json", "-"]
    process = subprocess.Popen(
        [sys.executable, "-c", BEGUN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while process.stderr.readline() != "begun\n":
        if process.poll() is not None:
            return 0.0, process.returncode, "did not begin"
    time.sleep(after)
    begin = time.perf_counter()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    seconds = time.perf_counter() - begin
    if "Traceback" in err:
        return seconds, process.returncode, "a traceback"
    if not out:
        return seconds, process.returncode, "a line" if "interrupted" in err else "nothing"
    total = json.loads(out)["total"]
    return seconds, process.returncode, "interval" if 0 <= total["lower"] <= total["upper"] else "no interval"


def pairs(kinds: list[str], solvers: list[str]) -> Iterator[tuple[str, str]]:
    """What is asked of what; a free scale is searched by `bnb` only."""
    yield from ((k, s) for k in kinds for s in solvers if k != "range optimal" or s != "bound")


def main() -> int:
    """Print both tables; exit code 1 if a limit or an answer was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", type=Path, help="a layer file; else one is made")
    parser.add_argument("--inputs", type=int, default=1152, help="of the made layer (1152)")
    parser.add_argument("--rows", type=int, default=1, help="rows that are bounded (1; scope layer: 4)")
    parser.add_argument("--limits", default="1,5,20", help="seconds, as 1,5,20")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--solvers", default=",".join(SOLVERS))
    parser.add_argument("--interrupts", type=int, default=2, help="Ctrl-C for each kind and solver (2)")
    parser.add_argument("--latest", type=float, default=30.0, help="last moment of a Ctrl-C, in seconds (30)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    layer = made_layer(given.inputs, 4) if given.layer is None else pvq.load_layer(given.layer)
    asked = list(pairs(given.kinds.split(","), given.solvers.split(",")))
    missed = 0
    print(f"{layer.name}: {layer.inputs} inputs; seconds without compiling, of preparation and of rows")
    print(f"{'kind':14s} {'solver':6s} {'limit':>6s} {'prep':>7s} {'rows':>7s} {'may':>7s} {'ratio':>6s}  ends")
    for kind, solver in asked:
        rows = 4 if kind == "scope layer" else given.rows
        for limit in map(float, given.limits.split(",")):
            took = timed(layer, kind, solver, limit, rows)
            may = rows * (limit * (1 + OVERSHOOT) + GRACE)
            late = max(took.preparation, took.rows) > may
            missed += late
            numbers = f"{took.preparation:7.2f} {took.rows:7.2f} {may:7.2f} {took.ratio:6.3f}"
            print(
                f"{kind:14s} {solver:6s} {limit:6g} {numbers}  {took.said}{'  LATE' if late else ''}", flush=True
            )
    if given.interrupts:
        print(f"\nCtrl-C: seconds until the end, of {ANSWER:g}")
        print(f"{'kind':14s} {'solver':6s} {'after':>7s} {'answer':>7s} {'code':>5s}  said")
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        file = save_layer(Path(folder) / "layer.npz", layer)
        for kind, solver in asked:
            for _ in range(given.interrupts):
                after = moments.uniform(0.0, given.latest)
                seconds, code, said = answered(file, kind, solver, after)
                wrong = code != 130 or seconds > ANSWER or said not in ("interval", "a line")
                missed += wrong
                said += "  WRONG" if wrong else ""
                print(f"{kind:14s} {solver:6s} {after:7.2f} {seconds:7.2f} {code:5d}  {said}", flush=True)
    print(f"\n{missed} missed")
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
