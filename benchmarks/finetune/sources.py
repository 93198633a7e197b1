"""Where tasks come from: the zoo, or a function of the user's own."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from pvq.layers.foreign import foreign
from pvq.layers.format import LayerError

from .tasks import FinetuneTask
from .zoo import ZOO

SOURCES = "expected {zoo} or package.module:task"


def load_task(source: str) -> FinetuneTask:
    """The task of a name: `zoo:NAME`, or `package.module:task`, a callable without arguments that returns one.

    Raises
    ------
    LayerError
        There is no such task, a package is missing, or it returns something else.
    """
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
    if not isinstance(task, FinetuneTask):
        raise LayerError(
            f"{source}: returned a {type(task).__name__}, expected a pvq.benchmarks.finetune.tasks.FinetuneTask"
        )
    return task
