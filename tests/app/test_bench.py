"""`pvq bench` from the command line: tables, records, resuming, bad input."""

import csv
import json
import re

import pytest

CASE = {
    "name": "small",
    "layer": "efficientnet_lite0.blocks.4.expand",
    "rows": "0:2",
    "inputs": "0:6",
    "method": "prune",
    "sparsity": 0.5,
    "solvers": ["bnb", "brute"],
}


@pytest.fixture
def case_list(tmp_path):
    def write(*cases, **words):
        file = tmp_path / "list.json"
        file.write_text(json.dumps({"schema": "pvq.cases/1", "about": "a test", "cases": cases, **words}))
        return file

    return write


def test_table_record_targets_and_resume(cli, case_list, tmp_path):
    targets = [
        {"solver": "bnb", "measure": "solved", "at_least": 1},
        {"solver": "bnb", "measure": "speedup:brute", "at_least": 1e9},
        {"case": "small", "solver": "brute", "measure": "within:1e-9", "at_most": 0},
    ]
    file, record = case_list(CASE, targets=targets), tmp_path / "run.json"
    words = ("bench", file, "--quiet", "--json", record, "--csv", tmp_path / "run.csv")
    ended = cli(*words)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert re.search(r"small +bnb +2 of 2", ended.out)
    assert "1 thread(s) a solver" in ended.out
    assert re.search(r"small +brute +2 of 2", ended.out)
    assert "target: bnb solved >= 1: 1, met" in ended.out
    assert re.search(r"target: bnb speedup:brute >= 1e\+09: .*, missed", ended.out)
    assert "target: small, brute within:1e-9 <= 0: 0, met" in ended.out

    document = json.loads(record.read_text())
    assert document["schema"] == "pvq.bench/1"
    assert document["environments"][0]["processor"]
    assert document["environments"][0]["packages"]["numpy"]
    results = {(r["instance"], r["solver"]): r for r in document["results"]}
    assert len(results) == 4
    ours, theirs = results["small.r0", "bnb"], results["small.r0", "brute"]
    assert ours["outcome"] == theirs["outcome"] == "optimal"
    assert ours["upper"] == pytest.approx(theirs["upper"], rel=1e-9)
    assert (ours["seed"], ours["threads"], ours["time_limit"]) == (0, 1, 10.0)
    assert 0 < ours["memory"] < ours["memory_limit"] == 4.0
    with (tmp_path / "run.csv").open() as lines:
        assert len(list(csv.DictReader(lines))) == 4

    # nothing runs again what the record has: a marker in it survives
    document["results"][0]["nodes"] = 123456
    record.write_text(json.dumps(document))
    again = cli(*words, "--resume")
    assert again.code == 0, again.err
    kept = json.loads(record.read_text())
    assert kept["results"][0]["nodes"] == 123456
    assert [r["session"] for r in kept["results"]] == [0, 0, 0, 0]
    # with another limit the old runs stand for nothing
    other = cli(*words, "--resume", "--time-limit", "5", "--instance", "*.r0")
    assert other.code == 0, other.err
    new = json.loads(record.read_text())["results"]
    assert [(r["instance"], r["time_limit"], r["session"]) for r in new] == [("small.r0", 5.0, 2)] * 2


def test_targets_with_what_was_before_are_a_table(cli, case_list):
    targets = [
        {"solver": "bnb", "measure": "solved", "before": "0.5 [b]of[/b] 2", "at_least": 1},
        {"case": "small", "solver": "brute", "measure": "layer:10", "at_most": 0},
    ]
    ended = cli("bench", case_list(CASE, targets=targets), "--quiet")
    assert ended.code == 0, ended.err
    assert re.search(r"case +measure +before +wanted +seen", ended.out)
    assert re.search(r"all +bnb solved +0.5 \[b\]of\[/b\] 2 +>= 1 +1, met", ended.out)
    assert re.search(r"small +brute layer:10 +<= 0 +[\d.e-]+, missed", ended.out)
    assert "target:" not in ended.out


def test_layer_or_row_that_is_not_there_is_an_outcome(cli, case_list):
    missing = {**CASE, "name": "missing", "layer": "no_such_layer", "solvers": ["brute"]}
    beyond = {**CASE, "name": "beyond", "rows": [239, 240], "inputs": "0:4", "solvers": ["brute", "scup"]}
    ended = cli("bench", case_list(missing, beyond), "--quiet")
    assert ended.code == 0, ended.err
    assert re.search(r"missing +brute +0 of 2 +2 instance", ended.out)
    assert "no such file" in ended.out
    assert re.search(r"beyond +brute +1 of 2", ended.out)
    assert "no row 240; the layer has rows 0:240" in ended.out
    assert re.search(r"beyond +scup +0 of 2 +(1 unknown, 1 instance|1 instance, 1 unknown)\b", ended.out)
    assert "unknown solver 'scup'; did you mean 'scip'?" in ended.out


def test_an_unknown_library_instance_is_said_and_the_others_go_on(cli, case_list):
    words = {"solvers": ["brute"]}
    named = {"library": "b9-16-q6-r*", "name": "six bits", **words}
    ended = cli("bench", case_list({"library": "b9-16-q5-r0", **words}, named, {**CASE, **words}), "--quiet")
    assert ended.code == 0, ended.err
    assert re.search(r"b9-16-q5-r0 +brute +0 of 1 +1 instance", ended.out)
    assert re.search(r"six bits +brute +0 of 1 +1 instance", ended.out)
    assert "did you mean 'b9-16-q" in ended.out
    assert re.search(r"small +brute +2 of 2", ended.out)


BAD = [
    ((), r"--quick, or a case list"),
    (("quik",), "did you mean 'quick'"),
    (("--quick", "--solver", "scup"), "did you mean 'scip'"),
    (("--quick", "--instance", "quant 5 bit*"), "did you mean 'quant"),
    (("--quick", "--time-limit", "0"), "must be positive"),
    (("--quick", "--threads", "0"), "at least 1"),
    (("--quick", "--jobs", "0"), "--jobs"),
    (("--quick", "--resume"), "--json"),
    (("--quick", "--json", "no/such/folder.json"), "no folder"),
    (("--quick", "--json", "run.txt"), "must end in .json"),
    (("--quick", "--solver", ","), "names no solver"),
    (("--quick", "--check"), "--check runs its own cases"),
    (("--quick", "--update", "--library", "no.json"), "no.json"),
    (("--quick", "--update", "--library", "."), "must end in .json"),
]


@pytest.mark.parametrize(("words", "says"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_words_are_one_line_and_exit_2(cli, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    ended = cli("bench", *words)
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert re.search(says, ended.err)
    assert not list(tmp_path.iterdir())


BAD_LISTS = [
    ({"schema": "pvq.cases/2"}, "schema"),
    ({"cases": []}, "no cases"),
    ({"cases": [{**CASE, "bitz": 4}]}, "case small has an unknown key 'bitz'; did you mean 'bits'"),
    ({"cases": [{**CASE, "solvers": []}]}, "names no solvers"),
    ({"cases": [{**CASE, "rows": "0-2"}]}, "rows must be A:B"),
    ({"cases": [{**CASE, "method": "quantise"}]}, "--method"),
    ({"cases": [{**CASE, "time_limit": -1}]}, "must be positive"),
    ({"cases": [{**CASE, "time_limit": "ten"}]}, "list.json"),
    ({"cases": [CASE, CASE]}, "'small.r0' has solver 'bnb' twice"),
    ({"cases": [CASE], "targets": [{"solver": "bnb", "measure": "mean", "at_most": 1}]}, "unknown measure 'mean'"),
    ({"cases": [CASE], "targets": [{"solver": "scip", "measure": "max", "at_most": 1}]}, "names solver 'scip'"),
    ({"cases": [CASE], "targets": [{"solver": "bnb", "measure": "max"}]}, "at_most or at_least"),
    ({"cases": [CASE], "targets": [{"solver": "bnb", "measure": "max", "before": 3}]}, "before must be a text"),
]


@pytest.mark.parametrize(("words", "says"), BAD_LISTS, ids=[says for _, says in BAD_LISTS])
def test_bad_lists_are_one_line_that_names_the_file(cli, tmp_path, words, says):
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"schema": "pvq.cases/1", **words}))
    ended = cli("bench", file)
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert str(file) in ended.err
    assert says in ended.err


def test_shipped_lists_are_listed_and_can_be_read(cli):
    from pvq.benchmarks.cases import list_names, read_list

    listed = cli("bench", "--list").out
    for name in list_names():
        assert name in listed
        assert read_list(name).tasks
    quick = read_list("quick").tasks
    assert {task.entry.solver for task in quick} == {"bnb", "scip", "gurobi"}
    assert len({task.instance.name for task in quick}) >= 20


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_figures_are_drawn_from_a_record_without_solving_again(cli, case_list, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    file, record = case_list(CASE), tmp_path / "run.json"
    profile, gaps = tmp_path / f"profile.{suffix}", tmp_path / f"gaps.{suffix}"
    words = ("bench", file, "--quiet", "--json", record, "--profile", profile, "--gap-plot", gaps)
    first = cli(*words)
    assert first.code == 0, first.err
    images = profile.read_bytes(), gaps.read_bytes()
    assert all(image[:4] in (b"\x89PNG", b"<?xm") for image in images)
    again = cli(*words, "--resume")
    assert again.code == 0, again.err
    assert json.loads(record.read_text())["results"][0]["session"] == 0
    assert (profile.read_bytes(), gaps.read_bytes()) == images


def test_a_figure_that_cannot_be_written_is_refused_before_anything_runs(cli, case_list, tmp_path):
    ended = cli("bench", case_list(CASE), "--profile", tmp_path / "profile.jpg")
    assert ended.code == 2
    assert "must end in .png or .svg" in ended.err
