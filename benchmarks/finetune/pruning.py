"""Magnitude pruning on a gradual schedule (Zhu & Gupta, "To prune, or not to prune", 2017)."""

from __future__ import annotations

import torch
from pvq.bounds.layer_problem import kept
from torch import Tensor, nn


def cubic_sparsity(step: int, last: int, final: float) -> float:
    """Sparsity after t steps: s_f (1 - (1 - t/T)^3) up to step T, then s_f (equation 1, from 0 at step 0)."""
    if step >= last:
        return final
    return final * (1 - (1 - step / last) ** 3)


class Magnitude(nn.Module):
    """A parametrization that keeps the weights of a tensor with the largest magnitudes.

    A weight that is cut has no gradient, but keeps its value: it comes back where another one falls below it.

    Parameters
    ----------
    shape : of the weight tensor.
    """

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.mask: Tensor
        self.register_buffer("mask", torch.ones(shape, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask, weight, 0.0)

    @torch.no_grad()
    def choose(self, weight: Tensor, sparsity: float) -> None:
        """Keep exactly floor(n (1 - s)) of the n weights; of equal ones, the first."""
        order = torch.argsort(weight.abs().flatten(), descending=True, stable=True)
        self.mask.zero_()
        self.mask.view(-1)[order[: kept(weight.numel(), sparsity)]] = True
