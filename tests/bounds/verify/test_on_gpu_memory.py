"""What a GPU is given and asked for, with the memory of this machine in place of its own; and who asks for one."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pvq
import pytest
import warps
from pvq.bounds.cuda.driver import GpuError
from pvq.bounds.errors import ProblemError
from pvq.bounds.verify import enumeration
from pvq.bounds.verify.gpu import device as devices
from pvq.bounds.verify.gpu import searcher as searchers
from pvq.bounds.verify.gpu.device import ARRAYS, MEMORY, Device
from pvq.bounds.verify.gpu.searcher import Searcher, check, search
from pvq.solvers.base import SolverUnavailable
from pvq.solvers.bnb.gpu import here

BLOCKS, PROCESSORS = 2, 3


class Memory:
    """Bytes that are no numbers until they are written."""

    def __init__(self, size):
        self.size, self._bytes = size, np.full(size + 256, 0xFF, np.uint8)
        self.address = -(-self._bytes.ctypes.data // 256) * 256


class Function:
    """The kernel, which finds its arrays as a device does."""

    def __init__(self, image, name):
        assert (image, name) == (b"image", "entry")

    def blocks(self, threads, shared):
        return BLOCKS

    def launch(self, blocks, threads, shared, stream, arguments):
        scalars, rest = [argument.value for argument in arguments[:5]], arguments[5:]
        arrays = {}
        for k, (name, kind) in enumerate(ARRAYS.items()):
            _, _, size, item, address, shape, stride = (argument.value for argument in rest[7 * k : 7 * k + 7])
            assert (item, shape, stride) == (np.dtype(kind).itemsize, size, item)
            memory = (ctypes.c_char * (size * item)).from_address(address)
            arrays[name] = np.frombuffer(memory, kind)
        assert len(rest) == 7 * len(ARRAYS)
        scalars[3:] = map(np.float64, scalars[3:])
        warps.run_one_lane(scalars, arrays, blocks * threads // 32)


@pytest.fixture
def gpu(monkeypatch):
    card = SimpleNamespace(name="a card", capability=(9, 0), multiprocessors=PROCESSORS, enter=lambda: None)
    copied = lambda to, source, size: ctypes.memmove(to, source, size)  # noqa: E731
    replaced = {
        "device": lambda: card,
        "kernel_image": lambda kernel, capability: (b"image", "entry"),
        "Function": Function,
        "Memory": Memory,
        "Stream": lambda: SimpleNamespace(wait=lambda: None),
        "upload": lambda address, array, stream: copied(address, array.ctypes.data, array.nbytes),
        "download": lambda address, array, stream: copied(array.ctypes.data, address, array.nbytes),
        "fill": lambda address, value, words, stream: ctypes.memset(address, value, 4 * words),
    }
    for name, value in replaced.items():
        monkeypatch.setattr(devices, name, value)
    monkeypatch.setattr(searchers, "missing", lambda: None)
    return card


def test_a_device_searches_as_the_cpu_does(gpu):
    """One after the other in the same memory, with every array in its place."""
    device = Device()
    for _ in range(2):
        check(lambda *given: search(device, *given))
    assert searchers.on_gpu().name == "a card"


@pytest.mark.parametrize(("n", "expected"), [(40, 4 * BLOCKS * PROCESSORS), (6000, 4), (3000, 28)])
def test_long_rows_have_fewer_warps(gpu, monkeypatch, n, expected):
    monkeypatch.setattr(devices, "Memory", lambda size: SimpleNamespace(size=size, address=0))
    monkeypatch.setattr(devices, "upload", lambda *given: None)
    gpu.multiprocessors = PROCESSORS if n < 100 else 1000
    numbers = SimpleNamespace(start=np.zeros(n), _asdict=dict)
    found = Device().begin(numbers, 1)
    assert found == expected
    assert found == 4 or found * 4 * n * (n + 1) <= MEMORY


def layer():
    rng = np.random.default_rng(0)
    return pvq.Layer.from_activations(rng.standard_normal((2, 10)), rng.standard_normal((40, 10)))


@pytest.fixture
def proof(monkeypatch):
    """A certificate of two searches, which are long ones here."""
    monkeypatch.setattr(enumeration, "FIRST", 0)
    return pvq.bound(layer(), pvq.Quant(bits=3), solver="bnb").certificate()


@pytest.fixture
def simulated(monkeypatch):
    """A simulation in place of the GPU."""
    launcher = warps.Launcher(4, lanes=1)
    monkeypatch.setattr(here, "found_here", lambda: (True, "a card"))
    monkeypatch.setattr(searchers, "on_gpu", lambda: Searcher(launcher, "a card"))
    return launcher


@pytest.mark.parametrize("device", ["gpu", "auto"])
def test_verify_on_a_gpu(proof, simulated, device):
    found = pvq.verify(proof, layer(), device=device)
    assert found == pytest.approx(pvq.verify(proof, layer()), rel=1e-9)
    assert found.notes[0].startswith("2 searches were repeated on the GPU (a card)")
    assert pvq.verify(proof, layer()).notes == ()


def test_a_gpu_that_fails_is_said(proof, simulated, monkeypatch):
    def failing(*given):
        raise GpuError("out of order")

    monkeypatch.setattr(simulated, "run", failing)
    found = pvq.verify(proof, layer(), device="gpu")
    assert found == pvq.verify(proof, layer())
    assert found.notes == (
        "0 searches were repeated on the GPU (a card), 0 nodes",
        "the GPU has failed, and the CPU has repeated the rest: out of order",
    )


def test_without_a_gpu(proof, monkeypatch):
    monkeypatch.setattr(here, "missing", lambda: "numba-cuda is not installed")
    monkeypatch.setattr(searchers, "missing", lambda: "numba-cuda is not installed")
    with pytest.raises(SolverUnavailable, match="no GPU can be used: numba-cuda is not installed"):
        pvq.verify(proof, layer(), device="gpu")
    assert pvq.verify(proof, layer(), device="auto").notes == ()
    with pytest.raises(ProblemError, match="`device` must be one of cpu, gpu, auto, not 'tpu'"):
        pvq.verify(proof, layer(), device="tpu")


def test_a_gpu_that_searches_otherwise_is_not_used(proof, monkeypatch):
    def wrong():
        raise GpuError("the GPU does not search as the CPU does")

    monkeypatch.setattr(here, "found_here", lambda: (True, "a card"))
    monkeypatch.setattr(searchers, "on_gpu", wrong)
    with pytest.raises(SolverUnavailable, match="no GPU can be used: the GPU does not search"):
        pvq.verify(proof, layer(), device="gpu")
    assert pvq.verify(proof, layer(), device="auto").notes == ()
