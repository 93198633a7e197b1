"""`pvq compare`: verdicts against exact optima, what an interrupt leaves, resumed runs, bad input."""

from __future__ import annotations

import itertools
import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pvq.bounds.app.compare.run import engines_by_name, methods_by_name
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.storage import CostModel
from pvq.layers.format import Layer, load_layer, save_layer
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.compare.layer import CLOSE, QUICK, Comparison, compare_layer
from pvq.solvers.compare.verdict import OPEN, PRUNE, QUANT, SKIPPED, Interval, margin_db, sentence, verdict
from pvq.solvers.empirical.layerwise import layer_point
from pvq.solvers.registry import get_solver

INSTANCES = sorted((Path(__file__).parents[3] / "benchmarks" / "instances").glob("*.npz"))
KINDS = ("regular", "singular", "duplicated", "dead", "ill-conditioned", "tied")


def random_layer(kind: str, seed: int, rows: int = 3, n: int = 8, groups: int = 1) -> Layer:
    """A small layer, of a kind that breaks things."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(groups, n // 2 if kind == "singular" else 3 * n, n)) @ (
        np.eye(n) + rng.normal(size=(n, n))
    )
    if kind == "duplicated":
        x[..., n // 2 :] = x[..., : n - n // 2]
    if kind == "dead":
        x[..., rng.permutation(n)[: n // 3]] = 0
    if kind == "ill-conditioned":
        x *= np.logspace(0, -6, n)
    weight = rng.standard_t(3, size=(rows, n))
    if kind == "tied":
        weight = np.sign(weight)
    return Layer(f"{kind}{seed}", weight, x.swapaxes(1, 2) @ x / x.shape[1])


def part(source: Path, rows: int, folder: Path) -> Path:
    """A layer file of the first rows of another."""
    layer = load_layer(source)
    grams = layer.grams[:rows] if layer.groups > 1 else layer.grams
    return save_layer(folder / source.name, Layer(layer.name, layer.weight[:rows], grams, layer.samples))


def comparison(bits: range, **changes) -> Comparison:
    """The defaults of the command line."""
    settings = {
        "quant": Setting("quant"),
        "prune": Setting("prune", sparsity=0.5),
        "cost": CostModel(),
        "engines": engines_by_name("auto"),
        "quick": [get_solver(name) for name in QUICK],
        "close": [get_solver(name) for name in CLOSE],
        "time_limit": None,
        "options": Options(time_limit=None),
    }
    return Comparison(bits, **{**settings, **changes})


def optima(layer: Layer, pair: dict, quant: Setting) -> tuple[float, float]:
    """Least errors of both sides of a pair, by enumeration."""
    pattern = Setting("prune", **{name: pair["prune"]["pattern"][name] for name in ("sparsity", "scope")})
    grids = state_problem(layer.weight, layer.grams, replace(quant, bits=pair["bits"]))
    masks = state_problem(layer.weight, layer.grams, pattern)
    rows = range(layer.out)
    least = sum(least_on_grid(grids.row(i)) for i in rows)
    most = int(masks.sparsity.keep[0]) if masks.budget is None else masks.budget
    curves = [least_with(masks.row(i), most) for i in rows]
    if masks.budget is None:
        return least, sum(curve[most] for curve in curves)
    budgets = [k for k in itertools.product(range(most + 1), repeat=layer.out) if sum(k) == most]
    return least, min(sum(curve[k] for curve, k in zip(curves, ks, strict=True)) for ks in budgets)


def least_on_grid(problem: Problem) -> float:
    """min e(x) over all grid points."""
    levels = [problem.grid.of(i) for i in range(problem.n)]
    u = np.stack(np.meshgrid(*levels, indexing="ij"), axis=-1).reshape(-1, problem.n) - problem.weight
    return max(float(((u @ problem.hessian) * u).sum(axis=1).min()), 0.0)


def least_with(problem: Problem, most: int) -> list[float]:
    """min e(x) with at most k non-zeros, for k = 0 ... most."""
    least = []
    for k in range(most + 1):
        errors = [problem.reference]
        for kept in itertools.combinations(range(problem.n), min(k, problem.n)):
            mask = np.isin(np.arange(problem.n), kept)
            errors.append(problem.error(optimal_on_support(problem, mask)))
        least.append(min(errors))
    return np.minimum.accumulate(least).tolist()


def compare(cli, *words):
    ended = cli("compare", *words, "--json", "-", "--quiet")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


# --- the verdict


@pytest.mark.parametrize(
    ("quant", "prune", "expected"),
    [
        ((1, 2), (3, 4), QUANT),
        ((3, 4), (1, 2), PRUNE),
        ((1, 3), (2, 4), OPEN),
        ((0, 2), (2, 2), OPEN),
        ((0, 2), (2 * (1 + 5e-10), 3), OPEN),  # within what float64 bounds may be wrong by
        ((0, 0), (1e-30, 1), QUANT),
        ((0, 0), (0, 0), OPEN),
        ((0, math.inf), (0, math.inf), OPEN),
    ],
)
def test_only_intervals_apart_are_a_verdict(quant, prune, expected) -> None:
    pair = Interval(*quant), Interval(*prune)
    assert verdict(*pair) == expected
    margin = margin_db(*pair)
    assert margin is None or (margin > 0) == (expected != OPEN) or abs(margin) < 1e-8
    assert json.dumps(margin, allow_nan=False)
    words = sentence(4, 0.75, 10.0, *pair)
    assert words.startswith("At 4 bits against 75% sparsity")
    assert ("is better" in words) == (expected != OPEN) or expected == OPEN


@pytest.mark.parametrize(("kind", "scope"), list(itertools.product(KINDS, ("row", "layer"))))
def test_verdicts_and_intervals_hold_on_degenerate_layers(kind: str, scope: str, monkeypatch) -> None:
    """Decided, complete and hardly started: never against the optima of enumeration."""
    monkeypatch.setattr("pvq.solvers.compare.layer.SHORT", 6)  # rows of 8 inputs go through the relaxations
    prune = Setting("prune", sparsity=0.5, scope=scope)
    cases = [(8, 2, "tensor", 0), (8, 2, "channel", 16), (6, 3, "channel", 16)]
    for seed, (n, bits, granularity, scale_bits) in itertools.product(range(2), cases):
        layer = random_layer(kind, seed, n=n, groups=1 + 2 * (seed % 2))
        quant, cost = Setting("quant", granularity=granularity), CostModel(scale_bits=scale_bits)
        shared = {"quant": quant, "prune": prune, "cost": cost}
        runs = [comparison(range(bits, bits + 1), full=full, **shared) for full in (False, True)]
        runs.append(comparison(range(bits, bits + 1), time_limit=1e-9, **shared))
        (quick, exact, started) = (next(compare_layer(layer, what)) for what in runs)
        best = optima(layer, exact, quant)
        floor = 1e-11 * exact["quant"]["reference"]  # rounding of the errors themselves
        for pair in (quick, exact, started):
            for side, optimum in zip((pair["quant"], pair["prune"]), best, strict=True):
                assert side["lower"] <= optimum * (1 + 1e-9) + floor
                assert optimum <= side["upper"] * (1 + 1e-9) + floor
            if pair["verdict"] != OPEN and abs(best[0] - best[1]) > floor:
                assert (pair["verdict"] == QUANT) == (best[0] < best[1])
        # the engine takes the rounding of its own factors off, more where H is singular
        assert exact["quant"]["lower"] == pytest.approx(best[0], rel=1e-3, abs=floor)
        assert exact["prune"]["lower"] == pytest.approx(best[1], rel=1e-3, abs=floor)
        if abs(best[0] - best[1]) > 3e-3 * max(best) + floor:
            assert exact["verdict"] == quick["verdict"] != OPEN  # without a time limit it goes on until it knows


def test_a_bound_above_a_feasible_error_is_thrown_away(expand40) -> None:
    class Liar(BranchAndBound):
        """Claims twice the optimum and hands over no point."""

        name = "liar"

        def solve(self, problem, options=None, start=None):
            result = super().solve(problem, Options(), start)
            return replace(result, upper=3 * result.upper, x=0 * result.x, lower=2 * result.upper)

    pair = next(compare_layer(load_layer(expand40), comparison(range(2, 3), engines=[Liar()], time_limit=2.0)))
    assert pair["prune"]["failed_rows"]
    assert pair["prune"]["rows_bounded"] == 0
    assert (pair["prune"]["lower"], pair["verdict"]) == (0, OPEN)


def test_a_solver_that_breaks_on_a_row_does_not_end_the_comparison(expand40) -> None:
    class Broken(BranchAndBound):
        """Divides by zero."""

        def solve(self, problem, options=None, start=None):
            raise ZeroDivisionError

    pair = next(compare_layer(load_layer(expand40), comparison(range(2, 3), engines=[Broken()], time_limit=2.0)))
    assert pair["prune"]["failed_rows"]
    assert (pair["prune"]["lower"], pair["verdict"]) == (0, OPEN)


def test_a_verdict_takes_only_the_rows_it_needs(expand40) -> None:
    """At 8 bits few rows of pruning exceed all of quantization."""
    pair = next(compare_layer(load_layer(expand40), comparison(range(8, 9))))
    assert pair["verdict"] == QUANT
    assert 0 < pair["prune"]["rows_bounded"] <= 24
    assert pair["quant"]["rows_bounded"] == 0
    assert pair["quant"]["lower"] == 0


@pytest.mark.parametrize("scope", ["row", "layer"])
def test_more_bits_never_lose_what_a_sparser_pair_has_found(scope: str) -> None:
    """Magnitude pruning alone, on correlated inputs, gets worse with more kept weights now and then."""
    alone = 0
    for seed in range(20):
        layer = random_layer("duplicated", seed, rows=4, n=12)
        masks = Setting("prune", sparsity=0.5, scope=scope)
        quick = [get_solver("rtn"), get_solver("magnitude")]
        what = comparison(range(2, 13), prune=masks, quick=quick, close=[], time_limit=0.0)
        uppers = [pair["prune"]["upper"] for pair in compare_layer(layer, what)]
        # rounding of two evaluations of the same error
        assert all(later <= earlier * (1 + 1e-9) + 1e-15 for earlier, later in itertools.pairwise(uppers)), uppers
        magnitude = []
        for bits in what.bits:
            setting = replace(masks, sparsity=1 - bits / 16)
            point = layer_point(quick[1], state_problem(layer.weight, layer.grams, setting), Options())
            magnitude.append(point.errors.sum())
        alone += any(later > earlier * (1 + 1e-9) for earlier, later in itertools.pairwise(magnitude))
    assert alone > 5


@pytest.mark.parametrize("source", INSTANCES, ids=lambda path: path.stem)
def test_no_method_is_below_a_lower_bound_on_any_instance(cli, tmp_path, source: Path) -> None:
    document = compare(
        cli, part(source, 4, tmp_path), "--bits", "2:8", "--full", "--compare", "all", "--time-limit", "0.3"
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


# --- whole networks


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


# --- interrupted, resumed


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


def test_a_stopped_comparison_still_holds(expand40) -> None:
    layer = load_layer(expand40)
    what = comparison(range(2, 5))
    pairs = compare_layer(layer, what)
    first = next(pairs)
    what.options.stop.set()
    assert first["status"] == "done"
    assert list(pairs) == []
    old = {2: {**first, "status": "interrupted"}}
    assert list(compare_layer(layer, what, known=old)) == [old[2]]


TELLS_WHEN_IT_COMPARES = """
import sys
import pvq.bounds.app.compare.run as run
from pvq.bounds.app.main import pvq
compare_all = run.compare_all
def told(*arguments):
    print("comparing", file=sys.stderr, flush=True)
    compare_all(*arguments)
run.compare_all = told
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


# --- bad input


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
