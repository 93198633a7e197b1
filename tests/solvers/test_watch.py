"""Work in a thread that can be left behind, and the calls that it has made where its caller is."""

import sys
import time
from threading import Event, Timer, current_thread

import pytest
from pvq.solvers.watch import HURRY, USUAL, Calls, ahead, is_work_left, unhurried, watched, work_left


def wait_for_the_rest():
    end = time.monotonic() + 20
    while is_work_left() and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_work_left()


def test_calls_are_made_in_the_waiting_thread_one_at_a_time():
    calls, made = Calls(), []

    def work():
        for number in range(3):
            calls.make(lambda number=number: made.append((number, current_thread())))
            assert len(made) == number + 1  # it waits until the call is made
        return current_thread()

    other = watched(work, Event(), calls=calls)
    assert made == [(number, current_thread()) for number in range(3)]
    assert other is not current_thread()


def test_the_error_of_a_call_goes_through_the_work_to_the_caller():
    calls, seen = Calls(), []

    def fail():
        raise LookupError("theirs")

    def work():
        try:
            calls.make(fail)
        finally:
            seen.append(True)

    with pytest.raises(LookupError, match="theirs"):
        watched(work, Event(), calls=calls)
    assert seen == [True]


def test_work_that_was_left_behind_makes_no_calls_and_ends():
    calls, stop, go, made, ended = Calls(), Event(), Event(), [], Event()

    def work():
        go.wait()
        calls.make(lambda: made.append(1))
        ended.set()

    Timer(0.05, stop.set).start()
    assert watched(work, stop, grace=0.05, calls=calls) is None
    assert is_work_left()
    go.set()
    assert ended.wait(20)
    assert made == []
    wait_for_the_rest()


def test_work_that_hears_the_event_has_its_grace():
    stop = Event()

    def work():
        stop.wait()
        time.sleep(0.1)
        return "proven so far"

    Timer(0.05, stop.set).start()
    assert watched(work, stop, grace=60) == "proven so far"


def test_an_error_where_the_caller_waits_tells_the_work_to_stop(monkeypatch):
    stop = Event()
    monkeypatch.setattr(Calls, "serve", lambda self, seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        watched(lambda: stop.wait(60), stop)
    assert stop.is_set()
    monkeypatch.undo()
    wait_for_the_rest()


def test_work_without_time_is_left_behind_and_work_in_time_is_not():
    go, seconds = Event(), iter([2.0, 1.0, 0.0])
    assert watched(go.wait, Event(), left=lambda: next(seconds)) is None
    assert is_work_left()
    go.set()
    wait_for_the_rest()
    assert watched(lambda: "done", Event(), left=lambda: 1.0) == "done"


def test_threads_take_short_turns_while_an_interrupt_waits_for_its_answer():
    stop, go = Event(), Event()
    stop.set()
    try:
        assert watched(go.wait, stop, grace=0.01) is None
        unhurried()
        assert sys.getswitchinterval() == pytest.approx(HURRY)
        go.set()
        wait_for_the_rest()
        unhurried()
        assert sys.getswitchinterval() == pytest.approx(USUAL)
    finally:
        sys.setswitchinterval(USUAL)


def test_a_process_does_not_end_in_the_usual_way_while_work_ahead_goes_on():
    go = Event()
    ahead(go.wait)
    assert is_work_left()
    assert work_left() == 0  # nobody has left it behind: it takes no place of work that is
    go.set()
    wait_for_the_rest()
