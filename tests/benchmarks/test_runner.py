"""Solvers that crash, hang, eat memory or lie: the others go on, and the outcome says what happened."""

import json
import os
import threading

import pytest
from pvq.benchmarks import runner
from pvq.benchmarks.cases import read_list
from pvq.benchmarks.library import load
from pvq.benchmarks.session import Session

CASE = {
    "name": "small",
    "layer": "efficientnet_lite0.blocks.4.expand",
    "rows": "0:1",
    "inputs": "0:4",
    "method": "quant",
    "bits": 2,
}


def session(case_list, solvers, jobs=1, **words):
    read = read_list(str(case_list([{**CASE, "solvers": solvers, **words}])))
    made = Session(["list"], read.tasks, jobs)
    made.run(threading.Event())
    return made


def test_every_misbehaviour_has_its_outcome_and_the_others_go_on(plugins, case_list, monkeypatch):
    monkeypatch.setattr(runner, "grace", lambda limit: 0.5)
    expected = {
        "good": ("bound_only", ""),
        "crashes": ("crashed", "signal SIGABRT: libsolver: assertion failed"),
        "hangs": ("hung", "deaf to its limit"),
        "raises": ("error", "RuntimeError: matrix is not positive definite"),
        "licence": ("licence", "too small for 8 variables"),
        "absent": ("missing", "not installed: needs no_such_module_at_all"),
        "toohigh": ("wrong", "above a feasible e(x)"),
        "liar": ("wrong", "says that e(x) is 1e-09"),
        "offgrid": ("wrong", "violates the constraints"),
        "late": ("time_limit", "solved, but in"),
        "cutoff": ("time_limit", "after 3e+03 nodes, about 4e+04 more to the end (modelled)"),
        "goood": ("unknown", "did you mean 'good'?"),
        "brute": ("optimal", ""),
    }
    solvers = [
        {**CASE, "solvers": list(expected)},
        {**CASE, "name": "next", "rows": [7], "solvers": ["crashes", "good"]},
    ]
    read = read_list(str(case_list(solvers, defaults={"time_limit": 0.3})))
    made = Session(["list"], read.tasks, jobs=2)
    made.run(threading.Event())
    assert len(made.runs) == len(expected) + 2
    for run in made.runs:
        outcome, why = expected[run.solver]
        assert (run.outcome, why in run.why) == (outcome, True), run
        assert "\n" not in run.why
    scores = {(s.instance, s.solver): s for s in made.scores()}
    for name, (outcome, _) in expected.items():
        score = scores["small.r0", name]
        assert score.refused is (outcome in ("licence", "missing", "unknown"))
        assert score.solved is (outcome == "optimal")
        assert score.solved or score.refused or name == "good" or score.seconds == 0.3  # counted at the limit
        assert score.gap == 1 or name in ("good", "brute", "late", "cutoff")
    # nobody's x is better than the optimum, which enumeration found, liars notwithstanding
    optimum = next(run.upper for run in made.runs if run.solver == "brute")
    assert made.best["small.r0"] == optimum


def test_a_solver_that_eats_memory_is_ended_and_the_next_row_goes_on(plugins, case_list):
    made = session(case_list, ["eats", "good"], time_limit=100, memory=0.5)
    assert [run.outcome for run in made.runs] == ["memory", "bound_only"]
    assert made.runs[0].why == "ended above 0.5 GB"
    assert 0.5 < made.runs[0].memory < 4


def test_errors_are_recomputed_and_agree_between_engines(case_list):
    made = session(case_list, ["bnb", "brute"], jobs=2, repetitions=2, time_limit=300)
    assert {run.outcome for run in made.runs} == {"optimal"}
    assert len(made.runs) == 4
    for run in made.runs:
        assert run.upper == pytest.approx(made.best[run.instance], rel=1e-9)
        assert run.upper == pytest.approx(made.problems[run.instance].error(run.x), rel=1e-12)
        assert 0 < run.memory < 4


def test_steps_close_in_on_the_optimum(case_list):
    case = {**CASE, "inputs": "0:40", "bits": 4, "layer": "efficientnet_lite0.blocks.9.expand"}
    case |= {"solvers": ["gurobi"], "time_limit": 2}
    pytest.importorskip("gurobipy")
    made = Session(["list"], read_list(str(case_list([case]))).tasks)
    made.run(threading.Event(), steps=True)
    for run in made.runs:
        times, lowers, uppers = zip(*run.steps, strict=True)
        assert list(times) == sorted(times)
        assert list(lowers) == sorted(lowers)
        assert all(lower <= run.upper * (1 + 1e-6) for lower in lowers)
        assert all(upper >= run.lower * (1 - 1e-6) for upper in uppers)


def test_stop_ends_what_runs_and_starts_nothing_more(plugins, case_list):
    read = read_list(str(case_list([{**CASE, "solvers": ["hangs", "good"], "time_limit": 100}])))
    made, stop = Session(["list"], read.tasks), threading.Event()
    before = set(_children())
    threading.Timer(1.5, stop.set).start()
    made.run(stop)
    assert made.runs == []
    assert set(_children()) <= before


def _children():
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        return file.read().split()


def test_hash_that_does_not_match_is_an_outcome(case_list):
    from dataclasses import replace

    read = read_list(str(case_list([{**CASE, "solvers": ["brute"]}])))
    tasks = list(read.tasks)
    tasks[0] = replace(tasks[0], instance=replace(tasks[0].instance, sha256="0" * 64))
    made = Session(["list"], tasks)
    made.run(threading.Event())
    assert [run.outcome for run in made.runs] == ["instance"]
    assert "its hash is not the library's" in made.runs[0].why


def test_ctrl_c_prints_what_is_there_and_is_exit_130(plugins, case_list, cli, tmp_path):
    file = case_list([{**CASE, "solvers": ["brute", "interrupts"], "time_limit": 100}])
    record = tmp_path / "run.json"
    ended = cli("bench", file, "--quiet", "--json", record)
    assert ended.code == 130
    assert "1 of 1" in ended.out
    assert [result["solver"] for result in json.loads(record.read_text())["results"]] == ["brute"]


def test_a_library_whose_hash_does_not_match_is_said_and_the_others_go_on(cli, tmp_path):
    manifest = load()
    two = [words for words in manifest["instances"] if words["name"] in ("b9-16-q2-r0", "b9-16-q3-r0")]
    two[0] = {**two[0], "sha256": "0" * 64}
    file = tmp_path / "library.json"
    file.write_text(json.dumps({**manifest, "instances": two}))
    before = file.read_bytes()
    ended = cli("bench", "library", "--library", file, "--solver", "bnb", "--quiet", "--update")
    assert ended.code == 0, ended.err
    assert "1 of 2" in ended.out
    assert "its hash is not the library's" in ended.out
    assert json.loads(before)["instances"][0] == json.loads(file.read_text())["instances"][0]
