"""The shipped layers come out of `extract` again."""

from pathlib import Path

import numpy as np
import pytest
from pvq.layers import LayerError, load_layer

from extracting import extract

INSTANCES = Path(__file__).parents[2] / "benchmarks" / "instances"
MODULES = {
    "efficientnet_lite0.conv_stem": ("_conv_stem", (32, 27), 1),
    "efficientnet_lite0.blocks.3.depthwise": ("_blocks.3._depthwise_conv", (144, 25), 144),
    "efficientnet_lite0.blocks.3.project": ("_blocks.3._project_conv", (40, 144), 1),
    "efficientnet_lite0.blocks.4.expand": ("_blocks.4._expand_conv", (240, 40), 1),
    "efficientnet_lite0.blocks.4.project": ("_blocks.4._project_conv", (40, 240), 1),
    "efficientnet_lite0.blocks.9.expand": ("_blocks.9._expand_conv", (672, 112), 1),
}


@pytest.fixture(scope="module")
def extracted(lite0, tmp_path_factory):
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("out") / "new" / "folder"
    seen = []
    paths = extract(
        lite0,
        [module for module, _, _ in MODULES.values()],
        "zoo:photos",
        folder,
        progress=lambda done, total: seen.append((done, total)),
    )
    return paths, seen


def test_one_pass_writes_every_layer(extracted):
    paths, seen = extracted
    assert [path.name for path in paths] == [f"{name}.npz" for name in MODULES]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(path.name for path in paths)
    assert seen == [(done, 8) for done in range(1, 9)]


@pytest.mark.parametrize("name", MODULES)
def test_instances_are_reproduced(extracted, name):
    module, shape, groups = MODULES[name]
    shipped = load_layer(INSTANCES / f"{name}.npz")
    again = load_layer(extracted[0][0].parent / f"{name}.npz")
    assert shipped.name == again.name == name
    assert shipped.weight.shape == shape
    assert shipped.groups == groups
    assert shipped.meta["module"] == module
    assert shipped.samples == again.samples
    assert np.array_equal(shipped.weight, again.weight)
    scale = np.abs(shipped.grams).max()
    # JPEG decoders may differ by one step in a pixel, nothing else may differ
    np.testing.assert_allclose(again.grams, shipped.grams, rtol=0, atol=1e-6 * scale)


def test_instances_are_small_and_positive_semidefinite():
    files = sorted(INSTANCES.glob("*.npz"))
    assert {file.stem for file in files} == set(MODULES)
    assert sum(file.stat().st_size for file in files) < 2e6
    for file in files:
        values = np.linalg.eigvalsh(load_layer(file).grams)
        assert (values[:, 0] >= -1e-13 * values[:, -1]).all()


def test_nothing_is_written_when_something_is_wrong(lite0, tmp_path):
    out = tmp_path / "out"
    for layer, calibration, options, message in (
        ("nothing", "zoo:photos", {}, "no layer matches 'nothing'; layers are: _conv_stem"),
        ("_conv_stem", tmp_path / "missing", {}, "no such calibration source"),
        ("_conv_stem", "zoo:photos", {"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ("_conv_stem", "zoo:photos", {"batch_size": 0}, "batch size is 0"),
        ("_conv_stem", "zoo:photos", {"limit": 0}, "limit is 0"),
    ):
        with pytest.raises(LayerError, match=message):
            extract(lite0, layer, calibration, out, **options)
        assert not out.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(LayerError, match=r"cannot write .* is no folder"):
        extract(lite0, "_conv_stem", "zoo:photos", tmp_path / "file" / "below")
