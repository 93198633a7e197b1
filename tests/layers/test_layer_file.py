"""The layer file: what is written comes back, and whatever is no layer is refused in one line."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from pvq.layers import Layer, LayerError, load_layer, save_layer

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(4, 3))
X = RNG.normal(size=(50, 3))
GRAM = X.T @ X / 50
GRAM = (GRAM + GRAM.T) / 2


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_round_trip(tmp_path):
    layer = Layer("a layer", WEIGHT, GRAM, 50, {"kind": "linear"}, X[:5])
    path = save_layer(tmp_path / "layer", layer)
    assert path == tmp_path / "layer.npz"
    again = load_layer(path)
    assert again.name == "a layer"
    assert (again.samples, again.out, again.inputs, again.groups) == (50, 4, 3, 1)
    assert again.meta["kind"] == "linear"
    assert np.array_equal(again.weight, WEIGHT)
    assert np.array_equal(again.grams, GRAM[None])
    assert np.array_equal(again.activations, X[:5])
    assert again.sha256 == layer.sha256
    assert [p.name for p in tmp_path.iterdir()] == ["layer.npz"]
    assert save_layer(tmp_path / "b.npz", layer).read_bytes() == path.read_bytes()


def test_single_precision_weights_stay_exact_and_small(tmp_path):
    single = WEIGHT.astype(np.float32)
    path = save_layer(tmp_path / "layer.npz", Layer("l", single, GRAM))
    with np.load(path) as stored:
        assert stored["weight"].dtype == np.float32
        assert stored["gram"].dtype == np.float64
    assert np.array_equal(load_layer(path).weight, single.astype(np.float64))


def test_the_hash_is_of_the_numbers(tmp_path):
    ours = save_layer(tmp_path / "ours.npz", Layer("one", WEIGHT, GRAM, 50))
    by_hand = write(tmp_path / "hand.npz", weight=WEIGHT, gram=np.asfortranarray(GRAM), other=np.zeros(2))
    assert load_layer(ours).sha256 == load_layer(by_hand).sha256
    assert load_layer(by_hand).name == "hand"
    changed = WEIGHT.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], 9)
    assert Layer("one", changed, GRAM).sha256 != load_layer(ours).sha256


def test_arrays_are_read_only():
    layer = Layer("l", WEIGHT, GRAM)
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        layer.grams[0, 0, 0] = 1


def test_activations_instead_of_a_gram_matrix(tmp_path):
    layer = load_layer(write(tmp_path / "l.npz", weight=WEIGHT.astype(np.float32), activations=X))
    np.testing.assert_allclose(layer.grams[0], GRAM, rtol=1e-14)
    assert np.array_equal(layer.grams, layer.grams.transpose(0, 2, 1))
    assert layer.samples == 50


def test_groups(tmp_path):
    grouped = RNG.normal(size=(2, 50, 3))
    layer = load_layer(write(tmp_path / "l.npz", weight=WEIGHT, activations=grouped))
    assert layer.groups == 2
    assert [layer.gram_of_row(r) for r in range(4)] == [0, 0, 1, 1]
    np.testing.assert_allclose(layer.grams[1], grouped[1].T @ grouped[1] / 50, rtol=1e-13)
    with pytest.raises(IndexError):
        layer.gram_of_row(4)


def test_the_error_is_the_difference_of_the_outputs():
    grouped = RNG.normal(size=(2, 50, 3))
    layer = Layer("l", WEIGHT, np.stack([part.T @ part / 50 for part in grouped]))
    x = np.round(WEIGHT)
    outputs = np.array([grouped[row // 2] @ (WEIGHT - x)[row] for row in range(4)])
    assert layer.error(x) == pytest.approx((outputs**2).sum() / 50, rel=1e-12)
    some = np.array([grouped[row // 2][:, 1:] @ (WEIGHT - x)[row, 1:] for row in (0, 3)])
    found = layer.error(x[[0, 3], 1:], [0, 3], range(1, 3))
    assert found == pytest.approx((some**2).sum() / 50, rel=1e-12)
    assert layer.error(WEIGHT) == 0.0


def test_rounding_size_asymmetry_is_symmetrised(tmp_path):
    gram = GRAM.copy()
    gram[0, 1] += 0.9e-9 * np.abs(gram).max()
    layer = load_layer(write(tmp_path / "l.npz", weight=WEIGHT, gram=gram))
    assert np.array_equal(layer.grams[0], layer.grams[0].T)
    assert layer.grams[0, 0, 1] == pytest.approx((gram[0, 1] + gram[1, 0]) / 2, rel=1e-15)


def changed(array, value):
    array = array.copy()
    array[0, 1] = value
    return array


BAD = {
    "has no weight": {"gram": GRAM},
    "neither gram nor activations": {"weight": WEIGHT},
    "gram has 1 NaN": {"weight": WEIGHT, "gram": changed(GRAM, np.nan)},
    "weight has 1 NaN or infinite": {"weight": changed(WEIGHT, np.inf), "gram": GRAM},
    "activations has 1 NaN": {"weight": WEIGHT, "activations": changed(X, np.nan)},
    "gram is not symmetric": {"weight": WEIGHT, "gram": changed(GRAM, GRAM[1, 0] + 2e-9 * GRAM.max())},
    "gram .* does not fit weight": {"weight": WEIGHT, "gram": GRAM[:2, :2]},
    "gram .* does not fit weight .*groups": {"weight": WEIGHT, "gram": np.stack([GRAM] * 3)},
    "weight has shape": {"weight": WEIGHT.reshape(4, 3, 1), "gram": GRAM},
    "activations .* does not fit weight": {"weight": WEIGHT, "activations": X[:, :2]},
    "samples is 7, but activations has 50": {"weight": WEIGHT, "activations": X, "samples": 7},
    "weight has type complex128": {"weight": WEIGHT + 0j, "gram": GRAM},
    "weight has type <U": {"weight": WEIGHT.astype(str), "gram": GRAM},
    "gram has type bool": {"weight": WEIGHT, "gram": GRAM > 0},
    "weight of shape .* is empty": {"weight": np.zeros((0, 3)), "gram": GRAM},
    "gram of shape .* is empty": {"weight": WEIGHT, "gram": np.zeros((0, 3, 3))},
    "largest entry of weight is .*float64 cannot hold": {"weight": WEIGHT * 1e160, "gram": GRAM},
    "largest entry of weight": {"weight": WEIGHT * 1e-157, "gram": GRAM},
    "largest entry .* gram": {"weight": WEIGHT, "gram": GRAM * 2.0**1020},
    "largest entry .* gram .*weight.2 gram": {"weight": WEIGHT * 1e-100, "activations": X * 1e-60},
    "samples is 0": {"weight": WEIGHT, "gram": GRAM, "samples": 0},
    "samples is not a single": {"weight": WEIGHT, "gram": GRAM, "samples": [1, 2]},
    "samples is not a single whole": {"weight": WEIGHT, "gram": GRAM, "samples": np.nan},
    "meta is not JSON": {"weight": WEIGHT, "gram": GRAM, "meta": "{oops"},
    "meta is a JSON list": {"weight": WEIGHT, "gram": GRAM, "meta": "[1]"},
    "meta has type": {"weight": WEIGHT, "gram": GRAM, "meta": np.zeros(3)},
    "schema 'pvq.layer/2'.*newer": {"weight": WEIGHT, "gram": GRAM, "meta": json.dumps({"schema": "pvq.layer/2"})},
    "holds a pickled object": {"weight": np.array([{}, 1], dtype=object), "gram": GRAM},
    "holds a pickled  *object": {"weight": WEIGHT, "gram": GRAM, "more": np.array([{}], dtype=object)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arrays(tmp_path, message):
    with pytest.raises(LayerError, match=message) as caught:
        load_layer(write(tmp_path / "bad.npz", **BAD[message]))
    assert str(caught.value).startswith(str(tmp_path / "bad.npz") + ": ")
    assert "\n" not in str(caught.value)


def no_file(path):
    pass


def folder(path):
    path.mkdir()


def text(path):
    path.write_text("weight 1 2 3")


def empty(path):
    path.write_bytes(b"")


def npy(path):
    with path.open("wb") as file:
        np.save(file, WEIGHT)


def pickled(path):
    import pickle

    path.write_bytes(pickle.dumps({"weight": 1}))


def truncated(path):
    np.savez_compressed(path, weight=WEIGHT, gram=GRAM)
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    np.savez(path, weight=WEIGHT, gram=GRAM)
    data = bytearray(path.read_bytes())
    data[200] ^= 255
    path.write_bytes(bytes(data))


def zip_of_pickle(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")


def bad_header(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weight.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((  \n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_file, "no such file"),
        (folder, "cannot be read"),
        (text, "not an npz file"),
        (empty, "not an npz file"),
        (npy, "not an npz file"),
        (pickled, "not an npz file"),
        (truncated, "damaged"),
        (flipped, "damaged"),
        (zip_of_pickle, "not an array"),
        (bad_header, "damaged"),
    ],
)
def test_bad_files(tmp_path, make, message):
    path = tmp_path / "bad.npz"
    make(path)
    with pytest.raises(LayerError, match=message) as caught:
        load_layer(path)
    assert "\n" not in str(caught.value)


def test_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(LayerError, match="cannot write"):
        save_layer(tmp_path / "missing" / "layer.npz", Layer("l", WEIGHT, GRAM))
    (tmp_path / "taken.npz").mkdir()
    with pytest.raises(LayerError, match="cannot write"):
        save_layer(tmp_path / "taken.npz", Layer("l", WEIGHT, GRAM))
    assert [p.name for p in tmp_path.iterdir()] == ["taken.npz"]


def test_reading_layers_needs_no_torch():
    code = "import sys, pvq.layers, pvq.layers.format; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_float32_rounding_explains_is_symmetrised_and_said():
    samples, weight = 3000, np.ones((2, 6))
    x = np.random.default_rng(0).standard_normal((samples, 6)).astype(np.float32) + np.float32(1)
    sums = x.T @ x
    uneven = sums + np.triu(np.spacing(sums), 1)  # as another order of summation leaves it
    assert np.abs(uneven - uneven.T).max() > 1e-9 * np.abs(uneven).max()
    for gram in (uneven, uneven.astype(np.float64) / samples):
        layer = Layer("f", weight, gram, samples)
        assert np.array_equal(layer.grams[0], layer.grams[0].T)
        assert 1e-9 < layer.asymmetry < 1e-6
    with pytest.raises(LayerError, match="not symmetric"):  # nothing says that it was float32
        Layer("f", weight, uneven.astype(np.float64) / samples)
    with pytest.raises(LayerError, match="not symmetric"):  # more than float32 explains
        Layer("f", weight, uneven + np.triu(1e-3 * sums, 1), samples)
    assert Layer("f", weight, (sums + sums.T) / 2).asymmetry == 0
