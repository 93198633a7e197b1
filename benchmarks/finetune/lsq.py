"""Quantization with a learned step (LSQ: Esser et al., "Learned Step Size Quantization", ICLR 2020)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST = 1e-3
"""The step stays above so much of its start: Adam moves it by about its rate, however small it is."""


class _Rounded(torch.autograd.Function):
    """round(clip(v / s, -Qn, Qp)) s, with the gradients of the paper's equations 3 and 5."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor, least: float, most: float) -> Tensor:
        ratio = weight / step
        ctx.save_for_backward(ratio)
        ctx.least, ctx.most = least, most
        return ratio.clamp(least, most).round() * step

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (grad,) = grads
        (ratio,) = ctx.saved_tensors
        inside = (ratio > ctx.least) & (ratio < ctx.most)
        of_step = torch.where(inside, ratio.round() - ratio, ratio.clamp(ctx.least, ctx.most))
        scale = 1 / math.sqrt(ratio.numel() * ctx.most)
        return grad * inside, (grad * of_step).sum() * scale, None, None


class LearnedStep(nn.Module):
    """A parametrization that puts a weight tensor on the grid s {-2^(b-1), ..., 2^(b-1) - 1} of a learned step s.

    Forward: round(clip(v / s, -Qn, Qp)) s. Backward, with g = 1 / sqrt(size Qp): to v, 1 inside the range and 0
    outside; to s, g times round(v/s) - v/s inside, -Qn below, Qp above.

    Parameters
    ----------
    step : first value of s, positive.
    bits : at least 2.

    Raises
    ------
    ValueError
        Fewer bits, or a step that is not positive.
    """

    def __init__(self, step: float, bits: int) -> None:
        super().__init__()
        if bits < 2 or not 0 < step < math.inf:
            raise ValueError(f"a learned step needs at least 2 bits and a positive start, not {bits} and {step}")
        self.least, self.most = -float(2 ** (bits - 1)), float(2 ** (bits - 1) - 1)
        self.start = step
        self.step = nn.Parameter(torch.tensor(step))

    def forward(self, weight: Tensor) -> Tensor:
        rounded: Tensor = _Rounded.apply(weight, self.step, self.least, self.most)  # type: ignore[no-untyped-call]
        return rounded

    @torch.no_grad()
    def keep_positive(self) -> None:
        """Put the step back where an update took it to nothing."""
        self.step.clamp_(min=SMALLEST * self.start)
