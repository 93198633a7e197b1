"""Where long searches run: what a user may ask for, and what became of it in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pvq.bounds.errors import ProblemError

from .base import SolverUnavailable
from .result import Result

DEVICES = ("cpu", "gpu", "auto")


def check_device(name: str) -> None:
    """Look for the GPU that is asked for, before any work.

    Raises
    ------
    ProblemError
        No device has this name.
    SolverUnavailable
        "gpu", and none can be used.
    """
    if name not in DEVICES:
        raise ProblemError(f"`device` must be one of {', '.join(DEVICES)}, not {name!r}")
    if name == "gpu":
        from .bnb.gpu.here import found_here  # loads the driver: not where nobody asks for a GPU

        here, why = found_here()
        if not here:
            raise SolverUnavailable(f"no GPU can be used: {why}")


def device_note(results: Iterable[Result], name: str) -> str | None:
    """Where the rows were searched, in one line; None where nobody asked for a GPU."""
    if name == "cpu":
        return None
    places = Counter(str(result.info.get("device", "cpu: no search of a grid")) for result in results)
    return "rows were searched on " + "; ".join(f"{place} ({count})" for place, count in places.most_common())
