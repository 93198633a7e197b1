"""Tasks that need no data of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import networks
from .tasks import Task

START = 0
"""Seed of the weights before training."""


def cross_entropy(module: nn.Module, batch: Any) -> Tensor:
    """Of a batch of images and labels."""
    images, labels = batch[0], batch[1]
    return functional.cross_entropy(module(images), labels)


def accuracy(module: nn.Module, batches: Iterable[Any]) -> float:
    """Share of the images whose label has the largest score, in percent."""
    right = count = 0
    for images, labels in batches:
        right += int((module(images).argmax(1) == labels).sum())
        count += len(labels)
    return 100 * right / count


def _classifying(build: Callable[[], nn.Module], schooling: tuple[int, float], epochs: int) -> Task:
    from .digits import loaders, splits

    torch.manual_seed(START)
    train, validation, test = loaders(splits())
    return Task(build(), train, validation, test, cross_entropy, accuracy, epochs=epochs, schooling=schooling)


def digits_resnet() -> Task:
    """Digits by a residual network."""
    return _classifying(networks.resnet, (12, 0.05), 8)


def digits_mobile() -> Task:
    """Digits by a network of inverted bottlenecks."""
    return _classifying(networks.mobile, (12, 0.05), 8)


def digits_vit() -> Task:
    """Digits by a vision transformer."""
    return _classifying(networks.Vision, (30, 0.05), 10)


ZOO: Mapping[str, Callable[[], Task]] = {
    "digits-resnet": digits_resnet,
    "digits-mobile": digits_mobile,
    "digits-vit": digits_vit,
}
