"""The volume model on the command line: beside the result, never in it."""

import json
import re

import numpy as np
import pytest
from pvq.bounds.app.volume import explanation, model_sentence, model_words
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.solvers import modelled


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
    assert "range minmax, or granularity tensor or channel, is covered" in " ".join(ended.out.split())


def test_pruning_has_no_model(cli, tmp_path):
    ended, file = run(cli, tmp_path, "--method", "prune", "--sparsity", "0.5")
    assert ended.code == 0, ended.err
    assert "model" not in json.loads(file.read_text())["total"]


def test_odds_are_checked(cli, tmp_path):
    ended, _ = run(cli, tmp_path, "--method", "quant", "--bits", "3", "--odds", "2")
    assert ended.code == 2
    assert "--odds must lie between 0 and 1" in " ".join(ended.err.split())


def test_groups_with_min_max_scales_are_covered(cli, tmp_path):
    ended, file = run(
        cli, tmp_path, "--method", "quant", "--bits", "3", "--granularity", "group:4", "--range", "minmax"
    )
    assert ended.code == 0, ended.err
    total = json.loads(file.read_text())["total"]
    assert total["model"]["refused"] is None
    assert 0 < total["model"]["lower"] < total["lower"]


def test_what_is_assumed_is_said_on_demand_and_each_row_has_its_level(cli, tmp_path):
    ended, file = run(cli, tmp_path, "--method", "quant", "--bits", "3", "--explain", "--limits")
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "the other weights were independent draws from the densities fitted here" in said
    assert "that error is not included" in said
    document = json.loads(file.read_text())
    model = document["total"]["model"]
    assert f"{model['lower']:.6g}" in said
    assert [row["row"] for row in model["rows"]] == list(range(20))
    # a row alone is less certain than the sum of all
    assert sum(row["lower"] for row in model["rows"]) < model["lower"]
    assert all(row["lower"] <= row["optimum"] for row in model["rows"])
    # at most an error that no grid of 8 levels reaches
    assert "Any code of 3 bits" in said
    assert 0 < document["total"]["any_code"] < document["total"]["lower"]


def test_a_comparison_has_it_beside_the_quantized_side_alone(cli, tmp_path):
    run(cli, tmp_path, "--method", "quant", "--bits", "3")
    options = ("--bits", "3", "--odds", "0.01", "--quiet", "--json", tmp_path / "c.json")
    ended = cli("compare", tmp_path / "layer.npz", *options)
    assert ended.code == 0, ended.err
    pair = json.loads((tmp_path / "c.json").read_text())["layers"][0]["pairs"][0]
    assert pair["quant"]["model"]["odds"] == 0.01
    assert 0 < pair["quant"]["model"]["lower"] <= pair["quant"]["upper"]
    assert "model" not in pair["prune"]
    assert "model estimate (not a bound)" in " ".join(ended.out.split())


@pytest.mark.parametrize("option", [("--limits",), ("--explain",), ("--odds", "0.01")])
def test_what_is_about_grids_is_for_quantization(cli, tmp_path, option):
    ended, _ = run(cli, tmp_path, "--method", "prune", "--sparsity", "0.5", *option)
    assert ended.code == 2
    assert f"{option[0]} is for --method quant" in ended.err


def test_a_joint_problem_says_that_it_is_not_covered(cli, tmp_path):
    ended, file = run(cli, tmp_path, "--method", "joint", "--bits", "3", "--sparsity", "0.5")
    assert ended.code == 0, ended.err
    assert "the same grid alone is covered" in json.loads(file.read_text())["total"]["model"]["refused"]
    assert "the same grid alone is covered" in " ".join(ended.out.split())


def test_a_curve_of_joint_problems_says_it_once(cli, tmp_path):
    ended, _ = run(cli, tmp_path, "--method", "joint", "--bits", "3", "--sparsity", "0.25:0.5:0.25")
    assert ended.code == 0, ended.err
    assert " ".join(ended.out.split()).count("the same grid alone is covered") == 1


def test_where_it_takes_long_it_says_what_asks_for_it(monkeypatch):
    rng = np.random.default_rng(0)
    problem = state_problem(rng.normal(0, 1, (20, 8)), np.eye(8), Setting("quant", bits=3))
    found = [rng.random(20), np.full(20, 9.0)]
    for name, words in (("MODELLED", "above 4 inputs"), ("GRAMS", "above 0 Gram matrices")):
        with monkeypatch.context() as patch:
            patch.setattr(modelled, name, 4 if name == "MODELLED" else 0)
            model = modelled.modelled(problem, None, problem.weight, *found)
            assert words in model.refused
            assert "--odds 0.001 asks for it" in model.refused
            assert modelled.modelled(problem, 0.001, problem.weight, *found).refused is None


def test_a_level_of_0_is_said_to_exclude_nothing():
    model = {"refused": None, "lower": 0.0, "optimum": 0.5, "odds": 0.001}
    said = (model_sentence(model, 2.0, {}), model_words(model, 2.0, {}))
    assert "no total is ruled out at odds of 0.001; the optimum is about 6.02 dB" in said[0]
    assert said[1].endswith("optimum about 6.02 dB; no level at odds of 0.001")
    model["lower"] = 0.2
    assert "a total above 10.00 dB would occur in at most 0.001 of draws" in model_sentence(model, 2.0, {})
    assert model_words(model, 2.0, {}).endswith("above 10.00 dB in at most 0.001 of draws")


CHECKS = {"z": 0.1, "harmonic": 1.0, "ks": 0.5, "zeros": 0.0, "mesh": 0.0}
STATED = {
    "refused": None,
    "lower": 0.2,
    "optimum": 0.5,
    "odds": 0.001,
    "limited_by": None,
    "rows_left_to_rigorous": 0,
    "checks": CHECKS,
}


def test_a_prediction_that_was_moved_into_what_is_proven_is_not_said_to_be_the_models():
    for end, words in (("lower", "the proven lower end"), ("upper", "the best error found")):
        model = {**STATED, "limited_by": end}
        assert f"The predicted optimum 0.5 is {words}" in explanation(model, 2.0)
    assert "The predicted optimum 0.5 is 1.15 times a median level" in explanation(STATED, 2.0)
    assert "(the proven bound: the model alone predicts less" in model_words(
        {**STATED, "limited_by": "lower"}, 2, {}
    )
    assert "(the best weights found" in model_sentence({**STATED, "limited_by": "upper"}, 2.0, {})


def test_it_is_said_which_rows_a_total_is_of(cli, tmp_path):
    how = ("--method", "quant", "--bits", "3", "--compare", "gptq")
    for option, words in (
        (("--sample-rows", "12"), "12 of 20 rows"),
        (("--rows", "2:9"), "rows 2:9 alone"),
        (("--inputs", "0:6"), "inputs 0:6 alone"),
        (("--rows", "2:9", "--inputs", "0:6"), "rows 2:9 alone and inputs 0:6 alone"),
    ):
        ended, _ = run(cli, tmp_path, *how, *option)
        assert f"not a bound for these weights on {words}:" in " ".join(ended.out.split())


def test_of_drawn_rows_a_comparison_says_what_it_would_say_of_all_but_for_chance(cli, tmp_path):
    run(cli, tmp_path, "--method", "quant", "--bits", "3")
    said = []
    for option in ((), ("--sample-rows", "5")):
        file = tmp_path / "c.json"
        ended = cli(
            "compare",
            tmp_path / "layer.npz",
            "--bits",
            "3",
            "--compare",
            "gptq",
            *option,
            "--quiet",
            "--json",
            file,
        )
        assert ended.code == 0, ended.err
        words = " ".join(ended.out.split())
        assert "for random weights (checks did not refuse)" in words
        said.append([float(re.search(f"{what} about ([0-9.]+) dB", words)[1]) for what in ("optimum", "gptq")])
    assert abs(said[0][0] - said[1][0]) < 1  # 10 log10(20 / 5) = 6 dB lie between the totals
    drawn = json.loads(file.read_text())["layers"][0]["pairs"][0]["quant"]["model"]["drawn"]
    assert (drawn["rows"], drawn["of"]) == (5, 20)
    assert "on the drawn 5 of 20 rows" in words
    again = cli(
        "compare", tmp_path / "layer.npz", "--bits", "3", "--compare", "gptq", *option, "--resume", "--json", file
    )
    assert again.code == 0, again.err


def test_pairs_that_have_a_quantized_side_in_common_say_it_once(cli, tmp_path):
    run(cli, tmp_path, "--method", "quant", "--bits", "3")
    words = ("--bits", "3", "--granularity", "tensor,channel", "--against", "2:4,0.5", "--quiet")
    said = " ".join(cli("compare", tmp_path / "layer.npz", *words).out.split())
    for granularity in ("tensor", "channel"):
        assert said.count(f"3 bits {granularity}, model estimate") == 1
    assert said.count("model estimate") == 2
