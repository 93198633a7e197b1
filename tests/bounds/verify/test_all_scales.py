"""Proofs for every scale of a range: against all grid points at their own best scales, and subtly false twins."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.certificate import Claim, RowClaim, load_certificate
from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.proof import Basis, Below, Enumeration, Order, Reduced, Scales, Split, Tree
from pvq.bounds.verify import NotProven, verify_certificate
from pvq.bounds.verify.reference import NotEstablished, check_certificate, reference_bound
from pvq.bounds.verify.row import lower_bound
from pvq.layers.format import Layer
from pvq.solvers.result import BoundKind, Status
from scale_cases import GRIDS, KINDS, accepted, changed, exactly, made, optimum, refused, solved, without


def with_lower(certificate, i, lower=None, proof=None):
    """The certificate with another claim of a row."""
    rows = list(certificate.rows)
    claim = rows[i].lower[0]
    claim = Claim(claim.lower if lower is None else lower, claim.proof if proof is None else proof)
    rows[i] = RowClaim(rows[i].row, rows[i].x, rows[i].upper, (claim,))
    return replace(certificate, rows=tuple(rows), lower=min(certificate.lower, 0.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS, ids=lambda words: "-".join(map(str, words.values())))
def test_against_every_point(grid, kind):
    rng = np.random.default_rng(0)
    for _ in range(3):
        layer, problem = made(rng, kind, n=2 if grid.get("grid") in ("fp4-e2m1", "nf4") else 3, **grid)
        best, result, certificate = solved(layer, problem, 1e-3)
        verified = accepted(certificate, layer)
        for i, (claim, row) in enumerate(zip(certificate.rows, result.rows, strict=True)):
            least = optimum(problem.row(i))
            lower, upper = verified.rows[i]
            assert claim.lower[0].lower <= lower <= least <= Fraction(upper) * (1 + Fraction(1e-12))
            assert best.row(i).is_feasible(row.result.x)
            if row.result.bound_kind is BoundKind.RIGOROUS and row.result.lower > 0:
                assert claim.lower[0].lower == row.result.lower
            proof = claim.lower[0].proof
            if proof is None:
                assert lower == 0
                continue
            reduced = presolve(best.row(i)).problem
            assert lower_bound(reduced, proof) <= lower <= reference_bound(reduced, proof) <= least
            refused(with_lower(certificate, i, float(least) * (1 + 1e-6)), layer, "the proof gives", "proven")
            for scale in rng.uniform(reduced.grid.free.low, reduced.grid.free.high, 20):
                x = scale * reduced.grid.free.codes[rng.integers(len(reduced.grid.free.codes), size=reduced.n)]
                u = [Fraction(a) - Fraction(b) for a, b in zip(reduced.weight, x, strict=True)]
                assert lower <= exactly([[Fraction(v) for v in line] for line in reduced.hessian.tolist()], u)


@pytest.mark.parametrize("noise", [1e-5, 1e-7])
@pytest.mark.parametrize(("n", "bits"), [(3, 3), (4, 2), (5, 2)])
def test_inputs_that_are_the_same_but_for_noise(n, bits, noise):
    """The search's own rounding is 1e-6 to all of the least error; the verifier's is not."""
    rng = np.random.default_rng(7)
    for _ in range(4):
        a = rng.standard_normal((3 * n, n))
        a[:, 0] = a[:, -1] + noise * rng.standard_normal(len(a))
        layer = Layer("made", rng.standard_normal((2, n)), a.T @ a / len(a))
        setting = Setting("quant", bits, granularity="channel", range="optimal")
        problem = state_problem(layer.weight, layer.grams, setting, free_scale=True)
        _, result, certificate = solved(layer, problem)
        verified = accepted(certificate, layer)
        for i, row in enumerate(result.rows):
            least, (lower, upper) = optimum(problem.row(i)), verified.rows[i]
            assert row.result.lower <= lower <= least <= Fraction(upper) * (1 + Fraction(1e-12))
            assert row.result.status is Status.OPTIMAL
            assert row.result.bound_kind is BoundKind.RIGOROUS
            refused(with_lower(certificate, i, float(least) * (1 + 1e-6)), layer, "the proof gives", "proven")


@pytest.mark.parametrize("pattern", [{"sparsity": 0.5}, {"nm": (1, 2)}, {"sparsity": 0.5, "block": 2}])
def test_with_a_pattern(pattern):
    rng = np.random.default_rng(1)
    for grid in ({"bits": 2}, {"bits": 2, "grid": "int-asym"}, {"grid": "ternary"}):
        layer, problem = made(rng, "regular", n=4, method="joint", **grid, **pattern)
        _, result, certificate = solved(layer, problem)
        verified = accepted(certificate, layer)
        for i, row in enumerate(result.rows):
            least = optimum(problem.row(i))
            assert verified.rows[i][0] <= least <= Fraction(verified.rows[i][1]) * (1 + Fraction(1e-12))
            assert row.result.bound_kind is BoundKind.RIGOROUS
            assert row.result.status is Status.OPTIMAL


@pytest.fixture(scope="module")
def case():
    """A layer with a certificate, and its first row's proof."""
    layer, problem = made(np.random.default_rng(2), "regular", bits=2)
    best, _, certificate = solved(layer, problem)
    return layer, best, certificate, certificate.rows[0].lower[0].proof


def at_least(proof):
    """The interval of the best scale."""
    pairs = zip(proof.searches, proof.anchors, strict=True)
    return int(np.argmin([search.threshold / anchor**2 for search, anchor in pairs]))


def test_intervals_that_do_not_cover_the_range_are_refused(case):
    layer, _, certificate, proof = case
    last = len(proof.searches) - 1
    ends = "do not cover the range", "leave scales"
    refused(with_lower(certificate, 0, proof=without(proof, 0)), layer, *ends)
    cut = replace(
        changed(proof, edges=proof.edges[:-1], anchors=proof.anchors[:-1], stiffness=proof.stiffness[:-1]),
        searches=proof.searches[:-1],
    )
    refused(with_lower(certificate, 0, proof=cut), layer, *ends)
    for i, factor in ((0, 1 + 1e-12), (last + 1, 1 - 1e-12)):
        edges = proof.edges.copy()
        edges[i] *= factor
        refused(with_lower(certificate, 0, proof=changed(proof, edges=edges)), layer, *ends)
    other = changed(proof, edges=proof.edges * 2)
    refused(with_lower(certificate, 0, proof=other), layer, *ends)


def test_a_missing_interval_in_the_middle_weakens_its_neighbour(case):
    """What is left covers the range, with the search of a neighbour that is too far away."""
    layer, _, certificate, proof = case
    for i in range(1, len(proof.searches)):
        twin = without(proof, i)
        refused(with_lower(certificate, 0, proof=twin), layer, "the proof gives", "proven")


def test_edges_out_of_order_are_refused(case):
    layer, _, certificate, proof = case
    wrong = "do not ascend", "do not ascend"
    for i in range(1, len(proof.edges) - 2):
        edges = proof.edges.copy()
        edges[[i, i + 1]] = edges[[i + 1, i]]
        refused(with_lower(certificate, 0, proof=changed(proof, edges=edges)), layer, *wrong)
    for first in (0.0, -proof.edges[0]):
        edges = proof.edges.copy()
        edges[0] = first
        refused(with_lower(certificate, 0, proof=changed(proof, edges=edges)), layer, *wrong)
    twice = np.insert(proof.edges, 1, proof.edges[1])
    arrays = {"anchors": proof.anchors[[0, *range(len(proof.anchors))]]}
    arrays["stiffness"] = np.full(len(arrays["anchors"]), proof.stiffness[0])
    again = replace(changed(proof, edges=twice, **arrays), searches=(proof.searches[0], *proof.searches))
    refused(with_lower(certificate, 0, proof=again), layer, *wrong)
    refused(with_lower(certificate, 0, proof=changed(proof, edges=-proof.edges[::-1])), layer, *wrong)
    short = changed(proof, anchors=proof.anchors[:-1])
    refused(with_lower(certificate, 0, proof=short), layer, "not those of this row", "do not fit")
    none = replace(changed(proof, edges=proof.edges[:1], anchors=[], stiffness=[]), searches=())
    refused(with_lower(certificate, 0, proof=none), layer, "not those of this row", "do not fit")


def test_searches_and_anchors_of_others_are_refused(case):
    """Each number counts: an interval's search by its threshold, its anchor and its stiffness."""
    layer, problem, certificate, proof = case
    best = at_least(proof)
    searches = list(proof.searches)
    searches[best] = replace(searches[best], threshold=searches[best].threshold * (1 - 1e-4))
    lowered = replace(proof, searches=tuple(searches))
    refused(with_lower(certificate, 0, proof=lowered), layer, "the proof gives", "proven")
    searches[best] = replace(searches[best], threshold=searches[best].threshold * 10)
    raised = replace(proof, searches=tuple(searches))
    accepted(with_lower(certificate, 0, proof=raised), layer)  # the search itself says what it finds
    claim = certificate.rows[0].upper * (1 + 1e-6)
    refused(with_lower(certificate, 0, claim, raised), layer, "the proof gives", "proven")
    for factor in (0.5, 0.99, 1.01, 2):
        anchors = proof.anchors.copy()
        anchors[best] *= factor
        twin = changed(proof, anchors=anchors)
        refused(with_lower(certificate, 0, proof=twin), layer, "the proof gives", "proven")
    for value in (0.0, -1.0, problem.row(0).reference * (1 - 1e-12)):
        stiffness = proof.stiffness.copy()
        stiffness[best] = value
        twin, words = changed(proof, stiffness=stiffness), "below w'Hw"
        refused(with_lower(certificate, 0, proof=twin), layer, words, words)


def test_the_least_stiffness_is_known_exactly(case):
    layer, best, certificate, proof = case
    row = presolve(best.row(0)).problem
    h = [[Fraction(value) for value in line] for line in row.hessian.tolist()]
    r = exactly(h, [Fraction(value) for value in row.weight.tolist()])
    below = float(r) if Fraction(float(r)) < r else float(np.nextafter(float(r), 0))
    for value in (below, float(np.nextafter(below, np.inf))):
        one = changed(proof, stiffness=np.full(len(proof.stiffness), value))
        if Fraction(value) < r:
            refused(with_lower(certificate, 0, 0.0, one), layer, "below w'Hw", "below w'Hw")
        else:  # G is singular along w, or nearly, and the search may not be repeated: but nothing false is proven
            check_certificate(with_lower(certificate, 0, 0.0, one), layer.weight, layer.grams, layer.sha256)


def test_what_is_proven_at_one_scale_is_not_proven_at_all(case):
    """Proofs of the row on the grid of its best scale, of which every one holds there."""
    layer, best, certificate, _ = case
    row = best.row(0)
    order = Order(np.arange(3), np.zeros((4, 3)))
    plain = Enumeration(order, certificate.rows[0].upper * 0.9)
    fixed = replace(row, grid=replace(row.grid, free=None))
    assert lower_bound(fixed, plain) > 0.8 * certificate.rows[0].upper
    split = Split(Below(np.zeros(3)), np.zeros(3))
    basis = Basis(np.eye(3), np.eye(3), np.zeros((4, 3)))
    for proof in (plain, split, Reduced(basis, plain.threshold), Tree([-1], (split,))):
        refused(with_lower(certificate, 0, 0.0, proof), layer, "proves nothing", "scale is free")


def test_proofs_of_scales_prove_nothing_of_other_problems(case):
    layer, best, certificate, proof = case
    row = best.row(0)
    fixed = replace(row, grid=replace(row.grid, free=None))
    with pytest.raises(NotProven, match="proves nothing"):
        lower_bound(fixed, proof)
    with pytest.raises(NotEstablished, match="scale is free"):
        reference_bound(fixed, proof)
    mse = replace(certificate, setting=replace(certificate.setting, range="mse"), scales=None)
    refused(mse, layer)


@pytest.mark.parametrize(
    "other", [{"bits": 3}, {"grid": "int-sym"}, {"grid": "int-asym"}, {"grid": "ternary", "bits": None}]
)
def test_another_grid_is_refused(case, other):
    layer, _, certificate, _ = case
    setting = replace(certificate.setting, **other)
    refused(replace(certificate, setting=setting), layer)
    problem = state_problem(layer.weight, layer.grams, setting, free_scale=True)
    scales = problem.grid.scale, problem.grid.zero
    rows = [
        replace(claim, x=problem.row(i).grid.nearest(claim.x), upper=1e9)
        for i, claim in enumerate(certificate.rows)
    ]
    false = replace(certificate, setting=setting, scales=scales, rows=tuple(rows), upper=1e10)
    wrong = [i for i, claim in enumerate(rows) if claim.lower[0].lower > optimum(problem.row(i))]
    if wrong:
        refused(false, layer)


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.2, 4.1, np.inf])
def test_scales_out_of_the_range_are_refused(case, factor):
    layer, problem, certificate, _ = case
    start = state_problem(layer.weight, layer.grams, certificate.setting, free_scale=True).grid.scale
    scale, zero = certificate.scales
    scale = scale.copy()
    scale[0] = start[0] * factor
    words = "range that is searched"
    refused(replace(certificate, scales=(scale, zero)), layer, words, words)
    refused(replace(certificate, scales=None), layer, "is for pvq-bound", "is for pvq-bound")
    words = "not those of this grid"
    refused(replace(certificate, scales=(scale, zero + 1)), layer, words, words)
    refused(replace(certificate, scales=(scale[:1], zero[:1])), layer, words, words)


def test_another_point_than_that_of_its_scale_is_refused(case):
    layer, _, certificate, _ = case
    scale, zero = certificate.scales
    scale = scale.copy()
    scale[0] = np.nextafter(scale[0], 0)
    refused(replace(certificate, scales=(scale, zero)), layer, "not feasible", "not allowed")


def test_ill_conditioned_rows_have_searches_in_a_reduced_basis(tmp_path):
    rng = np.random.default_rng(3)
    a = rng.standard_normal((12, 12)) @ np.diag(np.geomspace(1, 300, 12)) @ rng.standard_normal((12, 12))
    layer = Layer("ill", rng.standard_normal((2, 12)), a @ a.T / 12)
    setting = Setting("quant", 4, granularity="channel", range="optimal")
    problem = state_problem(layer.weight, layer.grams, setting, free_scale=True)
    _, result, certificate = solved(layer, problem)
    kinds = {type(search) for row in certificate.rows for search in row.lower[0].proof.searches}
    assert Reduced in kinds
    assert {row.result.bound_kind for row in result.rows} == {BoundKind.RIGOROUS}
    certificate.save(tmp_path / "proof.npz")
    read = load_certificate(tmp_path / "proof.npz")
    verified = verify_certificate(read, layer.weight, layer.grams, layer.sha256)
    assert all(claim.lower[0].lower <= row[0] for claim, row in zip(read.rows, verified.rows, strict=True))
    assert not any(row.result.lower < row.result.upper * (1 - 2e-6) for row in result.rows)


def test_groups_and_layers_have_no_such_problem():
    layer, _ = made(np.random.default_rng(4), "regular", bits=2)
    for words in ({"granularity": "group:2"}, {"granularity": "group:3"}):
        setting = Setting("quant", 2, range="optimal", **words)
        with pytest.raises(ProblemError, match="tensor or channel"):
            state_problem(layer.weight, layer.grams, setting, free_scale=True)


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_a_mask_that_rows_share_has_no_proof_by_scales(granularity):
    """The table has no such line, and both say so, of proofs that rows with budgets of their own have."""
    rng = np.random.default_rng(1)
    words = {"method": "joint", "bits": 2, "sparsity": 0.5, "granularity": granularity}
    layer, problem = made(rng, "regular", n=4, **words)
    _, result, certificate = solved(layer, problem, 1e-2)
    assert result.bound_kind is BoundKind.RIGOROUS
    accepted(certificate, layer)
    rows = [
        RowClaim(row.row, row.x, row.upper, (replace(row.lower[0], lower=0.0, keep=2),))
        for row in certificate.rows
    ]
    setting = replace(certificate.setting, scope="layer")
    twin = replace(certificate, setting=setting, rows=tuple(rows), lower=0.0)
    refused(twin, layer, "scope layer", "no such scope")
    without = [replace(row, lower=()) for row in rows]
    accepted(replace(twin, rows=tuple(without)), layer)


def test_a_scale_of_wrong_type_is_no_scales(case):
    _, best, _, proof = case
    row = presolve(best.row(0)).problem
    searches = (Split(Below(np.zeros(3)), np.zeros(3)), *proof.searches[1:])
    twin = Scales(proof.edges, proof.anchors, proof.stiffness, searches)
    with pytest.raises(NotProven, match="made of split"):
        lower_bound(row, twin)
