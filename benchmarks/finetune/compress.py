"""What is compressed of a model, by which parametrization, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from pvq.bounds.codebooks import codebook
from pvq.bounds.ranges import fit_grid
from pvq.layers.parts import candidates
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .lsq import LearnedStep
from .pruning import Magnitude, cubic_sparsity

BASE = 16
"""Bits of a weight that is not quantized: b bits cost as much as a share b / 16 of the weights."""
METHODS = ("quant", "prune")


@dataclass(frozen=True, eq=False)
class Place:
    """A weight tensor of a model."""

    owner: nn.Module
    parameter: str

    @property
    def weight(self) -> Tensor:
        """The weights as the model uses them."""
        found: Tensor = getattr(self.owner, self.parameter)
        return found.detach()

    @property
    def parametrization(self) -> nn.Module:
        """What makes them of the stored ones."""
        found: nn.Module = self.owner.parametrizations[self.parameter][0]  # type: ignore[index]
        return found

    @property
    def stored(self) -> Tensor:
        """The weights that are trained."""
        found: Tensor = self.owner.parametrizations[self.parameter].original  # type: ignore[index, union-attr]
        return found


def places(module: nn.Module) -> dict[str, Place]:
    """The weight tensors of linear maps and convolutions, by module name; tied ones (embeddings) are left out."""
    uses = Counter(id(p) for part in module.modules() for p in part.parameters(recurse=False))
    names = {part: name for name, part in module.named_modules()}
    found: dict[int, tuple[str, Place]] = {}
    for part in candidates(module).values():
        parameter = getattr(part.module, part.parameter)
        own = names[part.module]
        name = own if part.parameter == "weight" else f"{own}.{part.parameter}"
        if uses[id(parameter)] == 1:
            found.setdefault(id(parameter), (name, Place(part.module, part.parameter)))
    return dict(found.values())


def quantize(module: nn.Module, bits: int) -> dict[str, Place]:
    """Put all weights on grids of their own, whose steps start at the least squared rounding error."""
    book = codebook("int", bits)
    found = places(module)
    for place in found.values():
        weight = place.weight.double().cpu().numpy()
        scale = fit_grid(weight.reshape(len(weight), -1), book).scale
        step = LearnedStep(float(np.float32(scale[0, 0])), bits).to(place.weight)
        parametrize.register_parametrization(place.owner, place.parameter, step)
    return found


def prune(module: nn.Module) -> dict[str, Place]:
    """Make all weights prunable; all are kept until `to_sparsity`."""
    found = places(module)
    for place in found.values():
        mask = Magnitude(place.weight.shape).to(place.weight.device)
        parametrize.register_parametrization(place.owner, place.parameter, mask)
    return found


def to_sparsity(found: dict[str, Place], bits: int, step: int, last: int) -> None:
    """Cut what the schedule asks for at a step, in every tensor by itself; from step `last` on 1 - b/16."""
    sparsity = cubic_sparsity(step, last, 1 - bits / BASE)
    for place in found.values():
        mask = place.parametrization
        assert isinstance(mask, Magnitude)
        mask.choose(place.stored.detach(), sparsity)


def steps_of(found: dict[str, Place]) -> dict[str, float]:
    """The learned step of each quantized tensor."""
    every = {name: place.parametrization for name, place in found.items()}
    return {name: float(p.step.detach()) for name, p in every.items() if isinstance(p, LearnedStep)}


def settle(found: dict[str, Place]) -> None:
    """Leave the compressed weights in the model as ordinary parameters."""
    for place in found.values():
        with torch.no_grad():
            parametrize.remove_parametrizations(place.owner, place.parameter, leave_parametrized=True)
