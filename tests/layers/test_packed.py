"""The GPTQ layout, unpacked from files that are packed bit by bit here."""

import numpy as np
import pytest
from pvq.layers import LayerError
from pvq.layers.packed import read_gptq, unpack

from packing import gptq, words

WEIGHT = np.random.default_rng(0).standard_normal((32, 96))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_numbers_come_back(bits):
    numbers = np.random.default_rng(bits).integers(0, 2**bits, size=(5, 64))
    assert np.array_equal(unpack(words(numbers, bits), bits, 64), numbers)


def test_four_bits_by_hand():
    assert unpack(np.array([[0x76543210]], dtype=np.int32), 4, 8).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert unpack(np.array([[-1]], dtype=np.int32), 4, 8).tolist() == [[15] * 8]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "group"), [(4, 32), (4, 96), (3, 32), (2, 48), (8, 24)])
def test_weights_come_back_exactly(bits, group, symmetric, version):
    arrays, made = gptq(WEIGHT, bits, group, version=version, symmetric=symmetric)
    for said in (version, None):  # the wrong version is a whole step away
        for index in (arrays, {k: v for k, v in arrays.items() if k != "g_idx"}):
            found = read_gptq("layer", index, WEIGHT, said, group)
            assert np.array_equal(found.weight, made)
            assert (found.bits, found.group, found.form) == (bits, group, f"gptq {version}")
            assert found.order is None
    other = read_gptq("layer", arrays, WEIGHT, "v1" if version == "v2" else "v2", group)
    assert not np.array_equal(other.weight, made)


def test_activation_order():
    order = np.random.default_rng(1).permutation(96)
    arrays, made = gptq(WEIGHT, 4, 32, order=order, symmetric=False)
    found = read_gptq("layer", arrays, WEIGHT, "v1", 32)
    assert np.array_equal(found.weight, made)
    groups = arrays["g_idx"][found.order]
    assert np.array_equal(groups, np.arange(96) // 32)
    # in that order the grid of consecutive groups has every weight
    levels = found.scale[:, groups] * (np.arange(16)[:, None, None] - found.zero[:, groups])
    assert (np.abs(levels - found.weight[:, found.order]).min(axis=0) == 0).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"qweight": None}, "layer.qweight is nothing, expected a matrix of words"),
        ({"scales": np.ones((3, 32), dtype=np.int32)}, "layer.scales is int32 of shape"),
        ({"qweight": np.zeros((11, 32), dtype=np.int32)}, "is not that of 32 x 96 weights at 2, 3, 4 or 8 bits"),
        ({"qzeros": np.zeros((3, 5), dtype=np.int32)}, "do not fit 32 rows"),
        ({"scales": np.zeros((3, 32))}, "must be positive"),
        ({"scales": np.full((3, 32), np.nan)}, "must be positive"),
        ({"g_idx": np.full(96, 3, dtype=np.int32)}, "one of 3 groups"),
        ({"g_idx": np.zeros(95, dtype=np.int32)}, "one of 3 groups"),
        ({"g_idx": np.zeros(96, dtype=np.int32)}, "groups of other sizes"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    arrays = {**gptq(WEIGHT, 4, 32)[0], **change}
    with pytest.raises(LayerError, match=says):
        read_gptq("layer", arrays, WEIGHT, "v1", 32)
