"""`pvq weights`: every weight tensor of a model or checkpoint."""

import csv
import json
import math

import numpy as np
import pytest
from pvq.bounds.theory.weight_tensors import measure, shares
from safetensors.numpy import save_file


@pytest.fixture
def checkpoint(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "model.safetensors"
    tensors = {
        "a.normal": rng.standard_normal((64, 96)),
        "b.heavy": rng.standard_t(2.2, (96, 64)).astype(np.float32),
        "c.half": rng.standard_normal((8, 4, 3, 3)).astype(np.float16),
        "d.sparse": np.where(rng.random((50, 50)) < 0.1, rng.standard_normal((50, 50)), 0.0),
        "e.constant": np.full((4, 4), 0.5),
        "f.single": np.ones((1, 1)),
        "g.nan": np.array([[1.0, np.nan], [2.0, 3.0]]),
        "h.empty": np.zeros((0, 3)),
        "bias": rng.standard_normal(7),
        "ids": np.arange(12).reshape(3, 4),
    }
    save_file(tensors, path)
    return path, tensors


def document(cli, *words):
    ended = cli("weights", *words, "--quiet", "--json", "-")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_a_checkpoint_tensor_by_tensor(cli, checkpoint):
    path, tensors = checkpoint
    found = document(cli, path)
    rows = {row["name"]: row for row in found["tensors"]}
    assert list(rows) == [name for name in tensors if name not in ("bias", "ids")]
    assert found["left_out"] == 1
    reasons = {name: row["skipped"] for name, row in rows.items() if row["skipped"]}
    assert reasons == {
        "e.constant": "constant",
        "f.single": "one element",
        "g.nan": "NaN or infinite entries",
        "h.empty": "no elements",
    }
    normal = rows["a.normal"]
    assert normal["kurtosis"] == pytest.approx(3, abs=0.2)
    four = normal["widths"][2]
    assert (four["bits"], four["sparsity"], four["higher"]) == (4, 0.75, "quant")
    assert four["quant_sqnr_db"] == pytest.approx(19.26, abs=0.4)
    assert four["prune_sqnr_db"] == pytest.approx(5.58, abs=0.2)
    # 10% of the weights are not 0: pruning to 87.5% removes nothing else
    assert rows["d.sparse"]["widths"][0]["prune_sqnr_db"] is None
    assert rows["d.sparse"]["widths"][0]["higher"] == "prune"
    assert [share["tensors"] for share in found["shares"]] == [4] * 7
    assert found["shares"][0]["prune_higher"] >= 0.25


def test_errors_are_those_of_the_weights(cli, checkpoint):
    path, tensors = checkpoint
    weight = tensors["b.heavy"].astype(float)
    (row,) = document(cli, path, "--tensors", "b.*", "--bits", "3", "--grid", "int-sym")["tensors"]
    order = np.sort(weight.ravel() ** 2)
    kept = math.floor(weight.size * 3 / 16)
    expected = 10 * math.log10(order.sum() / order[: len(order) - kept].sum())
    assert row["widths"][0]["prune_sqnr_db"] == pytest.approx(expected)
    scan = []
    for scale in np.geomspace(1e-3, 1, 400) * np.abs(weight).max():
        rounded = np.clip(np.round(weight / scale), -3, 3) * scale
        scan.append(10 * math.log10(order.sum() / ((weight - rounded) ** 2).sum()))
    assert row["widths"][0]["quant_sqnr_db"] >= max(scan) - 0.01


def test_a_scale_for_each_channel_is_no_worse(cli, checkpoint):
    path, _ = checkpoint
    words = (path, "--tensors", "[ab].*", "--bits", "2:4")
    tensor, channel = document(cli, *words), document(cli, *words, "--granularity", "channel")
    for one, each in zip(tensor["tensors"], channel["tensors"], strict=True):
        for few, many in zip(one["widths"], each["widths"], strict=True):
            assert many["quant_sqnr_db"] >= few["quant_sqnr_db"]
            assert many["prune_sqnr_db"] == few["prune_sqnr_db"]


def test_table_csv_and_figure(cli, checkpoint, tmp_path):
    pytest.importorskip("matplotlib")
    path, _ = checkpoint
    table, figure = tmp_path / "t.csv", tmp_path / "f.png"
    ended = cli("weights", path, "--csv", table, "--figure", figure)
    assert ended.code == 0, ended.err
    assert "8 of 8 tensors" in ended.err
    assert "skipped: constant" in ended.out
    assert "pruning higher, % of tensors" in ended.out
    assert "Pearson" in ended.out
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 7 + 4
    assert {row["skipped"] for row in rows if row["name"] == "f.single"} == {"one element"}
    assert next(row["prune_sqnr_db"] for row in rows if row["name"] == "d.sparse") == "inf"
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_state_dicts_and_half_precision(cli, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    torch.manual_seed(0)
    weight = torch.randn(40, 30)
    torch.save({"state_dict": {"module.w": weight, "tied": weight, "b": torch.zeros(3)}}, tmp_path / "m.pt")
    found = document(cli, tmp_path / "m.pt", "--bits", "4")
    assert [row["name"] for row in found["tensors"]] == ["w"]  # the tied one is the same memory
    save_torch({"w": weight.bfloat16()}, tmp_path / "b.safetensors")
    half = document(cli, tmp_path / "b.safetensors", "--bits", "4")
    exact = found["tensors"][0]["widths"][0]["quant_sqnr_db"]
    assert half["tensors"][0]["widths"][0]["quant_sqnr_db"] == pytest.approx(exact, abs=0.1)


def test_a_model_of_the_zoo(cli):
    pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite_pytorch")
    found = document(cli, "zoo:efficientnet-lite0", "--bits", "2:4", "--tensors", "_blocks.?._depthwise*")
    assert len(found["tensors"]) == 10
    for share in found["shares"]:
        assert share["kurtosis_with_advantage"] < -0.8


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("no/such.safetensors",), "no such file"),
        (("zoo:no-such-model",), "not in the zoo"),
        (("zoo:efficientnet-lite0", "--granularity", "group:4"), "tensor or channel"),
        (("zoo:efficientnet-lite0", "--csv", "x.txt"), ".csv"),
        (("zoo:efficientnet-lite0", "--bits", "0"), "--bits must be"),
        (("zoo:efficientnet-lite0", "--tensors", "nothing"), "of these names"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(cli, words, says):
    pytest.importorskip("torch")
    ended = cli("weights", *words, "--quiet")
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert says in ended.err


def test_damaged_checkpoints_are_said(cli, tmp_path, checkpoint):
    (tmp_path / "x.safetensors").write_bytes(b"not one")
    (tmp_path / "x.pt").write_bytes(b"not one")
    for path in (tmp_path / "x.safetensors", tmp_path / "x.pt"):
        ended = cli("weights", path, "--quiet")
        assert ended.code == 2
        assert len(ended.err.strip().splitlines()) == 1
    ended = cli("weights", checkpoint[0], "--weights", "other.pt")
    assert "leave out --weights" in ended.err


def test_numbers_whose_squares_overflow_are_skipped(cli, tmp_path):
    weight = np.random.default_rng(0).standard_normal((9, 9))
    save_file({"huge": weight * 1e200, "tiny": weight * 1e-200, "usual": weight}, tmp_path / "m.safetensors")
    found = document(cli, tmp_path / "m.safetensors", "--bits", "4:4")
    skipped = {tensor["name"]: tensor["skipped"] for tensor in found["tensors"]}
    assert skipped["usual"] is None
    assert "beyond float64" in skipped["huge"]
    assert "beyond float64" in skipped["tiny"]


def test_no_correlation_without_three_tensors():
    weight = np.random.default_rng(0).standard_normal((10, 10))
    (share,) = shares([measure("w", weight, "int", "tensor", [4])])
    assert share.kurtosis_with_quant is None
    assert shares([measure("one", np.ones((1, 1)), "int", "tensor", [4])]) == []
