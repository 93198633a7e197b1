"""What a verification has proven, in words and as JSON: every digit of it, and nothing that a file only says."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from hashlib import sha256
from typing import Any

import numpy as np
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.ranges import GIVEN, OPTIMAL, WIDEST
from pvq.bounds.sqnr import sqnr_db
from pvq.bounds.verify.certificate import Verified
from pvq.bounds.verify.split import down, fsum_above
from pvq.layers.format import Layer

SCHEMA = "pvq.verify/1"
WORDS = {OPTIMAL: f"any from 1/{WIDEST:g} to {WIDEST:g} times the one of least squared rounding error"}
SHOWN = 16
"""Levels of a grid file that are listed; of more the ends are."""


def in_words(layer: Layer, verified: Verified) -> list[str]:
    """The proven statement, line by line."""
    problem = verified.problem
    rows, inputs = problem.span, problem.inputs
    shifts = ", ".join(f"{gram.shift!r}" for gram in problem.grams)
    ridge = problem.setting.ridge
    low, high = _db_of(problem, verified)
    part = f"rows {rows.start}:{rows.stop}, inputs {inputs.start}:{inputs.stop}"
    return [
        f"verified: layer '{plain(layer.name)}', {part}",
        f"  sha256 of the layer's arrays {layer.sha256}",
        f"  no weights with {constraint(verified)} have a smaller error than the lower end below,",
        "  and those in the certificate have at most the upper end:",
        f"  {below(verified.lower)} <= smallest error <= {above(verified.upper)}",
        f"  best possible SQNR between {low} and {high}",
        f"  {len(rows) - verified.unproven} of {len(rows)} rows have a proof of their lower end"
        + ("; the others count as 0" if verified.unproven else ""),
        f"  error: (w - x)'H(w - x) summed over the rows, H the file's Gram matrix + tau I, tau = {shifts}"
        + (f", + {ridge!r} times its mean diagonal" if ridge else ""),
        f"  arithmetic of the lower ends: rational in {verified.rational} rows, "
        f"float64 with a bound for every rounding error in {len(rows) - verified.rational}",
    ]


def as_json(layer: Layer, verified: Verified) -> dict[str, Any]:
    """The same for programs; numbers are float64 as they were proven."""
    problem = verified.problem
    setting = problem.setting.as_json()
    setting["rows"] = [problem.span.start, problem.span.stop]
    setting["inputs"] = [problem.inputs.start, problem.inputs.stop]
    if problem.sparsity is not None:
        shared = problem.budget is not None
        setting |= {"kept": problem.budget if shared else problem.sparsity.keep.tolist()}
        setting |= {"units": problem.sparsity.units * (len(problem) if shared else 1)}
    if problem.grid is not None:
        setting |= {"levels": problem.grid.codebook.levels.tolist()}
        if problem.setting.range == GIVEN:
            setting |= {"scale": problem.grid.scale.tolist(), "zero": problem.grid.zero.tolist()}
    return {
        "schema": SCHEMA,
        "layer": {
            "name": layer.name,
            "sha256": layer.sha256,
            "out": layer.out,
            "in": layer.inputs,
            "gram_shift": [gram.shift for gram in problem.grams],
        },
        "problem": setting,
        "total": {"lower": verified.lower, "upper": verified.upper, "unproven": verified.unproven},
        "rational": verified.rational,
        "rows": [
            {"row": row, "lower": lower, "upper": upper}
            for row, (lower, upper) in zip(problem.rows, verified.rows, strict=True)
        ],
    }


def plain(text: str) -> str:
    """Text of a file on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def below(number: float) -> str:
    """17 digits of a lower end, never more than it is."""
    return _rounded(number, ROUND_FLOOR)


def above(number: float) -> str:
    """17 digits of an upper end, never less than it is."""
    return _rounded(number, ROUND_CEILING)


def _rounded(number: float, rounding: str) -> str:
    exact = Context(prec=17, rounding=rounding).create_decimal(Decimal(number)).normalize()
    return f"{exact + 0:f}" if number == 0 or 1e-6 <= abs(number) < 1e16 else str(exact)


def _db_of(problem: LayerProblem, verified: Verified) -> tuple[str, str]:
    """The least and the largest SQNR that the proof leaves, rounded outwards."""
    references = [problem.row(i).reference for i in range(len(problem))]
    low = sqnr_db(down(*references) * (1 - 1e-12), verified.upper)
    high = sqnr_db(fsum_above(references) * (1 + 1e-12), verified.lower)
    return (
        "no limit" if low is None else f"{math.floor(low * 1e4 - 1e-6) / 1e4:.4f} dB",
        "no limit" if high is None else f"{math.ceil(high * 1e4 + 1e-6) / 1e4:.4f} dB",
    )


def constraint(verified: Verified) -> str:
    """What the weights are held to."""
    setting, problem = verified.problem.setting, verified.problem
    words = []
    if setting.quantizes:
        of = _given(problem) if setting.range == GIVEN else WORDS.get(setting.range, f"range {setting.range}")
        words.append(f"{_levels(verified)} (scale per {setting.granularity}, {of})")
    if setting.prunes:
        words.append(_pattern(problem))
        if not (setting.update or setting.quantizes):
            words[-1] += ", the others unchanged"
    return " and ".join(words)


def _given(problem: LayerProblem) -> str:
    """Scales that the certificate has: all of them, or their ends and what tells them from others."""
    assert problem.grid is not None
    numbers = []
    for name, values in (("scales", problem.grid.scale), ("zero points", problem.grid.zero)):
        if name != "scales" and not values.any():
            continue
        few = values.size <= SHOWN
        shown = ", ".join(map(repr, values.ravel().tolist())) if few else f"{values.min()!s} to {values.max()!s}"
        digest = "" if few else f" with sha256 {sha256(np.ascontiguousarray(values, '<f8').tobytes()).hexdigest()}"
        numbers.append(f"{values.size} {name} of the certificate: {shown}{digest}")
    return ", ".join(numbers)


def _levels(verified: Verified) -> str:
    setting, levels = verified.problem.setting, verified.levels
    if levels is None:  # a grid of ours, whose name says what it is
        bits = "" if setting.bits is None else f"{setting.bits} bit "
        return f"{bits}{setting.grid} levels"
    if len(levels) <= SHOWN:
        return f"the {len(levels)} levels {', '.join(map(repr, levels))} of a file"
    return f"{len(levels)} levels of a file from {levels[0]!r} to {levels[-1]!r}"


def _pattern(problem: LayerProblem) -> str:
    setting, sparsity = problem.setting, problem.sparsity
    assert sparsity is not None
    if setting.nm is not None:
        return f"at most {setting.nm[0]} of every {setting.nm[1]} weights non-zero"
    unit = "weights" if setting.block is None else f"blocks of {setting.block} weights"
    share = f"(sparsity {setting.sparsity!r})"
    if problem.budget is not None:
        units = sparsity.units * len(problem)
        return f"at most {problem.budget} of all {units} {unit} of these rows non-zero {share}"
    keep = int(np.sum(sparsity.keep))
    return f"at most {keep} of the {sparsity.units} {unit} of each row non-zero {share}"
