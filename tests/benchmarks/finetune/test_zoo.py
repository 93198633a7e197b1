"""The tasks of the zoo, on made digits: all their tensors are where the model is, and they are learned."""

import importlib.util

import made_digits
import pytest
import torch
from pvq.benchmarks.finetune import compress, digits, scenes
from pvq.benchmarks.finetune.sources import load_task
from pvq.benchmarks.finetune.zoo import ZOO
from pvq.layers.extract import evaluating, moved

HAS_LITE = importlib.util.find_spec("efficientnet_lite_pytorch") is not None
TENSORS = {
    "digits-resnet": 11,
    "digits-mobile": 18,
    "digits-vit": 18,
    "digits-efficientnet": 50,
    "scenes-segmentation": 8,
    "scenes-detection": 8,
    "text-decoder": 13,
}


@pytest.fixture(params=ZOO)
def task(request, monkeypatch):
    if request.param == "digits-efficientnet" and not HAS_LITE:
        pytest.skip("needs the zoo extra")
    monkeypatch.setattr(digits, "splits", made_digits.splits)
    monkeypatch.setattr(scenes, "splits", made_digits.splits)
    monkeypatch.setattr(scenes, "COUNTS", (32, 4, 4))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param, load_task(f"zoo:{request.param}")
    torch.set_num_threads(threads)


def test_every_task_is_compressed_and_measured(task):
    name, made = task
    batch = tuple(tensor[:8] for tensor in next(iter(made.train)))
    module = made.model
    found = compress.quantize(module, 4)
    assert len(found) == TENSORS[name]
    made.loss(module.train(), batch).backward()
    weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in weights)
    with evaluating(module), torch.no_grad():
        assert module(made.inputs(batch)).isfinite().all()
        assert 0 <= made.metric(module, [batch]) <= 100


@pytest.mark.parametrize("method", ["quant", "prune"])
def test_nothing_of_a_step_is_on_another_device(task, method):
    """On a device without values an operation that takes a tensor of the CPU fails, as on a GPU."""
    _, made = task
    module = made.model
    found = compress.quantize(module, 3) if method == "quant" else compress.prune(module)
    module.to("meta").train()
    batch = moved(next(iter(made.train)), torch.device("meta"), None)
    weights = list(module.parameters())
    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9)
    if method == "prune":
        compress.to_sparsity(found, 4, 1, 2)
    loss = made.loss(module, batch)
    loss.backward()
    optimizer.step()
    assert loss.device.type == "meta"
    assert {parameter.grad.device.type for parameter in weights} == {"meta"}
    assert {place.weight.device.type for place in found.values()} == {"meta"}


def test_a_tensor_left_on_the_cpu_is_seen(task):
    _, made = task
    module, batch = made.model.to("meta"), next(iter(made.train))
    with pytest.raises((RuntimeError, NotImplementedError)):
        made.loss(module, batch).backward()
