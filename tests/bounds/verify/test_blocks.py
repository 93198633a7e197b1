"""Blocks of a D that are searched side by side: each as if it were alone, and one false part spoils no other."""

import itertools
import math

import numpy as np
import pytest
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Block, Enumeration, Order, Split
from pvq.bounds.verify.blocks import block_parts
from pvq.bounds.verify.enumeration import proven_diagonals
from pvq.bounds.verify.psd import leading_psd
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.split import down
from pvq.solvers.brute import Brute

from row_cases import gram, grid, order_of

PARTS = ([4, 1], [0, 6], [2, 7], [3], [5])


def split(problem, rng, thresholds=1e3, change=lambda b, order: order):
    """Blocks of a fifth of H, whose orders go through `change`."""
    h, blocks, searches = problem.hessian, [], []
    for b, part in enumerate(PARTS):
        matrix = 0.2 * h[np.ix_(part, part)]
        blocks.append(Block(part, matrix))
        searches.append(Enumeration(change(b, order_of(matrix)), thresholds))
    return Split(Below(np.zeros(8), tuple(blocks)), 0.1 * rng.standard_normal(8), tuple(searches))


def minima(problem, proof, g):
    """The least u'Au + 2 g'u of each block."""
    for block in proof.below.blocks:
        i = block.inputs
        choices = itertools.product(*(problem.grid.of(k) - problem.weight[k] for k in i))
        yield min(float(np.array(u) @ block.matrix @ np.array(u) + 2 * g[i] @ np.array(u)) for u in choices)


@pytest.mark.parametrize("seed", range(10))
def test_every_block_is_bounded_by_its_own_minimum(seed):
    rng = np.random.default_rng(seed)
    problem = Problem(rng.standard_normal(8), gram(rng, 8, "regular"), grid(rng, 8))
    proof, g = split(problem, rng), rng.standard_normal(8)
    least = list(minima(problem, proof, g))
    for b, block in enumerate(proof.below.blocks):
        alone = Split(Below(np.zeros(8), (block,)), proof.v, (proof.blocks[b],))
        found = down(*block_parts(problem, alone, g, np.zeros(8), 1.0))
        assert found == pytest.approx(least[b], rel=1e-9)
        assert found <= least[b]
        assert down(*block_parts(problem, alone, g, np.zeros(8), 4.0)) <= found
    whole = down(*block_parts(problem, proof, g, np.zeros(8), 1.0))
    assert whole == pytest.approx(sum(least), rel=1e-9, abs=1e-9)
    assert whole <= math.fsum(least)


@pytest.mark.parametrize("seed", range(10))
def test_a_diagonal_that_is_a_little_too_large_is_not_used(seed):
    """Of one block of several: the others keep theirs, and the bound stays below the optimum."""
    rng = np.random.default_rng(seed)
    problem = Problem(rng.standard_normal(8), gram(rng, 8, "regular"), grid(rng, 8))

    def larger(b, order):
        if b != 1:
            return order
        own = 0.2 * problem.hessian[np.ix_(PARTS[1], PARTS[1])][np.ix_(order.order, order.order)]
        root = np.sqrt(order.diagonal[2])
        most = np.linalg.eigvalsh(own / root / root[:, None])[0]  # times as much is just below the block
        return Order(order.order, order.diagonal * most * (1 + 1e-9))

    state = rng.bit_generator.state
    honest = lower_bound(problem, split(problem, rng))
    rng.bit_generator.state = state
    assert lower_bound(problem, split(problem, rng, change=larger)) == pytest.approx(honest, rel=1e-9)
    assert honest <= Brute().solve(problem).upper
    matrices = np.array([0.2 * problem.hessian[np.ix_(part, part)] for part in PARTS[:3]])
    orders = [order_of(matrix) for matrix in matrices]
    given = np.array([larger(b, order).diagonal for b, order in enumerate(orders)])
    permuted = np.array([m[np.ix_(o.order, o.order)] for m, o in zip(matrices, orders, strict=True)])
    proven = proven_diagonals(permuted, given)
    assert not proven[1, 2].any()
    np.testing.assert_array_equal(proven[[0, 2]], given[[0, 2]])
    each = [leading_psd(*pair) for pair in zip(permuted, given, strict=True)]
    np.testing.assert_array_equal(leading_psd(permuted, given), each)


def test_an_order_that_two_blocks_share_has_a_plan_for_each():
    """The diagonals of one block say nothing of another, whichever is looked at first."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        problem = Problem(rng.standard_normal(8), gram(rng, 8, "regular"), grid(rng, 8))
        order = order_of(4.0 * problem.hessian[np.ix_(PARTS[0], PARTS[0])])
        proof = split(problem, rng, change=lambda b, own, order=order: order if b < 3 else own)
        for _ in range(2):
            assert lower_bound(problem, proof) <= Brute().solve(problem).upper


FALSE = {
    "no permutation": lambda order: Order([0, 0], order.diagonal),
    "no order of a block": lambda order: Order([0], np.zeros((2, 1))),
    "diagonals of another size": lambda order: Order(order.order, np.zeros((2, 2))),
}


@pytest.mark.parametrize("name", FALSE)
def test_one_block_without_a_search_proves_nothing(name):
    rng = np.random.default_rng(0)
    problem = Problem(rng.standard_normal(8), gram(rng, 8, "regular"), grid(rng, 8))
    proof = split(problem, rng, change=lambda b, order: FALSE[name](order) if b == 1 else order)
    with pytest.raises(NotProven, match="a block a full search"):
        lower_bound(problem, proof)


def test_one_block_that_is_not_positive_definite_proves_nothing():
    rng = np.random.default_rng(0)
    problem = Problem(rng.standard_normal(8), gram(rng, 8, "regular"), grid(rng, 8))
    proof = split(problem, rng)
    for matrix in (-1e-3 * np.eye(2), np.zeros((2, 2))):
        blocks = (*proof.below.blocks[:2], Block(PARTS[2], matrix), *proof.below.blocks[3:])
        with pytest.raises(NotProven):
            lower_bound(problem, Split(Below(np.zeros(8), blocks), proof.v, proof.blocks))
