"""Proofs for every scale whose intervals hold trees over intervals of values: against all points at all scales."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.certificate import Claim, RowClaim, load_certificate
from pvq.bounds.presolve import presolve
from pvq.bounds.proof import Below, Boxes
from pvq.bounds.verify import NotProven
from pvq.bounds.verify.reference import NotEstablished, reference_bound
from pvq.bounds.verify.row import lower_bound
from pvq.solvers.bnb import values
from pvq.solvers.result import BoundKind, Status
from scale_cases import KINDS, accepted, made, optimum, refused, solved


@pytest.fixture(autouse=True)
def _no_enumeration(monkeypatch):
    """A row whose search takes more than one node is searched over intervals of values."""
    monkeypatch.setattr(values, "FEW", 1)


def trees_of(proof):
    """The intervals that have trees."""
    return [i for i, search in enumerate(proof.searches) if isinstance(search, Boxes)]


def claimed(certificate, proof):
    """The certificate with another proof of its first row."""
    first, *others = certificate.rows
    claim = Claim(first.lower[0].lower, proof)
    return replace(certificate, rows=(RowClaim(first.row, first.x, first.upper, (claim,)), *others))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "words",
    [
        {"sparsity": 0.5, "bits": 2},
        {"nm": (1, 2), "bits": 2, "grid": "int-asym"},
        {"sparsity": 0.5, "block": 2, "grid": "ternary"},
        {"sparsity": 0.7, "grid": "ternary"},
    ],
    ids=str,
)
def test_against_every_point(kind, words, tmp_path):
    rng, trees = np.random.default_rng(7), 0
    layer, problem = made(rng, kind, n=4, method="joint", **words)
    best, result, certificate = solved(layer, problem, 1e-3)
    certificate.save(tmp_path / "proof.npz")
    verified = accepted(load_certificate(tmp_path / "proof.npz"), layer)
    for i, row in enumerate(result.rows):
        least, proof = optimum(problem.row(i)), certificate.rows[i].lower[0].proof
        assert verified.rows[i][0] <= least <= Fraction(verified.rows[i][1]) * (1 + Fraction(1e-12))
        if row.result.status is not Status.TIME_LIMIT:  # on a slow machine
            assert row.result.bound_kind is BoundKind.RIGOROUS
            assert row.result.status is Status.OPTIMAL
        if proof is not None:
            reduced = presolve(best.row(i)).problem
            assert lower_bound(reduced, proof) <= reference_bound(reduced, proof) <= least
            trees += len(trees_of(proof))
    assert trees > 0 or kind in ("tied", "on the grid", "dead")


@pytest.fixture
def case():
    layer, problem = made(np.random.default_rng(3), "regular", n=4, rows=1, method="joint", sparsity=0.5, bits=2)
    best, _, certificate = solved(layer, problem)
    return layer, best, certificate, certificate.rows[0].lower[0].proof


def least_interval(proof, row):
    """The tree whose interval the bound is next to when it is gone: of those that cannot be missed."""
    for i in trees_of(proof):
        weaker = list(proof.searches)
        weaker[i] = Boxes([(-1, 0)], Below(np.zeros(row.n)), np.zeros((1, row.n)))
        if lower_bound(row, replace(proof, searches=tuple(weaker))) == 0:
            yield i, tuple(weaker)


def test_a_tree_that_proves_less_or_is_none_is_refused(case):
    layer, best, certificate, proof = case
    row = presolve(best.row(0)).problem
    found = list(least_interval(proof, row))
    assert found
    for i, weaker in found:
        tree = proof.searches[i]
        twins = [
            (weaker[i], "the proof gives", "proven"),
            (replace(tree, below=Below(np.diag(row.hessian) * 1e9)), "semidefinite", "semidefinite"),
            (replace(tree, code=tree.code[1:]), "goes on|ends|no values|not one of", "goes on|ends|no value"),
            (replace(tree, code=[*tree.code.tolist(), (-1, 0)]), "goes on", "goes on"),
            (replace(tree, v=tree.v[:0]), "names a v", "names a v"),
        ]
        for twin, first, second in twins:
            searches = (*proof.searches[:i], twin, *proof.searches[i + 1 :])
            refused(claimed(certificate, replace(proof, searches=searches)), layer, first, second)


def test_a_grid_without_a_pattern_has_no_such_intervals(case):
    _, best, _, proof = case
    row = replace(presolve(best.row(0)).problem, sparsity=None)
    with pytest.raises(NotProven, match="made of boxes proves nothing about quantization at any scale"):
        lower_bound(row, replace(proof, searches=tuple(proof.searches[i] for i in trees_of(proof))))
    with pytest.raises(NotEstablished):
        reference_bound(row, proof)
