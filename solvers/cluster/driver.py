"""The run's side of a cluster: which worker gets which chunk, and what becomes of chunks whose worker is lost."""

from __future__ import annotations

import pickle
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from distributed import Future, Queue
from pvq.bounds.errors import ProblemError
from pvq.bounds.stages import part
from pvq.layers.format import load_layer

from ..ledger.go import Told
from ..ledger.work import Chunk
from ..watch import watched
from .connect import ANSWER, Connection
from .worker import Message, Sent, Unit, difference, serve, stop_run, versions

AGAIN = 3
"""How often a chunk is worked on again because its worker was lost."""
ALONE = 60.0
"""Seconds without a worker after which a run ends."""
AHEAD = 64
"""Chunks at hand for each worker: of several it gets one whose layer it has, else of one that nobody is at. A
layer with seven widths has 14 at least, and two workers that go from layer to layer together both prepare each."""
SENT = 2
"""Layers that the cluster keeps for workers that have them sent, beside those that workers are at."""
QUESTION = f"__import__({versions.__module__!r}, fromlist=['versions']).versions()"
"""What each worker is asked before it gets a chunk, in words that need nothing of ours: one that has another
pvq-bound, or none, could not even read a chunk, and dask would end it."""
ENDING = 0.8
"""Seconds in which workers tell what they have proven, once they are asked to stop."""


@dataclass(frozen=True)
class Joined:
    """A worker came."""

    worker: str


@dataclass(frozen=True)
class Answered:
    """A worker said what it has, or why it cannot say."""

    worker: str
    versions: Mapping[str, str] | None
    why: str = ""


@dataclass(frozen=True)
class Left:
    """A worker went."""

    worker: str


@dataclass(frozen=True)
class Broken:
    """A chunk did not begin, or dask has lost it."""

    number: int
    turn: int
    why: str
    refused: bool
    """Whether the worker could not even begin."""


@dataclass(frozen=True)
class Gone:
    """The scheduler does not answer any more."""

    why: str


@dataclass
class _Given:
    """A chunk that was submitted and has not come back."""

    number: int
    line: int
    chunk: Chunk
    turn: int = 0
    lost: int = 0
    told: set[int] = field(default_factory=set)
    worker: str | None = None
    future: Future | None = None

    @property
    def left(self) -> Chunk:
        """The rows that nobody has told of."""
        return replace(self.chunk, rows=tuple(row for row in self.chunk.rows if row not in self.told))

    @property
    def problem(self) -> Hashable:
        return self.chunk.sha256, self.chunk.setting, self.chunk.levels


class Cluster:
    """Workers of a run that are processes elsewhere, one chunk at a time each.

    Parameters
    ----------
    send : layer files are sent to workers, which otherwise read them from their paths.
    stop : of the run.
    """

    grace = ENDING

    def __init__(self, connection: Connection, send: bool, stop: Event) -> None:
        self._at, self._client, self._send, self._stop = connection, connection.client, send, stop
        self._run = f"pvq-{uuid.uuid4().hex}"
        self._versions = dict(versions())
        self._given: dict[int, _Given] = {}
        self._waiting: dict[str, deque[_Given]] = {}
        """By layer, of layers that have some."""
        self._free: dict[str, Hashable] = {}
        """Workers without a chunk, and the problem of their last one."""
        self._busy: dict[str, int] = {}
        self._asked: dict[str, Future] = {}
        """Workers that have not said yet what they have."""
        self._refused: dict[str, str] = {}
        self._sent: dict[str, Future] = {}
        self._ready: deque[Told] = deque()
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._alone_since = time.monotonic()
        self._number, self._worked = 0, False
        self.notes: list[str] = []
        """What became of workers, in sentences."""
        self._queue = Queue(self._run, client=self._client)
        self._closed = Event()
        self._client.subscribe_topic("all", self._on_event)
        for worker in self._client.nthreads():
            self._join(worker)
        Thread(target=self._pump, daemon=True, name="messages").start()

    @property
    def slots(self) -> int:
        return AHEAD * max(1, len(self._free) + len(self._busy))

    def submit(self, line: int, chunk: Chunk) -> None:
        self._number += 1
        self._given[self._number] = given = _Given(self._number, line, chunk)
        self._waiting.setdefault(chunk.sha256, deque()).append(given)
        self._assign()

    def get(self, seconds: float) -> Told | None:
        if not self._ready:
            with suppress(Empty):
                self._hear(self._inbox.get(timeout=seconds))
            self._assign()
            self._check_alone()
        return self._ready.popleft() if self._ready else None

    def stop(self) -> None:
        def tell() -> None:
            with suppress(Exception):  # where the scheduler has gone nobody works for long
                self._client.run(stop_run, self._run, workers=list(self._busy), wait=False, on_error="ignore")

        if self._busy:
            Thread(target=tell, daemon=True, name="stopping").start()  # it waits for workers that do not answer

    def close(self) -> None:
        self._closed.set()
        self._at.close(self._queue.close, soon=self._stop.is_set())

    def _hear(self, event: Any) -> None:
        match event:
            case Message():
                self._take(event)
            case Joined(worker):
                self._join(worker)
            case Answered():
                self._answered(event)
            case Left(worker):
                self._leave(worker)
            case Broken():
                self._mend(event)
            case Gone(why) if not self._closed.is_set():
                raise ProblemError(
                    f"the scheduler at {self._at.where} does not answer any more ({why}); what is proven is kept"
                )

    def _mend(self, broken: Broken) -> None:
        given = self._given.get(broken.number)
        if given is None or given.turn != broken.turn or given.worker is None:
            return
        if broken.refused:
            self._refuse(given, broken.why)
            return
        self._sent.pop(given.chunk.sha256, None)
        self._busy.pop(given.worker, None)
        self._free[given.worker] = None
        self._again(given, broken.why)

    def _take(self, message: Message) -> None:
        given = self._given.get(message.number)
        if given is None:  # by a worker that was taken for lost; the chunk is done
            return
        if message.piece is not None:
            given.told |= {record.row for record in message.piece.records}
            self._ready.append(Told(given.line, given.chunk, message.piece))
        end = message.end
        if end is None or message.turn != given.turn:
            return
        self._worked = True
        if given.worker is not None:
            self._busy.pop(given.worker, None)
            self._free[given.worker] = given.problem
        wrong = None if end.wrong is None else end.wrong[0](end.wrong[1])
        self._done(given, end.error, wrong)

    def _done(self, given: _Given, error: str | None = None, wrong: Exception | None = None) -> None:
        del self._given[given.number]
        self._ready.append(Told(given.line, given.chunk, ended=True, error=error, wrong=wrong))

    def _join(self, worker: str) -> None:
        if worker in self._asked or worker in self._free or worker in self._busy or worker in self._refused:
            return
        future = self._client.submit(eval, QUESTION, workers=[worker], pure=False)
        self._asked[worker] = future
        future.add_done_callback(self._on_answer(worker))

    def _answered(self, answer: Answered) -> None:
        if self._asked.pop(answer.worker, None) is None:  # it has left since
            return
        why = answer.why if answer.versions is None else difference(answer.versions, self._versions)
        if why is not None:
            self._shut_out(answer.worker, why)
            return
        self._free[answer.worker] = None
        part(f"{len(self._free) + len(self._busy)} workers")

    def _leave(self, worker: str) -> None:
        self._refused.pop(worker, None)
        self._asked.pop(worker, None)
        known = self._free.pop(worker, self) is not self
        number = self._busy.pop(worker, None)
        if number is not None:
            self._again(self._given[number], f"worker {worker} was lost")
        if known or number is not None:
            self._alone_since = time.monotonic()

    def _refuse(self, given: _Given, why: str) -> None:
        """A worker gets nothing more; its chunk goes to others, and that is not the chunk's fault."""
        worker = given.worker
        assert worker is not None
        self._busy.pop(worker, None)
        self._shut_out(worker, why)
        self._back(given)

    def _shut_out(self, worker: str, why: str) -> None:
        self._refused[worker] = f"worker {worker} is refused: {why}"
        self._say(self._refused[worker])

    def _again(self, given: _Given, why: str) -> None:
        given.lost += 1
        self._say(why)
        if not given.left.rows:
            self._back(given, submit=False)
            self._done(given)
        elif given.lost > AGAIN:
            self._back(given, submit=False)
            rows = given.left.rows
            self._done(given, f"rows {rows[0]} to {rows[-1]}: given up after {given.lost} losses, the last: {why}")
        else:
            self._back(given)

    def _back(self, given: _Given, submit: bool = True) -> None:
        if given.future is not None:
            given.future.release()
        given.worker, given.future, given.turn = None, None, given.turn + 1
        if submit:
            self._waiting.setdefault(given.chunk.sha256, deque()).appendleft(given)

    def _say(self, note: str) -> None:
        self.notes.append(note)
        part(note)

    def _check_alone(self) -> None:
        """Raise `ProblemError` where nobody is left who could work on what is waiting."""
        if self._free or self._busy or self._asked or not self._given:
            self._alone_since = time.monotonic()
        elif self._refused and not self._worked:
            raise ProblemError(
                f"no worker of {self._at.where} can work on this run: {next(iter(self._refused.values()))}"
            )
        elif time.monotonic() - self._alone_since > ALONE:
            raise ProblemError(f"{self._at.where} has no workers since {ALONE:.0f} s; what is proven is kept")

    def _assign(self) -> None:
        while self._waiting and self._free and not self._stop.is_set():
            worker, last = next(iter(self._free.items()))
            given = self._best(last)
            data = self._data(given.chunk) if self._send else None
            if self._send and data is None:
                return
            del self._free[worker]
            self._busy[worker], given.worker = given.number, worker
            self._waiting[given.chunk.sha256].remove(given)
            if not self._waiting[given.chunk.sha256]:
                del self._waiting[given.chunk.sha256]
            unit = Unit(given.number, given.turn, given.left, self._run)
            future = self._client.submit(
                *(serve, unit, data), workers=[worker], pure=False, key=f"{self._run}-{given.number}-{given.turn}"
            )
            given.future = future
            future.add_done_callback(self._on_done(given.number, given.turn))

    def _best(self, last: Hashable) -> _Given:
        """A chunk of the problem that a worker had last, or of its layer; else of the layer that fewest are at.

        So each layer travels to few workers.
        """
        layer = last[0] if isinstance(last, tuple) else ""
        if layer not in self._waiting:
            at = Counter(self._given[number].chunk.sha256 for number in self._busy.values())
            layer = min(self._waiting, key=at.__getitem__)
        of_layer = self._waiting[layer]
        return next((given for given in of_layer if given.problem == last), of_layer[0])

    def _data(self, chunk: Chunk) -> Future | None:
        """A layer in the cluster; None where the run is stopped meanwhile."""
        if chunk.sha256 in self._sent:
            self._sent[chunk.sha256] = self._sent.pop(chunk.sha256)
            return self._sent[chunk.sha256]
        part(f"sending {chunk.path.stem}")
        future: Future | None = watched(
            lambda: self._client.scatter(Sent.of(load_layer(chunk.path)), hash=False), self._stop
        )
        if future is not None:
            self._sent[chunk.sha256] = future
            at = {self._given[number].chunk.sha256 for number in self._busy.values()} | {chunk.sha256}
            left = [layer for layer in self._sent if layer not in at]
            for layer in left[: max(0, len(left) - SENT)]:
                del self._sent[layer]
        return future

    def _on_event(self, event: Any) -> None:
        told = event[1]
        if isinstance(told, dict) and told.get("action") in ("add-worker", "remove-worker"):
            self._inbox.put((Joined if told["action"] == "add-worker" else Left)(told["worker"]))

    def _on_answer(self, worker: str) -> Callable[[Future], None]:
        def done(future: Future) -> None:
            try:
                self._inbox.put(Answered(worker, future.result(timeout=ANSWER)))
            except Exception as error:  # whatever a worker of another version raises
                self._inbox.put(Answered(worker, None, f"it cannot say what it has: {_words_of(error)}"))

        return done

    def _on_done(self, number: int, turn: int) -> Callable[[Future], None]:
        def done(future: Future) -> None:
            if future.status == "error":
                self._inbox.put(Broken(number, turn, _words_of(future.exception()), refused=True))
            elif future.status != "finished":
                self._inbox.put(Broken(number, turn, "the cluster has lost what was sent", refused=False))

        return done

    def _pump(self) -> None:
        """What workers put into the queue goes to the inbox."""
        try:
            while not self._closed.is_set():
                try:
                    messages = [self._queue.get(timeout=1.0), *self._queue.get(batch=True)]
                except TimeoutError:
                    continue
                for message in messages:
                    self._inbox.put(pickle.loads(message))
        except Exception as error:
            self._inbox.put(Gone(type(error).__name__))


def _words_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
