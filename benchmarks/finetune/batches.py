"""Batches of tensors that are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

BATCH = 64
"""Samples of a batch for training."""
LARGER = 250
"""Samples of one for evaluation."""


class Batches:
    """Rows of tensors in batches.

    Parameters
    ----------
    tensors : of equal lengths.
    size : rows of a batch.
    shuffled : in an order drawn from `generator`, and batches of one size: what is left over is left out.
    """

    def __init__(self, tensors: Sequence[Tensor], size: int, shuffled: bool = False) -> None:
        self.tensors, self.size = tuple(tensors), size
        self.generator = torch.Generator() if shuffled else None

    def __len__(self) -> int:
        rows = len(self.tensors[0])
        return rows // self.size if self.generator is not None else -(-rows // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        rows = len(self.tensors[0])
        shuffled = self.generator is not None
        order = torch.randperm(rows, generator=self.generator) if shuffled else torch.arange(rows)
        for k in range(len(self)):
            chosen = order[k * self.size : (k + 1) * self.size]
            yield tuple(tensor[chosen] for tensor in self.tensors)


def batches_of(parts: Sequence[Sequence[Tensor]], size: int = BATCH, larger: int = LARGER) -> tuple[Batches, ...]:
    """Batches of the parts for training, which are shuffled, validation and test."""
    train, *others = parts
    return Batches(train, size, shuffled=True), *(Batches(part, larger) for part in others)
