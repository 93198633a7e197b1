"""What a record `pvq.compare/1` must be before a run goes on from it: it may have been edited or cut."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.zero import Zero
from pvq.layers.reading import Unreadable, read_json

from ..result import BoundKind
from .column import Column, column_of
from .verdict import OPEN, PRUNE, QUANT, SAMPLED, SKIPPED, Interval, verdict

SCHEMA = "pvq.compare/1"
Check = Callable[[Any], bool]


def read_record(path: Path, purpose: str = "resume") -> dict[str, Any]:
    """The record in a file, checked.

    Raises
    ------
    ProblemError
        One line that says what cannot be done with it and names the first entry that is not what it must be.
    """
    try:
        document = read_json(path)
    except Unreadable as error:
        raise ProblemError(f"cannot {purpose}: {path} {error}") from None
    try:
        _check(document)
    except Unfit as error:
        raise ProblemError(f"cannot {purpose}: {path} is not a document of `pvq compare`: {error}") from None
    return dict(document)


def check_record(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same of a record in memory."""
    try:
        _check(document)
    except Unfit as error:
        raise ProblemError(f"the record is not a document of `pvq compare`: {error}") from None
    return document


class Unfit(Exception):
    """An entry that is missing or is not what it must be."""


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 2.0**1023 and math.isfinite(value)


def _above(value: Any) -> bool:
    return _number(value) and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


def _errors(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_above, value.values()))


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


def _rows(value: Any) -> bool:
    return isinstance(value, list) and all(map(_whole, value))


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _dict(value: Any) -> bool:
    return isinstance(value, dict)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


DOCUMENT = {"settings": _dict, "bits": _rows, "layers": _list, "summary": _list, "environment": _dict}
LAYER = {
    "name": _text,
    "file": _text,
    "sha256": _text,
    "out": _whole,
    "in": _whole,
    "skipped": _maybe(_text),
    "pairs": _list,
}
PAIR = {"bits": _whole, "verdict": _one_of(QUANT, PRUNE, SAMPLED, OPEN, SKIPPED)}
CHOICE = {"granularity": _text, "against": _text}
MOST = 64
"""Widths, granularities or patterns of a comparison: each of the first is with each of the others."""


def _one_or_more(value: Any) -> bool:
    return value is None or _text(value) or (_list(value) and len(value) <= MOST and all(map(_text, value)))


SEVERAL = dict.fromkeys(CHOICE, _one_or_more)
NO_CHOICE = dict.fromkeys(CHOICE, "")
LEFT_OUT = {"reason": _text}
COMPARED = {
    "sparsity": lambda value: _above(value) and value <= 1,
    "margin_db": _maybe(_number),
    "words": _text,
    "status": _one_of("done", "interrupted"),
    "full": _truth,
    "time_limit": _maybe(_above),
    "seconds": _above,
    "quant": _dict,
    "prune": _dict,
}
SIDE = {
    "lower": _above,
    "upper": _above,
    "reference": _above,
    "bound_kind": _one_of(*BoundKind),
    "sqnr_min_db": _maybe(_number),
    "sqnr_max_db": _maybe(_number),
    "rows_bounded": _whole,
    "rows_optimal": _whole,
    "storage_bits": _above,
    "macs": _above,
    "empirical": _errors,
    "failed_rows": _rows,
}

MODEL = {
    "lower": _maybe(_above),
    "odds": lambda value: _above(value) and 0 < value < 1,
    "optimum": _maybe(_above),
    "rows_covered": _whole,
    "rows_left_to_rigorous": _whole,
    "checks": _numbers,
    "refused": _maybe(_text),
}
MODEL_MAY = {"limited_by": _maybe(_one_of("lower", "upper")), "drawn": _dict}
MODEL_DRAWN = {"rows": _whole, "of": _whole, "reference": _above, "empirical": _errors}
ZERO = {"answer": _one_of(*Zero), "bound_kind": _one_of(*BoundKind)}
NUMBER = {name: _maybe(_number) for name in ("estimate", "standard_error", "low", "high")}
DRAWN = {
    "rows": _whole,
    "of": _whole,
    "seed": lambda value: type(value) is int,
    "confidence": lambda value: _above(value) and value < 1,
    "better": _maybe(_one_of("quant", "prune")),
    "margin_db": _dict,
    "quant": _dict,
    "prune": _dict,
}
ENDS = ("lower", "upper")
ESTIMATED = {
    "beside": _text,
    "lower": _dict,
    "upper": _dict,
    "sqnr_min_db": _maybe(_number),
    "sqnr_max_db": _maybe(_number),
    "empirical": _dict,
}


def _check(document: Any) -> None:
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, Mapping) else None
        raise Unfit(f"has schema {str(found)[:40]!r}, not {SCHEMA}")
    _entries(document, DOCUMENT, "it")
    _entries({**dict.fromkeys(SEVERAL), **document["settings"]}, SEVERAL, "its settings")
    if len(document["bits"]) > MOST:
        raise Unfit(f"it has {len(document['bits'])} widths, more than {MOST}")
    names: set[str] = set()
    for number, layer in enumerate(document["layers"]):
        _entries(layer, LAYER, f"layer {number}")
        where = f"layer '{layer['name'][:80]}'"
        if layer["name"] in names:
            raise Unfit(f"{where} is there twice")
        names.add(layer["name"])
        columns: set[Column] = set()
        for pair in layer["pairs"]:
            _entries(pair, PAIR, f"a pair of {where}")
            _entries({**NO_CHOICE, **pair}, CHOICE, f"a pair of {where}")
            column = column_of(pair)
            if column in columns:
                raise Unfit(f"{where} has {column.words} twice")
            columns.add(column)
            _pair(pair, f"{column.words} of {where}")


def _pair(pair: Mapping[str, Any], where: str) -> None:
    if pair["verdict"] == SKIPPED:
        _entries(pair, LEFT_OUT, where)
        return
    _entries(pair, COMPARED, where)
    for name in ("quant", "prune"):
        side = pair[name]
        _entries(side, SIDE, f"{name} at {where}")
        if "zero_without_shift" in side:
            _entries(side["zero_without_shift"], ZERO, f"'zero_without_shift' of {name} at {where}")
        if "model" in side:
            _model(side["model"], f"'model' of {name} at {where}")
        if not _above(side.get("outliers_db", 0)):
            raise Unfit(f"'outliers_db' of {name} at {where} is {json.dumps(side['outliers_db'])[:40]}")
        if side["lower"] > side["upper"]:
            raise Unfit(f"{name} at {where} has lower {side['lower']:g} above upper {side['upper']:g}")
        if side["lower"] > 0 and side["bound_kind"] == BoundKind.NONE:
            raise Unfit(f"{name} at {where} has a lower bound that nothing proves")
    found = verdict(*(Interval(pair[name]["lower"], pair[name]["upper"]) for name in ("quant", "prune")))
    allowed = {found, OPEN}
    if "sampled" in pair:
        better = _sampled(pair["sampled"], f"'sampled' at {where}")
        allowed |= {SAMPLED} if better is not None and found == OPEN else set()
    # an interrupt leaves a pair open whatever its intervals are by now; a verdict without its proof is never taken
    if pair["verdict"] not in allowed:
        raise Unfit(f"{where} says '{pair['verdict']}', but its intervals say '{found}'")


def check_model(values: Any) -> None:
    """Raise ValueError for what is no statement of the volume model."""
    try:
        _model(values, "the model")
    except Unfit as error:
        raise ValueError(str(error)) from None


def _model(values: Any, where: str) -> None:
    _entries(values, MODEL, where)
    if values["refused"] is None and None in (values["lower"], values["optimum"]):
        raise Unfit(f"{where} has neither a level nor a reason")
    _entries(values, {name: check for name, check in MODEL_MAY.items() if name in values}, where)
    if "drawn" in values:
        _entries(values["drawn"], MODEL_DRAWN, f"'drawn' of {where}")


def _sampled(values: Any, where: str) -> str | None:
    """The side that drawn rows speak for."""
    _entries(values, DRAWN, where)
    _entries(values["margin_db"], NUMBER, f"'margin_db' of {where}")
    for name in ("quant", "prune"):
        _entries(values[name], ESTIMATED, f"{name} of {where}")
        for key, estimate in {**values[name]["empirical"], **{end: values[name][end] for end in ENDS}}.items():
            _entries(estimate, NUMBER, f"'{key[:40]}' in {name} of {where}")
    low, better = values["margin_db"]["low"], values["better"]
    if better is not None and (low is None or low <= 0):
        raise Unfit(f"{where} says '{better}', but its margin does not")
    return None if better is None else str(better)


def _entries(values: Any, checks: Mapping[str, Check], where: str) -> None:
    if not isinstance(values, Mapping):
        raise Unfit(f"{where} is no JSON object")
    for name, check in checks.items():
        if name not in values:
            raise Unfit(f"{where} has no '{name}'")
        if not check(values[name]):
            raise Unfit(f"'{name}' of {where} is {json.dumps(values[name])[:40]}")
