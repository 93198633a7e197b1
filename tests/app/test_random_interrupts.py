"""Ctrl-C at random moments, from the imports to the search: one exit code, whole files or none, nothing left."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pvq.layers.format import Layer, save_layer

from faults import hidden

SIGNALS = int(os.environ.get("PVQ_SIGNALS", "2"))
"""Moments for each command."""

COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell without job control leaves it ignored
from pvq.bounds.app.main import pvq
print("begun", file=sys.stderr, flush=True)
pvq()
"""
ENDLESS = ("--time-limit", "0", "--json", "OUT")
COMMANDS = {
    "rows": ("bound", "LAYER", "--method", "prune", "--sparsity", "0.5", "--solver", "bnb", *ENDLESS),
    "budget": ("bound", "LAYER", "--method", "prune", "--sparsity", "0.5", "--scope", "layer", *ENDLESS),
    "sparsities": (
        "bound",
        "LAYER",
        "--method",
        "prune",
        "--sparsity",
        "0.4:0.6:0.1",
        "--solver",
        "bnb",
        *ENDLESS,
    ),
    "scale": ("bound", "LAYER", "--method", "quant", "--bits", "4", "--range", "optimal", *ENDLESS),
    "compare": ("compare", "LAYER", "--bits", "3:8", "--full", *ENDLESS),
}


def intervals(document):
    """(lower, upper) of every total in a result, curve or comparison."""
    if "layers" in document:
        sides = [
            pair[side] for layer in document["layers"] for pair in layer["pairs"] for side in ("quant", "prune")
        ]
    else:
        sides = [result["total"] for result in document.get("results", [document])]
    return [(side["lower"], side["upper"]) for side in sides]


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_at_random_moments(tmp_path, name):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((300, 200))  # no machine solves it
    layer = save_layer(tmp_path / "l.npz", Layer("l", rng.standard_normal((3, 200)), a.T @ a / 300))
    out = tmp_path / "out.json"
    words = [{"LAYER": str(layer), "OUT": str(out)}.get(word, word) for word in COMMANDS[name]]
    moments = random.Random(name)
    for _ in range(SIGNALS):
        out.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr.readline() == "begun\n"
        time.sleep(moments.uniform(0.02, 5.0))
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        if out.exists():
            assert said
            for lower, upper in intervals(json.loads(out.read_text())):
                assert 0 <= lower <= upper
        else:
            assert "interrupted\n" in errors  # a line on a stage may still come after it
        assert hidden(tmp_path) == []
