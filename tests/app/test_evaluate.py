"""`pvq evaluate` from the command line."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_models import build, save_tokenizer

MODEL = """
import torch
def model():
    torch.manual_seed(0)
    return torch.nn.Linear(6, 4).double()
def largest(module):
    return {"largest": module.weight.abs().max(), "rows": len(module.weight)}
def colour():
    linear = torch.nn.Linear(3, 2, bias=False)
    linear.weight.data = torch.tensor([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]])
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), linear)
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


def test_a_folder_of_images_by_class(cli, tmp_path, made):
    colours = {"blue": [(0, 0, 200), (0, 90, 180)], "red": [(200, 0, 0), (180, 90, 0), (20, 20, 200)]}
    for name, pixels in colours.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for number, pixel in enumerate(pixels):
            Image.new("RGB", (30, 20), pixel).save(tmp_path / "images" / name / f"{number}.png")
    words = ("evaluate", "evaluated_here:colour", "--data", tmp_path / "images", "--quiet", "--json", "-")
    measures = json.loads(cli(*words).out)["measures"]
    assert measures["accuracy"] == 0.2  # in the order of names blue is 0, and the network calls red 0
    (tmp_path / "images" / "blue").rename(tmp_path / "images" / "1")
    (tmp_path / "images" / "red").rename(tmp_path / "images" / "0")
    measures = json.loads(cli(*words).out)["measures"]
    assert (measures["accuracy"], measures["labelled"]) == (0.8, 5)


def test_a_text_and_a_language_model(cli, tmp_path):
    model = build("llama")
    model.save_pretrained(tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    (tmp_path / "text.txt").write_text("the cat sat on a mat\nthe dog ran far away\n")
    words = ("evaluate", f"transformers:{tmp_path / 'model'}", "--data", tmp_path / "text.txt", "--quiet")
    ended = cli(*words, "--json", "-")
    assert ended.code == 0, ended.err
    measures = json.loads(ended.out)["measures"]
    assert measures["perplexity"] == pytest.approx(math.exp(measures["loss"]), rel=1e-12)
    ids = [torch.tensor([[3, 4, 5, 6, 7, 8]]), torch.tensor([[3, 10, 11, 12, 13]])]
    with torch.no_grad():
        losses = [model.float()(input_ids=some, labels=some).loss.item() for some in ids]
    assert measures["loss"] == pytest.approx((5 * losses[0] + 4 * losses[1]) / 9, rel=1e-5)
    assert "perplexity" in cli(*words, "--original", f"transformers:{tmp_path / 'model'}").out


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
