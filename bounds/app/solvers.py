"""`pvq solvers`: what can be plugged in, what it can do, and whether it is here."""

from __future__ import annotations


def solvers() -> None:
    """List all solvers: what each can do, whether it is installed, and its licence limits.

    Example: pvq solvers
    """
    from pvq.solvers.registry import solver_class, solver_names
    from rich import box
    from rich.table import Table

    from .console import Printer

    table = Table(box=box.SIMPLE, title="Solvers (entry-point group pvq.solvers)", title_justify="left")
    for title in ("name", "proves", "methods", "patterns", "installed", "licence", "what it is"):
        table.add_column(title)
    classes = [solver_class(name) for name in solver_names()]
    for kind in ("optimum", "bound", "nothing"):
        for cls in (c for c in classes if c.proves == kind):
            patterns = ", ".join(sorted(cls.patterns)) if cls.methods & {"prune", "joint"} else "-"
            install = "yes" if cls.is_available() else "no"
            if install == "no" and cls.extra:
                install = f"no: pip install 'pvq-bound[{cls.extra}]'"
            methods = ", ".join(m for m in ("quant", "prune", "joint") if m in cls.methods)
            table.add_row(cls.name, kind, methods, patterns, install, cls.licence, cls.summary)
    console = Printer()
    console.table(table)
    console.say(
        "Whatever a solver claims is checked: its x must be feasible, its error is recomputed, and a bound above "
        "a feasible error is refused. Compare their speed: pvq bench --quick."
    )
