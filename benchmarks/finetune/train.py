"""One cell of the table: a model fine-tuned by one method at one size, from one seed, at one learning rate."""

from __future__ import annotations

import copy
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pvq.layers.extract import evaluating, moved
from pvq.layers.files import write_atomically
from pvq.layers.outputs import OutputError
from torch import nn

from . import compress
from .lsq import LearnedStep
from .tasks import FinetuneTask, Loader

STEP_RATE = 1e-5
"""Adam's rate for the steps of the grids (Kuzmin et al. 2023)."""
LAST_RATE = 0.01
"""Share of the learning rate that is left at the end."""
MOMENTUM = 0.9
PRUNED_BY = 0.75
"""Share of the epochs after which the masks are fixed."""
PRUNINGS = 10
"""Times an epoch that the masks are chosen anew."""
STATISTICS = 50
"""Batches over which statistics of batch norm are estimated anew, at most."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Cell:
    """What is trained."""

    method: str
    """quant, prune, or original: trained from scratch, if the task says how, and not compressed."""
    bits: int
    """b; pruning to the sparsity 1 - b/16. 16 for the original."""
    seed: int
    rate: float
    epochs: int

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.method}-{self.bits}-seed{self.seed}-rate{self.rate:g}-epochs{self.epochs}"


def train(
    task: FinetuneTask,
    cell: Cell,
    device: str = "cpu",
    checkpoint: Path | None = None,
    epoch_done: Callable[[int], object] = lambda done: None,
    unkept: Callable[[str], object] = lambda why: None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Fine-tune a copy of the task's model.

    The same cell gives the same numbers, on the same machine, also where it goes on from a checkpoint.

    Parameters
    ----------
    checkpoint : file that is written after every epoch, and gone on from where it exists.
    epoch_done : called after every epoch with the number of those done.
    unkept : called where the checkpoint cannot be written, with the reason; training goes on, and the next epoch
        tries again.

    Returns
    -------
    The model with the compressed weights in place, and what is known of it: metrics, steps, kept weights.
    """
    module = copy.deepcopy(task.model).to(device)
    total = cell.epochs * len(task.train)
    found: dict[str, compress.Place] = {}
    if cell.method == "quant":
        found = compress.quantize(module, cell.bits)
    elif cell.method == "prune":
        found = compress.prune(module)
    steps = [p.step for m in module.modules() if isinstance(p := m, LearnedStep)]
    weights = [p for p in module.parameters() if p.requires_grad and not any(p is step for step in steps)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SGD(weights, lr=cell.rate, momentum=MOMENTUM, weight_decay=task.weight_decay)
    ]
    if steps:
        optimizers.append(torch.optim.Adam(steps, lr=STEP_RATE))
    done = _go_on(checkpoint, cell, module, optimizers)
    every = max(1, len(task.train) // PRUNINGS)
    last = max(1, round(PRUNED_BY * total))
    for epoch in range(done, cell.epochs):
        seed_all(cell.seed, epoch, task.train)
        module.train()
        for i, batch in enumerate(task.train):
            step = epoch * len(task.train) + i
            if cell.method == "prune" and (step % every == 0 and step < last):
                compress.to_sparsity(found, cell.bits, step, last)
            elif cell.method == "prune" and step == last:
                compress.to_sparsity(found, cell.bits, last, last)
            optimizers[0].param_groups[0]["lr"] = cell.rate * cosine(step, total)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            task.loss(module, moved(batch, torch.device(device), None)).backward()
            for optimizer in optimizers:
                optimizer.step()
            for place in found.values():
                if isinstance(place.parametrization, LearnedStep):
                    place.parametrization.keep_positive()
        if checkpoint is not None:
            try:
                _keep(checkpoint, cell, epoch + 1, module, optimizers)
            except OutputError as error:
                unkept(str(error))
        epoch_done(epoch + 1)
    if cell.method == "prune" and last >= total:  # too few steps to reach the fixed masks on the way
        compress.to_sparsity(found, cell.bits, last, last)
    known: dict[str, Any] = {"cell": asdict(cell), "steps": compress.steps_of(found)}
    compress.settle(found)
    seed_all(cell.seed, cell.epochs, task.train)
    if cell.epochs > 0:
        estimate_statistics(module, task, device)
    known["weights"] = {
        name: {"size": place.weight.numel(), "kept": int(torch.count_nonzero(place.weight))}
        for name, place in found.items()
    }
    with evaluating(module), torch.no_grad():
        for split in ("validation", "test"):
            batches = _on(getattr(task, split), device)
            known[split] = float(task.metric(module, batches))
    return module, known


def cosine(step: int, total: int) -> float:
    """Share of the learning rate at a step: from 1 along a half cosine to LAST_RATE."""
    return LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * step / max(1, total - 1))) / 2


def seed_all(seed: int, epoch: int, loader: Loader) -> None:
    """Set every generator that an epoch draws from, so that it does not depend on the epochs before."""
    number = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002  (a loader of the user's own may draw from it)
    torch.manual_seed(number)
    generator = getattr(loader, "generator", None)
    if generator is not None:
        generator.manual_seed(number)


@torch.no_grad()
def estimate_statistics(module: nn.Module, task: FinetuneTask, device: str) -> None:
    """Estimate means and variances of batch norm anew, as averages over training batches."""
    norms = [part for part in module.modules() if isinstance(part, NORMS) and part.track_running_stats]
    if not norms:
        return
    with evaluating(module), _averaging(norms):
        for _, batch in zip(range(STATISTICS), task.train, strict=False):
            task.loss(module, moved(batch, torch.device(device), None))


@contextmanager
def _averaging(norms: list[Any]) -> Iterator[None]:
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain average
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def _on(loader: Loader, device: str) -> Iterator[Any]:
    return (moved(batch, torch.device(device), None) for batch in loader)


def _keep(path: Path, cell: Cell, done: int, module: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
    state: Mapping[str, Any] = {
        "cell": asdict(cell),
        "done": done,
        "module": module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    write_atomically(path, lambda file: torch.save(state, file))


def _go_on(path: Path | None, cell: Cell, module: nn.Module, optimizers: list[torch.optim.Optimizer]) -> int:
    """Epochs that a checkpoint has, which is then loaded; 0 where there is none of this cell."""
    if path is None or not os.path.isfile(path):
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["cell"] != asdict(cell):
        return 0
    module.load_state_dict(state["module"])
    for optimizer, of in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(of)
    return int(state["done"])
