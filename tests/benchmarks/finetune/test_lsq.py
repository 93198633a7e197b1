"""The learned step against the formula of Esser et al. 2020, and its grid."""

import math

import numpy as np
import pytest
import torch
from pvq.benchmarks.finetune.lsq import SMALLEST, LearnedStep


def gradients(weight, step, bits, upstream):
    """What the paper's equations say, one weight at a time."""
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    to_weight, to_step = [], 0.0
    for v, g in zip(weight, upstream, strict=True):
        ratio = v / step
        if ratio <= least:
            slope, passes = least, 0.0
        elif ratio >= most:
            slope, passes = most, 0.0
        else:
            slope, passes = round(ratio) - ratio, 1.0
        to_weight.append(g * passes)
        to_step += g * slope
    return to_weight, to_step / math.sqrt(len(weight) * most)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gradients_are_those_of_the_formula(bits):
    numbers = np.random.default_rng(bits)
    reach = 2.0 ** (bits - 1) * 0.13
    weight = numbers.normal(size=200) * reach
    upstream = numbers.normal(size=200)
    quantizer = LearnedStep(0.13, bits).double()
    v = torch.tensor(weight, requires_grad=True)
    quantizer(v).backward(torch.tensor(upstream))
    step = float(quantizer.step.detach())
    to_weight, to_step = gradients(weight, step, bits, upstream)
    assert v.grad.tolist() == pytest.approx(to_weight, abs=0)
    assert float(quantizer.step.grad) == pytest.approx(to_step, rel=1e-12)
    outside = sum(not -(2 ** (bits - 1)) < w / step < 2 ** (bits - 1) - 1 for w in weight)
    assert 10 < outside < 190  # both branches of the formula are tried


def test_clipped_weights_have_the_true_derivative():
    """Outside the range the output is a multiple of the step, and finite differences hold."""
    weight = torch.tensor([-9.0, 9.0, -5.0, 7.0], dtype=torch.float64)
    upstream = torch.tensor([0.3, -1.2, 2.0, 0.7], dtype=torch.float64)
    quantizer = LearnedStep(0.5, 3).double()
    quantizer(weight).backward(upstream)
    h = 1e-6
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            other = LearnedStep(0.5 + sign * h, 3).double()
            other.step.fill_(0.5 + sign * h)
            ends.append(float((other(weight) * upstream).sum()))
    scale = 1 / math.sqrt(4 * 3)
    assert float(quantizer.step.grad) == pytest.approx(scale * (ends[0] - ends[1]) / (2 * h), rel=1e-8)


def test_the_straight_through_part_is_the_derivative_with_the_rounding_held():
    """Inside: d/ds of s round(v/s) with the residue round(v/s) - v/s held is the residue, times g."""
    quantizer = LearnedStep(0.5, 4).double()
    weight = torch.tensor([0.6, -1.1], dtype=torch.float64, requires_grad=True)
    quantizer(weight).sum().backward()
    residue = (round(1.2) - 1.2) + (round(-2.2) + 2.2)
    assert float(quantizer.step.grad) == pytest.approx(residue / math.sqrt(2 * 7), rel=1e-12)
    assert weight.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_every_result_is_on_the_grid(bits):
    quantizer = LearnedStep(0.031, bits)
    rounded = quantizer(torch.randn(4000, generator=torch.Generator().manual_seed(0)) * 0.031 * 2**bits).detach()
    units = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1), dtype=np.float32)
    levels = units * np.float32(quantizer.step.detach())
    assert set(np.unique(rounded.numpy())) <= set(levels)
    assert rounded.min() == levels[0]
    assert rounded.max() == levels[-1]


def test_a_step_stays_positive():
    quantizer = LearnedStep(0.01, 4)
    with torch.no_grad():
        quantizer.step.fill_(-1.0)
    quantizer.keep_positive()
    assert float(quantizer.step.detach()) == pytest.approx(0.01 * SMALLEST)


@pytest.mark.parametrize(("step", "bits"), [(0.0, 4), (-1.0, 4), (math.nan, 4), (math.inf, 4), (0.1, 1)])
def test_what_is_no_grid_is_refused(step, bits):
    with pytest.raises(ValueError, match="at least 2 bits"):
        LearnedStep(step, bits)
