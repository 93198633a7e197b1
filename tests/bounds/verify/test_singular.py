"""Searches of matrices that are singular but for a rounding: their factors, and proofs against brute force."""

import contextlib
import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.certificate import Claim, RowClaim
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration, Order
from pvq.bounds.verify import NotProven, verify_certificate
from pvq.bounds.verify.exact import is_psd
from pvq.bounds.verify.reference import NotEstablished, check_certificate, reference_bound
from pvq.bounds.verify.row import lower_bound
from pvq.bounds.verify.sharp import LONGEST, sharp_factors
from pvq.layers.format import Layer
from pvq.solvers.base import Options
from pvq.solvers.certify import build_certificate
from pvq.solvers.layer import solve_layer
from pvq.solvers.registry import get_solver
from pvq.solvers.result import BoundKind, Status

KINDS = ("duplicate", "opposite", "near", "rank 1", "rank n - 1", "half rank", "sum", "uneven")


def singular(rng, n, kind):
    """(n, n) a Gram matrix as a file has it."""
    samples = {"rank 1": 1, "rank n - 1": n - 1, "half rank": max(1, n // 2)}.get(kind, 3 * n)
    a = rng.standard_normal((samples, n))
    if kind in ("duplicate", "opposite", "near"):
        a[:, 0] = a[:, -1] * (-1 if kind == "opposite" else 1)
    if kind == "near":
        a[:, 0] += 10.0 ** rng.uniform(-8, -5) * rng.standard_normal(samples)
    if kind == "sum":
        a -= a.mean(axis=1, keepdims=True)
    if kind == "uneven":
        a[:, 0] = a[:, -1]
        a *= 10.0 ** rng.uniform(-6, 6, n)
    return a.T @ a / samples


def fractions(matrix):
    return [[Fraction(value) for value in row] for row in matrix.tolist()]


def product(a, b):
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1.0, 2.0**300, 2.0**-300])
def test_factors_are_those_of_the_matrix(kind, size):
    rng = np.random.default_rng(0)
    for n in (2, 3, 6, 11):
        h = Gram.from_array(singular(rng, n, kind) * size).matrix
        slope, pivot, kappa = sharp_factors(h)
        assert not np.triu(slope).any()
        assert 0 < kappa < (1e-6 if kind in ("duplicate", "opposite", "sum") else 0.1)
        v, p = fractions(np.eye(n) - slope.T), [Fraction(value) for value in pivot.tolist()]
        left = product(product(list(zip(*v, strict=True)), fractions(h)), v)
        for sign in (1, -1):  # kappa P - F and kappa P + F are semidefinite
            f = [[(left[i][j] - p[i] * (i == j)) * sign for j in range(n)] for i in range(n)]
            room = [[Fraction(kappa) * p[i] * (i == j) - f[i][j] for j in range(n)] for i in range(n)]
            assert is_psd(room)


def test_no_factors_of_what_is_not_positive_definite():
    assert sharp_factors(np.array([[1.0, 1.0], [1.0, 1.0]])) is None
    assert sharp_factors(np.array([[1.0, 1.0], [1.0, 1 - 2.0**-53]])) is None
    assert sharp_factors(np.array([[1.0, 1.0], [1.0, 1 + 2.0**-52]])) is not None
    assert sharp_factors(np.array([[0.0, 0.0], [0.0, 1.0]])) is None
    assert sharp_factors(np.array([[1.0, np.nan], [np.nan, 1.0]])) is None
    assert sharp_factors(np.diag([2.0**-1074, 1.0])) is None
    assert sharp_factors(np.eye(LONGEST + 1)) is None
    rng = np.random.default_rng(1)
    for _ in range(200):  # without the shift: of either sign by its own rounding
        h = singular(rng, 4, "rank n - 1")
        found = sharp_factors(h)
        if found is not None and found[2] < 1:
            assert is_psd(fractions(h))


def rows(seed, kind, bits, pattern):
    """A made layer of two rows, and its problem."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    n = int(rng.integers(2, 6 if bits == 2 else 4))
    weight = rng.standard_normal((2, n)) * (3.0 if seed % 3 == 0 else 1.0)
    layer = Layer("made", weight, singular(rng, n, kind))
    fixed = "update" in pattern
    method = "prune" if fixed else "joint" if pattern else "quant"
    setting = Setting(method, bits=None if fixed else bits, **pattern)
    return layer, state_problem(layer.weight, layer.grams, setting)


def points(row):
    """All that a row may be."""
    for x in itertools.product(*(choices(row, i) for i in range(row.n))):
        if row.is_feasible(np.array(x)):
            yield x


def choices(row, i):
    if row.grid is None:
        return (0.0, float(row.weight[i]))
    return (*row.grid.of(i).tolist(), *([0.0] if row.sparsity is not None and 0.0 not in row.grid.of(i) else []))


def optimum(row):
    """The least error, exactly; candidates by float64."""
    every = np.array(list(points(row)))
    u = every - row.weight
    errors = np.einsum("ki,ij,kj->k", u, row.hessian, u)
    best = np.argsort(errors)[:12]
    h, w = fractions(row.hessian), [Fraction(value) for value in row.weight.tolist()]
    return min(exactly(h, [a - Fraction(b) for a, b in zip(w, every[k].tolist(), strict=True)]) for k in best)


def exactly(h, u):
    return sum(a * b * c for a, row in zip(u, h, strict=True) for b, c in zip(row, u, strict=True))


PATTERNS = ({}, {"sparsity": 0.5}, {"sparsity": 0.5, "update": False})


@pytest.mark.parametrize("pattern", PATTERNS, ids=["quant", "joint", "fixed"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [2, 3])
def test_proofs_against_every_point(kind, bits, pattern):
    searched = 0
    for seed in range(8):
        layer, problem = rows(seed, kind, bits, pattern)
        for i in range(2):
            row = problem.row(i)
            result, least = get_solver("bnb").solve(row, Options(time_limit=None, prove=True)), optimum(row)
            assert Fraction(result.lower) <= least <= Fraction(result.upper)
            if not isinstance(result.proof, Enumeration):
                continue
            searched += 1
            assert result.bound_kind is BoundKind.RIGOROUS
            assert (
                result.proven <= lower_bound(row, result.proof, 1.0) <= reference_bound(row, result.proof) <= least
            )
            assert float(least) - result.lower <= 1e-5 * float(least) + result.rounding
            for proof in changed(np.random.default_rng(seed), result.proof):
                with contextlib.suppress(NotProven):
                    assert lower_bound(row, proof) <= lower_bound(row, proof, 1.0) <= least
    assert searched > (2 if pattern else 5)


def changed(rng, proof):
    """The proof with a threshold that is too high, another order, or diagonals that are not below H."""
    order, diagonal = proof.order.order, proof.order.diagonal
    yield replace(proof, threshold=proof.threshold * 1.001)
    yield replace(proof, threshold=proof.threshold * 1e6)
    yield replace(proof, order=Order(rng.permutation(order), diagonal))
    yield replace(proof, order=Order(order, diagonal * (1 + 1e-6)))
    d = diagonal.copy()
    d[-1, rng.integers(len(order))] += 1e-3 * d.max() + 1e-12
    yield replace(proof, order=Order(order, d), threshold=proof.threshold * 2)


@pytest.mark.parametrize("pattern", PATTERNS, ids=["quant", "joint", "fixed"])
def test_both_checkers_refuse_more_than_is_proven(pattern):
    for kind in KINDS:
        layer, problem = rows(3, kind, 2, pattern)
        result = solve_layer(problem, get_solver("bnb"), Options(time_limit=None, prove=True))
        certificate = build_certificate(layer, problem, result)
        what = layer.weight, layer.grams, layer.sha256
        verified = verify_certificate(certificate, *what)
        check_certificate(certificate, *what)
        for i, claimed in enumerate(certificate.rows):
            least = optimum(problem.row(i))
            assert verified.rows[i][0] <= least
            if least == 0:
                continue
            above = float(least)
            above = above if Fraction(above) > least else math.nextafter(above, math.inf)
            claim = Claim(above, claimed.lower[0].proof)
            wrong = [*certificate.rows]
            wrong[i] = RowClaim(claimed.row, claimed.x, claimed.upper, (claim,))
            false = replace(certificate, rows=tuple(wrong), lower=0.0)
            with pytest.raises(NotProven, match="the proof gives"):
                verify_certificate(false, *what)
            with pytest.raises(NotEstablished, match="proven"):
                check_certificate(false, *what)


@pytest.mark.parametrize("kind", ["duplicate", "rank n - 1", "sum"])
def test_longer_rows_are_proven(kind):
    rng = np.random.default_rng(2)
    layer = Layer("made", rng.standard_normal((2, 24)), singular(rng, 24, kind))
    problem = state_problem(layer.weight, layer.grams, Setting("quant", bits=3))
    for i in range(2):
        result = get_solver("bnb").solve(problem.row(i), Options(time_limit=None))
        assert result.status is Status.OPTIMAL
        assert result.bound_kind is BoundKind.RIGOROUS


def test_a_pair_that_differs_by_a_rounding_has_a_lower_end():
    """The search's own arithmetic leaves nothing of it: what counts is the proof."""
    rng = np.random.default_rng(4)
    a = rng.standard_normal((30, 8))
    a[:, 0] = a[:, -1] + 1e-7 * rng.standard_normal(30)
    row = state_problem(rng.standard_normal((1, 8)), a.T @ a / 30, Setting("quant", bits=3)).row(0)
    result = get_solver("bnb").solve(row, Options(time_limit=None))
    assert result.bound_kind is BoundKind.RIGOROUS
    assert result.lower > (1 - 1e-5) * result.upper > 0


def test_a_zero_that_is_reached_needs_no_proof():
    row = Problem(
        np.array([0.5, 0.5]), Gram.from_array(np.ones((2, 2))), Grid(np.array([[0.0, 1.0]]), np.zeros(2, int))
    )
    result = get_solver("bnb").solve(row, Options(time_limit=None))
    assert result.status is Status.OPTIMAL
    assert result.bound_kind is BoundKind.RIGOROUS
