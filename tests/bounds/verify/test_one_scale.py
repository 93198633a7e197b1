"""Proofs for rows that share a scale: against all points of all rows at their best one, and subtly false twins."""

import threading
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pvq
import pytest
from one_scale import optimum_at_one_scale
from pvq.bounds.certificate import Claim, RowClaim, load_certificate
from pvq.bounds.layer_problem import state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.proof import Boxes
from pvq.bounds.verify import verify_certificate
from pvq.bounds.verify.reference import reference_bound
from pvq.bounds.verify.row import lower_bound
from pvq.layers.format import Layer
from pvq.solvers.base import Clock, Options
from pvq.solvers.bnb import values
from pvq.solvers.certify import build_certificate
from pvq.solvers.result import BoundKind, Status
from pvq.solvers.scale import ScaleSearch, solve_scales
from pvq.solvers.scale_proof import prove_together
from scale_cases import GRIDS, KINDS, accepted, changed, made, refused, solved, without

TOTAL = "the layer: the proof gives", "the layer's lower end"


def together(rng, kind, **words):
    """A layer whose rows share a scale, its problem, and its optimum."""
    layer, problem = made(rng, kind, granularity="tensor", **words)
    return layer, problem, optimum_at_one_scale(problem, list(range(len(problem))))


def claiming(certificate, lower, proofs=None):
    """The certificate with other proofs of its rows, none of which claims more than 0 for itself."""
    rows = [
        RowClaim(row.row, row.x, row.upper, (Claim(0.0, row.lower[0].proof if proofs is None else proofs[i]),))
        for i, row in enumerate(certificate.rows)
    ]
    return replace(certificate, lower=lower, rows=tuple(rows))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS, ids=lambda words: "-".join(map(str, words.values())))
def test_against_every_point(grid, kind):
    fine = grid.get("grid") in ("fp4-e2m1", "nf4")
    rows = 2 if fine else 3
    layer, problem, least = together(np.random.default_rng(0), kind, n=2, rows=rows, **grid)
    best, result, certificate = solved(layer, problem, 0.2 if fine else 2e-2)
    verified = accepted(certificate, layer)
    # levels of x are rounded: its error may be below that of every real scale, by 5e-11 of an error of 1e-11
    assert verified.lower <= least <= Fraction(verified.upper) * (1 + Fraction(1e-9)) + Fraction(1e-25)
    assert best.grid.scale.shape == (1, 1)
    assert all(row.lower is None for row in result.rows)
    assert all(claim.lower[0].lower <= 0 for claim in certificate.rows)
    if result.bound_kind is BoundKind.RIGOROUS:
        assert certificate.lower == result.lower
        assert 0 < result.lower <= verified.lower
    else:  # singular, or nothing is left, or the machine is slow
        assert kind == "duplicate" or float(least) < 1e-20 or result.status is Status.TIME_LIMIT
        assert verified.lower == certificate.lower == 0
        assert result.lower == 0 or "unproven" in result.rows[0].result.info
    refused(claiming(certificate, max(float(least) * (1 + 1e-6), 1e-30)), layer, *TOTAL)


@pytest.mark.parametrize("pattern", [{"sparsity": 0.5}, {"nm": (1, 2)}, {"sparsity": 0.5, "block": 2}])
def test_with_a_pattern(pattern):
    rng = np.random.default_rng(1)
    for grid in ({"bits": 2}, {"grid": "ternary"}):
        layer, problem, least = together(rng, "regular", n=4, method="joint", **grid, **pattern)
        _, result, certificate = solved(layer, problem, 1e-2)
        assert result.bound_kind is BoundKind.RIGOROUS
        assert result.lower <= accepted(certificate, layer).lower <= least


def test_with_trees_over_intervals_of_values(monkeypatch):
    """A search of more than one node has such a tree, in each of the rows."""
    monkeypatch.setattr(values, "FEW", 1)
    words = {"n": 4, "method": "joint", "grid": "ternary", "sparsity": 0.5}
    layer, problem, least = together(np.random.default_rng(4), "regular", **words)
    _, result, certificate = solved(layer, problem, 1e-2)
    assert result.bound_kind is BoundKind.RIGOROUS
    assert result.lower <= accepted(certificate, layer).lower <= least
    for row in certificate.rows:
        assert Boxes in {type(search) for search in row.lower[0].proof.searches}


@pytest.fixture(scope="module")
def case():
    """A layer of three rows with a certificate, its proofs and its optimum."""
    layer, problem, least = together(np.random.default_rng(2), "regular", rows=3, bits=2)
    best, result, certificate = solved(layer, problem, 1e-2)
    assert result.bound_kind is BoundKind.RIGOROUS
    return layer, best, certificate, [row.lower[0].proof for row in certificate.rows], least


def test_the_sum_is_more_than_its_rows_have_alone(case):
    """A row alone may have the scale that is best for it: it claims less, and that is what its proof proves."""
    layer, best, certificate, proofs, _ = case
    verified = accepted(certificate, layer)
    assert verified.lower > 1.05 * sum(lower for lower, _ in verified.rows)
    for i, (lower, _) in enumerate(verified.rows):
        row = presolve(best.row(i)).problem
        alone = optimum_at_one_scale(best, [i])
        assert lower_bound(row, proofs[i]) <= lower <= reference_bound(row, proofs[i]) <= alone
        x = certificate.rows[i]
        above = replace(x, lower=(Claim(float(alone) * (1 + 1e-6), proofs[i]),))
        rows = [above if j == i else other for j, other in enumerate(certificate.rows)]
        refused(replace(certificate, rows=tuple(rows)), layer, f"row {i}: the proof gives", f"row {i}: proven")


def test_the_total_holds_at_every_scale(case):
    layer, best, certificate, _, _ = case
    rng, row = np.random.default_rng(3), best.row(0)
    free = row.grid.free
    for scale in rng.uniform(free.low, free.high, 200):
        x = scale * free.codes[rng.integers(len(free.codes), size=(len(best), best.row(0).n))]
        assert certificate.lower <= sum(best.row(i).error(line) for i, line in enumerate(x))
    for scale in np.geomspace(free.low, free.high, 500):
        best_of = [min_at(best.row(i), scale) for i in range(len(best))]
        assert certificate.lower <= sum(best_of) * (1 + 1e-12)


def min_at(row, scale):
    """The least error of a row at a scale."""
    grid = np.stack(np.meshgrid(*[scale * row.grid.free.codes] * row.n), axis=-1).reshape(-1, row.n)
    u = row.weight - grid
    return np.einsum("ki,ij,kj->k", u, row.hessian, u).min()


def test_what_is_proven_is_next_to_what_is_claimed(case):
    layer, _, certificate, _, least = case
    assert least * Fraction(0.98) <= Fraction(certificate.lower)
    lower = accepted(certificate, layer).lower
    refused(claiming(certificate, lower * (1 + 1e-4)), layer, *TOTAL)


def test_intervals_that_are_not_the_same_are_not_added_up(case):
    """Each row's proof holds by itself, and the sum of these is all that is left."""
    layer, _, certificate, proofs, _ = case
    for i in range(3):
        for j, factor in ((0, 1 - 1e-15), (-1, 1 + 1e-15), (3, 1 + 1e-15)):
            edges = proofs[i].edges.copy()
            edges[j] = edges[j] * factor
            assert edges[j] != proofs[i].edges[j]
            others = [changed(proof, edges=edges) if k == i else proof for k, proof in enumerate(proofs)]
            refused(claiming(certificate, certificate.lower, others), layer, *TOTAL)
            verified = accepted(claiming(certificate, 0.0, others), layer)
            assert verified.lower <= sum(lower for lower, _ in verified.rows)
            moved = [changed(proof, edges=edges) for proof in proofs]  # of all rows: the same intervals again
            accepted(claiming(certificate, certificate.lower * (1 - 1e-9), moved), layer)


def test_intervals_left_out_are_refused(case):
    layer, _, certificate, proofs, _ = case
    count = len(proofs[0].searches)
    for i in (0, count // 2, count - 1):
        rest = [without(proof, i) for proof in proofs]
        if i:  # what is before it covers its scales, with searches that are too far away
            refused(claiming(certificate, certificate.lower, rest), layer, *TOTAL)
        else:
            refused(claiming(certificate, 0.0, rest), layer, "do not cover the range", "leave scales")
    cut = [
        replace(
            changed(proof, edges=proof.edges[:-1], anchors=proof.anchors[:-1], stiffness=proof.stiffness[:-1]),
            searches=proof.searches[:-1],
        )
        for proof in proofs
    ]
    refused(claiming(certificate, 0.0, cut), layer, "do not cover the range", "leave scales")


def weakest(proofs):
    """The interval whose sum is least."""
    ends = np.zeros((len(proofs[0].searches), 2))
    for proof in proofs:
        for k, search in enumerate(proof.searches):
            u = proof.edges[k : k + 2]
            ends[k] += search.threshold / u**2
    return int(ends.min(axis=1).argmin())


def test_each_number_of_each_row_counts(case):
    layer, best, certificate, proofs, least = case
    at = weakest(proofs)

    def with_row(i, twin):
        return claiming(certificate, certificate.lower, [twin if k == i else p for k, p in enumerate(proofs)])

    for i, proof in enumerate(proofs):
        searches = list(proof.searches)
        searches[at] = replace(searches[at], threshold=searches[at].threshold * 0.9)
        refused(with_row(i, replace(proof, searches=tuple(searches))), layer, *TOTAL)
        searches[at] = replace(searches[at], threshold=searches[at].threshold * 100)
        high = with_row(i, replace(proof, searches=tuple(searches)))
        accepted(high, layer)  # the search itself says what it finds
        refused(replace(high, lower=float(least) * (1 + 1e-6)), layer, *TOTAL)
        for factor in (0.9, 1.1):
            anchors = proof.anchors.copy()
            anchors[at] *= factor
            refused(with_row(i, changed(proof, anchors=anchors)), layer, *TOTAL)
        stiffness = proof.stiffness.copy()
        stiffness[at] = best.row(i).reference * (1 - 1e-12)
        words = "below w'Hw", "below w'Hw"
        refused(with_row(i, changed(proof, stiffness=stiffness)), layer, *words)
        stiffness[at] = best.row(i).reference * 1.01  # G is weaker along w, and the row slides to its own scale
        refused(with_row(i, changed(proof, stiffness=stiffness)), layer, *TOTAL)


def test_a_row_cannot_do_without_its_proof_or_lend_it(case):
    layer, _, certificate, proofs, _ = case
    for i in range(3):
        rest = [None if k == i else proof for k, proof in enumerate(proofs)]
        refused(claiming(certificate, certificate.lower, rest), layer, *TOTAL)
        accepted(claiming(certificate, 0.0, rest), layer)
    rolled = [proofs[1], proofs[2], proofs[0]]
    refused(claiming(certificate, certificate.lower, rolled), layer)
    twice = claiming(certificate, certificate.lower)
    refused(replace(twice, rows=(*twice.rows, twice.rows[0])), layer, "rows are not those", "rows are not those")


def test_what_rows_prove_together_is_not_what_they_prove_at_scales_of_their_own(case):
    """With one scale a row the optimum is less than what is claimed."""
    layer, best, certificate, _, _ = case
    own = sum(optimum_at_one_scale(best, [i]) for i in range(3))
    assert own < certificate.lower
    setting = replace(certificate.setting, granularity="channel")
    refused(replace(certificate, setting=setting), layer, "not those of this grid", "not those of this grid")
    scale, zero = (np.repeat(a, 3, axis=0) for a in certificate.scales)
    start = state_problem(layer.weight, layer.grams, setting, free_scale=True).grid
    low, high = start.span
    clipped = np.clip(scale, low, high)
    rows = [
        replace(row, x=np.zeros_like(row.x), upper=1e6) if 0 in start.codebook.levels else row
        for row in certificate.rows
    ]
    twin = replace(certificate, setting=setting, scales=(clipped, zero), rows=tuple(rows), upper=1e7)
    refused(twin, layer)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
def test_the_order_of_rows_means_nothing(case, order):
    layer, _, certificate, proofs, _ = case
    other = Layer("other", layer.weight[order], layer.grams)
    rows = [
        RowClaim(i, certificate.rows[k].x, certificate.rows[k].upper, (Claim(0.0, proofs[k]),))
        for i, k in enumerate(order)
    ]
    moved = replace(certificate, name="other", sha256=other.sha256, rows=tuple(rows))
    assert accepted(moved, other).lower == accepted(certificate, layer).lower
    refused(replace(moved, rows=certificate.rows), other)


def test_weights_times_a_power_of_two(case):
    """Scales, anchors and errors go along, to the last digit; G and what is searched stay as they are."""
    layer, _, certificate, proofs, _ = case
    other = Layer("other", layer.weight * 8, layer.grams)
    twins = [
        changed(proof, edges=proof.edges / 8, anchors=proof.anchors / 8, stiffness=proof.stiffness * 64)
        for proof in proofs
    ]
    rows = [
        RowClaim(i, row.x * 8, row.upper * 64, (Claim(0.0, twin),))
        for i, (row, twin) in enumerate(zip(certificate.rows, twins, strict=True))
    ]
    scale, zero = certificate.scales
    moved = replace(
        certificate,
        name="other",
        sha256=other.sha256,
        rows=tuple(rows),
        scales=(scale * 8, zero),
        lower=certificate.lower * 64,
        upper=certificate.upper * 64,
    )
    # what levels that are rounded may lose is next to nothing, and is counted in digits
    assert accepted(moved, other).lower == pytest.approx(accepted(certificate, layer).lower * 64, rel=1e-14)
    refused(replace(moved, lower=moved.lower * 1.01), other, *TOTAL)


def test_a_file_says_the_same(case, tmp_path):
    layer, _, certificate, _, _ = case
    certificate.save(tmp_path / "proof.npz")
    read = load_certificate(tmp_path / "proof.npz")
    assert accepted(read, layer).lower == accepted(certificate, layer).lower
    assert read.lower == certificate.lower


def test_rows_of_two_gram_matrices_dead_inputs_and_rows_of_zeros():
    rng = np.random.default_rng(4)
    a = rng.standard_normal((2, 12, 3))
    a[0, :, 1] = 0
    weight = rng.standard_normal((4, 3))
    weight[3] = 0
    layer = Layer("made", weight, np.einsum("gki,gkj->gij", a, a) / 12)
    _, problem = made(rng, "regular", granularity="tensor", bits=2)
    problem = state_problem(layer.weight, layer.grams, problem.setting, free_scale=True)
    _, result, certificate = solved(layer, problem, 1e-2)
    assert result.bound_kind is BoundKind.RIGOROUS
    assert result.rows[3].result.upper == 0
    assert certificate.rows[3].lower[0].proof is None
    assert result.lower <= accepted(certificate, layer).lower <= optimum_at_one_scale(problem, [0, 1, 2])


def searched(rows=3, n=12, seed=5):
    """A search over a scale that rows share, not begun."""
    rng = np.random.default_rng(seed)
    a, w = rng.standard_normal((2 * n, n)), rng.standard_normal((rows, n))
    layer, (_, problem) = Layer("made", w, a.T @ a), made(rng, "regular", granularity="tensor", bits=3)
    return layer, state_problem(layer.weight, layer.grams, problem.setting, free_scale=True)


def test_a_time_limit_leaves_time_for_the_proof():
    layer, problem = searched()
    solve_scales(problem, Options(time_limit=None, gap=0.1))  # compiles
    kinds = set()
    for limit in (0.02, 0.1, 0.4):
        begin = time.process_time()
        best, result = solve_scales(problem, Options(time_limit=limit, gap=1e-6))
        assert time.process_time() - begin < 1.1 * 3 * limit + 1.5
        kinds.add(result.bound_kind)
        if result.bound_kind is BoundKind.RIGOROUS:
            assert 0 < result.lower <= accepted_by_first(build_certificate(layer, best, result), layer).lower
        elif result.lower > 0:
            assert "unproven" in result.rows[0].result.info
    assert BoundKind.RIGOROUS in kinds


def accepted_by_first(certificate, layer):
    """The second checker takes long for 12 inputs."""
    return verify_certificate(certificate, layer.weight, layer.grams, layer.sha256)


def test_ctrl_c_ends_a_proof():
    _, problem = searched()
    options = Options(time_limit=None, gap=0.05)
    search = ScaleSearch(problem, list(range(len(problem))), options, 1)
    search.run()
    intervals = sorted((interval for *_, interval in search.heap), key=lambda interval: interval.a)
    given = search.rows, search.lower, intervals
    whole = prove_together(*given, Clock(options), search.nodes, 1)
    assert whole.lower >= search.lower * (1 - 1e-6)
    both = prove_together(*given, Clock(options), search.nodes, 2)
    assert both.lower == whole.lower
    for ended in (Options(time_limit=0.0), Options(time_limit=None, stop=threading.Event())):
        ended.stop.set()
        found = prove_together(*given, Clock(ended), search.nodes, 2)
        assert found.lower == 0.0
        assert found.proofs == ()
        assert "not established" in found.why
    options.stop.set()
    result = search.results()[0].result
    assert result.proof is None


def test_an_interrupted_search_says_what_it_is_worth():
    _, problem = searched()
    options = Options(time_limit=None, gap=1e-6)
    threading.Timer(0.3, options.stop.set).start()
    _, result = solve_scales(problem, options)
    assert result.bound_kind is not BoundKind.RIGOROUS or result.status is Status.OPTIMAL
    assert result.lower <= result.upper


def test_the_program_says_rigorous(tmp_path):
    rng = np.random.default_rng(6)
    layer = pvq.Layer.from_activations(rng.standard_normal((3, 5)), rng.standard_normal((40, 5)))
    result = pvq.bound(layer, pvq.Quant(bits=2, range="optimal"), gap=1e-2, certify=True)
    assert result.bound_kind == "rigorous"
    assert all(row.lower is None for row in result.rows)
    assert result.document["total"]["bound_kind"] == "rigorous"
    interval = pvq.verify(result.certificate(), layer, reference=True)
    assert result.lower <= interval.min
    assert interval.max <= result.upper * (1 + 1e-12)
