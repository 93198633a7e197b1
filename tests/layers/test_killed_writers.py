"""Every writer, killed at random moments: the file is the old or the new one, and nothing else is left at last."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pvq.bounds.certificate import load_certificate
from pvq.layers.files import write_text
from pvq.layers.format import load_layer

from faults import hidden

KILLS = int(os.environ.get("PVQ_KILLS", "3"))
"""Moments at which each writer is killed."""

START = """
import sys
from pathlib import Path
import numpy as np
path = Path(sys.argv[1])
"""
WRITERS = {
    "json": """
from pvq.layers.files import write_json
def write(k):
    write_json(path, {"k": k, "rows": [[k] * 50] * 200})
""",
    "layer.npz": """
from pvq.layers.format import Layer, save_layer
grams = [np.eye(60) * (k + 1.0) for k in range(9)]
def write(k):
    save_layer(path, Layer("l", np.full((40, 60), float(k)), grams[k]))
""",
    "solution.npz": """
from pvq.layers.solutions import Solution, save_solution
def write(k):
    save_solution(path, Solution(np.full((40, 60), float(k)), tuple(range(40)), (0, 60), {}))
""",
    "certificate.npz": """
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.layers.format import Layer
from pvq.solvers.certify import write_certificate
from pvq.solvers.layer import solve_layer
from pvq.solvers.registry import get_solver
made = []
for k in range(9):
    layer = Layer("l", np.full((40, 6), 1.0 + k), np.eye(6))
    problem = state_problem(layer.weight, layer.grams, Setting("prune", sparsity=0.5))
    made.append((layer, problem, solve_layer(problem, get_solver("magnitude"))))
def write(k):
    write_certificate(path, *made[k])
""",
    "tensors.csv": """
from pvq.bounds.app.weights.command import write_csv
from pvq.bounds.theory.weight_tensors import measure
made = [[measure(f"{k}", np.eye(9) + k, "int", "tensor", (4,))] * 200 for k in range(9)]
def write(k):
    write_csv(path, made[k])
""",
}
WRITERS["solution.safetensors"] = WRITERS["solution.npz"]
LOOP = """
write(0)
print("writing", flush=True)
while True:
    for k in range(9):
        write(k)
"""


def number_in(path):
    """Which of the nine contents a file has; fails where it is none of them."""
    if path.name == "json":
        document = json.loads(path.read_text())
        assert document["rows"] == [[document["k"]] * 50] * 200
        return document["k"]
    if path.name == "certificate.npz":
        rows = load_certificate(path).rows
        (kept,) = {float(row.x.max()) for row in rows}
        assert len(rows) == 40
        return kept - 1
    if path.name == "tensors.csv":
        with path.open(newline="") as file:
            names = [line["name"] for line in csv.DictReader(file)]
        assert len(names) == 200
        return int(*set(names))
    if path.name == "layer.npz":
        layer = load_layer(path)
        assert np.array_equal(layer.grams[0], np.eye(60) * (layer.weight[0, 0] + 1))
        weight = layer.weight
    elif path.suffix == ".npz":
        with np.load(path) as archive:
            weight = archive["weight"]
    else:
        from safetensors.numpy import load_file

        weight = load_file(path)["weight"]
    assert weight.shape == (40, 60)
    assert len(np.unique(weight)) == 1
    return weight[0, 0]


@pytest.mark.parametrize("name", WRITERS)
def test_a_killed_writer_leaves_a_whole_file(tmp_path, name):
    path, rng, seen = tmp_path / name, random.Random(name), 0
    for _ in range(KILLS):
        words = [sys.executable, "-c", START + WRITERS[name] + LOOP, path]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"writing\n"
        assert len(hidden(tmp_path)) <= 1  # what the one before left is gone
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert number_in(path) in range(9)
        assert [file.name for file in tmp_path.iterdir() if file != path] == hidden(tmp_path)
        seen += len(hidden(tmp_path))
    write_text(tmp_path / "next", "x")
    assert hidden(tmp_path) == []
    assert KILLS < 20 or seen > 0  # some kills came while a file was half written
