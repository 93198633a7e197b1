"""Row problems for the empirical methods: regular, singular, duplicated and dead inputs, every constraint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity

Make = Callable[..., Problem]

GRAMS = ("regular", "singular", "duplicated", "dead", "ill-conditioned")
CONSTRAINTS = ("int", "groups", "no-zero", "row", "nm", "block", "row-fixed", "joint", "joint-nm", "joint-block")


def gram(kind: str, n: int, rng: np.random.Generator) -> FloatArray:
    """(n, n) Gram matrix of n inputs."""
    x = rng.normal(size=(n // 2 if kind == "singular" else 3 * n, n)) @ (np.eye(n) + 0.5 * rng.normal(size=(n, n)))
    if kind == "duplicated":
        x[:, n // 2 :] = x[:, : n - n // 2]
    if kind == "dead":
        x[:, rng.permutation(n)[: n // 3]] = 0
    if kind == "ill-conditioned":
        x *= np.logspace(0, -6, n)
    return np.asarray(x.T @ x / len(x))


def constrained(weight: FloatArray, h: Gram, kind: str) -> Problem:
    """The row under a constraint; for n a multiple of 4."""
    n = len(weight)
    step = np.abs(weight).max() / 1.4  # no weight midway between levels, one outside
    grids = {
        "groups": Grid(np.arange(-1, 2) * np.array([[step], [step / 2], [step / 3]]), np.arange(n) % 3),
        "no-zero": Grid(step * np.array([[-1.0, -0.3, 1.1]]), np.zeros(n, np.int64)),
    }
    grid = grids.get(kind, Grid(step * np.arange(-1.0, 2)[None], np.zeros(n, np.int64)))
    patterns = {
        "row": Sparsity.row(n, n // 3),
        "row-fixed": Sparsity.row(n, n // 3, update=False),
        "nm": Sparsity.nm(n, 1, 4),
        "block": Sparsity.blocks(n, 2, n // 4),
    }
    if kind in patterns:
        return Problem(weight, h, None, patterns[kind])
    if kind.startswith("joint"):
        return Problem(weight, h, grid, patterns[kind.removeprefix("joint-").replace("joint", "row")])
    return Problem(weight, h, grid)


@pytest.fixture
def make() -> Make:
    """`make(gram_kind, constraint, n=8, seed=0)`: a random row problem."""

    def build(gram_kind: str, constraint: str, n: int = 8, seed: int = 0) -> Problem:
        rng = np.random.default_rng(seed)
        return constrained(rng.normal(size=n), Gram.from_array(gram(gram_kind, n, rng)), constraint)

    return build
