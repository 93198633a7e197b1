"""What makes a GPU give the same numbers each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pvq.bounds.errors import ProblemError
from pvq.layers.foreign import one_line


@contextmanager
def repeatable(device: str, strictly: bool = True) -> Iterator[None]:
    """On a GPU, only algorithms whose sums are always in the same order; a CPU with one thread needs none of this.

    Parameters
    ----------
    strictly : refuse operations that have no such algorithm; else they are run as they are.

    Raises
    ------
    ProblemError
        There is such an operation; the message names it.
    """
    if torch.device(device).type == "cpu":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it with its first product
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(strictly)
    try:
        yield
    except RuntimeError as error:
        if not strictly or "deterministic" not in str(error):
            raise
        raise ProblemError(
            f"the task needs an operation that gives other numbers each time on {device}; write it in another "
            f"way, or give the task deterministic=False ({one_line(error)})"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
