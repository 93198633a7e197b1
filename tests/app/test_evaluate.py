"""`pvq evaluate` from the command line."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

MODEL = """
import torch
def model():
    torch.manual_seed(0)
    return torch.nn.Linear(6, 4).double()
def largest(module):
    return {"largest": module.weight.abs().max(), "rows": len(module.weight)}
def broken(module):
    raise ValueError("no data")
"""


@pytest.fixture
def made(cli, tmp_path, monkeypatch):
    """Data with the labels of the model itself, and a rounded model."""
    (tmp_path / "evaluated_here.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "evaluated_here", raising=False)
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 4).double()
    x = np.random.default_rng(0).standard_normal((40, 6))
    y = model(torch.tensor(x)).argmax(1).numpy()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x)
    save_file(
        {"weight": (model.weight.detach() * 2).round() / 2, "bias": model.bias.detach()},
        tmp_path / "w.safetensors",
    )
    return x, y, model


def test_a_rounded_model_against_the_original(cli, tmp_path, made):
    x, y, model = made
    words = ("evaluate", "evaluated_here:model", "--data", tmp_path / "data.npz", "--json", "-")
    ended = cli(*words, "--quiet")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["measures"]["accuracy"] == 1.0
    more = ("--weights", tmp_path / "w.safetensors", "--original", "evaluated_here:model")
    ended = cli(*words, *more)
    document = json.loads(ended.out)
    rounded = x @ (np.round(2 * model.weight.detach().numpy()) / 2).T + model.bias.detach().numpy()
    share = float((rounded.argmax(1) == y).mean())
    assert document["measures"]["agreement"] == document["measures"]["accuracy"] == share
    assert 0 < share < 1
    assert document["of_original"]["accuracy"] == 1.0
    assert document["measures"]["kl"] > 0
    assert "batch 5 of 5" in ended.err


def test_the_table(cli, tmp_path, made):
    words = ("--data", tmp_path / "x.npy", "--original", "evaluated_here:model", "--quiet")
    ended = cli("evaluate", "evaluated_here:model", *words)
    assert ended.code == 0, ended.err
    assert "agreement with the original" in ended.out
    assert "no difference" in ended.out
    assert "40 outputs of x.npy" in ended.out


def test_a_function_of_the_users_own(cli, made):
    words = ("evaluate", "evaluated_here:model", "--data", "evaluated_here:largest", "--quiet")
    ended = cli(*words, "--json", "-")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["measures"]["rows"] == 4.0
    assert "largest" in cli(*words, "--original", "evaluated_here:model").out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--data", "{tmp}/x.npy"), "give --original to compare with"),
        (("--data", "{tmp}/none"), "no such calibration source"),
        (("--data", "evaluated_here:broken"), "broken fails: no data"),
        (("--data", "evaluated_here:none"), "no callable 'none'"),
        (("--data", "{tmp}/data.npz", "--weights", "{tmp}/x.npy"), "expected a state dict"),
        (("--data", "{tmp}/data.npz", "--limit", "0"), "at least 1"),
        (("--data", "{tmp}/data.npz", "--device", "nowhere"), "cannot be used"),
        (("--data", "{tmp}/data.npz", "--json", "{tmp}/data.npz"), "is the same file"),
    ],
)
def test_bad_input_is_one_line(cli, tmp_path, made, words, says):
    ended = cli("evaluate", "evaluated_here:model", *[word.format(tmp=tmp_path) for word in words], "--quiet")
    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1
