"""`pvq-bound --scales`: bounds on the grid of the user's own weights, with certificates."""

import json
from dataclasses import replace

import numpy as np
import pvq
import pytest
from safetensors.numpy import save_file

MODULE = "encoder.fc1"


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    """A layer file, and scales of (4, 2) groups that no range would choose."""
    rng = np.random.default_rng(3)
    mixing = rng.standard_normal((8, 8))
    weight, activations = rng.standard_normal((4, 8)), rng.standard_normal((60, 8)) @ mixing
    given = pvq.Layer.from_activations(weight, activations, MODULE)
    file = pvq.save_layer(tmp_path_factory.mktemp("layer") / "layer.npz", given)
    return file, given, np.float32(0.21 + 0.13 * rng.uniform(size=(4, 2)))


def quantized(layer, scale, zero, bits, kind):
    """Rounded to scale * (q - zero) as a kernel does it, in the type."""
    per_input = [np.repeat(a, 4, axis=1) if a.shape[1] == 2 else a for a in (scale, zero)]
    q = np.clip(np.round(layer.weight / per_input[0]) + per_input[1], 0, 2**bits - 1)
    return (per_input[0].astype(kind) * (q - per_input[1]).astype(kind)).astype(kind)


def bounded(cli, file, tmp_path, *words):
    proof, out = tmp_path / "proof.npz", tmp_path / "out.json"
    ended = cli("bound", file, "--method", "quant", *words, "--certificate", proof, "--json", out, "--quiet")
    assert ended.code == 0, ended.err
    return json.loads(out.read_text()), proof, ended.out


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group:4"])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_own_weights_are_on_the_grid_that_they_give(cli, layer, tmp_path, granularity, kind):
    file, given, scale = layer
    scale = {"tensor": scale[:1, :1], "channel": scale[:, :1], "group:4": scale}[granularity].astype(kind)
    zero = np.full(scale.shape, 7.0)
    mine = quantized(given, scale, zero, 4, kind)
    save_file({f"{MODULE}.weight": mine, "other": mine[:1]}, tmp_path / "mine.safetensors")
    words = ("--bits", "4", "--grid", "int-asym", "--granularity", granularity)
    own = ("--scales", tmp_path / "mine.safetensors", "--score", tmp_path / "mine.safetensors")
    document, _, text = bounded(cli, file, tmp_path, *words, *own)
    assert document["problem"]["range"] == "given"
    found = np.array([np.atleast_1d(row["scale"]) for row in document["rows"]])
    times = np.broadcast_to(found, (4, found.shape[1])) / scale
    exact = np.abs(times - 1) <= 2 * np.finfo(kind).eps
    if granularity == "group:4":  # values of so few may share a factor: then the finest step is taken, and said
        assert f"do not determine {(~exact).sum()} of 8 scales" in text
        assert np.allclose(times, np.round(times)) or np.allclose(1 / times, np.round(1 / times))
    assert exact.sum() > 4 if granularity == "group:4" else exact.all()
    score, total = document["score"], document["total"]
    assert score["feasible"], score["reason"]
    assert total["status"] == "optimal"
    assert score["error"] >= total["lower"]
    assert score["above_optimum_min_db"] >= 0
    assert "your own scales per" in text
    assert total["model"]["lower"] is None
    assert "scales of somebody's own" in total["model"]["refused"]  # who knows how they were chosen
    # and a library's search over scales is no part of it
    assert (
        cli("bound", file, "--method", "quant", *words, "--score", own[1], "--quiet").out.count("not feasible")
        == 1
    )


@pytest.mark.parametrize("names", [("scale", "zero"), (f"{MODULE}.weight_scale", f"{MODULE}.weight_zero_point")])
def test_scales_are_read_from_a_file_and_proven(cli, layer, tmp_path, names):
    file, given, scale = layer
    zero = np.arange(8).reshape(4, 2)
    save_file(dict(zip(names, (scale, zero), strict=True)), tmp_path / "scales.safetensors")
    words = ("--bits", "3", "--grid", "int-asym", "--granularity", "group:4", "--range", "minmax")
    document, proof, _ = bounded(cli, file, tmp_path, *words, "--scales", tmp_path / "scales.safetensors")
    assert [row["scale"] for row in document["rows"]] == scale.tolist()
    assert [row["zero"] for row in document["rows"]] == zero.tolist()
    ours = pvq.bound(
        given,
        pvq.Quant(3, "int-asym", "group:4"),
        scales={"scale": scale, "zero": zero},
        methods=(),
        certify=True,
    )
    assert ours.document["rows"][0]["lower"] == document["rows"][0]["lower"] > 0
    verified = cli("verify", proof, file, "--reference", "--json", tmp_path / "v.json")
    assert verified.code == 0, verified.err
    assert f"8 scales of the certificate: {float(scale[0, 0])!r}, " in verified.out
    assert "8 zero points of the certificate: 0.0, 1.0, " in verified.out
    assert json.loads((tmp_path / "v.json").read_text())["problem"]["scale"] == scale.tolist()
    assert pvq.verify(proof, given, reference=True) == pvq.verify(ours.certificate(), given)


def changed(proof, **words):
    certificate = pvq.load_certificate(proof)
    for name, value in words.items():
        object.__setattr__(certificate, name, value)
    return certificate


def test_a_certificate_is_about_its_scales_and_no_others(cli, layer, tmp_path):
    file, given, scale = layer
    np.savez(tmp_path / "scales.npz", scale=scale)
    words = ("--bits", "3", "--granularity", "group:4", "--scales", tmp_path / "scales.npz")
    _, proof, _ = bounded(cli, file, tmp_path, *words)
    honest = pvq.load_certificate(proof)
    assert np.array_equal(honest.scales[0], scale)
    other = np.array(honest.scales[0])
    other[3, 1] *= 1 + 1e-9
    zero = honest.scales[1]
    refused = {
        "feasible": (other, zero),  # x is on the honest grid
        "do not fit": (other[:, :1], zero[:, :1]),
        "positive": (-honest.scales[0], zero),
        "whole numbers": (honest.scales[0], zero + 1),
        "must be given": None,
    }
    for why, scales in refused.items():
        for reference in (False, True):
            with pytest.raises(pvq.NotProven, match=why):
                pvq.verify(changed(proof, scales=scales), given, reference=reference)
    setting = replace(honest.setting, range="mse")  # scales where the setting chooses them
    with pytest.raises(pvq.NotProven, match="must be given"):
        pvq.verify(changed(proof, setting=setting), given)


def test_a_finer_grid_does_not_borrow_the_bound_of_a_coarser_one(layer, tmp_path):
    """The twin that is subtly false: all else as it was, x on both grids, the optimum lower than is claimed."""
    _, given, scale = layer
    problem = pvq.Quant(grid=[-2.0, 0.0, 2.0], granularity="group:4")
    coarse = pvq.bound(given, problem, scales={"scale": scale}, methods=(), certify=True).certificate()
    levels = pvq.Quant(grid=[-2.0, -1.0, 0.0, 1.0, 2.0], granularity="group:4")
    fine = pvq.bound(given, levels, scales={"scale": scale}, methods=()).upper
    assert fine < coarse.lower
    object.__setattr__(coarse, "levels", (-2.0, -1.0, 0.0, 1.0, 2.0))
    for reference in (False, True):
        with pytest.raises(pvq.NotProven):
            pvq.verify(coarse, given, reference=reference)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda p: p / "none.npy", "no such file"),
        (lambda p: np.save(p / "m.npy", np.ones((2, 2))) or p / "m.npy", "--scales are weights of shape (2, 2)"),
        (lambda p: np.save(p / "m.npy", np.full((4, 8), "x")) or p / "m.npy", "where numbers are expected"),
        (lambda p: np.savez(p / "m.npz", scale=np.ones(3)) or p / "m.npz", "do not fit tensor"),
        (lambda p: np.savez(p / "m.npz", scale=-np.ones(1)) or p / "m.npz", "--scales must be positive"),
        (lambda p: np.save(p / "m.npy", np.sqrt(np.arange(32.0)).reshape(4, 8)) or p / "m.npy", "no scale puts"),
    ],
)
def test_files_without_scales(cli, layer, tmp_path, write, says):
    ended = cli("bound", layer[0], "--method", "quant", "--bits", "3", "--scales", write(tmp_path))
    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    pruned = cli("bound", layer[0], "--method", "prune", "--sparsity", "0.5", "--scales", write(tmp_path))
    assert pruned.code == 2
