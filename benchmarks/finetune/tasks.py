"""What is fine-tuned: a model with its data, its loss and its measure of quality."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from pvq.layers.foreign import foreign
from pvq.layers.format import LayerError
from torch import Tensor, nn

SOURCES = "expected {zoo} or package.module:task"


class Loader(Protocol):
    """Batches, as of torch.utils.data.DataLoader."""

    def __iter__(self) -> Any: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Task:
    """A model and what it takes to fine-tune it.

    Parameters
    ----------
    model : trained, unless `schooling` says how to train it.
    train, validation, test : batches; the learning rate is chosen on `validation`, the table is of `test`. A
        loader that shuffles draws from torch's generator or its own `generator`: both are set by seed and epoch.
    loss : from the model and a batch to a number that is made small.
    metric : from the model, in evaluation mode, and batches to the number in the table.
    measure : its name.
    higher_is_better : of the number.
    epochs : of fine-tuning.
    schooling : (epochs, learning rate) of the training from scratch; None for a trained model.
    weight_decay : of SGD.
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
    inputs: Callable[[Any], Any] = lambda batch: batch[0]

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            loader = getattr(self, name)
            if not hasattr(loader, "__len__") or len(loader) < 1:
                raise LayerError(f"the task's {name} batches must have a length of at least 1")


def load_task(source: str) -> Task:
    """The task of a name: `zoo:NAME`, or `package.module:task`, a callable without arguments that returns one.

    Raises
    ------
    LayerError
        There is no such task, a package is missing, or it returns something else.
    """
    from .zoo import ZOO

    expected = SOURCES.format(zoo=", ".join(f"zoo:{name}" for name in ZOO))
    path, separator, name = source.partition(":")
    if not separator or not path or not name:
        raise LayerError(f"{source!r} is not a task; {expected}")
    if path == "zoo":
        if name not in ZOO:
            raise LayerError(f"{source}: not in the zoo; {expected}")
        return ZOO[name]()
    with foreign(f"{source}: cannot be loaded"):
        sys.path.insert(0, os.getcwd())  # console scripts do not look there
        try:
            make = getattr(import_module(path), name, None)
        finally:
            sys.path.remove(os.getcwd())
        if not callable(make):
            raise LayerError(f"{source}: {path} has no callable {name!r}; {expected}")
        task = make()
    if not isinstance(task, Task):
        raise LayerError(
            f"{source}: returned a {type(task).__name__}, expected a pvq.benchmarks.finetune.tasks.Task"
        )
    return task
