"""Small rows whose scale is free, their optimum over every scale, and their certificates."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.verify import NotProven, verify_certificate
from pvq.bounds.verify.reference import NotEstablished, check_certificate
from pvq.layers.format import Layer
from pvq.solvers.base import Options
from pvq.solvers.certify import build_certificate
from pvq.solvers.scale import solve_scales

GRIDS = [
    {"bits": 1},
    {"bits": 2},
    {"bits": 2, "grid": "int-asym"},
    {"bits": 2, "grid": "int-sym"},
    {"grid": "ternary"},
    {"grid": "fp4-e2m1"},
    {"grid": "nf4"},
]
KINDS = ["regular", "dead", "duplicate", "nearly duplicate", "nearly singular", "large", "tied", "on the grid"]


def made(rng, kind, n=3, rows=2, **words):
    """A layer and its problem with a free scale."""
    a = rng.standard_normal((12, n))
    weight = rng.standard_normal((rows, n))
    if kind == "dead":
        a[:, rng.integers(n)] = 0
    if kind == "duplicate":
        a[:, 0] = a[:, 1]
    if kind == "nearly duplicate":
        a[:, 0] = a[:, 1] + 1e-7 * rng.standard_normal(12)
    if kind == "nearly singular":
        a[:, 0] = a[:, 1] + 1e-3 * rng.standard_normal(12)
    if kind == "large":
        weight *= 1e6
    if kind == "tied":  # points and their negatives, and exchanged inputs
        a, weight = np.eye(n), np.sign(weight) * rng.choice([0.6, 1.0], (rows, n))
    if kind == "on the grid":
        weight = np.round(weight)
    layer = Layer("made", weight, a.T @ a / len(a))
    words = {"granularity": "channel", "range": "optimal", **words}
    setting = Setting(words.pop("method", "quant"), **words)
    return layer, state_problem(layer.weight, layer.grams, setting, free_scale=True)


def exactly(h, u):
    return sum(a * b * c for a, row in zip(u, h, strict=True) for b, c in zip(row, u, strict=True))


def optimum(row):
    """The least error of scale * code over all codes and every real scale of the range, exactly."""
    free, pattern = row.grid.free, row.sparsity
    h = [[Fraction(value) for value in line] for line in row.hessian.tolist()]
    w = [Fraction(value) for value in row.weight.tolist()]
    low, high = Fraction(free.low), Fraction(free.high)
    pull = [sum(a * b for a, b in zip(line, w, strict=True)) for line in h]
    reference, best = exactly(h, w), None
    codes = sorted({*free.codes.tolist(), 0.0}) if pattern is not None else free.codes.tolist()
    for c in itertools.product(codes, repeat=row.n):
        if pattern is not None and not pattern.allows(np.array(c) != 0):
            continue
        c = [Fraction(value) for value in c]
        along, square = sum(a * b for a, b in zip(pull, c, strict=True)), exactly(h, c)
        s = min(max(along / square, low), high) if square else low
        error = reference - 2 * s * along + s * s * square
        best = error if best is None else min(best, error)
    return best


def solved(layer, problem, gap=1e-6):
    best, result = solve_scales(problem, Options(time_limit=5, gap=gap))
    return best, result, build_certificate(layer, best, result)


def accepted(certificate, layer):
    """By both."""
    what = certificate, layer.weight, layer.grams, layer.sha256
    verified = verify_certificate(*what)
    check_certificate(*what)
    return verified


def refused(certificate, layer, first=None, second=None):
    """By both."""
    what = certificate, layer.weight, layer.grams, layer.sha256
    with pytest.raises(NotProven, match=first):
        verify_certificate(*what)
    with pytest.raises(NotEstablished, match=second):
        check_certificate(*what)


def changed(proof, **arrays):
    """The proof with other numbers."""
    return replace(proof, **{name: np.array(value) for name, value in arrays.items()})


def without(proof, i):
    """The proof without an interval."""
    keep = [j for j in range(len(proof.searches)) if j != i]
    searches = tuple(proof.searches[j] for j in keep)
    arrays = {"anchors": proof.anchors[keep], "stiffness": proof.stiffness[keep]}
    return replace(changed(proof, edges=np.delete(proof.edges, i), **arrays), searches=searches)
