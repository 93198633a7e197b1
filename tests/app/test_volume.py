"""The volume model on the command line: beside the result, never in it."""

import json

import numpy as np


def run(cli, tmp_path, *options):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 8))
    np.savez(tmp_path / "layer.npz", weight=rng.normal(0, 1, (20, 8)), gram=a.T @ a / 40)
    ended = cli("bound", tmp_path / "layer.npz", *options, "--quiet", "--json", tmp_path / "r.json")
    return ended, tmp_path / "r.json"


def test_a_quantized_result_carries_the_model_apart_from_what_is_proven(cli, tmp_path):
    ended, file = run(cli, tmp_path, "--method", "quant", "--bits", "3", "--odds", "0.01")
    assert ended.code == 0, ended.err
    total = json.loads(file.read_text())["total"]
    assert total["model"]["odds"] == 0.01
    assert total["model"]["lower"] < total["lower"] * (1 + 1e-9)  # solved to the optimum
    assert "Model estimate, not a bound for these weights" in " ".join(ended.out.split())


def test_a_layer_that_is_not_covered_says_why_and_keeps_its_result(cli, tmp_path):
    ended, file = run(cli, tmp_path, "--method", "quant", "--bits", "3", "--granularity", "group:4")
    assert ended.code == 0, ended.err
    total = json.loads(file.read_text())["total"]
    assert total["model"]["lower"] is None
    assert total["lower"] > 0
    assert "granularity tensor or channel is covered" in " ".join(ended.out.split())


def test_pruning_has_no_model(cli, tmp_path):
    ended, file = run(cli, tmp_path, "--method", "prune", "--sparsity", "0.5")
    assert ended.code == 0, ended.err
    assert "model" not in json.loads(file.read_text())["total"]


def test_odds_are_checked(cli, tmp_path):
    ended, _ = run(cli, tmp_path, "--method", "quant", "--bits", "3", "--odds", "2")
    assert ended.code == 2
    assert "--odds must lie between 0 and 1" in " ".join(ended.err.split())
