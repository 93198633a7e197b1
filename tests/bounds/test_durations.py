"""Durations as users write them, and what is none."""

import math

import pytest
from pvq.bounds.durations import seconds_of, words_of
from pvq.bounds.errors import ProblemError


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5 h", 5400), (".5m", 30), (90, 90), (0.25, 0.25)],
)
def test_durations(given, seconds):
    assert seconds_of("`budget`", given) == seconds


@pytest.mark.parametrize(
    "given", ["", "m", "30 min", "-5", "0", 0, -1.0, math.nan, math.inf, "nan", "1e3", "5d", True, "1h30m", "0x10"]
)
def test_what_is_none_is_said(given):
    with pytest.raises(ProblemError, match="`budget` must be a duration as 90, 90s, 30m or 2h"):
        seconds_of("`budget`", given)


def test_words():
    assert [words_of(s) for s in (-1, 45, 600, 7200)] == ["0 s", "45 s", "10 min", "2.0 h"]
