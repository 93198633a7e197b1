"""What runs in a worker process: chunks, one at a time, and what is kept between them."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pvq.bounds
import pvq.layers
import pvq.solvers
from distributed import Queue
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray
from pvq.layers.format import Layer, LayerError

from ..base import SolverUnavailable, UnsupportedProblem
from ..document import packages
from ..ledger.record import Piece
from ..ledger.work import Chunk, Shelf, work_on

EVERY = 1.0
"""Seconds between two messages of a chunk: a scheduler of a thousand workers takes some thousand a second."""
COMPARED = ("pvq-bound", "numba", "numpy")
"""Packages on whose versions results depend."""

_working = threading.Lock()
_stops: dict[str, threading.Event] = {}


@dataclass(frozen=True)
class Unit:
    """A chunk on its way to a worker."""

    number: int
    turn: int
    """How often it was sent before."""
    chunk: Chunk
    run: str
    """Name of the queue that the run hears."""


@dataclass(frozen=True)
class Sent:
    """A layer on its way to workers that do not see its file."""

    name: str
    weight: FloatArray
    grams: FloatArray
    samples: int | None
    meta: Mapping[str, Any]

    @classmethod
    def of(cls, layer: Layer) -> Sent:
        """What is bounded of a layer."""
        return cls(layer.name, layer.weight, layer.grams, layer.samples, layer.meta)

    def layer(self) -> Layer:
        """The layer, checked and hashed anew."""
        return Layer(self.name, self.weight, self.grams, self.samples, dict(self.meta))


@dataclass(frozen=True)
class End:
    """How a chunk ended; nothing of it is set where all is well."""

    error: str | None = None
    """Why it could not be worked on; the others go on."""
    wrong: tuple[type[Exception], str] | None = None
    """What ends the run."""


@dataclass(frozen=True)
class Message:
    """What a worker tells of a chunk."""

    number: int
    turn: int
    piece: Piece | None = None
    end: End | None = None


@cache
def versions() -> dict[str, str]:
    """Versions that must be those of the run, and a hash of our own code."""
    code = hashlib.sha256()
    for package in (pvq.layers, pvq.bounds, pvq.solvers):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            code.update(path.relative_to(folder).as_posix().encode())
            code.update(path.read_bytes())
    found = packages()
    return {**{name: found.get(name, "none") for name in COMPARED}, "code": code.hexdigest()[:12]}


def difference(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str | None:
    """How versions differ, in words; None where they do not."""
    for name, asked in theirs.items():
        if mine.get(name) != asked:
            what = "another pvq-bound" if name == "code" else f"{name} {mine.get(name)}"
            return f"it has {what}, and this run {'code' if name == 'code' else name} {asked}"
    return None


def stop_run(run: str) -> None:
    """Chunks of a run end soon, with what they have proven, and none begins."""
    _stops.setdefault(run, threading.Event()).set()


@cache
def _shelf() -> Shelf:
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")  # of the process, which is a worker of ours alone
    return Shelf()


def serve(unit: Unit, sent: Sent | None = None) -> None:
    """Work on a chunk and tell of it; without a layer that was sent the worker reads it from its path."""
    stop = _stops.setdefault(unit.run, threading.Event())
    queue = Queue(unit.run)
    sender = _Sender(unit, queue.put, stop)
    try:
        with _working:
            sender.close(_worked(unit, sent, stop, sender))
    finally:
        queue.close()


def _worked(unit: Unit, sent: Sent | None, stop: threading.Event, tell: Callable[[Piece], object]) -> End:
    try:
        if sent is not None:
            _shelf().layer(unit.chunk.path, unit.chunk.sha256, lambda path: sent.layer())
        elif not os.path.isfile(unit.chunk.path):
            raise LayerError(
                f"{unit.chunk.path}: no such file where a worker runs; share its folder, or take `send`"
            )
        work_on(unit.chunk, _shelf(), stop, tell)
    except (LayerError, ProblemError, SolverUnavailable, UnsupportedProblem) as error:
        return End(wrong=(type(error), str(error)))
    except Exception as error:
        return End(error=f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
    return End()


def _together(pieces: Sequence[Piece]) -> Piece | None:
    """Pieces of a chunk as one, which is committed at once."""
    if not pieces:
        return None
    records = tuple(record for piece in pieces for record in piece.records)
    files = {name: data for piece in pieces for name, data in piece.files.items()}
    return replace(pieces[0], records=records, files=files)


class _Sender:
    """Hands over what is told, now and then, while the work goes on."""

    def __init__(self, unit: Unit, put: Callable[[bytes], Any], stop: threading.Event) -> None:
        self._unit, self._put, self._stop = unit, put, stop
        self._told: SimpleQueue[Piece | End] = SimpleQueue()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True, name="sender")
        self._thread.start()

    def __call__(self, piece: Piece) -> None:
        self._told.put(piece)

    def close(self, end: End) -> None:
        """Hand over the rest, and how it ended."""
        self._told.put(end)
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        while True:
            told = [self._told.get()]
            try:
                while True:
                    told.append(self._told.get_nowait())
            except Empty:
                pass
            piece = _together([each for each in told if isinstance(each, Piece)])
            end = next((each for each in told if isinstance(each, End)), None)
            try:
                self._put(pickle.dumps(Message(self._unit.number, self._unit.turn, piece, end)))
            except Exception:  # nobody hears this run any more
                self._stop.set()
                return
            if end is not None:
                return
            self._over.wait(EVERY)
