"""What all figures share: matplotlib only when one is asked for, files written whole, legible without colour."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvq.bounds.errors import ProblemError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
QUANT: dict[str, Any] = {"color": "#1f4e9c", "linestyle": "-", "marker": "o"}
PRUNE: dict[str, Any] = {"color": "#d1601f", "linestyle": "--", "marker": "s"}
LIMIT: dict[str, Any] = {"color": "black", "linestyle": ":"}
"""The two methods and the limits differ in line, marker and lightness."""


def check_matplotlib() -> None:
    """Raise `ProblemError` before any work where there is no matplotlib."""
    if find_spec("matplotlib") is None:
        raise ProblemError("figures need matplotlib: pip install 'pvq-bound[plot]'")


def new_figure(width: float, height: float) -> Figure:
    """A figure without global state, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the same figure gives the same file."""
    from matplotlib import rc_context
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter, LogFormatterMathtext
    from pvq.layers.files import write_atomically

    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext):  # powers of ten need mathematics in text
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(LogFormatter())
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name with dollar signs is a name
    kind = path.suffix[1:]
    with rc_context({"svg.hashsalt": "pvq"}):
        write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150, metadata=metadata))
