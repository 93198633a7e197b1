"""Which solvers a comparison asks: for bounds, and for upper ends."""

from __future__ import annotations

from collections.abc import Sequence

from ..base import Solver, SolverUnavailable, UnsupportedProblem
from ..bound.layer_wide import LayerWide
from ..registry import get_solver, solver_class, solver_names

LADDER = ("bound", "bnb")
"""What `auto` asks after one diagonal for the layer: relaxations of each row, then exact search."""


def engines_by_name(name: str) -> list[Solver]:
    """The solvers that bounds come from, in the order they are asked.

    Raises
    ------
    ProblemError, SolverUnavailable
        Unknown, proves nothing, or not installed.
    """
    engines = [LayerWide(), *map(get_solver, LADDER)] if name == "auto" else [get_solver(name)]
    for engine in engines:
        if engine.proves == "nothing":
            raise UnsupportedProblem(f"'{engine.name}' proves nothing; `solver` takes a solver that bounds")
        if not engine.is_available():
            hint = f"; pip install 'pvq-bound[{engine.extra}]'" if engine.extra else ""
            raise SolverUnavailable(f"solver '{engine.name}' is not installed{hint}")
    return engines


def methods_by_name(names: Sequence[str] | str, update: bool) -> list[Solver]:
    """Empirical methods by name, for the side that each is for; `all` means all there are.

    Raises
    ------
    ProblemError, UnsupportedProblem
        An unknown name, a solver that bounds, or a method that needs free weights where they are fixed.
    """
    if names == "all":
        return [get_solver(name) for name in solver_names() if solver_class(name).proves == "nothing"]
    methods = [get_solver(name) for name in ([names] if isinstance(names, str) else names)]
    for method in methods:
        if method.proves != "nothing":
            raise UnsupportedProblem(f"`methods` are empirical methods; '{method.name}' bounds: use `solver`")
        if not (update or method.no_update or "quant" in method.methods):
            raise UnsupportedProblem(f"'{method.name}' cannot keep the weights fixed (`update`=False)")
    return methods
