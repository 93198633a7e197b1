"""Which chunks are to be worked on next: time goes where a verdict is open."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..compare.verdict import OPEN
from .ledger import LayerTask, Ledger
from .pairs import pairs_of, verdict_of
from .plan import rows_at_a_time
from .sums import Total
from .work import Chunk, RowSearch


def cut(rows: Sequence[int], first: int, size: int) -> list[tuple[int, list[int]]]:
    """Rows by the part of the chunk that they are in, of parts of `size` rows from `first` on that have some."""
    parts: dict[int, list[int]] = {}
    for row in rows:
        parts.setdefault(row - (row - first) % size, []).append(row)
    return list(parts.items())


class Agenda:
    """Hands out chunks, and the next ones of a task when all that it handed out have come back.

    Which chunks there are does not depend on who works on how many at a time: a pair's side is bounded whole, and
    only then it is asked whether the verdict is still open.
    """

    def __init__(self, ledger: Ledger, search: RowSearch, full: bool = False) -> None:
        self._ledger, self._search = ledger, search
        self._tasks = ledger.tasks()
        self._layers = {layer.id: layer for layer in ledger.layers}
        levels = ledger.about["levels"]
        self._levels = None if levels is None else tuple(levels)
        self._ready: deque[tuple[int, Chunk]] = deque()
        self._left: dict[int, int] = {}
        """Chunks of each line that have not come back."""
        self._lines: list[Iterator[list[Chunk]]] = []
        if ledger.about["method"] == "both":
            self._new = iter([self._pair(*pair, full) for pair in pairs_of(self._tasks)])
        else:
            self._new = iter([self._one(task) for task in self._tasks])

    def next(self) -> tuple[int, Chunk] | None:
        """A chunk and the number of its line, None where nothing is ready now."""
        while not self._ready:
            line = next(self._new, None)
            if line is None:
                return None
            self._lines.append(line)
            self._go_on(len(self._lines) - 1)
        return self._ready.popleft()

    def came_back(self, line: int) -> None:
        """A chunk of a line is done, or has failed."""
        self._left[line] -= 1
        if self._left[line] == 0:
            self._go_on(line)

    @property
    def out(self) -> int:
        """Chunks that were handed out or are ready."""
        return sum(self._left.values())

    def _go_on(self, line: int) -> None:
        for chunks in self._lines[line]:
            if chunks:
                self._left[line] = len(chunks)
                self._ready.extendleft((line, chunk) for chunk in reversed(chunks))
                return
        self._left[line] = 0

    def _one(self, task: LayerTask) -> Iterator[list[Chunk]]:
        yield self._chunks(task, self._search)

    def _pair(self, quant: LayerTask, prune: LayerTask, full: bool) -> Iterator[list[Chunk]]:
        """Feasible weights first, then bounds of the side that looks worse, then of the other."""
        yield [chunk for task in (quant, prune) for chunk in self._scores(task)]
        sides = [(self._total(task), task) for task in (quant, prune)]
        worse_first = [task for _, task in sorted(sides, key=lambda side: -side[0].upper)]
        for task in worse_first:
            if full or verdict_of(self._total(quant), self._total(prune)) == OPEN:
                yield self._chunks(task, replace(self._search, methods=None))  # the rest has been scored

    def _total(self, task: LayerTask) -> Total:
        return self._ledger.totals(task.id)[task.id]

    def _scores(self, task: LayerTask) -> list[Chunk]:
        quick = replace(self._search, solver="", time_limit=None)
        found = ((chunk, self._ledger.due_rows(chunk[0])) for chunk in self._ledger.due(task.id))
        return [self._chunk(task, chunk, rows, quick) for chunk, rows in found]

    def _chunks(self, task: LayerTask, search: RowSearch) -> list[Chunk]:
        asked = (search.effort, search.asked)
        size = rows_at_a_time(self._layers[task.layer].inputs, search.effort)
        return [
            self._chunk(task, (number, start, min(start + size, stop)), rows, search)
            for number, first, stop in self._ledger.due(task.id, *asked)
            for start, rows in cut(self._ledger.due_rows(number, *asked), first, size)
        ]

    def _chunk(
        self, task: LayerTask, chunk: tuple[int, int, int], rows: Sequence[int], search: RowSearch
    ) -> Chunk:
        layer, (number, first, stop) = self._layers[task.layer], chunk
        levels = self._levels if task.side != "prune" else None
        return Chunk(
            *(number, layer.path, layer.sha256, task.setting, levels, first, stop, tuple(rows), task.id, search)
        )
