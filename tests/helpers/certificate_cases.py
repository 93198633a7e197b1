"""Certificates with a proof of every kind for every setting."""

import itertools

import numpy as np
from pvq.bounds.certificate import Claim, RowClaim, certify
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.proof import Basis, Below, Block, Cover, Enumeration, Reduced, Split, Tree
from pvq.bounds.verify.row import SAFETY, lower_bound
from pvq.bounds.verify.split import down, fsum_above, upper_bound
from pvq.solvers.brute import Brute

from row_cases import order_of

SETTINGS = {
    "quant": Setting("quant", 2),
    "channels": Setting("quant", 2, "int-asym", "channel"),
    "groups": Setting("quant", 2, granularity="group:3", range="minmax"),
    "prune": Setting("prune", sparsity=0.5),
    "n:m": Setting("prune", nm=(1, 2)),
    "blocks": Setting("prune", sparsity=0.5, block=2),
    "fixed": Setting("prune", sparsity=0.5, update=False),
    "joint": Setting("joint", 2, sparsity=0.5),
}


KINDS_OF_PROOF = ("split", "pairs", "blocks", "enumeration", "reduced", "tree", "cover")


def layer(rng, n=6, rows=2):
    a = rng.standard_normal((20, n))
    a[:, 2] = 0  # a dead input
    return rng.standard_normal((rows, n)), a.T @ a / 20


def prove(problem, x, below, kind):
    """A proof of the kind for a row without its dead inputs, None if it has none of that kind."""
    if kind == "split":
        return Split(below, 0.9 * (x - problem.weight))
    if kind == "pairs" and problem.free_weights and problem.sparsity.units == problem.n:
        return Split(paired(below, problem), 0.9 * (x - problem.weight))
    if kind == "enumeration" and (problem.grid is not None or not problem.sparsity.update):
        return Enumeration(order_of(problem.hessian), Brute().solve(problem).upper * (1 - 1e-7))
    if kind == "reduced" and problem.method == "quant":
        t = np.triu(np.ones((problem.n, problem.n), int))
        basis = Basis(
            t,
            np.eye(problem.n, dtype=int) - np.eye(problem.n, k=1, dtype=int),
            np.zeros((problem.n + 1, problem.n)),
        )
        return Reduced(basis, Brute().solve(problem).upper * (1 - 1e-7))
    if kind == "blocks" and problem.method == "quant":
        first, second = np.array([1, 3]), np.array([0, 4])
        blocks, searches = [], []
        for inputs in (first, second):
            matrix = 0.3 * problem.hessian[np.ix_(inputs, inputs)]
            blocks.append(Block(inputs, matrix))
            searches.append(Enumeration(order_of(matrix), 1e3))
        return Split(Below(np.zeros(problem.n), tuple(blocks)), 0.3 * (x - problem.weight), tuple(searches))
    if kind == "tree" and problem.sparsity is not None:
        # two levels: the first unit kept, or pruned with the second kept or pruned
        splits = Split(below, x - problem.weight), Split(below, 0.5 * (x - problem.weight))
        return Tree([0, -1, 1, -2, -2], splits)
    if kind == "cover":
        return cover_of(problem, x)
    return None


def paired(below, problem):
    """The first two inputs of every group side by side in D."""
    groups = (np.flatnonzero(problem.sparsity.group == g)[:2] for g in range(len(problem.sparsity.keep)))
    pairs = np.array([pair for pair in groups if len(pair) == 2])
    return Below(below.d, (), pairs, np.full(len(pairs), 0.4 * below.d[0]))


def cover_of(problem, x):
    """Three intervals along the direction in which H is least."""
    free = problem.free_weights and problem.sparsity.units == problem.n
    values, vectors = np.linalg.eigh(problem.hessian)
    p = np.sqrt(3 * values[1]) * vectors[:, 0]
    stiff = problem.hessian + np.outer(p, p)
    below = Below(np.full(problem.n, (0.6 if free else 0.9) * np.linalg.eigvalsh(stiff)[0]))
    below = paired(below, problem) if free else below
    floor = 0.99 * values[0] / (p @ p)
    reach = 1.01 * np.sqrt(problem.error(x) / floor) + 1e-9
    edges = reach * np.array([-1, -0.2, 0.3, 1])
    u = x - problem.weight
    splits = []
    for a, b in itertools.pairwise(edges):
        push = (a + b) / 2 * p
        splits.append(Split(below, 0.9 * u - 0.5 * np.linalg.solve(stiff, push)))
    return Cover(p, floor, edges, splits)


def make(name, setting, kind, rng):
    """A layer and its certificate with proofs of one kind; None where the problem has none."""
    from pvq.bounds.presolve import presolve

    weight, gram = layer(rng)
    problem = state_problem(weight, gram, setting)
    rows = []
    shared = None
    for i in range(len(problem)):
        row = problem.row(i)
        reduced = presolve(row).problem
        x = Brute().solve(row).x
        shared = shared or Below(np.full(reduced.n, 0.5 * np.linalg.eigvalsh(reduced.hessian)[0]))
        proof = prove(reduced, presolve(row).problem and x[presolve(row).live], shared, kind)
        if proof is None:
            return None
        rows.append(RowClaim(i, x, upper_bound(row, x, SAFETY), (Claim(lower_bound(reduced, proof), proof),)))
    lower, upper = down(*(row.lower[0].lower for row in rows)), fsum_above([row.upper for row in rows])
    return weight, gram, certify(name, "0" * 64, problem, rows, lower, upper)


def examples():
    for number, (name, setting) in enumerate(SETTINGS.items()):
        for kind in KINDS_OF_PROOF:
            made = make(name, setting, kind, np.random.default_rng(number))
            if made is not None:
                yield name, kind, *made


EXAMPLES = list(examples())


def is_true(weight, gram, certificate):
    """Whether what a certificate claims holds, by brute force."""
    problem = state_problem(weight, gram, certificate.setting)
    lower = upper = 0.0
    for i, claim in enumerate(certificate.rows):
        row = problem.row(i)
        best, rounding = Brute().solve(row).upper, 1e-12 * row.reference
        if not claim.lower[0].lower <= best + rounding or not claim.upper >= row.error(claim.x) - rounding:
            return False
        lower, upper = lower + best, upper + row.error(claim.x)
    return certificate.lower <= lower + rounding and certificate.upper >= upper - rounding
