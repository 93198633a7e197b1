"""Whether an error of exactly 0 is reached: against brute force on small singular matrices of whole numbers."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.equations import LONGEST, Work, echelon, least_kept
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.zero import SETS, SUMS, Zero

KINDS = ("quant", "joint", "fixed", "free", "nm", "nm-fixed", "blocks", "nm-joint")


def reaches_zero(problem):
    """Whether the least error of a row is exactly 0, its H taken as it is."""
    form = echelon(problem.hessian)
    if form is None:
        return Zero.OPEN
    keep = 0 if problem.sparsity is None else int(problem.sparsity.keep[0])
    low, high = least_kept(problem, form, Work(SUMS, SETS))
    return Zero.NO if low > keep else Zero.YES if high <= keep else Zero.OPEN


def matrix(rng, n):
    """Positive semidefinite, of whole numbers: a few samples, with equal, proportional and dead inputs."""
    a = rng.integers(-2, 3, (int(rng.integers(1, n + 1)), n))
    if n > 1 and rng.random() < 0.5:
        i, k = rng.permutation(n)[:2]
        a[:, i] = int(rng.integers(-1, 3)) * a[:, k]
    return (a.T @ a).astype(float)


def row(rng, kind, n, h=None):
    h = matrix(rng, n) if h is None else h
    w = rng.integers(-3, 4, n) * rng.choice([1.0, 0.5])
    step = rng.choice([0.5, 1.0])
    levels = np.sort(rng.choice(np.arange(-3, 4), int(rng.integers(2, 4)), replace=False)) * step
    grid = Grid(levels[None], np.zeros(n, int)) if kind in ("quant", "joint", "nm-joint") else None
    pattern = Sparsity.row(n, int(rng.integers(0, n)), update=kind != "fixed")
    if kind.startswith("nm"):
        pattern = Sparsity.nm(n, 1, 2, update=kind != "nm-fixed")
    if kind == "blocks":
        pattern = Sparsity.blocks(n, 2, 1)
    return Problem(w, Gram(h), grid, None if kind == "quant" else pattern)


def solvable(h, mask, b):
    """Whether H x = b for some x on the mask, by ranks of whole numbers."""
    a = h[:, mask]
    return rank(np.column_stack([a, b])) == rank(a)


def rank(a):
    rows, found = [[Fraction(x) for x in line] for line in a.tolist()], 0
    for k in range(a.shape[1]):
        pivot = next((line for line in rows if line[k]), None)
        if pivot is None:
            continue
        rows = [
            [x - line[k] / pivot[k] * y for x, y in zip(line, pivot, strict=True)]
            for line in rows
            if line is not pivot
        ]
        found += 1
    return found


def by_brute_force(problem):
    h, w, n = problem.hessian, problem.weight, problem.n
    if problem.free_weights:
        masks = [np.array(m, bool) for m in itertools.product((0, 1), repeat=n)]
        return any(problem.pattern.allows(m) and solvable(h, m, h @ w) for m in masks)
    values = [sorted({0.0, x}) for x in w.tolist()]
    if problem.grid is not None:
        values = [sorted({*problem.grid.of(i).tolist(), 0.0}) for i in range(n)]
        if problem.sparsity is None:
            values = [problem.grid.of(i).tolist() for i in range(n)]
    points = map(np.array, itertools.product(*values))
    return any(not (h @ (w - x)).any() and problem.is_feasible(x) for x in points)


@pytest.mark.parametrize("kind", KINDS)
def test_brute_force_agrees(kind):
    rng, counts = np.random.default_rng(KINDS.index(kind)), {True: 0, False: 0}
    for _ in range(100):
        problem = row(
            rng, kind, int(rng.choice([2, 4, 6])) if "nm" in kind or kind == "blocks" else rng.integers(1, 6)
        )
        is_zero = by_brute_force(problem)
        assert reaches_zero(problem) is (Zero.YES if is_zero else Zero.NO)
        counts[is_zero] += 1
    assert min(counts.values()) >= 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("work", [(10, 1), (30, 3), (200, 20)], ids=str)
def test_with_less_work_nothing_false_is_said(kind, work):
    """Where sums and sets run out, the lattice and the number of equations still decide some, never wrongly."""
    rng, decided = np.random.default_rng(7), 0
    for _ in range(60):
        problem = row(rng, kind, 4)
        low, high = least_kept(problem, echelon(problem.hessian), Work(*work))
        keep = 0 if problem.sparsity is None else int(problem.sparsity.keep[0])
        if low > keep or high <= keep:
            assert by_brute_force(problem) is (high <= keep)
            decided += 1
    assert decided > 0


@pytest.mark.parametrize("kind", KINDS)
def test_order_and_units_of_the_inputs_do_not_matter(kind):
    rng = np.random.default_rng(3)
    for _ in range(30):
        problem = row(rng, kind, 4)
        said = reaches_zero(problem)
        scaled = Problem(problem.weight, Gram(problem.hessian * 8), problem.grid, problem.sparsity)
        assert reaches_zero(scaled) is said
        if problem.sparsity is None or len(problem.sparsity.keep) == 1 == problem.sparsity.unit_size:
            order = rng.permutation(4)
            moved = Gram(problem.hessian[np.ix_(order, order)])
            again = Problem(problem.weight[order], moved, problem.grid, problem.sparsity)
            assert reaches_zero(again) is said


def test_an_input_twice_is_a_choice_more():
    """w = 1/2 is on no grid of whole numbers; 1/2 + 1/2 = 1 + 0 is, and 1/2 + 1/4 is not."""
    grid = Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(2, int))
    twice = Gram(np.ones((2, 2)))
    assert reaches_zero(Problem(np.array([0.5, 0.5]), twice, grid)) is Zero.YES
    assert reaches_zero(Problem(np.array([0.5, 0.25]), twice, grid)) is Zero.NO
    assert reaches_zero(Problem(np.array([0.5, 0.5]), Gram(np.eye(2)), grid)) is Zero.NO
    assert reaches_zero(Problem(np.array([0.5, 0.5]), twice, None, Sparsity.row(2, 1))) is Zero.YES
    assert reaches_zero(Problem(np.array([0.5, 0.5]), Gram(np.eye(2)), None, Sparsity.row(2, 1))) is Zero.NO


def test_the_next_number_is_another():
    """One unit in the last place decides: no tolerance anywhere."""
    grid = Grid(np.array([[-1.0, 0.0, 1.0]]), np.zeros(2, int))
    w = np.array([0.5, np.nextafter(0.5, 1)])
    assert reaches_zero(Problem(w, Gram(np.ones((2, 2))), grid)) is Zero.NO
    nearly = np.array([[1.0, 1.0], [1.0, np.nextafter(1.0, 2)]])
    assert reaches_zero(Problem(np.array([0.5, 0.5]), Gram(nearly), grid)) is Zero.NO
    assert echelon(np.array([[1.0, 1.0], [1.0, np.nextafter(1.0, 0)]])) is None  # indefinite


def test_long_sums_are_decided_by_their_lattice():
    """A row of 30 equal inputs: its even levels never add up to an odd sum, however many ways there are."""
    n = 30
    grid = Grid(2.0 * np.arange(-8, 9)[None], np.zeros(n, int))
    weight = np.ones(n)
    weight[0] = 2.0
    h = Gram(np.ones((n, n)))
    assert least_kept(Problem(weight, h, grid), echelon(h.matrix), Work(50, 0))[0] == np.inf
    weight[0] = 1.0
    assert least_kept(Problem(weight, h, grid), echelon(h.matrix), Work(50, 0)) == (0, np.inf)
    assert reaches_zero(Problem(weight, h, grid)) is Zero.YES


def test_what_is_too_long_is_not_decided():
    n = LONGEST + 1
    assert reaches_zero(Problem(np.zeros(n), Gram(np.ones((n, n))), None, Sparsity.row(n, 1))) is Zero.OPEN
