"""What is fine-tuned: a model with its data, its loss and its measure of quality."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from pvq.layers.format import LayerError
from torch import Tensor, nn


class Loader(Protocol):
    """Batches, as of torch.utils.data.DataLoader."""

    def __iter__(self) -> Any: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class FinetuneTask:
    """A model and what it takes to fine-tune it.

    Parameters
    ----------
    model : trained, unless `schooling` says how to train it.
    train, validation, test : batches, which are moved to the device of the model; the learning rate is chosen on
        `validation`, the table is of `test`. A loader that shuffles draws from torch's generator or its own
        `generator`: both are set by seed and epoch.
    loss : from the model and a batch to a number that is made small.
    metric : from the model, in evaluation mode, and batches to the number in the table.
    measure : its name.
    higher_is_better : of the number.
    epochs : of fine-tuning.
    schooling : (epochs, learning rate) of the training from scratch; None for a trained model.
    weight_decay : of SGD.
    deterministic : on a GPU, refuse operations that give other numbers each time.
    inputs : from a batch to what the model takes, as `pvq.extract` does; the first of a tuple without it.
    """

    model: nn.Module
    train: Loader
    validation: Loader
    test: Loader
    loss: Callable[[nn.Module, Any], Tensor]
    metric: Callable[[nn.Module, Iterable[Any]], float]
    measure: str = "accuracy"
    higher_is_better: bool = True
    epochs: int = 8
    schooling: tuple[int, float] | None = None
    weight_decay: float = 1e-4
    deterministic: bool = True
    inputs: Callable[[Any], Any] = lambda batch: batch[0]

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            loader = getattr(self, name)
            if not hasattr(loader, "__len__") or len(loader) < 1:
                raise LayerError(f"the task's {name} batches must have a length of at least 1")
