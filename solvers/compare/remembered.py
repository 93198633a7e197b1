"""What passes over a network leave to each other: the rows of every side, as far as memory goes."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from pvq.bounds.layer_problem import Setting
from pvq.layers.format import Layer

from .side import Rows, Side

PART, UNKNOWN = 0.25, 8e9
"""Part of the machine's memory for them, and its bytes where nobody says."""


class Remembered:
    """Rows by layer and setting; those that were put in first are forgotten first."""

    def __init__(self, most: float | None = None) -> None:
        """Room for so many bytes; None for a part of the machine's memory."""
        self._most = PART * _memory() if most is None else most
        self._rows: OrderedDict[tuple[str, Setting], Rows] = OrderedDict()
        self._held, self._lock = 0, threading.Lock()

    def keep(self, layer: Layer, side: Side) -> None:
        """What the side knows by now, in place of what it knew before."""
        name, rows = (layer.name, side.problem.setting), side.rows()
        with self._lock:
            self._forget(name)
            self._rows[name] = rows
            self._held += rows.x.nbytes
            while self._held > self._most:
                self._forget(next(iter(self._rows)))

    def tell(self, layer: Layer, side: Side) -> None:
        """The side goes on from there; nothing where it was never kept, or is forgotten."""
        with self._lock:
            rows = self._rows.get((layer.name, side.problem.setting))
        if rows is not None:
            side.take_up(rows)

    def _forget(self, name: tuple[str, Setting]) -> None:
        rows = self._rows.pop(name, None)
        if rows is not None:
            self._held -= rows.x.nbytes


def _memory() -> float:
    """Bytes of the machine."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return UNKNOWN
