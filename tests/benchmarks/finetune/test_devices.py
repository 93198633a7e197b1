"""What a GPU may not do; the switches themselves are those of every device."""

import pytest
import torch
from pvq.benchmarks.finetune.devices import repeatable
from pvq.bounds.errors import ProblemError


def differing():
    """An operation that torch has no repeatable algorithm of."""
    torch.zeros(2).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_an_operation_that_differs_each_time_is_refused_on_a_gpu():
    with pytest.raises(ProblemError, match="deterministic=False"), repeatable("cuda"):
        differing()
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("device", "strictly"), [("cpu", True), ("cuda:1", False)])
def test_it_runs_elsewhere_and_where_it_is_allowed(device, strictly):
    with repeatable(device, strictly):
        differing()


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shape"), repeatable("cuda"):
        torch.zeros(3).view(2)
    assert not torch.are_deterministic_algorithms_enabled()
