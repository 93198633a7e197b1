"""`pvq finetune` from outside: a small task in worker processes, its files, its refusals."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pvq
import pytest
import small_task
import torch
from pvq.benchmarks.finetune import pool
from pvq.bounds.app.finetune import against
from pvq.bounds.app.finetune.show import draw, sentence
from safetensors.torch import load_file

SOURCE = "small_task:task"


@pytest.fixture
def helpers(monkeypatch):
    """The small task can be imported, in workers too."""
    import os
    from pathlib import Path

    folder = Path(__file__).parents[1] / "helpers"
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def test_a_comparison_and_going_on(cli, helpers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["finetune", SOURCE, "--bits", "3", "--seeds", 2, "--epochs", 1, "--rates", "0.05"]
    outputs = ["--json", "t.json", "--table", "t.md", "--figure", "t.png"]
    ended = cli(*words, *outputs)
    assert ended.code == 0, ended.err
    record = json.loads((tmp_path / "t.json").read_text())
    assert record["schema"] == "pvq.finetune/1"
    (task,) = record["tasks"]
    assert [(c["method"], c["seed"]) for c in task["cells"]] == [
        ("quant", 0),
        ("quant", 1),
        ("prune", 0),
        ("prune", 1),
    ]
    assert (tmp_path / "t.md").read_text().startswith("|  | original | 3 bits quantized | 3 bits pruned |")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "finetune-small_task-task").glob("*.checkpoint"))
    made_up = ["source,model,measure,method,bits,value", "made up,Net-9,accuracy,original,,71.5"]
    made_up += ["made up,Net-9,accuracy,quant,3,70.25", "made up,Net-9,accuracy,prune,3,12"]
    (tmp_path / "p.csv").write_text("\n".join(made_up))
    beside = cli(
        *words, "--published", "p.csv", "--json", "p.json", "--table", "p.md", "--figure", "p.svg", "--quiet"
    )
    assert beside.code == 0, beside.err
    assert beside.out.startswith(ended.out)
    assert re.search(
        r"Net-9, accuracy as published: made up\n.*\n16 +71.50 +71.50.*\n3 +70.25 +12.00",
        re.sub(r"(?m)^ +|\n\s*\n", "\n", beside.out),
        re.S,
    )
    assert (tmp_path / "p.md").read_text().splitlines()[
        -1
    ] == "| Net-9, accuracy (made up) | 71.50 | 70.25 | 12.00 |"
    assert len(re.findall(r'id="axes_\d+"', (tmp_path / "p.svg").read_text())) == 2
    with_it = json.loads((tmp_path / "p.json").read_text())
    assert [one["source"] for one in with_it.pop("published")] == ["made up"]
    assert with_it == record
    again = cli(*words, "--json", "again.json", "--quiet")
    assert json.loads((tmp_path / "again.json").read_text()) == record
    assert again.out == ended.out
    assert again.err == ""


def test_fine_tuned_layers_against_the_least_error(cli, helpers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--bits", "3", "--epochs", 1, "--rates", "0.05"]
    assert cli("finetune", SOURCE, *words).code == 0
    folder = (tmp_path / "finetune-small_task-task").rename(tmp_path / "elsewhere")  # as from another machine
    monkeypatch.setattr(pool, "Process", None)  # nothing is trained again
    ended = cli("finetune", SOURCE, *words, "--folder", folder, "--bounds", "0.3s", "--json", "t.json")
    assert ended.code == 0, ended.err
    (task,) = json.loads((tmp_path / "t.json").read_text())["tasks"]
    lines = task["against_bounds"]
    assert [(line["layer"], line["method"]) for line in lines] == [
        (layer, method) for layer in ("0", "3", "7") for method in ("quant", "prune")
    ]
    original = load_file(folder / "original.safetensors")
    images = torch.cat([batch[0] for batch in small_task.task().validation])
    for line in lines:
        assert 0 <= line["lower"] <= line["upper"]
        assert line["below_lower"] == (line["error"] < line["lower"])
        if line["method"] == "prune":  # a point of the problem
            assert line["error"] >= line["lower"]
    for line in lines[:2]:
        tuned = load_file(next(folder.glob(f"{line['method']}-*.safetensors")))
        change = (original["0.weight"] - tuned["0.weight"]).double()
        moved = torch.nn.functional.conv2d(images.double(), change)
        assert line["error"] == pytest.approx(float(moved.square().sum()) / (moved.numel() / 6), rel=1e-9)
    below = sum(line["below_lower"] for line in lines if line["method"] == "quant")
    assert f"{below} of 3 quantized layers are below the lower end and 0 of 3 pruned layers" in ended.out


def test_a_network_that_takes_names_and_stores_a_weight_the_other_way(cli, helpers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--bits", "3", "--epochs", 1, "--rates", "0.05", "--bounds", "0.2s", "--json", "t.json"]
    ended = cli("finetune", "small_task:named", *words)
    assert ended.code == 0, ended.err
    (task,) = json.loads((tmp_path / "t.json").read_text())["tasks"]
    folder = tmp_path / "finetune-small_task-named"
    rows = torch.cat([batch[0] for batch in small_task.named().validation]).double()
    before = load_file(folder / "original.safetensors")["turned.weight"].double()
    lines = {line["method"]: line for line in task["against_bounds"] if line["layer"] == "turned"}
    for cell in task["cells"]:
        tuned = load_file(next(folder.glob(f"{cell['method']}-*.safetensors")))["turned.weight"].double()
        assert not torch.equal(before, tuned)
        error = float((rows @ (before - tuned)).square().sum()) / len(rows)
        assert lines[cell["method"]]["error"] == pytest.approx(error, rel=1e-6)
        (layer,) = (layer for layer in cell["layers"] if layer["name"] == "turned")
        moved = 10 * np.log10(float((rows @ before).square().sum()) / (error * len(rows)))
        assert layer["activation_sqnr_db"] == pytest.approx(moved, rel=1e-4)
        assert re.search(rf"turned .* {moved:.1f} *\n", ended.out)


def started(folder, *words):
    """`pvq finetune` in a process of its own, in a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", "from pvq.bounds.app.main import pvq; pvq()", "finetune", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_interrupt_ends_it_and_keeps_the_checkpoint(helpers, tmp_path):
    words = [SOURCE, "--bits", "3", "--epochs", "30000", "--rates", "0.05,0.01", "--jobs", "2", "--json", "t.json"]
    process = started(tmp_path, *words)
    folder = tmp_path / "finetune-small_task-task"
    while len(list(folder.glob("quant-*.checkpoint"))) < 2:  # minutes before they are done
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "original" in json.loads((tmp_path / "t.json").read_text())["tasks"][0]
    for file in folder.glob("quant-*.checkpoint"):
        assert torch.load(file, weights_only=True)["done"] >= 1
    assert (folder / "original.safetensors").is_file()


def test_an_interrupt_is_answered_while_inputs_are_collected_for_the_bounds(helpers, tmp_path):
    words = ["small_task:patient", "--bits", "3", "--epochs", "1", "--rates", "0.05"]
    words += ["--bounds", "1s", "--json", "t.json"]
    process = started(tmp_path, *words)
    while not (tmp_path / "waiting").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=40)  # one batch takes 60 s
    assert process.returncode == 130, err
    assert "Traceback" not in err
    (task,) = json.loads((tmp_path / "t.json").read_text())["tasks"]
    assert len(task["cells"]) == 2
    assert task["against_bounds"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zoo:digits"], "not in the zoo"),
        (["nothing"], "is not a task"),
        (["no_such_module:task"], "cannot be loaded"),
        (["small_task:network"], "returned a Sequential"),
        ([SOURCE, "--bits", "1:4"], "--bits must be between 2 and 15"),
        ([SOURCE, "--rates", "fast"], "--rates must be numbers"),
        ([SOURCE, "--device", "abacus"], "--device abacus"),
        ([SOURCE, "--bounds", "soon"], "--bounds must be a duration"),
        ([SOURCE, "--epochs", "0"], "--epochs must be at least 1"),
        ([SOURCE, "--published", "none.csv"], "--published: none.csv cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(cli, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    ended = cli("finetune", *words)
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_time_left_is_that_of_epochs_of_this_run(monkeypatch):
    from pvq.benchmarks.finetune.train import Cell
    from pvq.bounds.app.finetune import progress

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    count = progress.Epochs(40)
    first, second = (Cell("quant", bits, 0, 0.01, 10) for bits in (3, 4))
    count("task", first, 10)  # of an earlier run
    for done in (1, 2, 3):
        now[0] += 5
        count("task", second, done)
    assert count.done == 13
    assert count.sentence() == "13 of 40 epochs, about 2 min left"  # 27 epochs of 5 s


def test_feasible_weights_are_a_point_of_their_own_problem():
    """Where they are better than what a short search has found, they are no dB below the least error."""
    rng = np.random.default_rng(0)
    layer = pvq.Layer.from_activations(rng.standard_normal((3, 6)), rng.standard_normal((20, 6)) @ np.tri(6))
    pattern = pvq.Prune(0.5)
    rough, best = pvq.bound(layer, pattern, solver="magnitude"), pvq.bound(layer, pattern)
    assert best.upper < rough.upper
    line = against.compared(rough, best.weights)
    assert line["upper"] == line["error"] < rough.upper
    assert against.above_db(line)[0] == 0.0
    assert against.compared(rough, layer.weight)["upper"] == rough.upper  # not pruned


def test_many_tasks_are_drawn_in_rows_of_four(tmp_path):
    cells = [{"method": method, "bits": 3, "test": 90.0} for method in ("quant", "prune")]
    document = {"task": "t", "measure": "m", "bits": [3], "original": {"test": 91.0}, "cells": cells}
    sizes = {}
    for tasks in (1, 4, 5):
        draw(tmp_path / "t.svg", [document] * tasks)
        text = (tmp_path / "t.svg").read_text()
        assert len(re.findall(r'id="axes_\d+"', text)) == tasks
        sizes[tasks] = [float(size) for size in re.search(r'viewBox="0 0 (\S+) (\S+)"', text).groups()]
    (width, height) = sizes[1]
    assert sizes[4] == pytest.approx([4 * width, height])
    assert sizes[5] == pytest.approx([4 * width, 2 * height])


def test_a_rate_at_an_end_of_those_tried_is_said():
    rates = {"tried": [0.1, 0.03, 0.01], "bits": 3, "quant": 0.1, "prune": 0.03}
    document = {"rates": rates, "bits": [], "cells": [], "higher_is_better": True}
    assert sentence(document).startswith("Learning rates: 0.1 quantized (the largest tried), 0.03 pruned (best")
    document["rates"] = rates | {"prune": 0.01}
    assert "0.01 pruned (the smallest tried)" in sentence(document)
    document["rates"] = {"tried": [0.05], "bits": 3, "quant": 0.05, "prune": 0.05}
    assert sentence(document).startswith("Learning rates: 0.05 quantized, 0.05 pruned (best")
