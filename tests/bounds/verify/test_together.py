"""Products of many splits at once: the bounds are those of rows alone, and nobody gets another matrix's."""

from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.certified import certified_error, certified_errors, exact_error
from pvq.bounds.gram import Gram
from pvq.bounds.problem import Problem, certified_rows
from pvq.bounds.proof import Below, Split
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify import NotProven, lower_bound
from pvq.bounds.verify.psd import U, defect
from pvq.bounds.verify.split import Terms, least, upper_bound, upper_bounds
from pvq.bounds.verify.together import multiply, products
from pvq.solvers.brute import Brute

N = 8


def stated(rng, pattern=None, count=6, n=N):
    a = rng.standard_normal((4 * n, n)) + 0.5 * rng.standard_normal((4 * n, 1))
    gram = Gram.from_array(a.T @ a / (4 * n))
    return [Problem(rng.standard_t(3, n), gram, None, pattern or Sparsity.row(n, n // 3)) for _ in range(count)]


def proofs_of(rng, problems, part=0.9):
    h = problems[0].hessian
    below = Below(np.full(len(h), part * np.linalg.eigvalsh(h)[0]))
    return [Split(below, -0.5 * problem.weight + 0.1 * rng.standard_normal(len(h))) for problem in problems]


@pytest.mark.parametrize("pattern", [Sparsity.row(N, 3), Sparsity.nm(N, 2, 4), Sparsity.nm(N, 0, 2)])
def test_bounds_are_those_of_rows_alone_and_below_the_optimum(pattern):
    rng = np.random.default_rng(0)
    problems = stated(rng, pattern)
    proofs = proofs_of(rng, problems)
    alone = [lower_bound(problem, proof) for problem, proof in zip(problems, proofs, strict=True)]
    multiply(problems[0].gram, proofs)
    for problem, proof, bound in zip(problems, proofs, alone, strict=True):
        found = lower_bound(problem, proof)
        assert found == pytest.approx(bound, rel=1e-12, abs=1e-12 * problem.reference)
        assert found <= Brute().solve(problem).upper


def test_a_diagonal_that_is_a_little_too_large_proves_nothing_together_either():
    rng = np.random.default_rng(1)
    problems = stated(rng)
    proofs = proofs_of(rng, problems, 1 + 1e-6)
    multiply(problems[0].gram, proofs)
    for problem, proof in zip(problems, proofs, strict=True):
        with pytest.raises(NotProven):
            lower_bound(problem, proof)


def test_products_of_another_matrix_are_not_taken():
    """Half of H has half of the error: with its products the bound would be false, or none."""
    rng = np.random.default_rng(2)
    problems = stated(rng)
    proofs = proofs_of(rng, problems)
    alone = [lower_bound(problem, proof) for problem, proof in zip(problems, proofs, strict=True)]
    for factor in (0.5, 2.0):
        other = Gram(factor * problems[0].hessian, rank=N)
        multiply(other, proofs)
        for problem, proof, bound in zip(problems, proofs, alone, strict=True):
            assert lower_bound(problem, proof) == bound


def test_products_are_forgotten_once_they_are_used():
    rng = np.random.default_rng(3)
    problems = stated(rng)
    proofs = proofs_of(rng, problems)
    gram = problems[0].gram
    multiply(gram, [None, *proofs])
    for proof in proofs * 2:
        for found, wanted in zip(
            products(gram, proof), (gram.matrix @ proof.v, abs(gram.matrix) @ abs(proof.v)), strict=True
        ):
            assert np.allclose(found, wanted, rtol=1e-13, atol=1e-15)


def test_proofs_of_other_lengths_are_left_to_the_verifier():
    problems = stated(np.random.default_rng(4))
    wrong = [Split(Below(np.zeros(N + 1)), np.ones(N + 1)), Split(Below(np.zeros(N)), np.ones(N + 1))]
    multiply(problems[0].gram, wrong)
    for proof in wrong:
        with pytest.raises(NotProven):
            lower_bound(problems[0], proof)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_saving_that_is_no_number_is_not_left_out(bad):
    problem = stated(np.random.default_rng(5), Sparsity.nm(N, 2, 4))[0]
    kept = -np.ones(N)
    kept[5] = bad
    found = Terms(1.0, kept, np.zeros(N), np.zeros(N), np.zeros(N))
    assert least(problem, found, np.zeros(N, np.int8), 1.0) == -np.inf


def test_the_largest_savings_of_every_group_are_taken():
    rng = np.random.default_rng(6)
    for pattern in (Sparsity.nm(N, 2, 4), Sparsity.row(N, 3), Sparsity.row(N, 0)):
        problem = stated(rng, pattern)[0]
        for _ in range(20):
            state = rng.integers(0, 3, N).astype(np.int8)
            kept, pruned = -rng.random(N), rng.random(N)
            found = least(problem, Terms(0.0, kept, pruned, np.zeros(N), np.zeros(N)), state, 1.0)
            wanted = sum(kept[state == 1]) + sum(pruned[state != 1])
            for group, keep in enumerate(pattern.keep):
                own = pattern.group == group
                free = np.sort((pruned - kept)[own & (state == 0)])[::-1]
                wanted -= free[: max(0, keep - (state[own] == 1).sum())].sum()
            assert found == pytest.approx(wanted, rel=1e-12)


def test_errors_of_many_rows_are_rounded_as_those_of_one():
    rng = np.random.default_rng(7)
    problems = stated(rng, count=5, n=70)
    points = [problem.weight + 1e-3 * rng.standard_normal(70) for problem in problems]
    points[3] = problems[3].weight
    gram = problems[0].gram
    for problem, x, found, above in zip(
        problems, points, certified_rows(problems, points), upper_bounds(problems, points, 1.0), strict=True
    ):
        exact = exact_error(gram, problem.weight, x)
        assert Fraction(found.lower) <= exact <= Fraction(found.upper)
        assert exact <= Fraction(above) <= Fraction(upper_bound(problem, x, 1.0)) * Fraction(1 + 1e-9)
        alone = certified_error(gram, problem.weight, x, problem.reference)
        assert found.upper == pytest.approx(alone.upper, rel=1e-9)
        assert found.rounding == pytest.approx(alone.rounding, rel=0.1)
        assert found.expanded == pytest.approx(alone.expanded, rel=1e-9)
        reference = exact_error(gram, problem.weight, np.zeros(70))
        assert abs(Fraction(problem.reference) - reference) <= Fraction(1e-9) * reference
    lines = certified_errors(gram, np.zeros((0, 70)), np.zeros((0, 70)), np.zeros(0))
    assert lines == []


def test_rows_of_several_matrices_are_refused():
    rng = np.random.default_rng(9)
    problems = [*stated(rng, count=1), *stated(rng, count=1)]
    points = [problem.weight for problem in problems]
    for errors in (lambda: certified_rows(problems, points), lambda: upper_bounds(problems, points, 1.0)):
        with pytest.raises(ValueError, match="one Gram matrix"):
            errors()


def test_rounding_that_moves_a_point_is_within_what_is_said_of_it():
    """e(x) of w and x that are rounded to 24 bits and back moves by less than 2^29 times what 53 bits may."""
    rng = np.random.default_rng(8)
    problems = stated(rng, count=8, n=30)
    for problem in problems:
        x = problem.weight * (1 + 0.1 * rng.standard_normal(30))
        found = certified_errors(problem.gram, problem.weight[None], x[None], np.array([np.inf]))[0]
        moved = Problem(np.float64(np.float32(problem.weight)), problem.gram, None, problem.sparsity)
        away = abs(moved.error(np.float64(np.float32(x))) - problem.error(x))
        assert away <= 2.0**29 * found.rounding
        assert found.rounding <= found.expanded * 1.01 + 1e-18


@pytest.mark.parametrize("n", [255, 256, 257, 520])
def test_blocks_of_the_remainder_leave_nothing_out(n):
    """H - D a little below singular is not proven, whatever block of the remainder says so."""
    rng = np.random.default_rng(n)
    a = rng.standard_normal((2 * n, n))
    h = a.T @ a / (2 * n)
    h = (h + h.T) / 2
    values, vectors = np.linalg.eigh(h)
    assert not defect(h - 0.999 * values[0] * np.eye(n), U * np.abs(h)).any()
    error = np.zeros((n, n))
    for i, j in ((0, n - 1), (n - 1, n - 1), (3, 100)):
        error[:] = 0.0
        error[i, j] = error[j, i] = 1e-8
        eps = defect(h - (1 - 1e-12) * values[0] * np.eye(n), U * np.abs(h) + error)
        assert eps[i] >= 0.4e-8
    eps = defect(h - (1 + 1e-10) * values[0] * np.eye(n), U * np.abs(h))
    assert vectors[:, 0] @ (eps * vectors[:, 0]) >= 1e-10 * values[0] * 0.99
