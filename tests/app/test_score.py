"""`pvq-bound --score`: weights of the user's own from every kind of file."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

WORDS = ("--method", "quant", "--bits", "3", "--rows", "0:4", "--inputs", "0:8")


@pytest.fixture
def best(cli, expand40, tmp_path):
    cli("bound", expand40, *WORDS, "--solution", tmp_path / "best.npz", "--quiet")
    return np.load(tmp_path / "best.npz")["weight"]


def scored(cli, layer, file):
    ended = cli("bound", layer, *WORDS, "--score", file, "--json", "-", "--quiet")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    return document["score"], document["total"]


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "pt", "solution"])
def test_the_optimum_is_no_db_from_itself(cli, expand40, tmp_path, best, suffix):
    file = tmp_path / f"mine.{suffix}"
    stored = best.astype(np.float32)
    if suffix == "npy":
        np.save(file, stored)
    elif suffix == "npz":
        np.savez(file, weight=stored, other=stored[:1])
    elif suffix == "safetensors":
        save_file({"_blocks.4._expand_conv.weight": stored, "x": stored[:1]}, file)
    elif suffix == "pt":
        torch = pytest.importorskip("torch", reason="torch is not installed")
        state = {"_blocks.4._expand_conv.weight": torch.tensor(stored), "x": torch.zeros(1)}
        torch.save({"state_dict": state}, file)
    else:
        file = tmp_path / "best.npz"
    score, total = scored(cli, expand40, file)
    assert score["feasible"]
    assert score["error"] == pytest.approx(total["upper"], rel=1e-4)
    assert score["above_optimum_min_db"] == pytest.approx(0, abs=1e-4)


def test_weights_off_the_grid_are_told_so(cli, expand40, tmp_path, best):
    best[2, 3] *= 1.001
    best[2, 3] += 1e-3
    np.save(tmp_path / "mine.npy", best)
    score, _ = scored(cli, expand40, tmp_path / "mine.npy")
    assert not score["feasible"]
    assert score["reason"].startswith("row 2: 1 of 8 weights")
    assert score["above_optimum_min_db"] is None
    ended = cli("bound", expand40, *WORDS, "--score", tmp_path / "mine.npy", "--quiet")
    assert "not feasible" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda p: p / "none.npy", "no such file"),
        (lambda p: p / "mine.txt", "read from files ending in"),
        (lambda p: np.save(p / "m.npy", np.ones((2, 2))) or p / "m.npy", "are not those of a layer"),
        (lambda p: np.savez(p / "m.npz", a=np.ones(2), b=np.ones(2)) or p / "m.npz", "it has a, b"),
        (lambda p: (p / "m.npy").write_bytes(b"\x93NUMPY junk") and p / "m.npy", "cannot be read"),
        (lambda p: (p / "m.safetensors").write_bytes(b"junk") and p / "m.safetensors", "not a safetensors file"),
    ],
)
def test_files_that_have_none(cli, expand40, tmp_path, write, says):
    ended = cli("bound", expand40, *WORDS, "--score", write(tmp_path))
    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1
