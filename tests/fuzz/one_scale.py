"""The least error of rows that share a scale, by trying all points of all rows together at their best scale."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
from pvq.bounds.layer_problem import LayerProblem

CANDIDATES = 8
"""Points with the least error in extended precision, whose error is then taken exactly."""


def codes_of(stated: LayerProblem, i: int) -> np.ndarray:
    """(points, n) what a row's weights may be at scale 1."""
    row, layer_grid = stated.row(i), stated.grid
    assert layer_grid is not None
    zero = layer_grid.zero[stated.rows[i] if len(layer_grid.zero) > 1 else 0, 0]
    book = layer_grid.codebook.levels - zero
    values = sorted({*book.tolist(), *([] if row.sparsity is None else [0.0])})
    points = np.array(list(itertools.product(values, repeat=row.n)))
    return points if row.sparsity is None else points[[row.sparsity.allows(c != 0) for c in points]]


def optimum_at_one_scale(stated: LayerProblem, rows: list[int], most: int = 300_000) -> Fraction | None:
    """The least sum of some rows' errors over all codes and every real scale of the range, exactly.

    None where there are more than so many points.
    """
    grid = stated.grid
    assert grid is not None
    assert grid.span is not None
    at = stated.rows[rows[0]] if len(grid.scale) > 1 else 0
    low, high = (float(ends[at, 0]) for ends in grid.span)
    codes, along, square = [], np.zeros(1, np.longdouble), np.zeros(1, np.longdouble)
    for i in rows:
        c = codes_of(stated, i).astype(np.longdouble)
        if len(along) * len(c) > most:
            return None
        codes.append(c)
        row = stated.row(i)
        h, w = row.hessian.astype(np.longdouble), row.weight.astype(np.longdouble)
        along = np.add.outer(along, c @ (h @ w)).ravel()
        square = np.add.outer(square, ((c @ h) * c).sum(axis=1)).ravel()
    with np.errstate(all="ignore"):
        s = np.clip(np.where(square > 0, along / square, low), low, high)
    errors = s * (s * square - 2 * along)
    best = None
    for k in np.argsort(errors, kind="stable")[:CANDIDATES].tolist():
        picked = np.unravel_index(k, [len(c) for c in codes])
        chosen = [c[j] for c, j in zip(codes, picked, strict=True)]
        error = _exactly(stated, rows, chosen, Fraction(low), Fraction(high))
        best = error if best is None else min(best, error)
    return best


def _exactly(
    stated: LayerProblem, rows: list[int], codes: list[np.ndarray], low: Fraction, high: Fraction
) -> Fraction:
    along, square, reference = Fraction(0), Fraction(0), Fraction(0)
    for i, c in zip(rows, codes, strict=True):
        row = stated.row(i)
        h = [[Fraction(value) for value in line] for line in row.hessian.tolist()]
        w, x = [Fraction(v) for v in row.weight.tolist()], [Fraction(float(v)) for v in c]
        pull = [sum((a * b for a, b in zip(line, w, strict=True)), Fraction(0)) for line in h]
        along += sum((a * b for a, b in zip(pull, x, strict=True)), Fraction(0))
        reference += sum((a * b for a, b in zip(pull, w, strict=True)), Fraction(0))
        square += sum(
            (a * b * c for a, line in zip(x, h, strict=True) for b, c in zip(line, x, strict=True)), Fraction(0)
        )
    s = min(max(along / square, low), high) if square else low
    return reference - 2 * s * along + s * s * square
