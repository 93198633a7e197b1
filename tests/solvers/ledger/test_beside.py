"""What a run keeps beside its bounds: the volume model of quantized layers, made once, never part of proofs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import numpy as np
import pvq
import pytest
from pvq.bounds.errors import ProblemError
from pvq.layers.format import Layer, save_layer
from pvq.solvers import modelled
from pvq.solvers.ledger import beside
from pvq.solvers.ledger.schema import NAME

ODDS = 0.01
SEARCH = {"solver": "bnb", "time_limit": None}


def layer_of(seed: int = 0, outlier: float | None = None, name: str = "a") -> Layer:
    """Random weights, which the model covers."""
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=(60, 8)), rng.normal(size=(24, 8))
    if outlier is not None:
        weight[0, 0] = outlier
    return Layer(name, weight, x.T @ x / 60)


def run_of(folder, method="quant", **more) -> pvq.Ledger:
    file = save_layer(folder / "a.npz", more.pop("layer", layer_of()))
    return pvq.Ledger.create(folder / "run", file, method, bits=[3], **more)


def total_of(run: pvq.Ledger) -> dict:
    return run.document()["total"]


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group:4"])
def test_the_model_is_that_of_the_layer_alone(tmp_path, granularity) -> None:
    run = run_of(tmp_path, granularity=granularity)
    run.go(**SEARCH, odds=ODDS)
    alone = pvq.bound(layer_of(), pvq.Quant(3, granularity=granularity), **SEARCH, odds=ODDS).document["total"]
    assert total_of(run)["model"] == alone["model"]
    assert total_of(run)["lower"] == alone["lower"]
    assert (alone["model"]["refused"] is None) == (granularity != "group:4")


def test_both_sides_of_a_pair_are_what_they_are_without_it(tmp_path) -> None:
    run = run_of(tmp_path, "both")
    run.go(**SEARCH, full=True)
    pair = run.document()["layers"][0]["pairs"][0]
    assert pair["quant"]["model"]["refused"] is None
    assert 0 < pair["quant"]["model"]["lower"] <= pair["quant"]["upper"]
    assert "model" not in pair["prune"]
    alone = pvq.compare(layer_of(), [3], solver="bnb", time_limit=None, full=True).document["layers"][0]["pairs"][
        0
    ]
    assert pair["verdict"] == alone["verdict"]
    assert pair["quant"]["model"]["lower"] == pytest.approx(alone["quant"]["model"]["lower"])


def test_it_is_made_once_and_again_for_other_odds(tmp_path, monkeypatch) -> None:
    run = run_of(tmp_path)
    asked = []

    def counted(problem, odds, *rest):
        asked.append(odds)
        return modelled.modelled(problem, odds, *rest)

    monkeypatch.setattr(beside, "modelled", counted)
    for odds in (None, None, 0.001, ODDS, None, ODDS):
        run.go(**SEARCH, odds=odds)
    assert asked == [None, ODDS]  # 0.001 are the usual ones
    assert total_of(run)["model"]["odds"] == ODDS


def test_what_it_was_made_of_may_be_gone(tmp_path) -> None:
    run = run_of(tmp_path)
    run.go(**SEARCH)
    (tmp_path / "a.npz").unlink()
    assert total_of(pvq.Ledger(tmp_path / "run"))["model"]["refused"] is None


def test_without_all_rows_it_says_that_it_is_not_made(tmp_path, monkeypatch) -> None:
    run = run_of(tmp_path)
    monkeypatch.setattr(beside, "look_beside", lambda *rest: [])
    run.go(**SEARCH)
    assert run.status()["models"] == {"stated": 0, "refused": 0, "not_made": 1}
    model = total_of(run)["model"]
    assert (model["lower"], model["refused"]) == (None, beside.NOT_YET)
    monkeypatch.undo()
    run.go(**SEARCH)
    assert run.status()["models"] == {"stated": 1, "refused": 0, "not_made": 0}
    assert total_of(run)["model"]["lower"] > 0


def test_where_it_takes_long_it_is_made_for_those_who_ask(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(modelled, "MODELLED", 4)
    run = run_of(tmp_path)
    run.go(**SEARCH)
    assert "--odds 0.001 asks for it" in total_of(run)["model"]["refused"]
    run.go(**SEARCH, odds=0.001)
    assert total_of(run)["model"]["refused"] is None


def test_an_end_that_is_proven_later_holds_its_prediction(tmp_path) -> None:
    run = run_of(tmp_path)
    run.go(solver="bound", time_limit=1.0)
    run.go(**SEARCH)
    total = total_of(run)
    assert total["lower"] * (1 - 1e-9) <= total["model"]["optimum"] <= total["upper"]


def test_a_layer_that_cannot_be_read_any_more_ends_no_run(tmp_path, monkeypatch) -> None:
    run = run_of(tmp_path)

    class Gone:
        def layer(self, *rest):
            raise beside.LayerError("a.npz: No such file or directory")

    monkeypatch.setattr(beside, "Shelf", Gone)
    ended = run.go(**SEARCH)
    assert ended["notes"] == ["a: no volume model, a.npz: No such file or directory"]
    assert ended["known"] == 24


def test_pruned_rows_have_none_and_take_no_odds(tmp_path) -> None:
    file = save_layer(tmp_path / "a.npz", layer_of())
    run = pvq.Ledger.create(tmp_path / "run", file, "prune", sparsity=[0.5])
    run.go(**SEARCH)
    assert "model" not in total_of(run)
    assert "models" not in run.status()
    with pytest.raises(ProblemError, match="method quant or both"):
        run.go(odds=ODDS)
    with pytest.raises(ProblemError, match="between 0 and 1"):
        run.go(odds=2.0)


def test_joint_rows_say_what_would_be_covered(tmp_path) -> None:
    file = save_layer(tmp_path / "a.npz", layer_of())
    run = pvq.Ledger.create(tmp_path / "run", file, "joint", bits=[3], sparsity=[0.5])
    run.go(solver="bound", time_limit=1.0)
    assert "the same grid alone is covered" in total_of(run)["model"]["refused"]


def test_outliers_that_set_the_scale_of_all_are_kept(tmp_path) -> None:
    run = run_of(tmp_path, layer=layer_of(outlier=40.0))
    run.go(**SEARCH)
    alone = pvq.bound(layer_of(outlier=40.0), pvq.Quant(3), **SEARCH).document["total"]
    assert total_of(run)["outliers_db"] == alone["outliers_db"] > 3
    assert run.status()["outliers"] == {"layers": 1, "of": 1, "most_db": alone["outliers_db"]}


@pytest.mark.parametrize(
    "kept",
    [{"model": "yes"}, {"model": {"lower": 1.0}}, {"outliers_db": -3.0}, {"outliers_db": "many"}],
)
def test_what_was_altered_is_one_line(tmp_path, kept) -> None:
    run = run_of(tmp_path)
    run.go(**SEARCH)
    with closing(sqlite3.connect(tmp_path / "run" / NAME)) as database, database:
        (text,) = database.execute("SELECT facts FROM tasks").fetchone()
        database.execute("UPDATE tasks SET facts = ?", (json.dumps({**json.loads(text), **kept}),))
    for ask in (run.document, run.status):
        with pytest.raises(ProblemError, match="was altered or is damaged: what stands beside its bounds"):
            ask()
