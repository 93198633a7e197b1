"""Trees over intervals of values: what a leaf proves is what its points say, and every point has its leaf."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Block, Boxes
from pvq.bounds.sparsity import Sparsity
from pvq.bounds.verify.boxes import MAX_LEAVES, boxes_of, sorted_values
from pvq.bounds.verify.reference import Limits, NotEstablished, reference_bound
from pvq.bounds.verify.reference.leaf import Shared
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.split import values_of


def row(rng, fixed, n=4):
    """Whole numbers, so that nothing is rounded: singular, tied, and weights of 0 among them."""
    x = rng.integers(-2, 3, (n, int(rng.integers(1, 6)))).astype(float)
    h = x @ x.T + np.diag(rng.integers(1, 3, n).astype(float))
    patterns = Sparsity.row(n, int(rng.integers(n)), not fixed), Sparsity.nm(n, int(rng.integers(3)), 2, not fixed)
    patterns += (Sparsity.blocks(n, 2, int(rng.integers(3)), not fixed),)
    levels = np.sort(rng.choice(np.arange(-4.0, 5.0), 3, replace=False))
    grid = None if fixed else Grid(levels[None, :], np.zeros(n, np.int64))
    return Problem(rng.integers(-8, 9, n) / 4, Gram(h), grid, patterns[rng.integers(3)])


def grown(rng, problem, most=7):
    """A random tree, and the numbers that its leaves leave to every input."""
    code, leaves, last = [], [], sorted_values(problem).last

    def grow(lo, hi, depth):
        branches = np.flatnonzero(lo < hi)
        if not depth or not len(branches) or rng.random() < 0.1:
            code.append((-1, len(leaves)))
            leaves.append((lo, hi))
            return
        i = int(rng.choice(branches))
        k = int(rng.integers(lo[i], hi[i]))
        code.append((i, k))
        at = np.arange(len(lo)) == i
        grow(lo, np.where(at, k, hi), depth - 1)
        grow(np.where(at, k + 1, lo), hi, depth - 1)

    grow(np.zeros_like(last), last, int(rng.integers(1, most)))
    return np.array(code), leaves


def made(rng, fixed):
    """A row, a proof of it and its leaves: any v and any D below H that float64 holds."""
    problem = row(rng, fixed)
    code, leaves = grown(rng, problem)
    eigenvalue = float(np.linalg.eigvalsh(problem.hessian)[0])
    d = np.floor(rng.uniform(-1, 1, problem.n) * eigenvalue * 2**10) / 2**11
    v = rng.integers(-8, 9, (len(leaves), problem.n)) / 8
    return problem, Boxes(code, Below(d), v), leaves


def points(problem):
    """Everything that is feasible, as numbers of values and as values."""
    lists = [np.unique(values) for values in values_of(problem)]
    for at in itertools.product(*(range(len(values)) for values in lists)):
        x = np.array([values[k] for values, k in zip(lists, at, strict=True)])
        if problem.is_feasible(x):
            yield np.array(at), x


def right_side(problem, boxes, v, x):
    """-v'Mv + 2 (Mv)'u + u'Du, of numbers whose products float64 holds exactly."""
    u, d = x - problem.weight, boxes.below.d
    mv = problem.hessian @ v - d * v
    return Fraction(float(-v @ mv + 2 * mv @ u + d @ u**2))


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("part", range(3))
def test_a_proof_is_worth_the_least_right_side_of_all_points(fixed, part):
    rng, below = np.random.default_rng([part, fixed]), 0
    for _ in range(100):
        problem, boxes, leaves = made(rng, fixed)
        least = None
        for at, x in points(problem):
            of = [k for k, (lo, hi) in enumerate(leaves) if (lo <= at).all() and (at <= hi).all()]
            assert len(of) == 1
            value = right_side(problem, boxes, boxes.v[of[0]], x)
            assert value <= Fraction(problem.error(x))
            least = value if least is None else min(least, value)
        assert reference_bound(problem, boxes) == least
        for margin in (1.0, 4.0):
            found = lower_bound(problem, boxes, margin)
            assert float(least) - 1e-9 * max(1.0, abs(float(least))) <= found <= least
        below += len(leaves) > 3
    assert below > 20


def test_leaves_are_those_that_were_grown():
    rng = np.random.default_rng(4)
    for _ in range(100):
        problem = row(rng, bool(rng.integers(2)))
        code, leaves = grown(rng, problem, 9)
        found = [(lo.tolist(), hi.tolist(), k) for lo, hi, k in boxes_of(code, sorted_values(problem).last)]
        assert found == [(lo.tolist(), hi.tolist(), k) for k, (lo, hi) in enumerate(leaves)]


def two_inputs():
    """Values -1, 0, 1 of each, one of them kept; the optimum is 0.5."""
    grid = Grid(np.array([[-1.0, 1.0]]), np.zeros(2, np.int64))
    return Problem(np.array([1.5, 0.5]), Gram(np.eye(2)), grid, Sparsity.row(2, 1))


TRUE = [(0, 0), (-1, 0), (0, 1), (-1, 0), (1, 1), (-1, 1), (-1, 0)]


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        (TRUE[:-1], "ends before", "ends before"),
        (TRUE[1:], "goes on", "goes on"),
        ([*TRUE, (-1, 0)], "goes on", "goes on"),
        ([], "not one of", "ends before"),
        ([(2, 0), *TRUE[1:]], "no values on one side", "an input that is none"),
        ([(0, 2), *TRUE[1:]], "no values on one side", "no value on one side"),
        ([(0, -1), *TRUE[1:]], "no values on one side", "no value on one side"),
        ([(0, 0), (-1, 0), (0, 0), *TRUE[3:]], "no values on one side", "no value on one side"),
        ([(0, 0), (0, 1), *TRUE[1:]], "no values on one side", "no value on one side"),
        ([*TRUE[:-1], (-1, 2)], "names a v", "names a v"),
        ([*TRUE[:-1], (-1, -1)], "names a v", "names a v"),
        ([*TRUE[:-1], (-2, 0)], "names a v", "names a v"),
        ([(*pair, 0) for pair in TRUE], "not one of", "no list of pairs"),
        ([(-(2**62), 0)], "names a v", "names a v"),
    ],
)
def test_records_that_are_no_tree_are_refused(code, first, second):
    problem, below, v = two_inputs(), Below(np.full(2, 0.5)), np.array([[0.0, 0.0], [-0.5, -0.5]])
    true = Boxes(TRUE, below, v)
    assert 0 < lower_bound(problem, true) <= reference_bound(problem, true) <= Fraction(1, 2)
    shape = (-1, 3) if code and len(code[0]) == 3 else (-1, 2)
    false = replace(true, code=np.array(code, np.int64).reshape(shape))
    with pytest.raises(NotProven, match=first):
        lower_bound(problem, false)
    with pytest.raises(NotEstablished, match=second):
        reference_bound(problem, false)


def test_parts_that_are_not_those_of_the_row_are_refused():
    problem, true = two_inputs(), Boxes(TRUE, Below(np.full(2, 0.5)), np.zeros((2, 2)))
    twins = [
        (replace(true, v=np.zeros((2, 3))), "not those of a row"),
        (replace(true, v=np.zeros(2)), "not those of a row"),
        (replace(true, v=np.full((2, 2), np.nan)), "finite"),
        (replace(true, below=Below(np.full(3, 0.5))), "not those of a row"),
        (replace(true, below=Below(np.full(2, np.inf))), "finite"),
        (replace(true, below=Below(np.full(2, 1 + 1e-5))), "semidefinite"),
        (replace(true, below=Below(np.zeros(2), (Block([0, 1], np.eye(2) / 2),))), "no blocks"),
        (replace(true, below=Below(np.full(2, 0.5), (), [[0, 1]], [0.1])), "no pairs"),
    ]
    for false, words in twins:
        with pytest.raises(NotProven, match=words):
            lower_bound(problem, false)
        with pytest.raises(NotEstablished):
            reference_bound(problem, false)


def test_other_kinds_of_problems_have_no_such_proof():
    grid = Grid(np.array([[-1.0, 1.0]]), np.zeros(2, np.int64))
    for problem in (
        Problem(np.ones(2), Gram(np.eye(2)), grid),
        Problem(np.ones(2), Gram(np.eye(2)), None, Sparsity.row(2, 1)),
    ):
        boxes = Boxes([(-1, 0)], Below(np.full(2, 0.5)), np.zeros((1, 2)))
        with pytest.raises(NotProven, match="proves nothing about"):
            lower_bound(problem, boxes)
        with pytest.raises(NotEstablished, match="need a pattern"):
            reference_bound(problem, boxes)


def chain(n, levels):
    """The values of one input after the other cut off from below: a record as deep as it has leaves."""
    code = [(i, k) for i in range(n) for k in range(levels - 1)]
    return [pair for branch in code for pair in (branch, (-1, 0))] + [(-1, 0)]


def test_records_that_are_long_or_deep():
    """As many leaves as are looked at, on one path, take some seconds; one more is refused, unread."""
    n, levels = 16, 2**12 + 1
    grid = Grid(np.arange(1.0, levels)[None, :] - 0.5, np.zeros(n, np.int64))  # and 0
    problem = Problem(np.ones(n), Gram(np.eye(n)), grid, Sparsity.row(n, 3))
    boxes = Boxes([*chain(n, levels)[: 2 * MAX_LEAVES - 2], (-1, 0)], Below(np.full(n, 0.5)), np.zeros((1, n)))
    assert boxes.leaves == MAX_LEAVES
    assert lower_bound(problem, boxes) == pytest.approx(13 * 0.5 + 3 * 0.125)
    more = replace(boxes, code=[(n - 1, 0), (-1, 0), *boxes.code.tolist()])
    with pytest.raises(NotProven, match="65537 leaves, at most 65536"):
        lower_bound(problem, more)
    with pytest.raises(NotEstablished, match="at most 65536 leaves"):
        reference_bound(problem, more)
    with pytest.raises(NotEstablished, match=r"within 0\.1 s"):
        reference_bound(problem, boxes, shared=Shared(Limits(0.1)))
