"""`pvq bound` and `pvq compare` through a run: what they find without one, kept, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pvq
import pytest
from pvq.layers.format import Layer, save_layer

from compare_cases import random_layer
from run_cases import FAST, two_layers


@pytest.fixture
def layers(tmp_path) -> Path:
    return two_layers(tmp_path / "layers")


def test_many_layers_are_bounded_as_each_alone(cli, tmp_path, layers) -> None:
    file, words = tmp_path / "found.json", ("--method", "prune", "--sparsity", "0.25:0.75:0.25", *FAST)
    ended = cli("bound", layers, *words, "--json", file)
    assert ended.code == 0, ended.err
    results = json.loads(file.read_text())["results"]
    assert [(r["layer"]["name"], r["problem"]["sparsity"]) for r in results] == [
        (name, s) for name in ("regular1", "tied1") for s in (0.25, 0.5, 0.75)
    ]
    for result in results:
        layer = pvq.load_layer(layers / f"{result['layer']['name'][:-1]}.npz")
        alone = pvq.bound(layer, pvq.Prune(result["problem"]["sparsity"]), solver="bnb", time_limit=None)
        assert result["total"]["status"] == alone.document["total"]["status"] == "optimal"
        assert result["total"]["lower"] <= alone.upper * (1 + 1e-9)
        assert alone.lower <= result["total"]["upper"] * (1 + 1e-9)
    assert ended.out.count("sparsity    ") == 6


@pytest.mark.parametrize("scored", [(), ("--compare", "gptq,sparsegpt")])
@pytest.mark.parametrize("asked", [("quant", "--bits", "3"), ("prune", "--sparsity", "0.5")])
def test_a_run_searches_as_the_command_alone_does(cli, tmp_path, layers, asked, scored) -> None:
    """The same methods are scored, and so every search starts from the same point and has the same nodes."""
    file, layer = tmp_path / "found.json", layers / "regular.npz"
    words = (layer, "--method", *asked, *scored, *FAST, "--json", file)
    assert cli("bound", *words).code == 0
    alone = rows_in(file)
    assert cli("bound", *words, "--ledger", tmp_path / "run").code == 0
    assert rows_in(file) == alone
    assert all(bool(empirical) == bool(scored) for *_, empirical in alone)


def rows_in(file: Path) -> list:
    rows = json.loads(file.read_text())["rows"]
    return [(row["row"], row["lower"], row["upper"], row["nodes"], row["empirical"]) for row in rows]


def test_a_named_run_is_kept_and_taken_again(cli, tmp_path, layers) -> None:
    run, words = tmp_path / "run", (layers, "--bits", "3", *FAST)
    assert cli("compare", *words, "--ledger", run).code == 0
    before = pvq.Ledger(run).status()
    assert before["known"] == 16
    ended = cli("compare", *words, "--ledger", run, "--full")
    assert ended.code == 0
    assert "quantization better in 2" in ended.out
    after = pvq.Ledger(run).status()
    assert after["solved"] == 16 >= before["solved"]
    table = tmp_path / "table.csv"
    assert cli("compare", *words, "--ledger", run, "--table", table).code == 0
    assert "gptq" in table.read_text()


def test_a_quantized_result_has_the_model_whatever_bounds_it(cli, tmp_path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8))
    files = []
    for k in range(4):
        layer = Layer(f"layer{k}", rng.normal(size=(24, 8)), x.T @ x / 60)
        files.append(save_layer(tmp_path / f"{layer.name}.npz", layer))
    out, run = tmp_path / "found.json", tmp_path / "run"
    quant = ("--method", "quant", "--bits", "3", "--compare", "gptq", *FAST, "--json", out)
    for words, count in (((files[0], "--ledger", run), 1), (files[:2], 2), (files, 4)):
        ended = cli("bound", *words, *quant, "--odds", "0.01")
        assert ended.code == 0, ended.err
        found = json.loads(out.read_text())
        totals = [result["total"] for result in found.get("results", [found])]
        assert [total["model"]["odds"] for total in totals] == [0.01] * count
        assert all(total["model"]["lower"] < total["lower"] * (1 + 1e-9) for total in totals)  # solved
        said = " ".join(ended.out.split())
        assert said.count("for random weights (checks did not refuse)") == (count if count <= 3 else 0)
        assert ("estimates the optimum of 4 of 4 quantized layers" in said) == (count > 3)
        assert ("gptq about" in said) == (count <= 3)
    said = " ".join(cli("run", "status", run).out.split())
    assert "estimates the optimum of 1 of 1 quantized layers (no bounds" in said
    ended = cli("compare", files[0], "--bits", "3", *FAST, "--ledger", tmp_path / "pairs", "--json", out)
    assert ended.code == 0, ended.err
    assert "model estimate (not a bound), for random weights" in " ".join(ended.out.split())
    pair = json.loads(out.read_text())["layers"][0]["pairs"][0]
    assert pair["quant"]["model"]["odds"] == 0.001
    assert cli("run", "go", tmp_path / "pairs", "--odds", "0.05", *FAST).code == 0
    assert cli("run", "export", tmp_path / "pairs", "-o", out).code == 0
    pair = json.loads(out.read_text())["layers"][0]["pairs"][0]
    assert (pair["quant"]["model"]["odds"], "model" in pair["prune"]) == (0.05, False)


def test_what_a_run_does_not_have_is_refused(cli, tmp_path, layers) -> None:
    run = tmp_path / "run"
    assert cli("run", "init", run, "--layers", layers, "--bits", "3").code == 0
    quant = ("bound", layers, "--method", "quant", "--bits", "3")
    one = ("bound", layers / "tied.npz", "--method", "quant", "--bits", "3", "--ledger", run)
    for words, says in (
        ((*quant, "--rows", "0:2"), "--rows is for one layer in this process"),
        ((*quant, "--solution", tmp_path / "s.npz"), "--solution is for one layer"),
        ((*quant, "--budget", "1s"), "--budget is for one layer"),
        (one, "is a run with --method both, and now quant is asked for"),
        (("compare", layers, "--bits", "4", "--ledger", run), "is a run with --bits [3], and now [4]"),
        (("compare", layers / "tied.npz", "--bits", "3", "--ledger", run), "is a run of more layers: regular1"),
        (("compare", layers, "--ledger", run, "--sample-rows", "2"), "--sample-rows is for one layer"),
        (("compare", layers, "--ledger", layers), "holds other files"),
        (("compare", layers, "--send"), "--send is for a --cluster"),
    ):
        ended = cli(*words)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert says in ended.err, ended.err
    save_layer(layers / "tied.npz", random_layer("tied", 2, rows=4))
    ended = cli("compare", layers, "--bits", "3", "--ledger", run)
    assert ended.code == 2
    assert "without layer 'tied2' as it is in" in ended.err


def test_a_run_for_the_moment_that_has_no_place_is_refused_in_one_line(cli, tmp_path, layers, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    ended = cli("bound", layers, "--method", "quant", "--bits", "2", *FAST)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("pvq: cannot write a temporary folder (TMPDIR names one): No such file")
