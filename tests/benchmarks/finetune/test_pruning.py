"""The schedule of Zhu & Gupta 2017 against its formula, and what is kept."""

import pytest
import torch
from pvq.benchmarks.finetune.pruning import Magnitude, cubic_sparsity


def test_schedule_is_that_of_the_formula():
    last, final = 300, 0.75
    for step in range(0, 400, 7):
        expected = final if step >= last else final + (0 - final) * (1 - step / last) ** 3
        assert cubic_sparsity(step, last, final) == pytest.approx(expected, rel=1e-14, abs=1e-15)
    assert cubic_sparsity(0, last, final) == 0.0
    assert cubic_sparsity(last, last, final) == final
    rising = [cubic_sparsity(step, last, final) for step in range(400)]
    assert rising == sorted(rising)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
@pytest.mark.parametrize("bits", range(2, 9))
def test_equal_cost_is_exact_in_counts(size, bits):
    mask = Magnitude(torch.Size([size]))
    weight = torch.randn(size, generator=torch.Generator().manual_seed(size))
    mask.choose(weight, 1 - bits / 16)
    kept = int(mask.mask.sum())
    assert 16 * kept <= bits * size < 16 * (kept + 1)  # the most that b bits a weight pay for
    assert int((mask(weight) != 0).sum()) == kept


def test_the_largest_magnitudes_stay_and_of_equal_ones_the_first():
    mask = Magnitude(torch.Size([2, 4]))
    weight = torch.tensor([[0.1, -3.0, 1.0, -1.0], [1.0, 0.0, 2.0, -1.0]])
    mask.choose(weight, 0.5)
    assert mask(weight).tolist() == [[0.0, -3.0, 1.0, -1.0], [0.0, 0.0, 2.0, 0.0]]


def test_what_was_cut_comes_back_where_it_is_larger_again():
    mask = Magnitude(torch.Size([3]))
    mask.choose(torch.tensor([3.0, 2.0, 1.0]), 0.5)
    mask.choose(torch.tensor([0.5, 2.0, 1.0]), 0.34)
    assert mask.mask.tolist() == [False, True, False]
    mask.choose(torch.tensor([3.0, 0.1, 1.0]), 0.34)
    assert mask.mask.tolist() == [True, False, False]


def test_a_cut_weight_has_no_gradient():
    mask = Magnitude(torch.Size([2]))
    weight = torch.tensor([2.0, 1.0], requires_grad=True)
    mask.choose(weight, 0.5)
    mask(weight).sum().backward()
    assert weight.grad.tolist() == [1.0, 0.0]
