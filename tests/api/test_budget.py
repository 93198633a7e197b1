"""A budget for a whole run, through `import pvq` and the command line."""

import json
import time

import pvq
import pytest
from pvq.solvers.compile_time import ended, started

from compare_cases import random_layer


def test_a_bound_within_a_budget_is_the_same_where_there_is_time():
    layer = random_layer("regular", 1, rows=4)
    for problem in (pvq.Quant(2), pvq.Prune(0.5), pvq.Prune(0.5, scope="layer")):
        seen = []
        found = pvq.bound(layer, problem, budget="10m", progress=seen.append)
        plain = pvq.bound(layer, problem, time_limit=None)
        assert found.status == plain.status == "optimal"
        assert found.upper == pytest.approx(plain.upper, rel=1e-6)
        assert len(seen) == 4


def test_a_comparison_within_a_budget_says_what_it_did_not_reach():
    layer = random_layer("regular", 1, rows=4)
    found = pvq.compare(layer, [2, 3], budget="10m")
    plain = pvq.compare(layer, [2, 3], time_limit=None)
    assert found.verdicts == plain.verdicts
    assert found.document["environment"]["not_reached"] == 0
    assert "not_reached" not in plain.document["environment"]
    none = pvq.compare(layer, [2, 3], budget=1e-6)
    assert none.document["environment"]["not_reached"] == 2
    assert none.verdicts == {"regular1": {}}


def test_compiling_takes_nothing_of_a_budget():
    """The first run of a machine compiles for longer than a short budget."""

    def compiling(stage):
        started()
        time.sleep(1.2)
        ended()

    layer = random_layer("regular", 1, rows=2)
    found = pvq.bound(layer, pvq.Quant(2), budget=1.0, stage=compiling)
    assert found.status == "optimal"


def test_a_method_that_a_budget_did_not_reach_is_named():
    layer = random_layer("regular", 1, rows=2)
    found = pvq.bound(layer, pvq.Quant(2), methods=["rtn", "gptq"], budget=1e-6)
    assert found.methods == {}
    assert found.notes == ("not scored: no time left for rtn, gptq on every row",)
    assert pvq.bound(layer, pvq.Quant(2), methods=["rtn"], budget=60).notes == ()


@pytest.mark.parametrize("budget", ["soon", 0, "-1m"])
def test_no_budget_is_said(budget):
    layer = random_layer("regular", 1, rows=2)
    for call in (lambda: pvq.bound(layer, pvq.Quant(2), budget=budget), lambda: pvq.compare(layer, budget=budget)):
        with pytest.raises(pvq.ProblemError, match="`budget` must be a duration"):
            call()


def test_what_has_no_budget_says_so():
    layer = random_layer("regular", 1, rows=2)
    with pytest.raises(pvq.ProblemError, match="give `time_limit`"):
        pvq.bound(layer, pvq.Quant(2, range="optimal"), budget=60)
    with pytest.raises(pvq.ProblemError, match="give `time_limit`"):
        pvq.curve(layer, pvq.Prune(0.5), [0.5, 0.75], budget=60)


def test_the_commands_take_it(cli, tmp_path):
    path = tmp_path / "layer.npz"
    pvq.save_layer(path, random_layer("regular", 1, rows=2))
    done = cli("compare", path, "--bits", "2:3", "--budget", "5m", "--json", "-", "--quiet")
    assert done.code == 0, done.err
    assert json.loads(done.out)["environment"]["not_reached"] == 0
    done = cli("bound", path, "--method", "quant", "--bits", "2", "--budget", "5m", "--json", "-", "--quiet")
    assert done.code == 0, done.err
    assert json.loads(done.out)["total"]["status"] == "optimal"
    done = cli("compare", path, "--budget", "soon")
    assert done.code == 2
    assert "must be a duration as 90, 90s, 30m or 2h, not 'soon'" in done.err
