"""`pvq extract` from the command line; what it computes is tested in tests/layers."""

import os

import numpy as np
import pytest
import torch
from pvq.layers.format import load_layer

from faults import files_of_at_most, hidden


def test_all_matching_layers_are_written_in_one_pass(cli, tmp_path):
    words = ("zoo:efficientnet-lite0", "--layer", "_blocks.1?._depthwise_conv", "--calibration", "zoo:photos")
    ended = cli("extract", *words, "--limit", "2", "--batch-size", "2", "-o", tmp_path)
    assert ended.code == 0, ended.err
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [f"efficientnet_lite0.blocks.{i}.depthwise.npz" for i in range(10, 16)]
    assert sorted(line.rsplit("/")[-1] for line in ended.out.split()) == written
    assert "batch 1 of 1" in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("zoo:efficientnet-lite0", "--layer", "no_such_*", "--calibration", "zoo:photos"), "_conv_stem"),
        (("zoo:efficientnet-lite0", "--layer", "*", "--calibration", "no/such/folder"), "no/such/folder"),
        (("zoo:no-such-model", "--layer", "*", "--calibration", "zoo:photos"), "no-such-model"),
        (("no.such.module:f", "--layer", "*", "--calibration", "zoo:photos"), "no.such"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(cli, tmp_path, words, says):
    ended = cli("extract", *words, "-o", tmp_path / "out", "--quiet")
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert says in ended.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.fixture
def extract_small(cli, tmp_path, monkeypatch):
    """Extract a linear layer of a model made here into a folder, or whatever a name is."""
    (tmp_path / "made_here.py").write_text("import torch\ndef model():\n    return torch.nn.Linear(6, 4)\n")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32))
    monkeypatch.syspath_prepend(tmp_path)

    def call(out, *more):
        words = ("made_here:model", "--layer", "*", "--calibration", tmp_path / "x.npy", "-o", out, "--quiet")
        return cli("extract", *words, *more)

    return call


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_model_computes_in_another_type_and_sums_are_float64(extract_small, tmp_path, dtype):
    """Its inputs and weights are those of the type, to the last bit."""
    ended = extract_small(tmp_path / "out", "--dtype", dtype)
    assert ended.code == 0, ended.err
    layer = load_layer(next((tmp_path / "out").iterdir()))
    of = getattr(torch, dtype)
    assert torch.equal(torch.tensor(layer.weight).to(of).double(), torch.tensor(layer.weight))
    x = torch.tensor(np.load(tmp_path / "x.npy")).to(of).double()
    np.testing.assert_allclose(layer.grams[0], (x.T @ x / 9).numpy(), rtol=1e-14, atol=1e-15)


def test_an_unknown_type_is_one_line(extract_small, tmp_path):
    ended = extract_small(tmp_path / "out", "--dtype", "int8")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "pvq: dtype 'int8' is none of float64, float32, bfloat16, float16\n"
    assert not (tmp_path / "out").exists()


def test_a_quota_leaves_no_half_of_a_layer(extract_small, tmp_path):
    assert extract_small(tmp_path / "out").code == 0
    (whole,) = (tmp_path / "out").iterdir()
    before = whole.read_bytes()
    with files_of_at_most(200):
        for out in (tmp_path / "out", tmp_path / "new", tmp_path / "new" / "below"):
            ended = extract_small(out)
            assert (ended.code, ended.out) == (2, "")
            assert ended.err == f"pvq: cannot write {out / whole.name}: File too large\n"
            assert hidden(tmp_path / "out") == []
    assert whole.read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_a_folder_behind_a_link_and_what_is_no_folder(extract_small, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    assert extract_small(tmp_path / "link").code == 0
    assert len(list((tmp_path / "there").iterdir())) == 1
    (tmp_path / "file").write_text("precious")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("file", "pipe", "loop", "file/below"):
        ended = extract_small(tmp_path / name)
        assert (ended.code, ended.out) == (2, "")
        assert len(ended.err.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "precious"
    ended = extract_small(tmp_path / ("a" * 300))
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "File name too long" in ended.err


def test_a_model_that_is_one_layer_has_an_empty_name(cli, extract_small, tmp_path):
    np.save(tmp_path / "x.npy", np.full((9, 6), np.nan, dtype=np.float32))
    assert "pvq: the model: NaN or infinite activations reached it" in extract_small(tmp_path / "out").err
    words = ("made_here:model", "--layer", "nothing", "--calibration", tmp_path / "x.npy", "-o", tmp_path)
    assert "layers are: '' (the model itself)" in cli("extract", *words, "--quiet").err
