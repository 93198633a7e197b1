"""Errors in decibels."""

from __future__ import annotations

import math


def sqnr_db(reference: float, error: float) -> float | None:
    """SQNR = 10 log10(r / e) in dB; None where it is infinite (no error) or undefined (no reference)."""
    if error <= 0 or reference <= 0:
        return None
    return 10 * math.log10(reference / error)


def format_db(reference: float, error: float) -> str:
    """SQNR for a table; 'exact' for an error of 0."""
    value = sqnr_db(reference, error)
    if value is None:
        return "exact" if error <= 0 else "-"
    return f"{value:z.2f}"
