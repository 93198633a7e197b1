"""What tests of several folders share."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import NamedTuple

# Tests run side by side and their matrices are small: threads of BLAS or torch wait for each other, up to ten
# times as long as they work. Processes that tests start have it from here as well. Must precede numpy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import second_opinion

second_opinion.install()  # before any test imports what it replaces

INSTANCES = Path(__file__).parents[1] / "benchmarks" / "instances"


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run `pvq ...` in this process."""
    from pvq.bounds.app import main

    def call(*words) -> Ended:
        monkeypatch.setattr("sys.argv", ["pvq", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main.pvq()
        atexit.unregister(os._exit)  # this process goes on
        captured = capsys.readouterr()
        return Ended(int(end.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def expand40() -> Path:
    """A real layer: 240 rows, 40 inputs."""
    return INSTANCES / "efficientnet_lite0.blocks.4.expand.npz"
