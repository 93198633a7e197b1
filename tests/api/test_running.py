"""How a run of `pvq.bound` and `pvq.curve` behaves: callbacks, stages, stops, limits, models."""

import signal
import threading

import numpy as np
import pvq
import pytest
from pvq import running
from threadpoolctl import threadpool_info, threadpool_limits


def test_callbacks_are_called_in_the_thread_that_asks(layer):
    told = []
    pvq.bound(
        layer,
        pvq.Quant(bits=3),
        jobs=2,
        progress=lambda row: told.append(("row", threading.current_thread())),
        stage=lambda name: told.append((name, threading.current_thread())),
    )
    assert [name for name, _ in told] == [running.PREPARING, running.ROWS, *["row"] * 6, running.MODEL]
    assert {thread for _, thread in told} == {threading.current_thread()}


def test_an_error_of_a_callback_is_the_caller_s(layer):
    def fail(row):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        pvq.bound(layer, pvq.Quant(bits=3), progress=fail)


def test_blas_has_one_thread_for_the_duration_and_its_own_number_after(layer):
    def counts():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    during = []
    with threadpool_limits(2, user_api="blas"):
        before = counts()  # one of several libraries may not take two threads
        pvq.bound(layer, pvq.Prune(0.5), rows=(0, 2), progress=lambda row: during.append(counts()))
        assert 2 in before
        assert counts() == before
        with pytest.raises(pvq.ProblemError):
            pvq.bound(layer, pvq.Prune(0.5), rows=(7, 9))
        assert counts() == before
    assert during == [{1}, {1}]


def test_an_event_of_the_caller_ends_a_run_and_leaves_signals_alone(layer):
    stop, handlers = threading.Event(), []

    def progress(row):
        handlers.append(signal.getsignal(signal.SIGINT))
        stop.set()

    before = signal.getsignal(signal.SIGINT)
    result = pvq.bound(layer, pvq.Quant(bits=3), stop=stop, progress=progress)
    assert set(handlers) == {before}
    assert [row.status for row in result.rows] == ["optimal"] + ["interrupted"] * 5
    assert [row.reason for row in result.rows] == ["finished"] + ["interrupt"] * 5
    assert (result.reason, result.document["total"]["reason"]) == ("interrupt", "interrupt")
    assert result.model is None
    never = pvq.bound(layer, pvq.Prune(0.5), stop=stop)
    assert (never.status, never.bound_kind, never.lower) == ("interrupted", "none", 0.0)
    assert never.score(never.weights).feasible


def test_preparation_that_hears_nothing_is_left_behind(layer, monkeypatch):
    released, stop = threading.Event(), threading.Event()
    monkeypatch.setattr(running, "prepare", lambda *_: released.wait(60))
    threading.Timer(0.1, stop.set).start()
    try:
        result = pvq.bound(layer, pvq.Quant(bits=3), stop=stop)
    finally:
        released.set()
    assert result.status == "interrupted"
    assert 0 == result.lower < result.upper
    assert result.score(result.weights).feasible


def test_another_thread_can_bound_and_ctrl_c_is_the_main_thread_s(layer):
    found = []
    before = signal.getsignal(signal.SIGINT)
    worker = threading.Thread(target=lambda: found.append(pvq.bound(layer, pvq.Quant(bits=3), rows=(0, 1))))
    worker.start()
    worker.join(120)
    assert found[0].is_optimal
    assert signal.getsignal(signal.SIGINT) is before


def test_many_gram_matrices_are_modelled_where_odds_are_asked_for(monkeypatch):
    rng = np.random.default_rng(0)
    grams = [x.T @ x / 30 for x in rng.standard_normal((3, 30, 4))]
    layer = pvq.Layer("grouped", rng.standard_normal((6, 4)), np.array(grams))
    for most, expected in ((3, True), (2, False)):
        monkeypatch.setattr("pvq.solvers.modelled.GRAMS", most)
        refused = pvq.bound(layer, pvq.Quant(3), solver="rtn").model.refused or ""
        assert ("above 2 Gram matrices" not in refused) == expected
    refused = pvq.bound(layer, pvq.Quant(3), solver="rtn", odds=0.001).model.refused or ""
    assert "Gram matrices" not in refused


def test_the_model_is_of_the_odds_that_are_asked_for(layer, quantized):
    rare = pvq.bound(layer, pvq.Quant(bits=3), odds=1e-9)
    assert (quantized.model.odds, rare.model.odds) == (1e-3, 1e-9)
    assert rare.model.lower < quantized.model.lower
    assert rare.document["total"]["model"] == rare.model.as_json()
    assert pvq.bound(layer, pvq.Prune(0.5), odds=0.01).model is None
    for odds in (0, 1, float("nan")):
        with pytest.raises(pvq.ProblemError, match="`odds` must lie between 0 and 1"):
            pvq.bound(layer, pvq.Quant(bits=3), odds=odds)


def test_a_curve_is_as_good_as_its_points(layer):
    wanted = (0.25, 0.5, 0.75)
    rows = []
    curve = pvq.curve(layer, pvq.Prune(0.9), wanted, methods=(), progress=rows.append)
    assert [each.problem.setting.sparsity for each in curve] == list(wanted)
    assert len(rows) == 3 * 6
    for sparsity, each in zip(wanted, curve, strict=True):
        alone = pvq.bound(layer, pvq.Prune(sparsity), methods=())
        assert each.is_optimal
        assert each.lower <= alone.upper
        assert alone.lower <= each.upper
        assert (each.weights != 0).sum(axis=1).max() <= round(12 * (1 - sparsity))
    uppers = [each.upper for each in curve]
    assert uppers == sorted(uppers)
    joint = pvq.curve(layer, pvq.Joint(pvq.Quant(3), pvq.Prune(0.5)), [0.5], rows=(0, 2))
    assert joint[0].upper >= curve[1].rows[0].upper + curve[1].rows[1].upper - 1e-9


@pytest.mark.parametrize(
    ("problem", "sparsities", "says"),
    [
        (pvq.Prune(0.5), [], "must rise"),
        (pvq.Prune(0.5), [0.5, 0.5], "must rise"),
        (pvq.Prune(0.5), [0.75, 0.5], "must rise"),
        (pvq.Prune(0.5), [0.5, 1.0], "must rise"),
        (pvq.Prune(0.5), [np.nan], "must rise"),
        (pvq.Prune(nm="2:4"), [0.5], "must have a sparsity"),
        (pvq.Quant(3), [0.5], "must have a sparsity"),
        (pvq.Joint(pvq.Quant(3, range="optimal"), pvq.Prune(0.5)), [0.5], "one sparsity"),
    ],
)
def test_what_has_no_curve(layer, problem, sparsities, says):
    with pytest.raises(pvq.ProblemError, match=says):
        pvq.curve(layer, problem, sparsities)


@pytest.mark.parametrize("size", [2.0**-1000, 1e-150, 1e150, 2.0**1000])
def test_the_model_of_a_layer_of_any_size_is_a_number_or_a_reason(layer, tmp_path, size):
    scaled = pvq.Layer.from_gram(layer.weight, layer.grams / layer.grams.max() * size)
    result = pvq.bound(scaled, pvq.Quant(bits=3), methods=())
    result.save(tmp_path / "r.json")  # which refuses what is no number
    assert (result.model.lower is None) == (result.model.refused is not None)
    if result.model.lower is not None:
        assert 0 <= result.model.lower <= result.model.optimum <= result.upper * (1 + 1e-9)


def test_preparation_that_was_cut_short_is_said(monkeypatch, layer):
    assert not any("cut short" in note for note in pvq.bound(layer, pvq.Quant(bits=3), rows=(0, 1)).notes)
    monkeypatch.setattr(running, "prepare", lambda *words: False)
    cut = pvq.bound(layer, pvq.Quant(bits=3), rows=(0, 1))
    assert sum("cut short" in note for note in cut.notes) == 1


def test_an_unchecked_certificate_is_said(layer):
    stop = threading.Event()
    stop.set()
    stopped = pvq.bound(layer, pvq.Quant(bits=3), stop=stop, certify=True)
    assert sum("not checked" in note for note in stopped.notes) == 1
    assert stopped.certificate().lower == 0.0
    assert not any("not checked" in note for note in pvq.bound(layer, pvq.Quant(bits=3), certify=True).notes)
