"""Scales behind quantized weights, from their values alone."""

import numpy as np
import pytest
from pvq.bounds.codebooks import codebook
from pvq.bounds.errors import ProblemError
from pvq.bounds.ranges import fit_grid
from pvq.bounds.recover import recover_scales

WEIGHT = np.random.default_rng(5).standard_normal((8, 64))
EPS = {kind: float(np.finfo(kind).eps) for kind in (np.float64, np.float32, np.float16)}
BFLOAT = 2.0**-7
GRIDS = [("int", 4), ("int", 8), ("int-sym", 3), ("int-asym", 4), ("int-asym", 2), ("nf4", None)]
GRIDS += [("fp4-e2m1", None)]


def quantize(grid, bits, granularity, kind=np.float64):
    """Rounded to nearest on min-max scales that are stored in a type, and the grid."""
    book = codebook(grid, bits)
    layer = fit_grid(WEIGHT, book, granularity, "minmax")
    scale = layer.scale.astype(kind).astype(np.float64)
    object.__setattr__(layer, "scale", scale)
    rows = [layer.row(r, range(64)).nearest(WEIGHT[r]) for r in range(8)]
    return np.array(rows).astype(kind).astype(np.float64), book, layer


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group:32"])
@pytest.mark.parametrize(("grid", "bits"), GRIDS)
def test_float64_scales_come_back_to_the_last_bits(grid, bits, granularity):
    values, book, layer = quantize(grid, bits, granularity)
    found = recover_scales(values, book, granularity, EPS[np.float64])
    assert found.scale == pytest.approx(layer.scale, rel=4e-16)
    assert np.array_equal(found.zero, layer.zero)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize(("grid", "bits"), [("int", 4), ("int-asym", 4), ("int-sym", 3)])
def test_scales_of_a_stored_type_come_back_exactly(grid, bits, kind):
    values, book, layer = quantize(grid, bits, "channel", kind)
    found = recover_scales(values, book, "channel", EPS[kind])
    assert found.scale == pytest.approx(layer.scale, rel=1e-12)
    assert np.array_equal(found.zero, layer.zero)
    assert found.ambiguous == 0


def test_bfloat16_tells_four_bits_apart():
    values, book, layer = quantize("int", 4, "channel")
    kept = (values.astype(np.float32).view(np.uint32) + 0x8000 & 0xFFFF0000).view(np.float32).astype(np.float64)
    found = recover_scales(kept, book, "channel", BFLOAT)
    assert found.scale == pytest.approx(layer.scale, rel=BFLOAT)


@pytest.mark.parametrize(
    ("spoil", "bits"),
    [
        (lambda v: v + 0.01 * (np.arange(64) == 7), 4),  # one weight off the grid
        (lambda v: v * (1 + 1e-5 * (np.arange(64) % 2)), 4),  # by more than float32 rounds
        (lambda v: v, 3),  # more levels than the bits can name
    ],
)
def test_what_no_scale_explains_is_refused(spoil, bits):
    values, _, _ = quantize("int", 4, "channel", np.float32)
    with pytest.raises(ProblemError, match="no scale puts row 0"):
        recover_scales(spoil(values), codebook("int", bits), "channel", EPS[np.float32])


def test_what_the_values_do_not_determine_is_counted():
    book = codebook("int", 4)
    values = np.array([[0.0, 0.0, 0.0], [0.0, 7.0, 0.0], [1.0, -3.0, 7.0]])
    found = recover_scales(values, book, "channel", EPS[np.float64])
    assert found.ambiguous == 2
    assert found.scale.ravel().tolist() == [1.0, 1.0, 1.0]  # the finest: 7 is the top level
