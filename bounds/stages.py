"""What a long computation is doing: said by who does it, shown by who watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[str], object]

_shown: list[Show] = []
_part = ""


def part(name: str) -> None:
    """Say that another part of the work begins, as `row 3 of 64`; the stages that follow are its own."""
    global _part
    _part = name
    for show in _shown[-1:]:
        show(name)


def stage(name: str) -> None:
    """Say that another stage of it begins; next to nothing where nobody watches."""
    for show in _shown[-1:]:
        show(f"{_part}: {name}" if _part else name)


@contextmanager
def watched_stages(show: Show) -> Iterator[None]:
    """Call `show` with the name of every part and stage that begins inside, in whatever thread."""
    global _part
    _part = ""
    _shown.append(show)
    try:
        yield
    finally:
        _shown.remove(show)
