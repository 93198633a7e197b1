"""Samples in batches without padding."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

Sample = TypeVar("Sample")


def grouped(
    samples: Iterable[Sample], batch_size: int, key: Callable[[Sample], Hashable]
) -> Iterator[list[Sample]]:
    """Batches of samples that have the same key (a shape, a length), in the order in which they fill up.

    No sample is padded, so that what a model computes for it does not depend on its neighbours.
    """
    waiting: dict[Hashable, list[Sample]] = {}
    for sample in samples:
        of = key(sample)
        batch = waiting.setdefault(of, [])
        batch.append(sample)
        if len(batch) == batch_size:
            yield waiting.pop(of)
    yield from waiting.values()
