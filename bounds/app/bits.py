"""Ranges of bit widths on the command line."""

from __future__ import annotations

import re


def bit_list(text: str | None) -> list[int] | None:
    """Each width of B or A:B, None for None."""
    if text is None:
        return None
    first, last = bit_range(text)
    return list(range(first, last + 1))


def bit_range(text: str) -> tuple[int, int]:
    """B, or A:B with both included."""
    from pvq.bounds.errors import ProblemError

    match = re.fullmatch(r"(\d{1,3})(?::(\d{1,3}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise ProblemError(f"--bits must be A:B with 1 <= A <= B (A to B bits, both included) or B, not '{text}'")
    return first, last
