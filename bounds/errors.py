"""The one error a user's input can cause."""

from numbers import Integral, Real


class ProblemError(ValueError):
    """The problem cannot be stated as asked; the message is one line and says what to do instead."""


def check_number(name: str, value: object, whole: bool = False) -> None:
    """Raise `ProblemError` for a parameter that is no number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise ProblemError(f"`{name}` must be a {'whole ' * whole}number, not {str(value)[:40]!r}")
