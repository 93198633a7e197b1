"""Rows of every method and pattern on Gram matrices that break things."""

import numpy as np
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Order
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.kernels.diagonal import largest_diagonal

KINDS = ("regular", "singular", "duplicated", "dead", "ill-conditioned", "huge", "tiny")


def gram(rng, n, kind):
    a = rng.standard_normal((max(1, n - 2) if kind == "singular" else 30, n))
    if kind == "duplicated":
        a[:, 0] = a[:, -1]
    if kind == "dead":
        a[:, rng.integers(n)] = 0
    if kind == "ill-conditioned":
        a *= 10.0 ** rng.uniform(-4, 0, n)
    a *= {"huge": 1e150, "tiny": 1e-140}.get(kind, 1.0)
    return Gram.from_array(a.T @ a / len(a))


def grid(rng, n):
    groups = int(rng.integers(1, 3))
    levels = np.sort([rng.choice(np.arange(-9, 9) * 0.37, 4, replace=False) for _ in range(groups)], axis=1)
    return Grid(levels, rng.integers(0, groups, n))


def grid_row(seed, factor=1.0):
    """Seven inputs; every third row has a singular, every third an ill-conditioned Gram matrix."""
    rng = np.random.default_rng(seed)
    n = 7
    a = rng.standard_normal((n - 2 if seed % 3 == 1 else 3 * n, n))
    if seed % 3 == 2:
        a *= 10.0 ** rng.uniform(-4, 0, n)
    levels = np.array([[-1.0, 0.0, 1.0]]) if seed % 2 else np.array([[-2.0, -0.7, 0.1, 1.4]])
    weight = rng.standard_normal(n) * (3.0 if seed % 4 == 3 else 1.0)
    return Problem(factor * weight, Gram.from_array(a.T @ a), Grid(factor * levels, [0] * n))


def problems(rng, n, kind):
    """One problem of every method and pattern, without dead inputs."""
    h = gram(rng, n, kind)
    w = rng.standard_normal(n)
    k = int(rng.integers(0, n + 1))
    for problem in (
        Problem(w, h, grid(rng, n)),
        Problem(w, h, None, Sparsity.row(n, k)),
        Problem(w, h, None, Sparsity.row(n, k, update=False)),
        Problem(w, h, None, Sparsity.nm(n, 1, 2)),
        Problem(w, h, None, Sparsity.blocks(n, 2, n // 4)),
        Problem(w, h, grid(rng, n), Sparsity.row(n, k)),
    ):
        reduced = presolve(problem).problem
        if reduced is not None:
            yield reduced


def below(problem):
    d = largest_diagonal(problem.hessian, accuracy=0.05)
    return Below(np.maximum(d * (1 - 1e-9), 1e-13 * problem.hessian.diagonal()))


def order_of(matrix):
    """An order, and diagonals below its leading blocks."""
    n = len(matrix)
    order = np.argsort(matrix.diagonal())
    permuted = matrix[np.ix_(order, order)]
    diagonal = np.zeros((n + 1, n))
    for m in range(1, n + 1):
        diagonal[m, :m] = largest_diagonal(np.ascontiguousarray(permuted[:m, :m])) * (1 - 1e-9)
    return Order(order, diagonal)


def allowed(problem):
    """Error to which the optimum by brute force is known."""
    return 1e-11 * problem.reference
