"""Results as frames, figures and tables of a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def frame_of(records: list[dict[str, Any]], index: str | list[str]) -> Any:
    """A pandas data frame."""
    try:
        import pandas
    except ImportError:
        raise ImportError("data frames need pandas: pip install pandas") from None
    return pandas.DataFrame.from_records(records).set_index(index)


def new_axes(width: float, height: float) -> Axes:
    """Axes of a new figure of pyplot, which shows it in a notebook."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'pvq-bound[plot]'") from None
    axes: Axes = pyplot.subplots(figsize=(width, height), layout="constrained")[1]
    return axes


def html_table(caption: str, heads: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> str:
    """A table whose cells are already escaped."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in body)
    title = f"<caption>{escape(caption)}</caption>"
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
