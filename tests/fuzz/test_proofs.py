"""The quick part of the fuzz of proofs: both checkers agree, and neither proves more than is true."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import certificates
import checkers
import numpy as np
import problems
import proofs
import pytest
from mutations import mutated
from pvq.bounds.gram import Gram
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.bnb import values
from scale_cases import made, optimum, solved


@pytest.mark.parametrize("part", range(4))
def test_both_checkers_agree_and_prove_nothing_false(part):
    found = [proofs.one_case(case) for case in range(500 * part, 500 * part + 500)]
    assert [bad for _, bad in found if bad] == []
    who = Counter(kind.split()[0] for kind, _ in found)
    assert who["both"] > 150
    assert who["neither"] > 150
    assert who["reference-only"] > 5
    assert sum("certificate" in kind for kind, _ in found) == 25


@pytest.mark.parametrize("kind", ["regular", "nearly singular", "large", "tied"])
@pytest.mark.parametrize("grid", [{"bits": 2}, {"bits": 2, "grid": "int-asym"}, {"grid": "ternary"}], ids=str)
def test_changed_proofs_of_all_scales(kind, grid):
    """A number, an index or a part changed: both checkers stay below the optimum over every scale, and agree."""
    rng, who = np.random.default_rng(5), Counter()
    for _ in range(3):
        layer, problem = made(rng, kind, rows=1, **grid)
        best, result, _ = solved(layer, problem, 1e-2)
        row, proof, least = presolve(best.row(0)).problem, result.rows[0].result.proof, optimum(problem.row(0))
        if proof is None:
            continue
        assert checkers.outcome(row, proof, "row", least, "honest") == "accepted by both"
        who.update(checkers.outcome(row, mutated(rng, proof), "row", least) for _ in range(100))
    assert set(who) <= {"accepted by both", "refused by both", "accepted by the reference only"}
    assert min(who["accepted by both"], who["refused by both"]) > 20


@pytest.mark.parametrize("kind", ["regular", "nearly singular", "large"])
@pytest.mark.parametrize("words", [{"bits": 2, "sparsity": 0.5}, {"grid": "ternary", "nm": (1, 2)}], ids=str)
def test_changed_proofs_of_all_scales_under_a_pattern(kind, words, monkeypatch):
    """The same where intervals of scales have trees over intervals of values."""
    monkeypatch.setattr(values, "FEW", 1)
    rng, who = np.random.default_rng(5), Counter()
    for _ in range(3):
        layer, problem = made(rng, kind, n=4, rows=1, method="joint", **words)
        best, result, _ = solved(layer, problem, 1e-2)
        row, proof, least = presolve(best.row(0)).problem, result.rows[0].result.proof, optimum(problem.row(0))
        if proof is None:
            continue
        assert checkers.outcome(row, proof, "row", least, "honest") == "accepted by both"
        who.update(checkers.outcome(row, mutated(rng, proof), "row", least) for _ in range(60))
    assert set(who) <= {"accepted by both", "refused by both", "accepted by the reference only"}
    assert min(who["accepted by both"], who["refused by both"]) > 20


@pytest.mark.parametrize("kind", ["regular", "nearly singular", "dead"])
@pytest.mark.parametrize("grid", [{"bits": 2}, {"bits": 1, "grid": "int-asym"}, {"grid": "ternary"}], ids=str)
def test_changed_certificates_of_rows_that_share_a_scale(kind, grid):
    """The same of what rows prove together: whatever is accepted is true of all codes at all scales."""
    rng = np.random.default_rng(6)
    layer, problem = made(rng, kind, rows=2, granularity="tensor", **grid)
    _, result, certificate = solved(layer, problem, 5e-2)
    assert result.bound_kind == "rigorous"
    assert certificates.outcome(layer, certificate, changed=False) == "accepted by both"
    who = Counter()
    for _ in range(40):
        try:
            other = certificates.read_back(mutated(rng, certificate))
        except (certificates.CertificateError, certificates.ProblemError):
            continue
        proofs = [row.lower[0].proof for row in other.rows if row.lower]
        if rng.random() < 0.3 and len(proofs) == 2:  # the same intervals in both rows, others than they were
            edges = mutated(rng, proofs[0].edges)
            rows = [
                replace(row, lower=(replace(row.lower[0], proof=replace(proof, edges=edges)),))
                for row, proof in zip(other.rows, proofs, strict=True)
            ]
            other = replace(other, rows=tuple(rows))
        who[certificates.outcome(layer, other)] += 1
    assert set(who) <= {"accepted by both", "refused by both", "accepted by the reference only"}
    assert min(who["accepted by both"], who["refused by both"]) > 3


@pytest.mark.parametrize("seed", [9580, 14880])
def test_cases_that_failed_once(seed):
    """A pair N:M of one number; a bound of a row that float64 cannot hold, in the message that refuses it."""
    assert proofs.one_case(seed)[1] == []


def test_a_case_depends_on_its_seed_alone():
    assert [proofs.one_case(seed) for seed in (7, 40)] == [proofs.one_case(seed) for seed in (40, 7)][::-1]


def test_what_is_wrong_is_seen(monkeypatch):
    """A checker that proves too much, one that refuses what the other accepts, and one that proves less."""
    row = Problem(np.ones(2), Gram(np.array([[2.0, 1.0], [1.0, 2.0]])), None, Sparsity.row(2, 1))
    split, best = Split(Below(np.ones(2)), np.zeros(2)), Fraction(3, 2)
    assert problems.optimum(row) == best
    assert checkers.outcome(row, split, "row", best) == "accepted by both"
    assert checkers.outcome(row, split, "row", Fraction(1, 2)) == "wrong: above the optimum"
    too_much = replace(split, below=Below(np.full(2, 1.5)))
    assert checkers.outcome(row, too_much, "row", best) == "refused by both"
    assert checkers.outcome(row, too_much, "row", best, "honest") == "wrong: an honest proof is refused"
    monkeypatch.setattr(checkers, "reference_bound", lambda *_: Fraction(1, 2))
    assert checkers.outcome(row, split, "row", best) == "wrong: the reference proves less"
    monkeypatch.setattr(checkers, "reference_bound", lambda *_: -np.inf)
    assert checkers.outcome(row, split, "row", best) == "wrong: accepted by the first only"


def test_false_claims_of_certificates_are_seen():
    rng = np.random.default_rng(5)
    layer, certificate = certificates.made(rng)
    assert certificates.outcome(layer, certificate, changed=False) == "accepted by both"
    problem = certificates.state_problem(layer.weight, layer.grams, certificate.setting, certificate.shifts)
    assert certificates.complaint(problem, certificate) is None
    row, *others = certificate.rows
    claims = (replace(row.lower[0], lower=1e9),)
    for false in (
        replace(certificate, lower=certificate.upper * 2),
        replace(certificate, upper=certificate.upper * 0.999),
        replace(certificate, rows=(replace(row, upper=row.upper * 0.999), *others)),
        replace(certificate, rows=(replace(row, lower=claims), *others)),
        replace(certificate, rows=(replace(row, x=row.x + 0.123), *others)),
    ):
        assert certificates.complaint(problem, false) is not None
        assert certificates.outcome(layer, false) == "refused by both"


def test_every_part_of_a_certificate_is_changed_now_and_then():
    layer, certificate = certificates.made(np.random.default_rng(5))
    changed = set()
    for seed in range(400):
        try:
            other = mutated(np.random.default_rng(seed), certificate)
        except certificates.ProblemError:
            changed.add("no problem")
            continue
        changed |= {
            name
            for name in ("name", "sha256", "setting", "shifts", "lower", "upper")
            if getattr(other, name) != getattr(certificate, name)
        }
        changed |= {"rows"} if len(other.rows) != len(certificate.rows) else set()
        for row, before in zip(other.rows, certificate.rows, strict=False):
            changed |= {
                name for name in ("row", "x", "upper", "lower") if getattr(row, name) is not getattr(before, name)
            }
    assert changed >= {"sha256", "setting", "shifts", "rows", "row", "x", "upper", "lower", "no problem"}
