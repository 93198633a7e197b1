"""How far layers moved: against sums by hand."""

import copy

import numpy as np
import pytest
import torch
from pvq.benchmarks.finetune.representations import LIMIT, activation_sqnr
from torch import nn


def db(before, after):
    """10 log10(sum y^2 / sum (y - z)^2)."""
    before, after = (torch.cat([y.flatten() for y in each]) for each in (before, after))
    return 10 * np.log10(float(before.square().sum() / (before - after).square().sum()))


def changed(module):
    """A copy with other weights."""
    torch.manual_seed(1)
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return other


class Twice(nn.Module):
    """A layer that is used twice, one that is used in between, and one that is never used."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.twice, self.between, self.never = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x, shift=0.0):
        return self.twice(self.between(self.twice(x)) + shift)


@pytest.mark.parametrize("given", ["tensor", "arguments", "names"])
def test_all_calls_of_a_layer_count(given):
    before = Twice().double().train()
    after = changed(before)
    inputs = [torch.randn(count, 5, dtype=torch.float64) for count in (3, 7)]
    shift = 0.0 if given == "tensor" else torch.tensor(0.5, dtype=torch.float64)
    batches = {
        "tensor": inputs,
        "arguments": [(x, shift) for x in inputs],
        "names": [{"x": x, "shift": shift} for x in inputs],
    }[given]
    outputs = {"twice": ([], []), "between": ([], [])}
    for side, net in enumerate((before, after)):
        for x in inputs:
            first = net.twice(x).detach()
            middle = net.between(first).detach()
            outputs["twice"][side].extend([first, net.twice(middle + shift).detach()])
            outputs["between"][side].append(middle)
    found = activation_sqnr(before, after, batches)
    assert found == {name: pytest.approx(db(*both), rel=1e-9) for name, both in outputs.items()}
    assert before.training
    assert activation_sqnr(before, before, batches) == {"twice": LIMIT, "between": LIMIT}


class Routed(nn.Module):
    """Sends rows to a layer by the sign of what another one says."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gate, self.expert = nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x):
        return self.expert(x[self.gate(x)[:, 0] > 0])


def test_outputs_that_do_not_pair_up_have_no_number():
    before = Routed().double()
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.gate.weight.neg_()
    x = torch.randn(31, 4, dtype=torch.float64)
    assert len(before(x)) != len(after(x))
    assert set(activation_sqnr(before, after, [x])) == {"gate"}


def test_attention_is_seen_at_what_it_puts_out():
    before = nn.MultiheadAttention(4, 2, batch_first=True).double()
    after = changed(before)
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    outputs = ([net.eval()(x, x, x)[0].detach()] for net in (before, after))
    (found,) = activation_sqnr(before, after, [(x, x, x)]).values()  # its last map runs inside, unseen
    assert found == pytest.approx(db(*outputs), rel=1e-9)
