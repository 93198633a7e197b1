"""Which worker gets which chunk, against a cluster that is played."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from types import SimpleNamespace

import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting
from pvq.layers.format import LayerError
from pvq.solvers.ledger.record import Piece
from pvq.solvers.ledger.work import Chunk, RowSearch

pytest.importorskip("distributed", reason="dask is not installed")
from pvq.solvers.cluster import driver
from pvq.solvers.cluster.worker import End, Message, Unit, versions


class PlayedClient:
    """What the driver asks of dask's client."""

    def __init__(self, workers: list[str]) -> None:
        self.workers, self.given, self.events, self.scattered = workers, [], None, []
        self.answers = {}

    def subscribe_topic(self, topic, handler) -> None:
        self.events = handler

    def nthreads(self) -> list[str]:
        return self.workers

    def submit(self, function, unit, *data, workers, **more):
        if function is eval:
            return Answer(self.answers.get(workers[0], versions()))
        self.given.append((workers[0], unit))
        return SimpleNamespace(release=lambda: None, add_done_callback=lambda call: None)

    def scatter(self, layer, hash):
        self.scattered.append(layer)
        return SimpleNamespace()

    def run(self, *words, **more) -> None: ...


class Answer:
    """What a worker says that it has, or what it breaks with."""

    def __init__(self, answer) -> None:
        self.answer = answer

    def add_done_callback(self, call) -> None:
        call(self)

    def result(self, timeout):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class PlayedQueue:
    def __init__(self, name, client) -> None:
        self.messages: SimpleQueue[bytes] = SimpleQueue()

    def get(self, timeout=None, batch=False):
        if batch:
            return []
        try:
            return self.messages.get(timeout=0.02)
        except Empty:
            raise TimeoutError from None

    def close(self) -> None: ...


def chunk(number: int = 1, layer: str = "a", bits: int = 3, rows: int = 4) -> Chunk:
    path, setting = Path(f"{layer}.npz"), Setting("quant", bits=bits)
    return Chunk(number, path, layer, setting, None, 0, rows, tuple(range(rows)), 1, RowSearch())


class Played:
    """A driver with workers that do what a test says."""

    def __init__(self, monkeypatch, workers: list[str], send: bool = False, answers=None) -> None:
        monkeypatch.setattr(driver, "Queue", PlayedQueue)
        monkeypatch.setattr(driver, "load_layer", lambda path: path.stem)
        monkeypatch.setattr(driver.Sent, "of", lambda layer: layer)
        self.client = PlayedClient(workers)
        self.client.answers = answers or {}
        where = SimpleNamespace(
            client=self.client, ours=None, where="tcp://played", close=lambda last, soon: last()
        )
        self.driver = driver.Cluster(where, send, threading.Event())
        assert self.heard() == []  # what workers have

    @property
    def last(self) -> tuple[str, Unit]:
        return self.client.given[-1]

    def tell(self, unit: Unit, rows=(), end: End | None = None) -> None:
        records = tuple(SimpleNamespace(row=row) for row in rows)
        piece = Piece(unit.chunk.id, records, {}) if rows else None
        self.driver._inbox.put(Message(unit.number, unit.turn, piece, end))

    def event(self, action: str, worker: str) -> None:
        self.client.events((0.0, {"action": action, "worker": worker}))

    def heard(self) -> list:
        told, silent = [], 0
        while silent < 12:
            found = self.driver.get(0.01)
            silent = silent + 1 if found is None else 0
            told += [] if found is None else [found]
        return told


@pytest.fixture
def played(monkeypatch):
    made = []

    def make(*workers: str, **more) -> Played:
        made.append(Played(monkeypatch, list(workers), **more))
        return made[-1]

    yield make
    for each in made:
        each.driver.close()


def test_a_lost_worker_s_chunk_goes_on_elsewhere_with_the_rows_that_are_left(played) -> None:
    play = played("a", "b")
    play.driver.submit(7, chunk())
    worker, unit = play.last
    play.tell(unit, rows=(0, 2))
    assert [told.piece is not None for told in play.heard()] == [True]
    play.event("remove-worker", worker)
    assert play.heard() == []
    other, again = play.last
    assert other != worker
    assert again.chunk.rows == (1, 3)
    play.tell(unit, rows=(1,), end=End())  # by the lost one, which was only slow
    assert [(told.line, told.ended) for told in play.heard()] == [(7, False)]
    play.tell(again, rows=(1, 3), end=End())
    assert [(told.ended, told.error) for told in play.heard()] == [(False, None), (True, None)]
    assert play.driver.notes == [f"worker {worker} was lost"]


def test_a_chunk_that_costs_a_worker_each_time_is_given_up_and_others_go_on(played) -> None:
    play = played("a", "b")
    play.driver.submit(1, chunk(1, "deadly"))
    play.driver.submit(2, chunk(2, "good"))
    good = play.last[1]
    seen = []
    for turn in range(driver.AGAIN + 1):
        worker, unit = next(each for each in reversed(play.client.given) if each[1].chunk.sha256 == "deadly")
        assert unit.turn == turn
        play.event("remove-worker", worker)
        play.event("add-worker", f"new {turn}")
        seen += play.heard()
    assert [(told.line, told.ended) for told in seen] == [(1, True)]
    assert "rows 0 to 3: given up after 4 losses" in str(seen[0].error)
    play.tell(good, rows=range(4), end=End())
    assert [told.error for told in play.heard()] == [None, None]
    assert play.driver.get(0.0) is None


def test_a_worker_gets_a_chunk_of_the_layer_that_it_has(played) -> None:
    play = played("w")
    play.driver.submit(0, chunk(1, "a", 3))
    for number, (layer, bits) in enumerate((("b", 3), ("a", 4), ("a", 3)), 2):
        play.driver.submit(0, chunk(number, layer, bits))
    order = [play.last[1].chunk.id]
    while len(order) < 4:
        play.tell(play.last[1], end=End())
        play.heard()
        order.append(play.last[1].chunk.id)
    assert order == [1, 4, 3, 2]


def test_workers_spread_over_layers(played) -> None:
    play = played()
    for number, layer in enumerate("aaaabb", 1):
        play.driver.submit(0, chunk(number, layer))
    for worker in "uvwx":
        play.event("add-worker", worker)
    play.heard()
    assert sorted(unit.chunk.sha256 for _, unit in play.client.given) == ["a", "a", "b", "b"]


def test_a_layer_is_sent_once_as_long_as_a_worker_is_at_it(played) -> None:
    """More workers than layers that are kept for nobody, two chunks of a layer each."""
    play = played("u", "v", "w", "x", send=True)
    for number, layer in enumerate("abcdabcd", 1):
        play.driver.submit(0, chunk(number, layer))
    for _, unit in play.client.given[:4]:
        play.tell(unit, end=End())
    play.heard()
    assert [unit.chunk.sha256 for _, unit in play.client.given] == [*"abcdabcd"]
    assert play.client.scattered == [*"abcd"]
    for _, unit in play.client.given[4:]:
        play.tell(unit, end=End())
    play.heard()
    for number, layer in enumerate("eda", 9):  # with "e", all but the last two are given up
        play.driver.submit(0, chunk(number, layer))
    assert play.client.scattered == [*"abcdea"]


def test_a_worker_of_other_versions_gets_nothing(played) -> None:
    """One that has no pvq-bound could not read a chunk, so that it is asked before."""
    other = {**versions(), "numpy": "1"}
    answers = {"a": other, "b": ModuleNotFoundError("No module named 'pvq'"), "c": {**versions(), "code": "0"}}
    play = played("a", "b", answers=answers)
    play.driver.submit(0, chunk())
    with pytest.raises(ProblemError, match=r"no worker of tcp://played can work on this run: .*: it has numpy"):
        play.heard()
    play.event("add-worker", "c")
    play.event("add-worker", "d")
    play.heard()
    assert [worker for worker, _ in play.client.given] == ["d"]
    assert [note.split(": ", 1)[1] for note in play.driver.notes] == [
        f"it has numpy 1, and this run numpy {versions()['numpy']}",
        "it cannot say what it has: ModuleNotFoundError: No module named 'pvq'",
        f"it has another pvq-bound, and this run code {versions()['code']}",
    ]


def test_workers_that_have_gone_are_waited_for_a_while(played, monkeypatch) -> None:
    play = played("a")
    play.driver.submit(0, chunk())
    play.event("remove-worker", "a")
    assert play.heard() == []
    play.event("add-worker", "b")
    play.heard()
    assert play.last[0] == "b"
    play.event("remove-worker", "b")
    monkeypatch.setattr(driver, "ALONE", 0.0)
    with pytest.raises(ProblemError, match="has no workers"):
        play.heard()


def test_what_dask_has_lost_is_sent_again_and_what_it_cannot_begin_refuses_the_worker(played) -> None:
    play = played("a")
    play.driver.submit(0, chunk())
    unit = play.last[1]
    play.driver._inbox.put(driver.Broken(unit.number, unit.turn, "the layer is lost", refused=False))
    assert play.heard() == []
    again = play.last[1]
    assert (again.turn, again.chunk) == (1, unit.chunk)
    play.driver._inbox.put(driver.Broken(unit.number, unit.turn, "old news", refused=True))
    assert play.heard() == []
    play.driver._inbox.put(driver.Broken(again.number, again.turn, "ImportError: no pvq", refused=True))
    with pytest.raises(ProblemError, match="worker a is refused: ImportError: no pvq"):
        play.heard()


def test_faults_of_a_chunk_and_of_the_run_are_told_apart(played) -> None:
    play = played("a")
    play.driver.submit(0, chunk())
    play.tell(play.last[1], end=End(error="MemoryError: much"))
    assert [(told.error, told.wrong) for told in play.heard()] == [("MemoryError: much", None)]
    play.driver.submit(0, chunk())
    play.tell(play.last[1], end=End(wrong=(LayerError, "x.npz: has changed")))
    (told,) = play.heard()
    assert isinstance(told.wrong, LayerError)
    assert str(told.wrong) == "x.npz: has changed"


def test_units_and_messages_travel() -> None:
    unit = Unit(1, 0, replace(chunk(), levels=(0.5, 1.0)), "run")
    assert pickle.loads(pickle.dumps(unit)) == unit
    message = Message(1, 0, None, End(wrong=(LayerError, "gone")))
    assert pickle.loads(pickle.dumps(message)) == message
