"""`pvq-bound`: the main job end to end, on a real layer."""

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from pvq.layers.format import Layer, save_layer

from compare_cases import random_layer

ENTRY = [sys.executable, "-c", "from pvq.bounds.app.main import pvq_bound; pvq_bound()"]
EMPIRICAL_ABOVE_LOWER = 1 - 1e-9  # rounding of the two evaluations


def result(cli, *words):
    ended = cli("bound", *words, "--json", "-", "--quiet")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


@pytest.mark.parametrize(
    "words",
    [
        ("--method", "prune", "--sparsity", "0.75"),
        ("--method", "quant", "--bits", "4"),
        ("--method", "quant", "--bits", "3"),
        ("--method", "quant", "--bits", "2"),
    ],
    ids=" ".join,
)
def test_every_row_of_a_real_layer_is_optimal_and_no_method_beats_its_bound(cli, expand40, words):
    document = result(cli, expand40, *words, "--compare", "all", "--time-limit", "0")
    rows = document["rows"]
    assert len(rows) == 240
    assert {row["status"] for row in rows} == {"optimal"}
    assert document["total"]["status"] == "optimal"
    assert len(rows[0]["empirical"]) >= 3
    for row in rows:
        assert row["upper"] - row["lower"] <= max(1e-6 * row["upper"], 1e-12 * row["reference"])
        for name, error in row["empirical"].items():
            assert error >= row["lower"] * EMPIRICAL_ABOVE_LOWER, name
            assert error >= row["upper"] * EMPIRICAL_ABOVE_LOWER, name
    total = document["total"]
    assert total["upper"] == pytest.approx(sum(row["upper"] for row in rows))
    assert total["sqnr_min_db"] == pytest.approx(10 * np.log10(total["reference"] / total["upper"]))
    assert total["sqnr_min_db"] <= total["sqnr_max_db"]


@pytest.mark.parametrize("solver", ["scip", "gurobi"])
@pytest.mark.parametrize(
    "words", [("--method", "prune", "--sparsity", "0.75"), ("--method", "quant", "--bits", "4")], ids=" ".join
)
def test_outside_solvers_find_the_same_optimum(cli, expand40, solver, words):
    part = (expand40, *words, "--rows", "0:4", "--inputs", "0:24", "--time-limit", "0")
    ours, theirs = result(cli, *part), result(cli, *part, "--solver", solver)
    for mine, other in zip(ours["rows"], theirs["rows"], strict=True):
        assert mine["status"] == other["status"] == "optimal"
        assert other["upper"] == pytest.approx(mine["upper"], rel=1e-6)


def test_document_defines_its_problem(cli, expand40):
    document = result(
        cli, expand40, "--method", "joint", "--bits", "3", "--nm", "1:4", "--rows", "7:9", "--inputs", "4:12"
    )
    assert document["schema"] == "pvq.result/1"
    assert document["layer"]["out"] == 240
    assert len(document["layer"]["sha256"]) == 64
    problem = document["problem"]
    assert (problem["nm"], problem["bits"], problem["rows"], problem["inputs"]) == ("1:4", 3, [7, 9], [4, 12])
    assert [row["row"] for row in document["rows"]] == [7, 8]
    for row in document["rows"]:
        assert row["scale"] > 0
        assert len(row["kept"]) <= 2
        assert all(4 <= i < 12 for i in row["kept"])


def test_levels_are_reported_for_other_grids(cli, expand40):
    words = ("--method", "quant", "--grid", "nf4", "--rows", "0:2", "--inputs", "0:6")
    assert len(result(cli, expand40, *words)["rows"][0]["levels"][0]) == 16


def test_layer_scope_has_no_row_bounds_and_is_at_least_as_good(cli, expand40):
    words = (expand40, "--method", "prune", "--sparsity", "0.75", "--rows", "0:6", "--inputs", "0:12")
    by_row, by_layer = result(cli, *words), result(cli, *words, "--scope", "layer")
    assert by_layer["total"]["status"] == "optimal"
    assert by_layer["total"]["upper"] <= by_row["total"]["upper"] * (1 + 1e-9)
    assert all(row["lower"] is None for row in by_layer["rows"])
    assert sum(len(row["kept"]) for row in by_layer["rows"]) <= 18


def test_jobs_do_not_change_results(cli, expand40):
    words = (expand40, "--method", "quant", "--bits", "3", "--rows", "0:12")
    one, two = result(cli, *words), result(cli, *words, "--jobs", "2")
    assert [r["upper"] for r in one["rows"]] == [r["upper"] for r in two["rows"]]
    assert [r["row"] for r in two["rows"]] == list(range(12))


def test_table_ends_in_a_sentence_that_says_what_is_proven(cli, expand40):
    ended = cli(
        "bound", expand40, "--method", "prune", "--sparsity", "0.5", "--rows", "0:3", "--compare", "magnitude"
    )
    assert ended.code == 0
    text = " ".join(ended.out.split())
    assert "magnitude" in text
    assert re.search(r"Proven \(float64 arithmetic\): no choice of weights .* exceeds [\d.]+ dB on rows 0:3", text)
    assert "the optimum" in text


def test_an_effort_says_what_more_of_it_cannot_get_above(cli, tmp_path):
    path = save_layer(tmp_path / "a.npz", random_layer("regular", 3, rows=2, n=260))
    words = ("bound", path, "--method", "quant", "--bits", "2", "--solver", "bound", "--json", tmp_path / "a.json")
    assert "That is numerical" not in cli(*words).out
    text = " ".join(cli(*words, "--effort", "high").out.split())
    said = re.search(r"cannot raise the lower end above ([\d.]+) of the upper end; it is at ([\d.]+)\.", text)
    assert "That is numerical, not a bound." in text
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    for row in rows:
        assert row["lower"] <= row["info"]["ceiling"]
    assert float(said[2]) <= float(said[1]) <= 1
    assert float(said[2]) == pytest.approx(sum(r["lower"] for r in rows) / sum(r["upper"] for r in rows), abs=6e-4)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_solution_file_holds_the_weights_behind_the_upper_end(cli, expand40, tmp_path, suffix):
    file = tmp_path / f"best.{suffix}"
    words = ("--method", "prune", "--nm", "2:4", "--rows", "3:6", "--inputs", "8:24", "--solution", file)
    document = result(cli, expand40, *words)
    if suffix == "npz":
        weight = np.load(file)["weight"]
    else:
        from safetensors.numpy import load_file

        weight = load_file(file)["weight"]
    with np.load(expand40) as layer:
        difference = layer["weight"][3:6, 8:24] - weight
        gram = layer["gram"][8:24, 8:24]
    errors = np.einsum("ri,ij,rj->r", difference, gram, difference)
    assert errors == pytest.approx([row["upper"] for row in document["rows"]], rel=1e-9)
    assert ((weight.reshape(3, 4, 4) != 0).sum(axis=2) <= 2).all()


def test_json_file_is_whole(cli, expand40, tmp_path):
    file = tmp_path / "out.json"
    words = ("--method", "quant", "--bits", "2", "--rows", "0:2", "--inputs", "0:8", "--json", file)
    ended = cli("bound", expand40, *words)
    assert ended.code == 0
    assert "Proven" in ended.out
    assert json.loads(file.read_text())["total"]["status"] == "optimal"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_time_limit_keeps_a_valid_interval(cli, tmp_path):
    """A row nobody proves in a moment: the bound must hold against a better point found with more time."""
    from pvq.layers.format import Layer, save_layer

    rng = np.random.default_rng(0)
    a = rng.standard_normal((400, 150))
    file = save_layer(tmp_path / "hard.npz", Layer("hard", rng.standard_normal((1, 150)), a.T @ a / 400))
    for words in (("--method", "prune", "--sparsity", "0.5"), ("--method", "quant", "--bits", "4")):
        document = result(cli, file, *words, "--solver", "bnb", "--time-limit", "0.5")
        row = document["rows"][0]
        assert row["status"] == "time_limit"
        assert 0 < row["lower"] < row["upper"]
        assert row["bound_kind"] in ("numerical", "rigorous")


def test_interrupt_prints_what_is_proven(tmp_path):
    from pvq.layers.format import Layer, save_layer

    rng = np.random.default_rng(0)
    a = rng.standard_normal((600, 400))
    weight = rng.standard_normal((3, 400))
    weight[0] = 0  # finished at once; no machine finishes the others
    file = save_layer(tmp_path / "hard.npz", Layer("hard", weight, a.T @ a / 600))
    told = "import pvq.bounds.app.progress as progress; progress.PLAIN_EVERY = 0; "
    command = [*ENTRY[:2], told + ENTRY[2], str(file), "--method", "prune", "--sparsity", "0.5"]
    command += ["--solver", "bnb", "--time-limit", "0", "--json", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = iter(process.stderr.readline, "")  # an event, not a time: machines differ
    assert any(line.startswith("row 2 of 3") for line in told)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    document = json.loads(out)
    assert document["total"]["status"] == "interrupted"
    assert [row["status"] for row in document["rows"]] == ["optimal", "interrupted", "interrupted"]
    assert 0 <= document["total"]["lower"] < document["total"]["upper"]


BAD_WORDS = [
    (("--method", "prune", "--sparsity", "1"), r"\[0, 1\)"),
    (("--method", "prune", "--sparsity", "-0.5"), r"\[0, 1\)"),
    (("--method", "quant", "--bits", "0"), "between 1 and 12"),
    (("--method", "prune", "--nm", "5:4"), "N <= M"),
    (("--method", "prune", "--nm", "two:four"), "N:M"),
    (("--method", "prune", "--nm", "2:4", "--inputs", "0:10"), "multiple of 4"),
    (("--method", "prune", "--sparsity", "0.5", "--block", "7"), "does not divide"),
    (("--method", "quant"), "needs --bits"),
    (("--method", "prune", "--sparsity", "0.5", "--nm", "2:4"), "not both"),
    (("--method", "quant", "--bits", "4", "--solver", "scup"), "did you mean 'scip'"),
    (("--method", "quantise", "--bits", "4"), "did you mean 'quant'"),
    (("--method", "quant", "--bits", "4", "--compare", "gtpq"), "did you mean 'gptq'"),
    (("--method", "quant", "--bits", "4", "--compare", "bnb"), "use --solver"),
    (("--method", "quant", "--bits", "4", "--compare", "wanda"), "takes"),
    (("--method", "quant", "--bits", "4", "--rows", "200:300"), "rows 0:240"),
    (("--method", "quant", "--bits", "4", "--rows", "3:3"), "A < B"),
    (("--method", "quant", "--bits", "4", "--inputs", "-1:3"), "A:B"),
    (("--method", "quant", "--bits", "four"), "--bits"),
    (("--method", "quant", "--bits", "4", "--jobs", "0"), "--jobs"),
    (("--method", "quant", "--bits", "4", "--time-limit", "-1"), "--time-limit"),
    (("--method", "quant", "--bits", "4", "--json", "no/such/folder/out.json"), "no folder"),
    (("--method", "quant", "--bits", "4", "--solution", "best.txt"), "must end in .npz or .safetensors"),
    (("--method", "quant", "--grid", "nf5"), "did you mean 'nf4'"),
    (("--bits", "4"), "--method"),
]


@pytest.mark.parametrize(("words", "says"), BAD_WORDS, ids=[" ".join(words) for words, _ in BAD_WORDS])
def test_bad_input_is_one_line_and_exit_2(cli, expand40, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    ended = cli("bound", expand40, *words)
    assert ended.code == 2
    assert ended.out == ""
    assert len(ended.err.strip().splitlines()) == 1
    assert re.search(says, ended.err)
    assert not list(tmp_path.iterdir())


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return path


W, G = np.ones((2, 3)), np.eye(3)
BAD_FILES = {
    "missing": (lambda p: p, "no such file"),
    "not an npz": (lambda p: p.write_text("weights") and p, "npz"),
    "pickle inside": (lambda p: _npz(p, weight=np.array([{}], dtype=object), gram=G), "pickle"),
    "no weight": (lambda p: _npz(p, gram=G), "weight"),
    "shapes": (lambda p: _npz(p, weight=W, gram=np.eye(4)), "does not fit"),
    "nan": (lambda p: _npz(p, weight=W * np.nan, gram=G), "NaN"),
    "infinity": (lambda p: _npz(p, weight=W, gram=np.full((3, 3), np.inf)), "(?i)inf"),
    "asymmetric": (lambda p: _npz(p, weight=W, gram=np.triu(np.ones((3, 3)))), "not symmetric"),
    "not psd": (lambda p: _npz(p, weight=W, gram=np.diag([1.0, 1.0, -0.5])), r"eigenvalue is -0\.5"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_layer_files(cli, tmp_path, case):
    write, says = BAD_FILES[case]
    file = write(tmp_path / "layer.npz")
    ended = cli("bound", file, "--method", "prune", "--sparsity", "0.5")
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert re.search(says, ended.err)


def test_a_solver_that_is_not_here_is_exit_3(cli, expand40, monkeypatch):
    from pvq.solvers.registry import solver_class

    monkeypatch.setattr(solver_class("scip"), "requires", ("no_such_module_at_all",))
    ended = cli("bound", expand40, "--method", "quant", "--bits", "4", "--solver", "scip")
    assert ended.code == 3
    assert "pip install 'pvq-bound[scip]'" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_a_licence_that_is_too_small_is_exit_3(cli, expand40):
    """256 binaries for each of 40 inputs exceed the 2000 variables that come with the package."""
    words = ("--method", "quant", "--grid", "fp8-e4m3", "--rows", "0:1", "--solver", "gurobi")
    ended = cli("bound", expand40, *words)
    assert ended.code == 3
    assert "licen" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_solvers_lists_what_each_can_do(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")
    out = cli("solvers").out
    for name in (
        "bnb",
        "scip",
        "gurobi",
        "cvxpy",
        "sdp",
        "brute",
        "rtn",
        "gptq",
        "magnitude",
        "wanda",
        "sparsegpt",
        "obc",
    ):
        assert re.search(rf"\b{name}\b", out), name


@pytest.mark.parametrize("words", [["--help"], ["solvers"], ["bound", "--help"]])
def test_start_up_loads_neither_torch_nor_any_solver_package(words):
    code = (
        "import sys\n"
        f"sys.argv = ['pvq', *{words!r}]\n"
        "from pvq.bounds.app.main import pvq\n"
        "try:\n    pvq()\n"
        "finally:\n"
        "    heavy = {'torch', 'gurobipy', 'pyscipopt', 'cvxpy', 'clarabel', 'xpress', 'cplex', 'coptpy'}\n"
        "    print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout


def test_bounding_a_layer_loads_no_torch(expand40):
    code = (
        "import sys\n"
        f"sys.argv = ['pvq', 'bound', {str(expand40)!r}, '--method', 'quant', '--bits', '4', '--rows', '0:1']\n"
        "from pvq.bounds.app.main import pvq\n"
        "try:\n    pvq()\n"
        "finally:\n    print('LOADED', sorted({'torch', 'gurobipy', 'pyscipopt', 'cvxpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "LOADED []" in done.stdout, done.stderr


def test_a_range_of_sparsities_in_one_go(cli, expand40):
    words = ("bound", expand40, "--method", "prune", "--rows", "0:2", "--inputs", "0:12", "--quiet")
    ended = cli(*words, "--sparsity", "0.5:0.75:0.125", "--ridge", "0.01", "--json", "-")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert document["schema"] == "pvq.curve/1"
    assert [r["problem"]["sparsity"] for r in document["results"]] == [0.5, 0.625, 0.75]
    assert all(r["total"]["status"] == "optimal" and r["problem"]["ridge"] == 0.01 for r in document["results"])
    uppers = [r["total"]["upper"] for r in document["results"]]
    assert uppers == sorted(uppers)
    shown = cli(*words, "--sparsity", "0.5:0.75:0.125").out
    assert "0.625" in shown
    assert shown.count("optimal") == 3


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--sparsity", "0.9:0.5:0.1", "A <= B"),
        ("--sparsity", "0.5:0.9:0", "STEP > 0"),
        ("--sparsity", "half", "must be a number"),
        ("--sparsity", "0:0.9:1e-9", "at most"),
        ("--ridge", "-1", "0 or more"),
        ("--ridge", "nan", "0 or more"),
    ],
)
def test_bad_ranges_and_ridges(cli, expand40, option, value, says):
    words = ["bound", expand40, "--method", "prune", option, value]
    ended = cli(*words, *(() if option == "--sparsity" else ("--sparsity", "0.5")))
    assert ended.code == 2
    assert says in " ".join(ended.err.split())
    assert ended.out == ""


def test_a_matrix_that_was_made_symmetric_is_said(cli, tmp_path):
    x = np.random.default_rng(0).standard_normal((3000, 6)).astype(np.float32) + np.float32(1)
    sums = x.T @ x
    uneven = sums + np.triu(np.spacing(sums), 1)  # as another order of summation leaves it
    for name, gram in (("uneven", uneven), ("even", (sums + sums.T) / 2)):
        np.savez(tmp_path / f"{name}.npz", weight=np.ones((2, 6)), gram=gram, samples=3000)
        result = cli("bound", str(tmp_path / f"{name}.npz"), "--method", "prune", "--sparsity", "0.5")
        assert ("summed in float32 and was not symmetric" in result.out) == (name == "uneven")


def test_whether_an_error_of_0_is_reached_but_for_the_shift(cli, tmp_path):
    """Two equal inputs, levels -2 ... 1: 1/2 + 1/2 is 1 + 0, and 1/4 + 1/2 is not a sum of levels."""
    gram = np.array([[1.0, 1.0], [1.0, 1.0]])
    save_layer(tmp_path / "yes.npz", Layer("yes", np.array([[0.5, 0.5]]), gram))
    save_layer(tmp_path / "no.npz", Layer("no", np.array([[0.25, 0.5]]), gram))
    words = ("--method", "quant", "--bits", "2", "--range", "none")
    for name, said in (("yes", "weights within the constraints reach"), ("no", "no choice of weights reaches")):
        ended = cli("bound", tmp_path / f"{name}.npz", *words)
        assert f"Without the shift of H, {said} an error of exactly 0." in " ".join(ended.out.split())
        total = result(cli, tmp_path / f"{name}.npz", *words)["total"]
        assert total["zero_without_shift"] == {"answer": name, "bound_kind": "rigorous"}
    assert "zero_without_shift" not in result(cli, tmp_path / "yes.npz", *words, "--ridge", "0.1")["total"]
