"""A small layer that is bounded in milliseconds."""

import numpy as np
import pvq
import pytest


@pytest.fixture(scope="session")
def layer():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((12, 12))
    weight, activations = rng.standard_normal((6, 12)), rng.standard_normal((80, 12)) @ mixing
    return pvq.Layer.from_activations(weight, activations, "fc<1>")


@pytest.fixture(scope="session")
def quantized(layer):
    return pvq.bound(layer, pvq.Quant(bits=3), certify=True)
