"""Runs of small layers, and what their databases hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pvq.layers.format import save_layer

from compare_cases import random_layer

FAST = ("--solver", "bnb", "--time-limit", "0", "--quiet")


def two_layers(folder: Path, seed: int = 1) -> Path:
    """A folder of two layers of four rows and eight inputs."""
    folder.mkdir()
    for kind in ("regular", "tied"):
        save_layer(folder / f"{kind}.npz", random_layer(kind, seed, rows=4))
    return folder


def lines(run: Path) -> dict:
    """lower, upper and seconds by chunk and row."""
    database = sqlite3.connect(run / "ledger.sqlite")
    try:
        return {row[:2]: row[2:] for row in database.execute("SELECT chunk, row, lower, upper, seconds FROM rows")}
    finally:
        database.close()
