"""Empirical methods and engines by name."""

from __future__ import annotations

from collections.abc import Sequence

from pvq.bounds.problem import Problem

from .base import Solver, UnsupportedProblem
from .registry import get_solver, solver_class, solver_names
from .rows import applicable

USUAL = ("gptq", "sparsegpt", "wanda")
"""What a problem is compared with where nobody says: the first of these that can take it."""


def empirical_methods(names: Sequence[str] | str | None, problem: Problem) -> list[Solver]:
    """Empirical methods by name; of several names, those that can take the problem.

    Parameters
    ----------
    names : names; `all` for all that can take the problem; None for the first of `USUAL` that can.

    Raises
    ------
    ProblemError
        An unknown name.
    UnsupportedProblem
        None of the methods that are named can take the problem, or one is a solver that bounds.
    """
    if names is None:
        return applicable([get_solver(name) for name in USUAL], problem)[:1]
    if names == "all":
        return applicable([get_solver(name) for name in solver_names() if _empirical(name)], problem)
    methods = [get_solver(name) for name in ([names] if isinstance(names, str) else names)]
    for method in methods:
        if method.proves != "nothing":
            raise UnsupportedProblem(f"`methods` are empirical methods; '{method.name}' bounds: use `solver`")
    fitting = applicable(methods, problem)
    for method in fitting or methods:
        method.check(problem)
    return fitting


def _empirical(name: str) -> bool:
    return solver_class(name).proves == "nothing"


def left_out(names: Sequence[str] | str | None, problem: Problem) -> list[str]:
    """Why methods that were named cannot take the problem, a line each."""
    if names is None or names == "all":
        return []
    methods = [get_solver(name) for name in ([names] if isinstance(names, str) else names)]
    return [why for method in methods if (why := method.why_unsupported(problem)) is not None]
