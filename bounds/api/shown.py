"""Results as frames, figures and tables of a notebook."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pvq.layers.files import write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Recorded(ABC):
    """What has a document of its own, to be written, and records, to be shown in a frame."""

    document: dict[str, Any]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the document as JSON, whole or not at all.

        Parameters
        ----------
        path : path
            Where to; a file that is there is replaced.
        """
        write_json(os.fspath(path), self.document)

    def to_frame(self) -> Any:
        """The records as a pandas data frame.

        Rows of a result, with a column for each method; pairs of a comparison; layers of an allocation.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("data frames need pandas: pip install pandas") from None
        records, index = self._records()
        return pandas.DataFrame.from_records(records).set_index(index)

    @abstractmethod
    def _records(self) -> tuple[list[dict[str, Any]], str | list[str]]:
        """The lines of the frame, and which columns name them."""


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
