"""What a worker keeps between chunks: the last few layers, and what all rows of a layer share, made once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pvq.bounds.layer_problem import Setting
from pvq.layers.format import Layer, LayerError, load_layer, save_layer
from pvq.solvers.ledger import work
from pvq.solvers.ledger.work import KEPT_LAYERS, Chunk, RowSearch, Shelf, work_on

from compare_cases import random_layer


def saved(folder: Path, seed: int) -> tuple[Path, str]:
    """A layer's file, and its hash."""
    layer = random_layer("regular", seed, rows=4)
    return save_layer(folder / f"{seed}.npz", layer), layer.sha256


def chunk(path: Path, sha256: str, first: int = 0, bits: int = 3) -> Chunk:
    """Two rows of four."""
    search = RowSearch(solver="bnb", time_limit=None)
    rows = (first, first + 1)
    return Chunk(1, path, sha256, Setting("quant", bits=bits), None, first, first + 2, rows, 1, search)


def test_the_last_layers_are_kept_and_others_read_again(tmp_path) -> None:
    read: list[Path] = []

    def reader(path: Path) -> Layer:
        read.append(path)
        return load_layer(path)

    shelf, files = Shelf(), [saved(tmp_path, seed) for seed in range(KEPT_LAYERS + 1)]
    for path, sha256 in [*files[:KEPT_LAYERS], *files[:KEPT_LAYERS]]:
        shelf.layer(path, sha256, reader)
    assert len(read) == KEPT_LAYERS
    shelf.layer(*files[-1], reader)  # in the place of the one that was used the longest ago
    shelf.layer(*files[1], reader)
    assert len(read) == KEPT_LAYERS + 1
    shelf.layer(*files[0], reader)
    assert read[-1] == files[0][0]
    assert len(read) == KEPT_LAYERS + 2


def test_a_layer_with_other_numbers_is_refused_however_it_came(tmp_path) -> None:
    path, sha256 = saved(tmp_path, 1)
    other = random_layer("regular", 2, rows=4)
    with pytest.raises(LayerError, match="has changed since the run was made"):
        Shelf().layer(path, sha256, lambda _: other)  # as one that was sent
    save_layer(path, other)
    shelf = Shelf()
    for _ in range(2):
        with pytest.raises(LayerError, match="has changed since the run was made"):
            work_on(chunk(path, sha256), shelf, threading.Event(), lambda piece: None)


def test_what_rows_share_is_made_once_for_a_problem(tmp_path, monkeypatch) -> None:
    made: list[int | None] = []
    prepare = work.prepare

    def counted(problem, solvers, options) -> None:
        made.append(problem.setting.bits)
        prepare(problem, solvers, options)

    monkeypatch.setattr(work, "prepare", counted)
    shelf, found = Shelf(), []
    path, sha256 = saved(tmp_path, 1)
    for first, bits in ((0, 3), (2, 3), (0, 4), (2, 4), (0, 3)):
        work_on(chunk(path, sha256, first, bits), shelf, threading.Event(), found.append)
    assert made == [3, 4]
    assert [record.row for piece in found for record in piece.records] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert all(record.solved for piece in found for record in piece.records)
