"""Scenes, and the measures of segmentation and detection, against what can be counted by hand."""

import pytest
import torch
from pvq.benchmarks.finetune import scenes as module
from pvq.benchmarks.finetune.scenes import area, average_precision, boxes_of, mean_iou, overlap
from torch import nn


@pytest.fixture
def drawn():
    numbers = torch.Generator().manual_seed(1)
    digits = torch.zeros(20, 1, 28, 28)
    digits[:, :, 6:22, 8:20] = 0.5 + 0.5 * torch.rand(20, 1, 16, 12, generator=numbers)
    return module.drawn(digits, torch.arange(20) % 10, 6, 3)


class Said(nn.Module):
    """Answers what it was told, whatever is asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer


def test_masks_and_boxes_are_where_the_digits_are(drawn):
    for k in range(6):
        boxes = boxes_of(drawn.heat[k], drawn.sides[k])
        assert 2 <= len(boxes.labels) <= 5
        covered = torch.zeros(48, 48, dtype=torch.bool)
        for label, (left, top, right, bottom) in zip(boxes.labels, boxes.corners.round().int(), strict=True):
            inside = drawn.masks[k, top:bottom, left:right]
            assert (inside == label + 1).all()  # these digits are whole rectangles
            covered[top:bottom, left:right] = True
        assert torch.equal(covered, drawn.masks[k] > 0)
        assert torch.equal(covered, drawn.images[k, 0] > module.INK)


def test_what_is_right_is_worth_a_hundred(drawn):
    logits = nn.functional.one_hot(drawn.masks, 11).permute(0, 3, 1, 2).float()
    present = len(drawn.masks.unique())
    assert mean_iou(Said(logits), [(drawn.images, drawn.masks)]) == pytest.approx(100 * present / 11)
    said = torch.cat([20 * drawn.heat - 10, drawn.sides], 1)
    batches = [(drawn.images, drawn.heat, drawn.sides)]
    assert average_precision(Said(said), batches) == pytest.approx(100)
    wrong = torch.cat([20 * drawn.heat.roll(1, 1) - 10, drawn.sides], 1)
    assert average_precision(Said(wrong), batches) < 40
    away = torch.cat([20 * drawn.heat - 10, drawn.sides * 0.4], 1)
    assert average_precision(Said(away), batches) < 5


def test_overlap_and_area_by_hand():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    others = torch.tensor([[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    assert overlap(boxes, others)[0].tolist() == pytest.approx([1 / 3, 1.0, 0.0])
    # hits at ranks 1 and 3 of two digits: precision 1 to recall 1/2, then 2/3
    assert area([(0.9, True), (0.8, False), (0.7, True)], 2) == pytest.approx((1 + 2 / 3) / 2)
    assert area([(0.9, False), (0.8, True)], 4) == pytest.approx(1 / 8)
    assert area([], 3) == 0
