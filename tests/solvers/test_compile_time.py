"""The clock that stands still while numba compiles."""

from __future__ import annotations

from types import SimpleNamespace

from pvq.solvers import compile_time


def test_it_does_not_go_back_where_a_thread_waits_between_two_looks(monkeypatch) -> None:
    times = iter([0.0, 1.0, 2.0, 9.0, 10.0, 11.0, 12.0])
    for name, value in (("_open", set()), ("_depth", {}), ("_spent", 0.0), ("_began", 0.0)):
        monkeypatch.setattr(compile_time, name, value)
    monkeypatch.setattr(compile_time, "_listen", lambda: None)
    monkeypatch.setattr(compile_time, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    told = [compile_time.working_seconds()]  # at 0
    compile_time.started()  # at 1
    told += [compile_time.working_seconds(), compile_time.working_seconds()]  # at 2 and 9
    compile_time.ended()  # at 10
    told.append(compile_time.working_seconds())  # at 11
    assert told == [0.0, 1.0, 1.0, 2.0]
