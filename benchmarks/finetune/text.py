"""A text that every Python has: the topics of its help, for a language model of characters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from pvq.layers.evaluate import evaluate
from torch import Tensor, nn
from torch.nn import functional

LENGTH = 64
"""Characters that the model sees."""
SHARES = (4200, 400, 800)
"""Sequences for training, validation and test."""
SYMBOLS = 128
BATCH = 64


@cache
def sequences() -> Tensor:
    """(5400, 65) codes of characters: what is seen, and what comes next.

    Topics repeat each other's paragraphs; each is taken once, so that none of the test is seen in training. The
    text is that of the version of Python.
    """
    from pydoc_data.topics import topics

    joined = "\n\n".join(topics[name] for name in sorted(topics))
    paragraphs = dict.fromkeys(part.strip("\n") for part in re.split(r"\n\s*\n", joined))
    text = "\n\n".join(paragraphs).encode("ascii", "replace")
    return torch.tensor(list(text[: sum(SHARES) * (LENGTH + 1)])).reshape(-1, LENGTH + 1)


def splits() -> list[tuple[Tensor]]:
    """Sequences for training, validation and test: the text from its start to its end."""
    return [(part,) for part in sequences().split(SHARES)]


def next_loss(module: nn.Module, batch: Any) -> Tensor:
    """Cross-entropy of the next characters."""
    codes = batch[0]
    return functional.cross_entropy(module(codes[:, :-1]).flatten(0, 1), codes[:, 1:].flatten())


def bits_a_character(module: nn.Module, batches: Iterable[Any]) -> float:
    """Mean of -log2 of the probability of the next character."""
    pairs = ((codes[:, :-1], codes[:, 1:]) for (codes,) in batches)
    return float(evaluate(module, pairs).measures["loss"]) / math.log(2)
