"""Layers that a seed makes, and rows that are solved at once."""

import threading

import numpy as np
import pytest
from pvq.benchmarks.cases import read_list
from pvq.benchmarks.made import made_layer
from pvq.benchmarks.session import Session
from pvq.bounds.errors import ProblemError

CASE = {
    "name": "small",
    "layer": "made:48x6:3",
    "rows": "0:4",
    "method": "prune",
    "sparsity": 0.75,
    "solvers": ["bound"],
    "time_limit": 300,
}


def test_a_name_is_one_layer():
    one, same, other = (made_layer(name) for name in ("made:40x5:1", "made:40x5:1", "made:40x5:2"))
    assert one.weight.shape == (5, 40)
    assert one.samples == 160
    assert one.sha256 == same.sha256 != other.sha256


def test_inputs_are_correlated_and_some_are_outliers():
    h = made_layer("made:200x1:0").grams[0]
    assert np.linalg.eigvalsh(h)[0] > 0
    power = np.sqrt(np.diag(h))
    assert (power > 8 * np.median(power)).sum() >= 4
    scaled = h / np.outer(power, power)
    spectrum = np.linalg.eigvalsh(scaled)[::-1]
    assert spectrum[:20].sum() > 0.3 * spectrum.sum()  # a tenth of the directions, even ones would have a tenth
    assert spectrum[-1] < 0.05 * spectrum.mean()


def test_a_gaussian_layer_is_ill_conditioned():
    layer = made_layer("gaussian:64x3:0")
    assert layer.weight.shape == (3, 64)
    assert np.abs(layer.weight).max() <= 1 / 8
    assert 1e4 < np.linalg.cond(layer.grams[0]) < 1e9


@pytest.mark.parametrize("name", ["made:40x5", "made:2x5:1", "made:40x0:1", "made:99999x1:1", "made:40x5:-1"])
def test_other_names_are_refused(name):
    with pytest.raises(ProblemError, match=r"made:INPUTSxROWS:SEED"):
        made_layer(name)


def ran(case_list, **words):
    read = read_list(str(case_list([{**CASE, **words}])))
    session = Session(["list"], read.tasks)
    session.run(threading.Event())
    return session


def test_rows_that_are_solved_at_once_have_the_bounds_of_rows_alone(case_list):
    together, alone = ran(case_list, together=True), ran(case_list)
    assert [run.outcome for run in together.runs] == ["bound_only"] * 4
    assert len({run.prepare for run in together.runs}) == 1  # one solve, whatever row is asked for
    for one, other in zip(together.runs, alone.runs, strict=True):
        assert 0 < one.lower <= one.upper
        assert one.lower == pytest.approx(other.lower, rel=0.02)
    assert {result["together"] for result in together.document()["results"]} == {4}
    assert {result["together"] for result in alone.document()["results"]} == {0}


def test_lower_ends_alone_hold_and_have_other_points(case_list):
    solvers = ["bound", {"solver": "bound", "label": "lower ends", "points": False}]
    session = ran(case_list, together=True, solvers=solvers)
    by = {(run.instance, run.solver): run for run in session.runs}
    assert len(by) == 8
    for row in range(4):
        both, lower = (by[f"small.r{row}", label] for label in ("bound", "lower ends"))
        assert 0 < lower.lower <= both.upper < lower.upper
    with pytest.raises(ProblemError, match="bound alone can leave out points"):
        read_list(str(case_list([{**CASE, "solvers": [{"solver": "bnb", "points": False}]}])))


def test_a_run_with_others_stands_for_no_run_alone(case_list, tmp_path):
    together = ran(case_list, together=True)
    record = tmp_path / "run.json"
    together.save(record)
    same = Session(["list"], together.tasks)
    same.take_over(record)
    assert not same.waiting
    alone = Session(["list"], read_list(str(case_list([CASE]))).tasks)
    alone.take_over(record)
    assert len(alone.waiting) == 4


def test_together_is_true_or_false(case_list):
    with pytest.raises(ProblemError, match="together must be true or false"):
        read_list(str(case_list([{**CASE, "together": 64}])))


def test_figures_of_rows_together(case_list):
    from pvq.benchmarks.summary import measure

    session = ran(case_list, together=True)
    scores = session.scores()
    lower, best = sum(run.lower for run in session.runs), sum(run.upper for run in session.runs)
    got = {
        name: measure(scores, {"solver": "bound", "measure": name})
        for name in ("total_closed", "prepare", "memory", "cpu", "prepare_cpu", "layer:0", "layer:100")
    }
    assert got["total_closed"] == pytest.approx(lower / best)
    assert got["prepare"] == session.runs[0].prepare
    assert 0.05 < got["memory"] < 4
    first = session.runs[0]
    assert 0 <= first.cpu == got["cpu"]
    assert 0 < first.prepare_cpu == got["prepare_cpu"] == got["layer:0"]
    assert got["layer:100"] == pytest.approx(first.prepare_cpu + 100 * first.cpu)


def test_the_list_of_large_layers_is_one():
    tasks = read_list("large").tasks
    assert {str(task.instance.layer).split("x")[0] for task in tasks} == {"made:1024", "made:2048", "made:4096"}
    assert all(task.instance.row in task.instance.together for task in tasks)
