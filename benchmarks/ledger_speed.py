"""How fast a ledger takes rows and says where it is: `python -m pvq.benchmarks.ledger_speed 10000000`.

The rows are made up; they are committed a batch of 64 at a time, as long rows are bounded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pvq.bounds.layer_problem import Setting
from pvq.solvers.compare.network import Member
from pvq.solvers.ledger.ledger import Ledger
from pvq.solvers.ledger.plan import Asked, create
from pvq.solvers.ledger.record import Piece, Record
from pvq.solvers.ledger.status import status_of_run

BATCH, ROWS, BITS, LOOKS = 64, 4096, range(2, 9), 3


def made(folder: Path, rows: int) -> None:
    """A run of layers of 4096 rows at 2 to 8 bits, with so many rows or a few more."""
    layers = -(-rows // (ROWS * len(BITS)))
    members = [Member(folder / f"{i}.npz", f"layer {i}", f"{i:064x}", ROWS, 4096) for i in range(layers)]
    create(folder, members, Asked("quant", tuple(Setting("quant", bits=b) for b in BITS)))


def pieces(ledger: Ledger, rows: int) -> Iterator[Piece]:
    """Batches of made-up rows."""
    rng, left = np.random.default_rng(0), rows
    for task in ledger.tasks():
        for chunk, first, stop in ledger.due(task.id):
            for start in range(first, stop, BATCH):
                numbers = range(start, min(start + BATCH, stop))
                ends = np.sort(rng.uniform(0.0, 1.0, (len(numbers), 2)), axis=1).tolist()
                yield Piece(
                    chunk,
                    tuple(
                        Record(
                            *(chunk, row, low, low, high, 2.0, "rigorous", False, "bound_only", "finished"),
                            *("bound", "auto", 1, 0.1, 0.01, 1e-16, 10.0),
                            empirical='{"gptq": 1.5}',
                        )
                        for row, (low, high) in zip(numbers, ends, strict=True)
                    ),
                    {"pvq-bound": "0.1.0"},
                )
                left -= len(numbers)
                if left <= 0:
                    return


def status_seconds(folder: Path) -> tuple[float, float]:
    """Seconds of the whole command, and of one core: as somebody has it who asks how far a run is."""
    begin, before = time.perf_counter(), os.times()
    subprocess.run(
        [Path(sys.executable).with_name("pvq"), "run", "status", folder], check=True, capture_output=True
    )
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return time.perf_counter() - begin, spent


def main(rows: int, where: str | None = None) -> None:
    """Fill a ledger and print what it took."""
    with TemporaryDirectory(dir=where) as temporary:
        folder = Path(temporary) / "run"
        made(folder, rows)
        with Ledger.writing(folder) as ledger:
            spent, work, told = 0.0, 0.0, 0
            for piece in pieces(ledger, rows):
                begin, cpu = time.perf_counter(), time.process_time()
                told += ledger.record(piece)
                spent, work = spent + time.perf_counter() - begin, work + time.process_time() - cpu
                if told % 1_000_000 < BATCH:
                    print(f"{told} rows, {spent:.0f} s, {work:.0f} s of one core", file=sys.stderr, flush=True)
        with Ledger.reading(folder) as ledger:
            found = status_of_run(ledger)
        statuses = [status_seconds(folder) for _ in range(LOOKS)]
        size = sum(path.stat().st_size for path in folder.iterdir())
    assert found["known"] == told
    print(f"{told} rows: {told / spent:.0f} a second, {told / work:.0f} a second of one core")
    for seconds, work in statuses:
        print(f"`pvq run status` in {seconds:.2f} s, {work:.2f} s of one core")
    print(f"{size / 1e9:.2f} GB, {size / told:.0f} bytes a row")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:3])
