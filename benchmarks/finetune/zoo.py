"""Tasks that need no data of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from pvq.layers.evaluate import evaluate
from torch import Tensor, nn
from torch.nn import functional

from . import networks
from .batches import batches_of
from .tasks import FinetuneTask

START = 0
"""Seed of the weights before training."""
SCENES = 16
"""Scenes of a batch for training."""


def cross_entropy(module: nn.Module, batch: Any) -> Tensor:
    """Of a batch of images and labels."""
    images, labels = batch[0], batch[1]
    return functional.cross_entropy(module(images), labels)


def accuracy(module: nn.Module, batches: Iterable[Any]) -> float:
    """Share of the images whose label has the largest score, in percent."""
    return 100 * float(evaluate(module, batches).measures["accuracy"])


def _classifying(build: Callable[[], nn.Module], schooling: tuple[int, float], epochs: int) -> FinetuneTask:
    from .digits import splits

    torch.manual_seed(START)
    parts = batches_of(splits())
    return FinetuneTask(build(), *parts, cross_entropy, accuracy, epochs=epochs, schooling=schooling)


def digits_resnet() -> FinetuneTask:
    """Digits by a residual network."""
    return _classifying(networks.resnet, (12, 0.05), 8)


def digits_mobile() -> FinetuneTask:
    """Digits by a network of inverted bottlenecks."""
    return _classifying(networks.mobile, (12, 0.05), 8)


def digits_vit() -> FinetuneTask:
    """Digits by a vision transformer."""
    return _classifying(networks.Vision, (30, 0.05), 10)


def digits_efficientnet() -> FinetuneTask:
    """Digits by EfficientNet-Lite0, from its ImageNet weights with a new last layer."""

    def build() -> nn.Module:
        from pvq.layers.models import load_model

        network: Any = load_model("zoo:efficientnet-lite0").module.float()
        network._fc = nn.Linear(network._fc.in_features, 10)
        return networks.Enlarged(network)

    return _classifying(build, (4, 0.02), 4)


def scenes_segmentation() -> FinetuneTask:
    """Scenes of digits, the class of each pixel."""
    from .scenes import mean_iou, pixel_loss, scenes

    torch.manual_seed(START)
    parts = batches_of([(part.images, part.masks) for part in scenes()], SCENES)
    return FinetuneTask(
        networks.segmenter(), *parts, pixel_loss, mean_iou, "mean IoU", epochs=8, schooling=(16, 0.1)
    )


def scenes_detection() -> FinetuneTask:
    """Scenes of digits, a box around each digit."""
    from .scenes import average_precision, detection_loss, scenes

    torch.manual_seed(START)
    parts = batches_of([(part.images, part.heat, part.sides) for part in scenes()], SCENES)
    return FinetuneTask(
        networks.detector(), *parts, detection_loss, average_precision, "mAP", epochs=8, schooling=(16, 0.02)
    )


def text_decoder() -> FinetuneTask:
    """The help texts of Python, character by character, by a small transformer."""
    from .text import BATCH, LENGTH, SYMBOLS, bits_a_character, next_loss, splits

    torch.manual_seed(START)
    return FinetuneTask(
        networks.Decoder(SYMBOLS, LENGTH),
        *batches_of(splits(), BATCH),
        next_loss,
        bits_a_character,
        "bits a character",
        higher_is_better=False,
        epochs=6,
        schooling=(20, 0.1),
        inputs=lambda batch: batch[0][:, :-1],
    )


ZOO: Mapping[str, Callable[[], FinetuneTask]] = {
    "digits-resnet": digits_resnet,
    "digits-mobile": digits_mobile,
    "digits-vit": digits_vit,
    "digits-efficientnet": digits_efficientnet,
    "scenes-segmentation": scenes_segmentation,
    "scenes-detection": scenes_detection,
    "text-decoder": text_decoder,
}
