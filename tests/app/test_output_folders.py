"""Commands that write a folder: under a quota, in a closed one, through links, onto files and pipes."""

import os
import stat
import sys

import numpy as np
import pytest
from output_cases import ALLOCATED, EXTRACT, FOLDERS, INIT, SAVED, TRAINED

from faults import files_of_at_most, hidden, in_turn

every_folder = pytest.mark.parametrize(
    ("command", "option"), FOLDERS, ids=lambda value: value[0] if isinstance(value, tuple) else value
)
MODEL = """
import torch
def model():
    torch.manual_seed(0)
    return torch.nn.Linear(6, 4).double()
"""


@pytest.fixture
def run(cli, tmp_path, monkeypatch):
    """Run a command that writes a folder; a model, its layers and their best weights are there."""
    (tmp_path / "made.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made", raising=False)
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).standard_normal((9, 6)))

    def call(command, option, out):
        if ("LAYERS" in command or "found" in command) and not os.path.exists("layers"):
            assert call(EXTRACT, "--out", "layers").code == 0
        if "found" in command and not os.path.exists("found"):
            words = ("--bits", "8:8", "--save-solutions", "found", "--json", "c.json", "--quiet")
            assert cli("compare", "layers", *words).code == 0
        return cli(*("layers" if word == "LAYERS" else word for word in command), option, out)

    return call


@every_folder
def test_a_quota_leaves_no_folder(run, tmp_path, command, option):
    if command is not TRAINED:  # which makes the folder first
        assert run(command, option, "warm").code == 0  # what is compiled or cached on the way is not what is tried
    with files_of_at_most(20):
        done = run(command, option, "new")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith("pvq: ")
    assert not os.path.lexists("new")
    assert hidden(tmp_path) == []


@every_folder
def test_onto_a_file_a_pipe_and_a_circle_of_links(run, command, option):
    with open("file", "w") as file:
        file.write("precious")
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    for out in ("file", "pipe", "loop", "file/below"):
        done = run(command, option, out)
        assert (done.code, done.err.count("\n")) == (2, 1), done
    with open("file") as file:
        assert file.read() == "precious"
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    assert os.path.islink("loop")


@every_folder
def test_through_a_link_to_an_empty_folder(run, command, option):
    if command is TRAINED:
        command = (*command, "--seeds", "0")  # refused after the folder is looked at
    os.mkdir("there")
    os.symlink("there", "link")
    done = run(command, option, "link")
    assert done.code == (2 if "--seeds" in command else 0), done
    assert os.path.islink("link")
    assert os.listdir("there") or "--seeds" in command


def test_in_a_closed_folder(run, tmp_path):
    run(ALLOCATED, "--out", "warm")
    (tmp_path / "closed").mkdir(mode=0o555)
    outs = [(command, option, "closed/new") for command, option in FOLDERS if command is not TRAINED]
    outs += [(INIT, "--", "closed"), (EXTRACT, "--out", "closed"), (SAVED, "--save-solutions", "closed")]
    commands = [
        ["layers" if w == "LAYERS" else w for w in (*command, option, out)] for command, option, out in outs
    ]
    for words, (code, out, err) in zip(commands, in_turn(commands, tmp_path), strict=True):
        assert (code, out, err.count("\n")) == (2, "", 1), (words, out, err)
        assert "closed" in err
        assert "ermission" in err
    assert list((tmp_path / "closed").iterdir()) == []
