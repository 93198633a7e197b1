"""Every input of every command, where something else stands than it should: one line, exit 2, nothing written."""

import os
import re

import numpy as np
import pytest
from pvq.layers.format import Layer, save_layer
from safetensors.numpy import save_file

from faults import in_turn

QUANT = ("--method", "quant", "--bits", "2", "--quiet")
EXTRACT = ("extract", "--layer", "*", "--quiet", "-o", "new")
COMMANDS = [
    ("allocate", "IT", "--bits", "4"),
    ("apply", "made:model", "--results", "IT", "-o", "new", "--quiet"),
    ("bench", "IT", "--quiet"),
    ("bench", "library", "--library", "IT", "--quiet"),
    ("bench", "list.json", "--resume", "--json", "IT", "--quiet"),
    ("bound", "IT", *QUANT),
    ("bound", "l.npz", "--method", "quant", "--grid", "IT", "--quiet"),
    ("bound", "l.npz", *QUANT, "--score", "IT"),
    ("bound", "l.npz", *QUANT, "--scales", "IT"),
    ("compare", "IT", "--quiet"),
    ("compare", "l.npz", "--grid", "IT", "--quiet"),
    ("compare", "l.npz", "--resume", "--json", "IT", "--quiet"),
    ("extract", "made:model", "--calibration", "IT", *EXTRACT[1:]),
    ("extract", "IT", "--calibration", "x.npy", *EXTRACT[1:]),
    ("extract", "made:model", "--weights", "IT", "--calibration", "x.npy", *EXTRACT[1:]),
    ("theory", "--dist", "IT"),
    ("theory", "--layer", "IT"),
    ("theory", "--dist", "normal", "--grid", "IT"),
    ("verify", "IT", "l.npz"),
    ("verify", "p.npz", "IT"),
    ("weights", "IT", "--quiet"),
    ("weights", "made:model", "--weights", "IT", "--quiet"),
    ("weights", "m.safetensors", "--grid", "IT", "--quiet"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch, cli):
    """A folder with one good input of each kind, and some that are none."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    save_layer("l.npz", Layer("l", rng.standard_normal((2, 6)), np.eye(6)))
    save_file({"a": rng.standard_normal((9, 9)).astype(np.float32)}, "m.safetensors")
    np.save("x.npy", np.ones((3, 6)))
    files = {
        "made.py": b"import torch\ndef model():\n    return torch.nn.Linear(6, 4)\n",
        "list.json": b'{"schema": "pvq.cases/1", "cases": [{"library": "*", "solvers": ["bnb"]}]}',
        "empty": b"",
        "bytes": bytes(range(255, 127, -1)),
        "deep": b"[" * 100_000,
        "other.json": b'{"schema": "pvq.other/1"}',
        "list": b"[]",
        "cut.npz": (tmp_path / "l.npz").read_bytes()[:200],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    assert cli("bound", "l.npz", *QUANT, "--certificate", "p.npz").code == 0
    return tmp_path


def commands_on(names):
    return [[name if word == "IT" else word for word in command] for name in names for command in COMMANDS]


def said_in_one_line(code, out, err):
    return (code, out) == (2, "") and re.fullmatch(r"pvq: [^\n]+\n", err) and "Traceback" not in err


NAMES = ["nowhere", "a" * 300, "empty", "bytes", "deep", "other.json", "list", "cut.npz", "nothing", "circle"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:10])
def test_what_is_no_input_is_said_in_one_line(folder, cli, name):
    before = sorted(folder.rglob("[!_]*"))
    for words in commands_on([name]):
        if "--resume" in words and not os.path.lexists(name):
            continue  # a record that is not there yet begins anew
        done = cli(*words)
        assert said_in_one_line(*done), (words, done)
    found = [path for path in sorted(folder.rglob("[!_]*")) if path.parent.name != "__pycache__"]
    assert [path for path in found if path not in before] == []


def test_what_may_not_be_read_is_said_in_one_line(folder):
    (folder / "dark").mkdir()
    (folder / "dark" / "l.npz").write_bytes((folder / "l.npz").read_bytes())
    (folder / "unread").write_bytes((folder / "l.npz").read_bytes())
    (folder / "unread").chmod(0)
    (folder / "dark").chmod(0)
    words = commands_on(["dark", "dark/l.npz", "unread"])
    ended = in_turn(words, folder)
    assert len(ended) == len(words)
    for command, end in zip(words, ended, strict=True):
        assert said_in_one_line(*end), (command, end)
    assert not (folder / "new").exists()
