"""From the words of the command line to values."""

from __future__ import annotations

import re

from pvq.bounds.errors import ProblemError

MOST_SPARSITIES = 1000


def interval(option: str, text: str) -> tuple[int, int]:
    """A:B, half-open."""
    match = re.fullmatch(r"(\d{1,18}):(\d{1,18})", text)
    if not match or int(match[1]) >= int(match[2]):
        raise ProblemError(f"{option} must be A:B with A < B (A to B-1), not '{text[:60]}'")
    return int(match[1]), int(match[2])


def sparsities_of(text: str) -> list[float]:
    """One sparsity, or A:B:STEP with both ends included."""
    numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    if len(values) == 1:
        return values
    if len(values) != 3:
        raise ProblemError(f"--sparsity must be a number as 0.75 or A:B:STEP as 0.5:0.9:0.05, not '{text}'")
    first, last, step = values
    if not (0 <= first <= last < 1 and step > 0):
        raise ProblemError(f"--sparsity A:B:STEP needs 0 <= A <= B < 1 and STEP > 0, not '{text}'")
    count = int((last - first) / step + 1e-9) + 1
    if count > MOST_SPARSITIES:
        raise ProblemError(f"--sparsity {text} asks for {count} sparsities; at most {MOST_SPARSITIES}")
    return [round(first + j * step, 12) for j in range(count)]


def names_of(text: str | None) -> list[str] | str:
    """Names with commas between them, or `all`."""
    if text == "all":
        return text
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def one_or_more(text: str | None) -> str | list[str] | None:
    """A word, or several with commas between them."""
    return text if text is None or "," not in text else [word.strip() for word in text.split(",")]
