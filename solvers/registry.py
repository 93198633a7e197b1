"""Solvers by name, found through the entry-point group `pvq.solvers` and loaded when asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from pvq.bounds.errors import ProblemError

from .base import Solver

GROUP = "pvq.solvers"


@cache
def declared() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def solver_names() -> list[str]:
    """Names of all solvers known to this environment, installed packages' plug-ins included."""
    return sorted(declared())


def solver_class(name: str) -> type[Solver]:
    """The solver class of a name.

    Raises
    ------
    ProblemError
        No solver has this name (the nearest one is suggested), or what has it is none that checks its claims.
    """
    check_names([name])
    try:
        loaded = declared()[name].load()
    except (ImportError, AttributeError, TypeError) as error:
        raise ProblemError(f"solver '{name}' cannot be loaded: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Solver)):
        raise ProblemError(f"solver '{name}' is no subclass of pvq.solvers.base.Solver, so nothing checks it")
    return loaded


def check_names(names: Iterable[str]) -> None:
    """Raise `ProblemError` for the first name that no solver has; loads none of them."""
    points = declared()
    for name in names:
        if name not in points:
            near = difflib.get_close_matches(name, points, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ProblemError(f"unknown solver '{name}'{hint} (there are: {', '.join(sorted(points))})")


def get_solver(name: str) -> Solver:
    """An instance of the solver of a name; raises as `solver_class` does."""
    return solver_class(name)()
