"""Rectangles in place of the digits of a package, for the tasks of the zoo."""

from __future__ import annotations

import torch
from torch import Tensor

COUNT = 60


def splits() -> list[tuple[Tensor, Tensor]]:
    """As `pvq.benchmarks.finetune.digits.splits`: the label is the number of the row where a rectangle begins."""
    numbers = torch.Generator().manual_seed(1)
    parts = []
    for count in (2 * COUNT, COUNT, COUNT):
        labels = torch.arange(count) % 10
        images = torch.zeros(count, 1, 28, 28)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[0, 2 + label : 16 + label, 8:20] = 0.5 + 0.5 * torch.rand(14, 12, generator=numbers)
        parts.append((images, labels))
    return parts
