"""What a database says is taken at its word only where it could be this program's: kinds, signs, names.

Tables refuse the rest when it is written (see `schema`); this is for those of older versions, and for files that
were altered by other means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any

from .schema import LedgerError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

METHODS = ("quant", "prune", "joint")
MOST_ROWS = 1_000_000
"""Of a chunk; they are listed."""
MODEL, OUTLIERS = "model", "outliers_db"
"""Facts of a task that stand beside its bounds: what the volume model says, and what one scale for all costs."""
KINDS = {"int": int, "float": float, "str": str, "bool": bool}


@contextmanager
def legible(file: str, what: str) -> Iterator[None]:
    """Values of another kind than those that were written, as one line.

    Parameters
    ----------
    file : what the line begins with.
    what : the part of it that is read.

    Raises
    ------
    LedgerError
        Whatever reading them stumbled over.
    """
    try:
        yield
    except LedgerError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        said = str(error) or type(error).__name__
        raise LedgerError(f"{file} was altered or is damaged: {what}: {said}") from None


@cache
def _kinds(cls: type) -> tuple[tuple[str, tuple[type, ...]], ...]:
    """Fields of plain values, and the types that they may have."""
    words = {field.name: str(field.type).split(" | ") for field in fields(cls)}
    return tuple(
        (name, tuple(KINDS.get(word, NoneType) for word in some))
        for name, some in words.items()
        if some[0] in KINDS
    )


def check_kinds(values: DataclassInstance) -> None:
    """Plain values of a dataclass are of the types of its fields.

    Raises
    ------
    ValueError
        One is not.
    """
    for name, kinds in _kinds(type(values)):
        if type(getattr(values, name)) not in kinds:
            raise ValueError(f"{name} is {getattr(values, name)!r}")


def check_sizes(**numbers: float) -> None:
    """Errors, counts and times are finite and not negative.

    Raises
    ------
    ValueError
        One is not.
    """
    for name, number in numbers.items():
        if not 0 <= number < math.inf:
            raise ValueError(f"{name} is {number!r}")


def check_chunk(first: int, stop: int) -> None:
    """Rows first to stop - 1 are as many as a chunk may have.

    Raises
    ------
    ValueError
        They are not.
    """
    if not 0 <= first < stop <= first + MOST_ROWS:
        raise ValueError(f"rows {first!r} to {stop!r}")


def check_one_of(name: str, value: Any, known: Collection[Any]) -> None:
    """A value is one of those that there are.

    Raises
    ------
    ValueError
        It is not.
    """
    if value not in known:
        raise ValueError(f"{name} is {value!r}")


def fields_of(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    ValueError
        Another text.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{text[:40]!r} is no object")
    return found


def errors_of(text: str) -> dict[str, float]:
    """Errors by name of the method; raises as `all_errors_of`."""
    return all_errors_of([text])[0]


def all_errors_of(texts: Sequence[str]) -> list[dict[str, float]]:
    """Errors by name of the method, of many texts, which are read as one list: ten times as fast.

    Raises
    ------
    ValueError
        A text of another kind, or errors that are none.
    """
    found = json.loads(f"[{','.join(texts)}]")
    if len(found) != len(texts) or not all(type(errors) is dict for errors in found):
        raise ValueError("errors of methods are no objects")
    for errors in found:
        for name, error in errors.items():
            if type(error) not in (int, float) or not 0 <= error < math.inf:
                raise ValueError(f"the error of {name} is {error!r}")
    return found


def about_of(rows: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What a run was made for.

    Raises
    ------
    ValueError, KeyError
        Something of it is missing, or is of another kind.
    """
    about = {name: json.loads(value) for name, value in rows}
    check_one_of("method", about["method"], (*METHODS, "both"))
    for name in ("settings", "made_with"):
        if not isinstance(about[name], dict):
            raise ValueError(f"{name} is {about[name]!r}")
    levels = about["levels"]
    if levels is not None and not all(type(level) in (int, float) for level in levels):
        raise ValueError("levels are no numbers")
    check_sizes(gap=about["gap"])
    return about
