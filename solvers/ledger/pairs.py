"""The two sides of a comparison: tasks of one layer and equal cost, and what is proven of them."""

from __future__ import annotations

from collections.abc import Sequence

from ..compare.verdict import Interval, verdict
from .ledger import LayerTask
from .sums import Total


def verdict_of(quant: Total, prune: Total) -> str:
    """Of a pair, from what is known of its rows."""
    return verdict(Interval(quant.lower, quant.upper), Interval(prune.lower, prune.upper))


def pairs_of(tasks: Sequence[LayerTask]) -> list[tuple[LayerTask, LayerTask]]:
    """Quantized and pruned tasks of one layer and equal cost."""
    sides: dict[tuple[int, int | None], dict[str, LayerTask]] = {}
    for task in tasks:
        sides.setdefault((task.layer, task.bits), {})[task.side] = task
    return [(side["quant"], side["prune"]) for side in sides.values() if len(side) == 2]
