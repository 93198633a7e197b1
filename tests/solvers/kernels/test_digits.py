"""Fewer digits: near enough, never above where they must not grow, half the bytes of a file."""

import zlib

import numpy as np
from pvq.solvers.kernels.digits import shortened


def numbers():
    rng = np.random.default_rng(0)
    return rng.standard_normal(2000) * 10.0 ** rng.uniform(-300, 300, 2000)


def test_numbers_are_those_of_float32_in_the_range_of_float64():
    a = numbers()
    small = np.abs(a) < 1e30
    inside = small & (np.abs(a) > 1e-30)
    assert np.array_equal(shortened(a)[inside], a[inside].astype(np.float32).astype(np.float64))
    assert (np.abs(shortened(a) - a) <= 2.0**-24 * np.abs(a)).all()
    assert np.array_equal(shortened(np.zeros(3)), np.zeros(3))


def test_what_must_not_grow_does_not():
    a = numbers()
    down = shortened(a, np.floor)
    assert (down <= a).all()
    assert (down < a).mean() > 0.99
    assert np.array_equal(shortened(down, np.floor), down)


def test_files_are_little_more_than_half_as_long():
    a = np.random.default_rng(1).standard_normal(4000)
    assert len(zlib.compress(shortened(a).tobytes())) < 0.65 * len(zlib.compress(a.tobytes()))
