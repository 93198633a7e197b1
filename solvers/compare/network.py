"""All layers of a comparison: read and checked first, then one after the other or side by side, resumable."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.layers.format import Layer, LayerError, load_layer

from .column import Column
from .layer import Terms, compare_layer


@dataclass(frozen=True)
class Member:
    """One layer to compare, or the reason why it is not."""

    path: Path
    name: str
    sha256: str = ""
    out: int = 0
    inputs: int = 0
    groups: int = 1
    """Gram matrices."""
    skipped: str | None = None
    layer: Layer | None = field(default=None, repr=False, compare=False)
    """Where it is no file's."""

    @property
    def work(self) -> int:
        """Relative size: rows times inputs squared."""
        return self.out * self.inputs**2

    def as_json(self) -> dict[str, Any]:
        """The layer in `pvq.compare/1`, without its pairs."""
        document: dict[str, Any] = {"name": self.name, "file": self.path.name, "sha256": self.sha256}
        return {**document, "out": self.out, "in": self.inputs, "skipped": self.skipped, "pairs": []}


def found_in(path: Path) -> list[Member]:
    """The layer of a file; of a folder those of its .npz files, what is not a layer is skipped with the reason.

    Every layer is read once, so that what is wrong with one is said before hours of work.

    Raises
    ------
    ProblemError
        A folder without layers.
    LayerError
        A file that was named is not a layer.
    """
    if not os.path.isdir(path):
        return [_member(path, named=True)]
    files = layer_files([path])
    if not files:
        raise ProblemError(f"{path} has no layer files (.npz); make some with `pvq extract`")
    return [_member(file, named=False) for file in files]


def distinct(members: list[Member]) -> list[Member]:
    """The members; raises `ProblemError` where two have one name, or nothing can be compared."""
    by_name: dict[str, Member] = {}
    for member in members:
        other = by_name.setdefault(member.name, member)
        if other is not member:
            raise ProblemError(
                f"two layers are called '{member.name}': {other.path} and {member.path}; leave one out"
            )
    if all(member.skipped for member in members):
        why = f"{members[0].name}: {members[0].skipped}" if members else "no layer"
        raise ProblemError(f"there is nothing to compare: {why}")
    return members


def layer_files(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and those that folders stand for."""
    files: list[Path] = []
    for path in paths:
        if os.path.isdir(path):
            files += sorted((file for file in path.glob("*.npz") if not file.name.startswith(".")), key=_natural)
        else:
            files.append(path)
    return files


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which block 2 comes before block 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _member(path: Path, named: bool) -> Member:
    try:
        layer = load_layer(path)
    except LayerError as error:
        if named:
            raise
        return Member(path, path.stem, skipped=str(error).removeprefix(f"{path}: "))
    return member_of(layer, path)


def member_of(layer: Layer, path: Path) -> Member:
    """The member of a layer, from a file or not; skipped where nothing can be compared."""
    member = Member(path, layer.name, layer.sha256, layer.out, layer.inputs, layer.groups)
    if not layer.grams.any():
        return replace(member, skipped="every input is dead: no compression has an error")
    if not layer.weight.any():
        return replace(member, skipped="every weight is 0: no compression has an error")
    if layer.inputs == 1:
        return replace(member, skipped="rows of 1 input: nothing can be pruned but all")
    return member


Known = Mapping[str, Mapping[Column, Mapping[str, Any]]]
"""Pairs by layer name and column."""
OnPair = Callable[[Member, dict[str, Any]], None]
OnFailed = Callable[[Member, str], None]


def reload(member: Member) -> Layer:
    """The layer that was there when the run began.

    Raises
    ------
    LayerError
        The file is gone, damaged, or has other numbers by now.
    """
    if member.layer is not None:
        return member.layer
    layer = load_layer(member.path)
    if layer.sha256 != member.sha256:
        raise LayerError(f"{member.path}: has changed since this run began")
    return layer


def compare_all(
    members: Sequence[Member],
    what: Terms,
    jobs: int,
    known: Known,
    on_pair: OnPair,
    on_failed: OnFailed,
    *,
    order: Callable[[Member], Any] = lambda member: member.work,
    share: Callable[[Member], float] = lambda member: 1.0,
) -> None:
    """Compare layers, the cheapest first, `jobs` at the same time; every pair is handed over as it is finished.

    Parameters
    ----------
    jobs : layers at the same time; rows where there are fewer layers than that.
    known : pairs of an earlier run.
    order : sort key of the layers.
    share : how many times the time limit a layer's pairs have.
    on_pair, on_failed : called in this thread, with a pair or with why a layer could not be read again.
    """
    todo = sorted((member for member in members if member.skipped is None), key=order)
    side_by_side = min(jobs, len(todo))
    finished: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def one(member: Member, hand_over: Callable[[Callable[[], None]], None]) -> None:
        try:
            layer = reload(member)
        except LayerError as error:
            hand_over(partial(on_failed, member, str(error)))
            return
        limit = None if what.time_limit is None else what.time_limit * share(member)
        terms = replace(what, time_limit=limit)
        for pair in compare_layer(layer, terms, max(1, jobs // side_by_side), known.get(member.name)):
            hand_over(partial(on_pair, member, pair))

    if side_by_side == 1:
        for member in todo:
            one(member, lambda report: report())
        return
    with ThreadPoolExecutor(side_by_side) as pool:
        futures = [pool.submit(one, member, finished.put) for member in todo]
        try:
            while not all(future.done() for future in futures):
                _hand_over(finished, 0.2)
        except BaseException:
            what.options.stop.set()
            raise
    _hand_over(finished, 0.0)
    _raise_first(futures)


def _hand_over(finished: SimpleQueue[Callable[[], None]], wait: float) -> None:
    try:
        while True:
            (finished.get(timeout=wait) if wait else finished.get_nowait())()
    except Empty:
        return


def _raise_first(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        future.result()
