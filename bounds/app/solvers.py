"""`pvq solvers`: what can be plugged in, what it can do, and whether it is here."""

from __future__ import annotations


def solvers() -> None:
    """List all solvers: what each can do, whether it is installed, and its licence limits.

    Example: pvq solvers
    """
    import pvq
    from pvq.solvers.bnb.gpu.here import found_here
    from rich import box
    from rich.table import Table

    from .console import Printer

    table = Table(box=box.SIMPLE, title="Solvers (entry-point group pvq.solvers)", title_justify="left")
    for title in ("name", "proves", "methods", "patterns", "installed", "licence", "what it is"):
        table.add_column(title)
    cards = pvq.solver_cards().values()
    for kind in ("optimum", "bound", "nothing"):
        for card in (card for card in cards if card.proves == kind):
            install = "yes" if card.is_installed else "no"
            if not card.is_installed and card.extra:
                install = f"no: pip install 'pvq-bound[{card.extra}]'"
            methods, patterns = ", ".join(card.methods), ", ".join(card.patterns) or "-"
            table.add_row(card.name, kind, methods, patterns, install, card.licence, card.summary)
    console = Printer()
    console.table(table)
    console.say(f"GPU for long searches of quantized rows (--device gpu): {found_here()[1]}.")
    console.say(
        "Whatever a solver claims is checked: its x must be feasible, its error is recomputed, and a bound above "
        "a feasible error is refused. Compare their speed: pvq bench --quick."
    )
