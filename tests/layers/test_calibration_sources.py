"""Calibration data: photographs, folders of images and arrays, and whatever is none of them."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from pvq.layers import LayerError, load_layer, photos
from pvq.layers.calibration import open_calibration
from pvq.layers.images import Preprocess, image_files
from pvq.layers.models import Model
from torch import nn

from extracting import extract

TINY = Preprocess(8, 8, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))


def model(module=None):
    torch.manual_seed(0)
    return Model("test:model", "model", module or nn.Conv2d(3, 4, 3), TINY)


@pytest.fixture
def folder(tmp_path):
    """Ten images, one of them grey and one in a folder below, and a file that is none."""
    (tmp_path / "images" / "below").mkdir(parents=True)
    for i in range(10):
        place = tmp_path / "images" / ("below" if i == 9 else "") / f"{i}.png"
        Image.new("L" if i == 3 else "RGB", (20 + i, 16), i * 20 if i == 3 else (i * 20,) * 3).save(place)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def test_photo_crops_are_many_square_and_always_the_same():
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    first = list(photos.photo_crops())
    assert len(first) == photos.COUNT == 64
    assert all(crop.mode == "RGB" and crop.width == crop.height for crop in first)
    hashes = [hashlib.sha256(crop.tobytes()).hexdigest() for crop in first]
    assert len(set(hashes)) == len(first)
    assert hashes == [hashlib.sha256(crop.tobytes()).hexdigest() for crop in photos.photo_crops()]
    # a PNG is decoded to the same pixels everywhere
    assert hashes[1].startswith("0c0d2dfe2bea5b1a")


def test_photos_that_are_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(photos, "PHOTOS", (("no_such_package", "a.png", 1),))
    with pytest.raises(LayerError, match=r"needs a\.png of no_such_package.*pip install scikit-image"):
        extract(model(), "*", "zoo:photos", tmp_path / "out")


def test_a_folder_of_images(folder, tmp_path):
    (path,) = extract(model(), "*", folder, tmp_path, batch_size=3)
    layer = load_layer(path)
    assert path.name == "model.npz"
    assert layer.samples == 10 * 6 * 6
    assert layer.meta["calibration"] == "images"
    values = np.array([i * 20 / 255 for i in range(10)])
    np.testing.assert_allclose(layer.grams[0], np.full((27, 27), (values**2).mean()), rtol=1e-6)
    assert extract(model(), "*", folder, tmp_path, batch_size=10) == [path]
    again = load_layer(path)
    np.testing.assert_allclose(again.grams, layer.grams, rtol=1e-12)


def test_a_limit_spreads_over_the_folder(folder):
    assert [path.stem for path in image_files(folder, 3)] == ["0", "3", "6"]
    assert len(image_files(folder)) == 10
    data = open_calibration(folder, model(), batch_size=2, limit=3)
    assert data.count == 2
    assert [tuple(batch.shape) for batch in data.batches()] == [(2, 3, 8, 8), (1, 3, 8, 8)]
    assert open_calibration("zoo:photos", model(), batch_size=8, limit=1000).count == 8
    assert len(list(open_calibration("zoo:photos", model(), batch_size=8, limit=9).batches())) == 2


def test_an_array(tmp_path):
    x = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    (path,) = extract(model(nn.Linear(5, 2)), "*", tmp_path / "x.npy", tmp_path, batch_size=3, keep_activations=4)
    layer = load_layer(path)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(layer.grams[0], wide.T @ wide / 10, rtol=1e-12)
    assert np.array_equal(layer.activations, wide[:4])
    (path,) = extract(model(nn.Linear(5, 2)), "*", tmp_path / "x.npy", tmp_path, limit=7)
    assert load_layer(path).samples == 7


def test_an_array_of_token_ids(tmp_path):
    np.save(tmp_path / "ids.npy", np.array([[1, 2, 3], [3, 2, 1]], dtype=np.uint16))
    net = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2))
    (path,) = extract(model(net), "*", tmp_path / "ids.npy", tmp_path)
    assert load_layer(path).samples == 6


def test_the_hash_tells_calibration_data_apart(folder, tmp_path):
    def digest(**options):
        (path,) = extract(model(), "*", folder, tmp_path, **options)
        return load_layer(path).meta["hashes"]["calibration"]

    assert digest() == digest() != digest(limit=5)


def test_sources_that_are_none(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.png").write_bytes(b"\x89PNG and then nothing")
    (tmp_path / "broken.npy").write_bytes(b"text")
    np.save(tmp_path / "flat.npy", np.zeros(4))
    np.save(tmp_path / "complex.npy", np.zeros((4, 4), dtype=complex))
    np.save(tmp_path / "object.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.save(tmp_path / "other.npy", np.zeros((4, 7)))
    for name, message in {
        "missing": "no such calibration source; expected zoo:photos",
        "empty": "no images in this folder",
        "text.txt": "test:model has no tokenizer for a text file",
        "damaged": r"a\.png: not a readable image",
        "broken.npy": "not readable as an array",
        "flat.npy": r"shape \(4,\) and type float64 cannot be calibration data",
        "complex.npy": "type complex128 cannot be calibration data",
        "object.npy": "not readable as an array",
        "other.npy": r"the model fails on a batch of shape \[\(4, 7\)\]",
    }.items():
        with pytest.raises(LayerError, match=message) as caught:
            extract(model(), "*", tmp_path / name, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()


def test_text_files_that_hold_none(tmp_path):
    speaking = Model("test:model", "model", nn.Linear(1, 1), tokenizer=lambda: None)
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(LayerError, match="holds no text"):
        open_calibration(tmp_path / "blank.txt", speaking)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(LayerError, match="is not UTF-8 text; expected UTF-8 text, one sequence per line"):
        open_calibration(tmp_path / "bytes.txt", speaking)
