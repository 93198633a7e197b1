"""What is said beside a result: methods that do not apply, a score that is no bound, scales that outliers set."""

import json

import numpy as np
import pvq
import pytest
from pvq.bounds.app.table import ended
from pvq.solvers.result import Reason, Status


def layer_file(folder, outlier=1.0):
    rng = np.random.default_rng(0)
    activations, weight = rng.standard_normal((40, 8)), rng.standard_normal((6, 8))
    weight[2, 3] = outlier
    return pvq.save_layer(folder / "layer.npz", pvq.Layer.from_activations(weight, activations, "l"))


PRUNE = ("--method", "prune", "--sparsity", "0.5", "--quiet")
QUANT = ("--method", "quant", "--bits", "4", "--quiet")


def test_methods_that_do_not_apply_are_left_out_and_named(cli, tmp_path):
    file = layer_file(tmp_path)
    ended = cli("bound", file, *PRUNE, "--compare", "rtn,sparsegpt", "--json", tmp_path / "r.json")
    assert ended.code == 0, ended.err
    assert list(json.loads((tmp_path / "r.json").read_text())["total"]["empirical"]) == ["sparsegpt"]
    assert "Not scored: solver 'rtn' takes quant, not prune." in ended.out
    assert "Not scored" not in cli("bound", file, *PRUNE, "--compare", "sparsegpt").out
    curve = cli("bound", file, *PRUNE[:2], "--sparsity", "0.5:0.75:0.25", "--compare", "rtn,wanda", "--quiet")
    assert "Not scored: solver 'rtn' takes quant, not prune." in curve.out
    nothing = cli("bound", file, *PRUNE, "--compare", "rtn,gptq")
    assert (nothing.code, nothing.out) == (2, "")
    assert "'rtn' takes quant" in nothing.err
    result = pvq.bound(pvq.load_layer(file), pvq.Prune(0.5), methods=["rtn", "sparsegpt"])
    assert result.notes == ("not scored: solver 'rtn' takes quant, not prune",)
    assert list(result.methods) == ["sparsegpt"]


def test_a_method_alone_has_a_score_and_no_distance(cli, tmp_path):
    file = layer_file(tmp_path)
    out = cli("bound", file, *QUANT, "--solver", "gptq").out
    assert "score" in out
    assert "best found" not in out
    assert "at least 0.00" not in out
    both = cli("bound", file, *QUANT, "--solver", "gptq", "--compare", "rtn").out
    line = next(line for line in both.splitlines() if line.strip().startswith("rtn"))
    assert "at least" in line  # how far it is above the best that is known


@pytest.mark.parametrize(
    ("outlier", "words", "said"),
    [
        (30.0, (), True),
        (1.0, (), False),
        (30.0, ("--granularity", "channel"), False),
        (30.0, ("--range", "none"), False),
    ],
)
def test_one_weight_that_sets_the_scale_of_all_is_said_with_what_to_type(cli, tmp_path, outlier, words, said):
    ended = cli("bound", layer_file(tmp_path, outlier), *QUANT, *words)
    assert ended.code == 0, ended.err
    assert ("Try --granularity channel." in ended.out) == said


def test_a_comparison_says_it_once_a_layer(cli, tmp_path):
    file = layer_file(tmp_path, 30.0)
    words = (file, "--bits", "3:5", "--quiet", "--time-limit", "1")
    ended = cli("compare", *words, "--granularity", "tensor,channel", "--json", tmp_path / "c.json")
    assert ended.code == 0, ended.err
    assert ended.out.count("Try --granularity channel.") == 1
    for pair in json.loads((tmp_path / "c.json").read_text())["layers"][0]["pairs"]:
        assert ("outliers_db" in pair["quant"]) == (pair["granularity"] == "tensor")
    assert "Try" not in cli("compare", *words, "--granularity", "channel").out
    again = cli("compare", *words, "--granularity", "tensor,channel", "--json", tmp_path / "c.json", "--resume")
    assert again.out.count("Try --granularity channel.") == 1


def test_a_comparison_of_many_layers_says_it_once(cli, tmp_path):
    for name, outlier in (("a", 30.0), ("b", 1.0), ("c", 30.0), ("d", 1.0)):
        (tmp_path / name).mkdir()
        layer = pvq.load_layer(layer_file(tmp_path / name, outlier))
        pvq.save_layer(tmp_path / f"{name}.npz", pvq.Layer.from_gram(layer.weight, layer.grams[0], name))
    out = cli("compare", *(tmp_path / f"{name}.npz" for name in "abcd"), "--bits", "4:4", "--quiet").out
    assert "in 2 of 4 layers" in " ".join(out.split())


@pytest.mark.parametrize("words", [("bound", "--method", "quant", "--bits", "4"), ("compare", "--bits", "4:4")])
def test_runs_say_it_as_well(cli, tmp_path, words):
    file, run = layer_file(tmp_path, 30.0), tmp_path / "run"
    ended = cli(words[0], file, *words[1:], "--ledger", run, "--quiet", "--time-limit", "1")
    assert ended.code == 0, ended.err
    assert ended.out.count("Try --granularity channel.") == 1
    assert cli("run", "status", run).out.count("Try --granularity channel.") == 1


def test_full_memory_is_said_beside_what_is_known():
    assert ended(Status.BOUND_ONLY, Reason.MEMORY) == "bound_only (memory)"
    assert ended(Status.OPTIMAL, Reason.FINISHED) == "optimal"
    assert ended(Status.TIME_LIMIT, Reason.TIME) == "time_limit"
