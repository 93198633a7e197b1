"""Layers to compare, and the defaults of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pvq.bounds.layer_problem import Setting
from pvq.bounds.storage import CostModel
from pvq.layers.format import Layer, load_layer, save_layer
from pvq.solvers.base import Options
from pvq.solvers.compare.engines import engines_by_name
from pvq.solvers.compare.layer import CLOSE, QUICK, Terms
from pvq.solvers.registry import get_solver

INSTANCES = sorted((Path(__file__).parents[2] / "benchmarks" / "instances").glob("*.npz"))


KINDS = ("regular", "singular", "duplicated", "dead", "ill-conditioned", "tied")


def random_layer(kind: str, seed: int, rows: int = 3, n: int = 8, groups: int = 1) -> Layer:
    """A small layer, of a kind that breaks things."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(groups, n // 2 if kind == "singular" else 3 * n, n)) @ (
        np.eye(n) + rng.normal(size=(n, n))
    )
    if kind == "duplicated":
        x[..., n // 2 :] = x[..., : n - n // 2]
    if kind == "dead":
        x[..., rng.permutation(n)[: n // 3]] = 0
    if kind == "ill-conditioned":
        x *= np.logspace(0, -6, n)
    weight = rng.standard_t(3, size=(rows, n))
    if kind == "tied":
        weight = np.sign(weight)
    return Layer(f"{kind}{seed}", weight, x.swapaxes(1, 2) @ x / x.shape[1])


def part(source: Path, rows: int, folder: Path) -> Path:
    """A layer file of the first rows of another."""
    layer = load_layer(source)
    grams = layer.grams[:rows] if layer.groups > 1 else layer.grams
    return save_layer(folder / source.name, Layer(layer.name, layer.weight[:rows], grams, layer.samples))


def comparison(bits: range, **changes) -> Terms:
    """The defaults of the command line."""
    settings = {
        "quant": Setting("quant"),
        "prune": Setting("prune", sparsity=0.5),
        "cost": CostModel(),
        "engines": engines_by_name("auto"),
        "quick": [get_solver(name) for name in QUICK],
        "close": [get_solver(name) for name in CLOSE],
        "time_limit": None,
        "options": Options(time_limit=None),
    }
    return Terms(bits, **{**settings, **changes})
