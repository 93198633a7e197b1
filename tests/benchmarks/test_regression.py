"""The engine against its stored node counts: this is the check that sees an engine become worse."""

import copy
import json

from pvq.benchmarks import regression


def test_the_engine_is_as_good_as_its_reference(cli, tmp_path):
    """A change that means to need more nodes renews the reference: pvq bench --check --update."""
    ended = cli("bench", "--check", "--quiet", "--json", tmp_path / "run.json")
    assert ended.code == 0, ended.out
    assert "WORSE" not in ended.out
    results = json.loads((tmp_path / "run.json").read_text())["results"]
    assert {result["outcome"] for result in results} == {"optimal"}


def test_a_fifth_more_nodes_is_seen_and_less_is_not():
    reference = regression.load()
    assert regression.compare(reference, reference)[1]
    for name, case in reference["cases"].items():
        for factor, good in ((1.19, True), (1.21, False), (0.5, True)):
            now = copy.deepcopy(reference)
            nodes = now["cases"][name]["nodes"]
            total = sum(case["nodes"].values())
            nodes[next(iter(nodes))] += round((factor - 1) * total)
            lines, is_good = regression.compare(reference, now)
            assert is_good is good
            assert any(line.startswith(f"WORSE {name}:") for line in lines) is not good
            assert any(line.startswith(f"better {name}:") for line in lines) is (factor < 1)


def test_a_row_that_is_no_longer_solved_or_not_run_is_seen():
    reference = regression.load()
    name, case = next(iter(reference["cases"].items()))
    instance = next(iter(case["outcomes"]))
    lost = copy.deepcopy(reference)
    lost["cases"][name]["outcomes"][instance] = "wrong"
    lines, good = regression.compare(reference, lost)
    assert not good
    assert f"{instance} was solved, now wrong" in lines[0]
    for part in ({}, {**reference["cases"], "new": case}):
        assert not regression.compare(reference, {"cases": part})[1]


def test_worse_is_exit_1_and_the_reference_can_be_renewed(cli, tmp_path, monkeypatch):
    document = regression.load()
    for case in document["cases"].values():
        case["nodes"] = {instance: nodes // 2 for instance, nodes in case["nodes"].items()}
    file = tmp_path / "regression.json"
    file.write_text(json.dumps(document))
    monkeypatch.setattr(regression, "FILE", file)
    monkeypatch.setattr(regression.load, "__defaults__", (file,))
    words = ("bench", "--check", "--quiet", "--instance", "prune fixed*")
    ended = cli(*words)
    assert ended.code == 1
    assert "WORSE prune fixed" in ended.out
    assert cli(*words, "--update").code == 0
    assert cli(*words).code == 0
