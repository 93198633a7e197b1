"""What a person might type instead: said in one line where a result asks for it."""

from __future__ import annotations


def outlier_hint(worse: str) -> str:
    """The line where a few outlying weights set the scale of all; `worse` as `3.2 dB larger`."""
    return (
        f"A few large weights set the scale of all: rounding errors are {worse} than with a scale for each row. "
        "Try --granularity channel."
    )
