"""The text and its measure."""

import math

import torch
from pvq.benchmarks.finetune import text
from torch import nn


class Uniform(nn.Module):
    """All characters are as likely."""

    def forward(self, codes):
        return torch.zeros(*codes.shape, text.SYMBOLS)


def test_no_paragraph_of_the_test_is_seen_in_training():
    train, validation, test = (part for (part,) in text.splits())
    assert (len(train), len(validation), len(test)) == text.SHARES
    assert train.shape[1] == text.LENGTH + 1
    assert int(text.sequences().max()) < text.SYMBOLS
    seen = bytes(train.flatten().tolist()).decode()
    asked = bytes(test.flatten().tolist()).decode().split("\n\n")[1:-1]
    long = [paragraph for paragraph in asked if len(paragraph) > 100]
    assert len(long) > 50
    assert not [paragraph for paragraph in long if paragraph in seen]


def test_a_model_that_knows_nothing_needs_all_bits():
    (part,) = text.splits()[1]
    batches = [(part[:250],), (part[250:300],)]
    assert abs(text.bits_a_character(Uniform(), batches) - math.log2(text.SYMBOLS)) < 1e-6


def test_characters_are_weighed_alike_in_batches_of_any_size():
    torch.manual_seed(0)
    (part,) = text.splits()[1]
    module = nn.Sequential(nn.Embedding(text.SYMBOLS, 4), nn.Linear(4, text.SYMBOLS))
    with torch.no_grad():
        whole = text.bits_a_character(module, [(part,)])
        parts = text.bits_a_character(module, [(part[:37],), (part[37:],)])
    assert abs(whole - parts) < 1e-5
