"""A run goes on: chunks are handed to workers, and what they tell is committed when it comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from pvq.bounds.stages import part
from pvq.layers.format import LayerError, load_layer

from ..watch import GRACE, leave
from .agenda import Agenda
from .ledger import Ledger
from .record import Piece
from .work import Chunk, RowSearch, Shelf, work_on

POLL = 0.05
"""Seconds between two looks at the stop event."""


@dataclass(frozen=True)
class Told:
    """What comes from a worker: rows of a chunk, or its end."""

    line: int
    chunk: Chunk
    piece: Piece | None = None
    ended: bool = False
    error: str | None = None
    """Why the chunk could not be worked on; the others go on."""
    wrong: BaseException | None = None
    """What ends the run."""


class Workers(Protocol):
    """Who works on chunks."""

    grace: float
    """Seconds in which they tell what they have proven, once they are to end."""

    @property
    def slots(self) -> int:
        """Chunks that they take at a time, those that wait at hand included."""

    def submit(self, line: int, chunk: Chunk) -> None:
        """Have a chunk worked on."""

    def get(self, seconds: float) -> Told | None:
        """What was told next, None after so many seconds."""

    def stop(self) -> None:
        """Have them end soon."""

    def close(self) -> None:
        """Leave them."""


class Threads:
    """Workers that are threads of this process: kernels release the interpreter."""

    grace = GRACE

    def __init__(self, jobs: int) -> None:
        self.slots = jobs
        self._todo: SimpleQueue[tuple[int, Chunk] | None] = SimpleQueue()
        self._told: SimpleQueue[Told] = SimpleQueue()
        self._stop, self._shelf = threading.Event(), Shelf()
        self._threads = [
            threading.Thread(target=self._serve, daemon=True, name=f"worker {i}") for i in range(jobs)
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self) -> None:
        while (given := self._todo.get()) is not None:
            line, chunk = given

            def tell(piece: Piece, line: int = line, chunk: Chunk = chunk) -> None:
                self._told.put(Told(line, chunk, piece))

            try:
                part(f"{chunk.path.stem}, rows {chunk.first} to {chunk.stop - 1}")
                work_on(chunk, self._shelf, self._stop, tell)
            except BaseException as error:
                self._told.put(Told(line, chunk, ended=True, wrong=error))
            else:
                self._told.put(Told(line, chunk, ended=True))

    def submit(self, line: int, chunk: Chunk) -> None:
        self._todo.put((line, chunk))

    def get(self, seconds: float) -> Told | None:
        try:
            return self._told.get(timeout=seconds)
        except Empty:
            return None

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join(GRACE)
            if thread.is_alive():  # a compiled kernel hears nothing: the process ends without it
                leave(thread)


def check_layers(ledger: Ledger) -> None:
    """Look whether the layers are those of the run: by size and time, and by their numbers where these differ.

    Raises
    ------
    LayerError
        A file is gone, or has changed since the run was made.
    """
    for layer in ledger.layers:
        if layer.skipped is not None:
            continue
        try:
            found = layer.path.stat()
        except OSError as error:
            raise LayerError(f"{layer.path}: {error.strerror or error}; the run needs its layer files") from None
        if (found.st_size, found.st_mtime_ns) == (layer.bytes, layer.changed):
            continue
        part(f"reading {layer.name}")
        if load_layer(layer.path).sha256 != layer.sha256:
            raise LayerError(f"{layer.path}: has changed since the run was made")


def go_on(
    ledger: Ledger,
    search: RowSearch,
    workers: Workers,
    stop: threading.Event,
    full: bool = False,
    progress: Callable[[int], object] = lambda rows: None,
) -> None:
    """Work until nothing is due; a row's result is committed when it is there.

    Parameters
    ----------
    ledger : open for writing.
    full : bound both sides of a pair, also where its verdict is proven.
    stop : ends it soon; what is proven by then is kept.
    progress : called with the number of rows that got a result, now and then.
    """
    agenda = Agenda(ledger, search, full)
    out = 0
    try:
        while not stop.is_set():
            while out < workers.slots and (given := agenda.next()) is not None:
                ledger.cleared(given[1].id)
                workers.submit(*given)
                out += 1
            if out == 0:
                return
            told = workers.get(POLL)
            if told is not None:
                out -= _take(ledger, agenda, told, progress)
        workers.stop()
        end = time.monotonic() + workers.grace
        while out and time.monotonic() < end:
            told = workers.get(POLL)
            if told is not None and told.wrong is None:
                out -= _take(ledger, agenda, told, progress)
    finally:
        workers.stop()
        workers.close()


def _take(ledger: Ledger, agenda: Agenda, told: Told, progress: Callable[[int], object]) -> int:
    """Commit what was told; how many chunks have come back."""
    if told.wrong is not None:
        raise told.wrong
    if told.piece is not None:
        ledger.record(told.piece)
        progress(len(told.piece.records))
    if not told.ended:
        return 0
    if told.error is not None:
        ledger.failed(told.chunk.id, told.error)
    agenda.came_back(told.line)
    return 1
