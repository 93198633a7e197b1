"""What may be asked for, and what is said of it."""

import numpy as np
import pvq
import pytest
from pvq.bounds.errors import ProblemError
from pvq.solvers.base import SolverUnavailable
from pvq.solvers.bnb.gpu import here


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(here, "missing", lambda: "numba-cuda is not installed; pip install 'pvq-bound[gpu]'")


def layer():
    rng = np.random.default_rng(0)
    return pvq.Layer.from_activations(rng.standard_normal((2, 6)), rng.standard_normal((20, 6)))


def test_a_gpu_that_is_not_there_is_said_in_one_line(no_gpu):
    with pytest.raises(SolverUnavailable, match="no GPU can be used: numba-cuda is not installed"):
        pvq.bound(layer(), pvq.Quant(bits=2), device="gpu")


def test_auto_goes_on_without_and_says_where(no_gpu):
    found = pvq.bound(layer(), pvq.Quant(bits=2), device="auto", solver="bnb")
    assert found.status == "optimal"
    assert "rows were searched on cpu (2)" in found.notes
    assert pvq.bound(layer(), pvq.Quant(bits=2), solver="bnb").notes == ()


def test_unknown_devices_are_refused():
    with pytest.raises(ProblemError, match="`device` must be one of cpu, gpu, auto, not 'tpu'"):
        pvq.bound(layer(), pvq.Quant(bits=2), device="tpu")
