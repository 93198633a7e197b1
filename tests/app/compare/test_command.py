"""`pvq compare`: verdicts against exact optima, what an interrupt leaves, resumed runs, bad input."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pvq
import pytest
from pvq.layers.format import Layer, save_layer
from pvq.solvers.compare.engines import methods_by_name
from pvq.solvers.compare.verdict import OPEN, SKIPPED

from compare_cases import INSTANCES, part, random_layer


def compare(cli, *words):
    ended = cli("compare", *words, "--json", "-", "--quiet")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


@pytest.mark.parametrize("source", INSTANCES, ids=lambda path: path.stem)
def test_no_method_is_below_a_lower_bound_on_any_instance(cli, tmp_path, source: Path) -> None:
    document = compare(
        cli, part(source, 2, tmp_path), "--bits", "2:8", "--full", "--compare", "all", "--time-limit", "0.3"
    )
    (layer,) = document["layers"]
    checked = 0
    for pair, side in itertools.product(layer["pairs"], ("quant", "prune")):
        found = pair[side]
        assert len(found["empirical"]) >= 7
        for name, error in found["empirical"].items():
            # rounding of two evaluations of the same error
            assert error >= found["lower"] * (1 - 1e-9), (name, pair["bits"])
            assert error >= found["upper"] * (1 - 1e-9), (name, pair["bits"])
            checked += 1
    assert checked >= 7 * 14


@pytest.mark.parametrize(
    ("given", "same", "prune"), [("2:4", "2:4", pvq.Prune(nm="2:4")), ("0.50", ".5", pvq.Prune(0.5))]
)
def test_a_pattern_that_is_given_is_the_same_at_all_bits(cli, tmp_path, given, same, prune) -> None:
    """Beside 2 and 3 bits, against every mask of every row; a run goes on with the same pattern only."""
    path, file = tmp_path / "l.npz", tmp_path / "c.json"
    save_layer(path, random_layer("regular", 1))
    words = (path, "--bits", "2:3", "--full")
    document = compare(cli, *words, "--against", given)
    exact = pvq.bound(random_layer("regular", 1), prune, solver="brute")
    assert document["settings"]["against"] == {"2:4": "2:4", "0.50": "0.5"}[given]
    for pair in document["layers"][0]["pairs"]:
        side = pair["prune"]
        assert side["storage_bits"] == 16 * side["macs"]
        assert side["lower"] <= exact.upper * (1 + 1e-9)
        assert exact.lower * (1 - 1e-9) <= side["upper"]
    kept = (*words, "--json", file, "--quiet")
    assert cli("compare", *kept, "--against", given).code == 0
    assert cli("compare", *kept, "--resume").code == 2
    assert cli("compare", *kept, "--against", same, "--resume").code == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--against", "half"), "is a sparsity as 0.5, or N:M as 2:4"),
        (("--against", "0.5", "--nm", "4"), "one of them"),
        (("--against", "1.5"), "sparsity"),
        (("--against", "2:4", "--block", "4"), "block"),
        (("--against", "2:4", "--ledger", "run"), "--against is for one layer in this process"),
    ],
)
def test_a_pattern_that_is_none_is_a_line(cli, tmp_path, words, why) -> None:
    save_layer(tmp_path / "l.npz", random_layer("regular", 1))
    ended = cli("compare", tmp_path / "l.npz", *words)
    assert ended.code == 2
    assert why in " ".join(ended.err.split())
    assert not (tmp_path / "run").exists()


def network(folder: Path, expand40: Path) -> Path:
    """A folder of layers, one of them dead and one not a layer."""
    folder.mkdir()
    part(expand40, 3, folder)
    for kind in ("regular", "singular"):
        save_layer(folder / f"{kind}.npz", random_layer(kind, 1))
    save_layer(folder / "dead.npz", Layer("dead", np.ones((2, 4)), np.zeros((4, 4))))
    save_layer(folder / "narrow.npz", Layer("narrow", np.ones((2, 1)), np.ones((1, 1))))
    (folder / "notes.npz").write_text("no layer")
    return folder


def test_a_folder_is_compared_and_what_is_skipped_says_why(cli, tmp_path, expand40) -> None:
    folder = network(tmp_path / "net", expand40)
    document = compare(cli, folder, "--bits", "1:3", "--time-limit", "0")
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert "dead" in layers["dead"]["skipped"]
    assert "not an npz file" in layers["notes"]["skipped"]
    assert "1 input" in layers["narrow"]["skipped"]
    assert [pair["bits"] for pair in layers["singular1"]["pairs"]] == [1, 2, 3]
    assert layers["singular1"]["pairs"][0]["verdict"] == SKIPPED  # floor(8 / 16) = 0 weights kept
    assert "none of 8 weights" in layers["singular1"]["pairs"][0]["reason"]
    line = document["summary"][1]
    assert line["quantization_better"] + line["pruning_better"] + line["open"] == 3
    two = compare(cli, folder, "--bits", "1:3", "--time-limit", "0", "--jobs", "2")
    assert [verdicts(layer) for layer in two["layers"]] == [verdicts(layer) for layer in document["layers"]]


def verdicts(layer: dict) -> list[str]:
    return [pair["verdict"] for pair in layer["pairs"]]


def test_what_a_person_reads(cli, tmp_path, expand40) -> None:
    one = cli("compare", part(expand40, 3, tmp_path), "--bits", "4", "--quiet")
    assert "At 4 bits against 75% sparsity, quantization is better: its worst case (upper" in one.out
    assert "1 of 1 pairs, quantization better in 1" in one.out
    many = cli("compare", network(tmp_path / "net", expand40), "--bits", "2:3")
    assert many.code == 0
    save_layer(tmp_path / "net" / "more.npz", random_layer("tied", 3))
    many = cli("compare", tmp_path / "net", "--bits", "2:3", "--quiet")
    assert "most open layers first" in many.out
    assert "dead: skipped, every input is dead" in many.out


def test_costs_and_patterns_reach_the_pairs(cli, tmp_path) -> None:
    path = save_layer(tmp_path / "a.npz", random_layer("regular", 2, n=16))
    words = ("--mask", "bitmask", "--scale-bits", "16", "--granularity", "channel", "--nm", "4", "--bits", "5:6")
    pairs = compare(cli, path, *words)["layers"][0]["pairs"]
    assert [pair["prune"]["pattern"]["nm"] for pair in pairs] == ["1:4", "1:4"]
    assert pairs[0]["quant"]["storage_bits"] == 5 + 16 / 16
    assert pairs[0]["prune"]["storage_bits"] == 16 / 4 + 1
    assert pairs[0]["prune"]["macs"] == 0.25
    fixed = compare(cli, path, "--no-update", "--bits", "4", "--base", "32")["layers"][0]["pairs"][0]
    assert fixed["sparsity"] == 1 - 4 / 32
    assert fixed["prune"]["pattern"]["update"] is False


def test_an_interrupted_run_keeps_what_is_proven_and_goes_on(cli, tmp_path, expand40) -> None:
    folder, out = network(tmp_path / "net", expand40), tmp_path / "out.json"
    words = (folder, "--json", out, "--time-limit", "0", "--quiet")
    assert cli("compare", *words, "--bits", "2:3").code == 0
    first = json.loads(out.read_text())
    # as an interrupt leaves it: a layer not reached, a pair half done
    layers = {layer["name"]: layer for layer in first["layers"]}
    layers["regular1"]["pairs"] = []
    half = layers["singular1"]["pairs"][1]
    proven = half["prune"]["lower"]
    half.update(status="interrupted", verdict=OPEN)
    out.write_text(json.dumps(first))
    assert cli("compare", *words, "--bits", "2:4", "--resume").code == 0
    second = json.loads(out.read_text())
    again = {layer["name"]: layer for layer in second["layers"]}
    for name in ("efficientnet_lite0.blocks.4.expand", "singular1"):
        assert again[name]["pairs"][0] == layers[name]["pairs"][0]  # not computed again: same seconds
        assert len(again[name]["pairs"]) == 3
    assert [pair["bits"] for pair in again["regular1"]["pairs"]] == [2, 3, 4]
    assert again["singular1"]["pairs"][1]["prune"]["lower"] >= proven
    assert again["singular1"]["pairs"][1]["status"] == "done"


TELLS_WHEN_IT_COMPARES = """
import sys
import pvq.comparing as comparing
from pvq.bounds.app.main import pvq
compare_all = comparing.compare_all
def told(*arguments):
    print("comparing", file=sys.stderr, flush=True)
    compare_all(*arguments)
comparing.compare_all = told
pvq()
"""


def test_ctrl_c_prints_and_writes_what_is_proven(tmp_path) -> None:
    source = next(path for path in INSTANCES if "blocks.9" in path.name)
    out = tmp_path / "out.json"
    entry = [sys.executable, "-c", TELLS_WHEN_IT_COMPARES]
    words = ["compare", str(part(source, 64, tmp_path)), "--bits", "7:8", "--full", "--time-limit", "0"]
    process = subprocess.Popen(
        [*entry, *words, "--json", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert "comparing\n" in iter(process.stderr.readline, "")
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted." in text
    document = json.loads(out.read_text())
    assert document["environment"]["interrupted"] is True
    for pair in document["layers"][0]["pairs"]:
        assert pair["status"] == "interrupted"
        for side in (pair["quant"], pair["prune"]):
            assert 0 <= side["lower"] <= side["upper"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document.update(schema="pvq.result/1"), "has schema 'pvq.result/1'"),
        (lambda document: document["settings"].update(grid="int-sym"), "made with grid = int-sym, not int"),
        (lambda document: document["layers"][0].update(sha256="0"), "has changed since"),
        (lambda document: document.pop("layers"), "is not a document of `pvq compare`"),
    ],
)
def test_only_the_same_comparison_is_resumed(cli, tmp_path, change, words: str) -> None:
    path = save_layer(tmp_path / "a.npz", random_layer("regular", 2))
    out = tmp_path / "out.json"
    assert cli("compare", path, "--bits", "2", "--json", out, "--quiet").code == 0
    document = json.loads(out.read_text())
    change(document)
    out.write_text(json.dumps(document))
    before = out.read_text()
    ended = cli("compare", path, "--bits", "2", "--json", out, "--resume", "--quiet")
    assert (ended.code, out.read_text()) == (2, before)
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("{empty}",), "has no layer files"),
        (("{a}", "{b}"), "two layers are called 'regular2'"),
        (("{dead}",), "nothing to compare: dead: every input is dead"),
        (("{missing}",), "no such file"),
        (("{a}", "--bits", "0:3"), "--bits must be"),
        (("{a}", "--bits", "3:2"), "--bits must be"),
        (("{a}", "--bits", "2:17"), "--bits must be below 16"),
        (("{a}", "--base", "8"), "--base must be 16 or 32"),
        (("{a}", "--mask", "tree"), "--mask must be"),
        (("{a}", "--nm", "1"), "--nm M must be at least 2"),
        (("{a}", "--solver", "gptq"), "'gptq' proves nothing"),
        (("{a}", "--solver", "bmb"), "did you mean 'bnb'"),
        (("{a}", "--compare", "bnb"), "use --solver"),
        (("{a}", "--compare", "obc", "--no-update"), "cannot keep the weights fixed"),
        (("{a}", "--resume"), "--resume needs --json"),
        (("{a}", "--figure", "{empty}/a.pdf"), ".png or .svg"),
        (("{a}", "--table", "{empty}/a.txt"), ".md or .tex or .csv"),
        (("{a}", "--time-limit", "-1"), "must not be negative"),
        (("{a}", "--grid", "int9"), "is neither a grid"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line(cli, tmp_path, words, expected: str) -> None:
    layer = random_layer("regular", 2)
    files = {"a": tmp_path / "a.npz", "b": tmp_path / "b.npz", "dead": tmp_path / "dead.npz"}
    save_layer(files["a"], layer)
    save_layer(files["b"], layer)
    save_layer(files["dead"], Layer("dead", np.ones((2, 4)), np.zeros((4, 4))))
    (tmp_path / "empty").mkdir()
    places = {**files, "empty": tmp_path / "empty", "missing": tmp_path / "missing.npz"}
    ended = cli("compare", *(word.format(**places) for word in words), "--quiet")
    assert ended.code == 2
    assert expected in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert list((tmp_path / "empty").iterdir()) == []


def test_methods_by_name_takes_all() -> None:
    names = {method.name for method in methods_by_name("all", True)}
    assert {"rtn", "gptq", "adaround", "obc", "sparsegpt", "magnitude", "wanda", "alps", "one-swap"} <= names
