"""A task of fine-tuning that takes a second: two clouds of points through a small network."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import torch
from pvq.benchmarks.finetune.tasks import FinetuneTask
from pvq.benchmarks.finetune.zoo import accuracy, cross_entropy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def network() -> nn.Module:
    """A convolution, a grouped one, batch norm, dropout and a linear map."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(24, 3),
    )


def task(schooling: tuple[int, float] | None = (3, 0.1)) -> FinetuneTask:
    """Three classes of 6 x 6 images."""
    numbers = torch.Generator().manual_seed(5)
    labels = torch.randint(3, (144,), generator=numbers)
    images = torch.randn(144, 1, 6, 6, generator=numbers)
    images[torch.arange(144), 0, 2 * labels, :] += 1.5
    parts = [TensorDataset(images[cut], labels[cut]) for cut in (slice(96), slice(96, 120), slice(120, 144))]
    shuffled = DataLoader(parts[0], 16, shuffle=True, generator=torch.Generator())
    others = [DataLoader(part, 24) for part in parts[1:]]
    return FinetuneTask(network(), shuffled, *others, cross_entropy, accuracy, epochs=4, schooling=schooling)


def other() -> FinetuneTask:
    """The same by another name."""
    return task()


def patient() -> FinetuneTask:
    """The same, whose inputs take a minute a batch but for the processes that train."""

    def inputs(batch: list[torch.Tensor]) -> torch.Tensor:
        if sys.modules["__main__"].__spec__ is None:
            Path("waiting").touch()
            time.sleep(60)
        return batch[0]

    return dataclasses.replace(task(), inputs=inputs)


class Turned(nn.Module):
    """A linear map that stores its weight as (in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6) / 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class Named(nn.Module):
    """Takes its inputs by name, as language models do, and uses a layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.turned, self.twice, self.head = Turned(), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.twice(torch.relu(self.twice(torch.relu(self.turned(pixels))))))


def named() -> FinetuneTask:
    """Three classes of rows of six numbers, for such a network."""
    torch.manual_seed(4)
    labels = torch.randint(3, (96,))
    rows = torch.randn(96, 6)
    rows[torch.arange(96), 2 * labels] += 2
    loaders = [
        DataLoader(TensorDataset(rows[cut], labels[cut]), 16) for cut in (slice(64), slice(64, 80), slice(80, 96))
    ]

    def loss(module: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(module(pixels=batch[0]), batch[1])

    def right(module: nn.Module, batches: object) -> float:
        return accuracy(module, (({"pixels": x}, labels) for x, labels in batches))

    return FinetuneTask(Named(), *loaders, loss, right, epochs=1, inputs=lambda batch: {"pixels": batch[0]})
