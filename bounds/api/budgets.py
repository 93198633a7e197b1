"""What an allocation may cost, and what the error of each layer counts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from pvq.bounds.errors import ProblemError
from pvq.layers.reading import Unreadable, read_json
from pvq.solvers.allocate.record import Item


def budget_of(bits: float | None, bytes: int | None, size: int) -> int:
    """Whole bits of all layers together."""
    if (bits is None) == (bytes is None):
        raise ProblemError("give the budget as `bits` (a weight, on average) or as `bytes`, one of the two")
    if bytes is not None:
        if bytes < 1:
            raise ProblemError(f"`bytes` must be at least 1, not {bytes}")
        return 8 * bytes
    assert bits is not None
    if not 0 < bits < math.inf:
        raise ProblemError(f"`bits` must be above 0, not {bits}")
    return math.floor(Fraction(bits) * size)


def too_little(items: list[Item], size: int, bits: float | None) -> str:
    """Why nothing fits."""
    least = sum(item.cheapest for item in items)
    dear = max(items, key=lambda item: item.cheapest / item.size)
    said = f"`bits` is below {least / size:.6g}" if bits is not None else f"`bytes` is below {-(-least // 8)}"
    return (
        f"{said}, the least that the recorded options allow; '{dear.name[:80]}' has none below "
        f"{dear.cheapest / dear.size:.4g} bits a weight"
    )


def weighted(items: list[Item], weight: str | os.PathLike[str] | Mapping[str, float]) -> list[Item]:
    """The layers with what their errors count: error, relative, or numbers by name, given or in a file."""
    if weight == "error":
        return items
    if weight == "relative":
        return [replace(item, weight=_inverse(item)) for item in items]
    given = weight if isinstance(weight, Mapping) else _read_weights(Path(weight))
    found = []
    for item in items:
        value = given.get(item.name)
        if type(value) not in (int, float) or not 0 <= value < math.inf:  # type: ignore[operator]
            raise ProblemError(
                f"`weight` must give each layer a number that is not negative; '{item.name[:80]}' has "
                f"{'none' if value is None else str(value)[:40]}"
            )
        found.append(replace(item, weight=float(value)))  # type: ignore[arg-type]
    return found


def _inverse(item: Item) -> float:
    if item.reference is None:
        return 0.0  # it has one option, without error
    if item.reference <= 0 or math.isinf(1 / item.reference):
        raise ProblemError(f"`weight` relative: layer '{item.name[:80]}' has reference {item.reference:g}")
    return 1 / item.reference


def _read_weights(path: Path) -> Mapping[str, float]:
    try:
        given = read_json(path)
    except Unreadable as error:
        raise ProblemError(
            f"`weight` must be error, relative or a JSON file of layer names and numbers; {path} {error}"
        ) from None
    if not isinstance(given, dict):
        raise ProblemError(f"`weight`: {path} is no JSON object of layer names and numbers")
    return given
