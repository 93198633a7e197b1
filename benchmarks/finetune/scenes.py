"""Scenes of several digits: what is where, for segmentation and detection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .digits import splits

SIDE, CELL, DIGIT = 48, 16, 14
"""Pixels of a scene, of each of its 3 x 3 cells, and of a digit, which is half its usual size."""
COUNTS = (1500, 200, 400)
"""Scenes for training, validation and test, each of digits of that part."""
FEWEST, MOST = 2, 5
"""Digits of a scene."""
INK = 0.25
"""Brightness from which on a pixel belongs to a digit."""
STRIDE = 4
"""Pixels of a place of the detector's map."""
OVERLAP = 0.5
"""Intersection over union from which on a box is found."""
GROUND = 0.2
"""Weight of a pixel of the ground in the loss."""
FOUND = 20
"""Boxes of a scene that count, at most."""


class Scenes(NamedTuple):
    """Scenes with their labels."""

    images: Tensor
    """(N, 1, 48, 48) in [0, 1]."""
    masks: Tensor
    """(N, 48, 48): the digit of each pixel plus 1, 0 for the ground."""
    heat: Tensor
    """(N, 10, 12, 12): 1 where a digit has its middle."""
    sides: Tensor
    """(N, 4, 12, 12): there, distances to its left, upper, right and lower side in strides."""


def scenes() -> list[Scenes]:
    """The three parts, always the same."""
    parts = zip(splits(), COUNTS, strict=True)
    return [drawn(*part, count, seed) for seed, (part, count) in enumerate(parts)]


def drawn(images: Tensor, labels: Tensor, count: int, seed: int) -> Scenes:
    numbers = np.random.Generator(np.random.PCG64(seed))
    small = functional.avg_pool2d(images, 2)[:, 0]
    size = SIDE // STRIDE
    pictures, masks = torch.zeros(count, 1, SIDE, SIDE), torch.zeros(count, SIDE, SIDE, dtype=torch.long)
    heat, sides = torch.zeros(count, 10, size, size), torch.zeros(count, 4, size, size)
    cells = SIDE // CELL
    for k in range(count):
        for cell in numbers.permutation(cells**2)[: numbers.integers(FEWEST, MOST + 1)]:
            which = int(numbers.integers(len(small)))
            top, left = CELL * np.array(divmod(int(cell), cells)) + numbers.integers(0, CELL - DIGIT + 1, 2)
            cut = slice(int(top), int(top) + DIGIT), slice(int(left), int(left) + DIGIT)
            digit, label = small[which], int(labels[which])
            pictures[k, 0][cut] = digit
            masks[k][cut] = torch.where(digit > INK, label + 1, 0)
            rows, columns = (digit > INK).nonzero().T
            down, across = rows + top, columns + left
            box = [float(across.min()), float(down.min()), float(across.max()) + 1, float(down.max()) + 1]
            i, j = int((box[1] + box[3]) / 2 / STRIDE), int((box[0] + box[2]) / 2 / STRIDE)
            x, y = (j + 0.5) * STRIDE, (i + 0.5) * STRIDE
            heat[k, label, i, j] = 1
            sides[k, :, i, j] = torch.tensor([x - box[0], y - box[1], box[2] - x, box[3] - y]) / STRIDE
    return Scenes(pictures, masks, heat, sides)


def pixel_loss(module: nn.Module, batch: Any) -> Tensor:
    """Cross-entropy of the pixels; those of the ground, which are most, count a fifth."""
    images, masks = batch
    weight = torch.ones(11, device=images.device)
    weight[0] = GROUND
    return functional.cross_entropy(module(images).movedim(1, -1).flatten(0, 2), masks.flatten(), weight)


def mean_iou(module: nn.Module, batches: Iterable[Any]) -> float:
    """Intersection over union of the pixels of each class, over all scenes, averaged over the classes; percent."""
    both = either = torch.zeros(11)
    for images, masks in batches:
        said = functional.one_hot(module(images).argmax(1), 11).bool().cpu()
        true = functional.one_hot(masks.cpu(), 11).bool()
        both = both + (said & true).sum((0, 1, 2))
        either = either + (said | true).sum((0, 1, 2))
    return 100 * float((both / either.clamp(min=1)).mean())


def detection_loss(module: nn.Module, batch: Any) -> Tensor:
    """Focal loss of the middles (Lin et al. 2017), and the mean distance of the sides where there is a digit."""
    images, heat, sides = batch
    out = module(images)
    logits, said = out[:, :10], out[:, 10:]
    miss = functional.binary_cross_entropy_with_logits(logits, heat, reduction="none")
    focal = miss * (1 - torch.exp(-miss)) ** 2
    there = heat.amax(1, keepdim=True)
    return (focal.sum() + ((said - sides).abs() * there).sum()) / there.sum().clamp(min=1)


class Boxes(NamedTuple):
    """Boxes of one scene."""

    labels: Tensor
    scores: Tensor
    corners: Tensor
    """(k, 4): left, upper, right, lower side in pixels."""


def boxes_of(heat: Tensor, sides: Tensor) -> Boxes:
    """The boxes that a scene's maps name: the largest places of the heat that none beside them exceeds."""
    peak = heat * (heat == functional.max_pool2d(heat[None], 3, 1, 1)[0])
    scores, where = peak.flatten().topk(min(FOUND, peak.numel()))
    scores, where = scores[scores > 0], where[scores > 0]
    size = heat.shape[-1]
    labels, place = where // size**2, where % size**2
    down, across = place // size, place % size
    x, y = (across + 0.5) * STRIDE, (down + 0.5) * STRIDE
    away = sides[:, down, across] * STRIDE
    return Boxes(labels, scores, torch.stack([x - away[0], y - away[1], x + away[2], y + away[3]], 1))


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """(k, m) intersection over union of boxes."""
    low, high = (
        torch.maximum(first[:, None, :2], second[None, :, :2]),
        torch.minimum(first[:, None, 2:], second[None, :, 2:]),
    )
    both = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (first, second)]
    return both / (areas[0][:, None] + areas[1][None] - both).clamp(min=1e-9)


def average_precision(module: nn.Module, batches: Iterable[Any]) -> float:
    """Mean over the classes of the area under precision against recall, at an overlap of 0.5; percent."""
    hits: defaultdict[int, list[tuple[float, bool]]] = defaultdict(list)
    count: defaultdict[int, int] = defaultdict(int)
    for images, heat, sides in batches:
        out = module(images).cpu()
        for k in range(len(images)):
            said, true = boxes_of(out[k, :10].sigmoid(), out[k, 10:]), boxes_of(heat[k].cpu(), sides[k].cpu())
            for label in true.labels.tolist():
                count[label] += 1
            for label, score, hit in _matched(said, true):
                hits[label].append((score, hit))
    return 100 * sum(area(hits[label], count[label]) for label in count) / max(1, len(count))


def _matched(said: Boxes, true: Boxes) -> list[tuple[int, float, bool]]:
    """Label and score of each box, the best first, and whether it finds one that none before it found."""
    share = overlap(said.corners, true.corners)
    free = torch.ones(len(true.labels), dtype=torch.bool)
    found = []
    for k in range(len(said.labels)):
        fits = share[k] * free * (true.labels == said.labels[k])
        best = int(fits.argmax()) if len(fits) else 0
        hit = bool(len(fits)) and float(fits[best]) >= OVERLAP
        if hit:
            free[best] = False
        found.append((int(said.labels[k]), float(said.scores[k]), hit))
    return found


def area(hits: list[tuple[float, bool]], count: int) -> float:
    """Area under precision against recall; precision at a recall is the best at that recall or a larger one."""
    ordered = [hit for _, hit in sorted(hits, key=lambda pair: -pair[0])]
    right, precisions = 0, []
    for k, hit in enumerate(ordered, start=1):
        right += hit
        if hit:
            precisions.append(right / k)
    best, total = 0.0, 0.0
    for precision in reversed(precisions):
        best = max(best, precision)
        total += best
    return total / count
