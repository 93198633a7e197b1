"""One thing changed anywhere in a proof or a certificate: a number by a bit, an index, a length, a part."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

ABSENT = {"bits": 2, "block": 2, "keep": 1, "rows": (0, 1), "inputs": (0, 1)}
"""What may be None, and what it is made to be then."""


def mutated(rng: np.random.Generator, thing: Any) -> Any:
    """A copy of a tree of frozen dataclasses, tuples, arrays and numbers with one leaf or one tuple changed."""
    paths = list(_paths(thing, ()))
    return _changed(rng, thing, paths[int(rng.integers(len(paths)))])


def _paths(thing: Any, path: tuple[Any, ...]) -> Any:
    if dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            yield from _paths(getattr(thing, field.name), (*path, field.name))
    elif isinstance(thing, tuple):
        if thing:
            yield path
        for i, part in enumerate(thing):
            yield from _paths(part, (*path, i))
    elif thing is not None or (path and path[-1] in ABSENT):
        yield path


def _changed(rng: np.random.Generator, thing: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return _other(rng, thing)
    if getattr(thing, str(path[0]), thing) is None:
        return dataclasses.replace(thing, **{path[0]: ABSENT[path[0]]})
    if isinstance(thing, tuple):
        i = path[0]
        return (*thing[:i], _changed(rng, thing[i], path[1:]), *thing[i + 1 :])
    return dataclasses.replace(thing, **{path[0]: _changed(rng, getattr(thing, path[0]), path[1:])})


def _other(rng: np.random.Generator, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _array(rng, value)
    if isinstance(value, tuple):
        i, j = rng.integers(len(value), size=2).tolist()
        parts = list(value)
        how = int(rng.integers(3))
        if how == 0:
            del parts[i]
        elif how == 1:
            parts[i] = parts[j]
        else:
            parts.insert(i, parts[j])
        return tuple(parts)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + int(rng.choice([-1, 1]))
    if dataclasses.is_dataclass(value):
        return value
    if isinstance(value, float):
        return float(_array(rng, np.array([value, 1.0]))[0])
    words = ["quant", "prune", "joint", "int", "int-sym", "int-asym", "ternary", "mse", "minmax", "gram", "none"]
    return str(rng.choice([*words, "row", "layer", "tensor", "channel", "group:2"]))


def _array(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Finite, as all numbers of a file are."""
    changed = array.copy()
    flat = changed.reshape(-1)
    if not len(flat):
        return np.zeros(1, array.dtype)
    i, j = rng.integers(len(flat), size=2).tolist()
    how = int(rng.integers(8))
    if how == 0:
        return np.delete(changed, i) if array.ndim == 1 else changed[:-1]
    if how == 1:
        flat[i], flat[j] = flat[j], flat[i]
    elif array.dtype == np.int64:
        flat[i] = flat[i] + rng.choice([-1, 1]) if how < 6 else rng.integers(-4, 8)
    elif how == 2:
        flat[i : i + 1].view(np.int64)[:] ^= np.int64(1) << np.int64(rng.integers(62))
    elif how == 3:
        flat[i] = rng.choice([0.0, 1e300, -1e300, 5e-324])
    elif how == 4:
        flat *= 1 + 10.0 ** rng.uniform(-15, 0)
    elif how == 5:
        flat[i] += 10.0 ** rng.uniform(-15, 0) * np.abs(flat).max()
    else:
        flat[i] *= 1 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-16, 0)
    return changed if array.dtype == np.int64 or np.isfinite(changed).all() else array.copy()
