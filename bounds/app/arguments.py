"""From the words of the command line to values."""

from __future__ import annotations

import re

from pvq.bounds.errors import ProblemError
from pvq.bounds.problem import Problem
from pvq.solvers.base import Solver, UnsupportedProblem
from pvq.solvers.layer import applicable
from pvq.solvers.registry import get_solver, solver_class, solver_names


def interval(option: str, text: str) -> tuple[int, int]:
    """A:B, half-open."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise ProblemError(f"{option} must be A:B with A < B (A to B-1), not '{text}'")
    return int(match[1]), int(match[2])


def kept_of(text: str) -> tuple[int, int]:
    """N:M."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match:
        raise ProblemError(f"--nm must be N:M as 2:4, not '{text}'")
    return int(match[1]), int(match[2])


def methods_to_compare(names: str | None, problem: Problem) -> list[Solver]:
    """Empirical methods by name; `all` means all that can take the problem.

    Raises
    ------
    ProblemError
        An unknown name.
    UnsupportedProblem
        A method that cannot take the problem, named explicitly.
    """
    if names is None:
        return []
    if names == "all":
        empirical = [get_solver(name) for name in solver_names() if solver_class(name).proves == "nothing"]
        return applicable(empirical, problem)
    methods = [get_solver(name.strip()) for name in names.split(",") if name.strip()]
    for method in methods:
        method.check(problem)
        if method.proves != "nothing":
            raise UnsupportedProblem(f"--compare is for empirical methods; '{method.name}' bounds: use --solver")
    return methods
