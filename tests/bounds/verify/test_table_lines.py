"""Every line of the table, for every pattern and scope: a proof that is true, and one that is false by little."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.certificate import Claim, RowClaim, certify
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.proof import Basis, Below, Block, Boxes, Cover, Enumeration, Order, Reduced, Scales, Split, Tree
from pvq.bounds.verify import NotProven, verify_certificate
from pvq.bounds.verify.reference import NotEstablished, check_certificate
from pvq.bounds.verify.row import SAFETY, lower_bound
from pvq.bounds.verify.scope import shared_lower
from pvq.bounds.verify.split import down, fsum_above, upper_bound
from pvq.bounds.verify.table import TABLE, kind_of_problem, kind_of_proof
from pvq.solvers.brute import Brute

LINES = [
    (problem, proof, pattern, scope)
    for (problem, proof), line in sorted(TABLE.items())
    for pattern in sorted(line.patterns)
    for scope in sorted(line.scopes)
    if scope == "row" or pattern != "nm"  # which has no budget to share
]
PATTERNS = {"none": {}, "row": {"sparsity": 0.5}, "nm": {"nm": (1, 2)}, "block": {"sparsity": 0.5, "block": 2}}
LITTLE = 1e-5
"""H - D is then indefinite by about a tenth of this: far above rounding, far below what anyone would see."""


def stated(kind, pattern, scope):
    """Two rows of four inputs that have little to do with each other, so that every kind of proof goes far."""
    rng = np.random.default_rng(3)
    a = np.linalg.qr(rng.standard_normal((30, 4)))[0] + 0.01 * rng.standard_normal((30, 4))
    words = dict(PATTERNS[pattern]) | ({"scope": scope} if pattern != "none" else {})
    words |= {"update": kind == "free"} if kind in ("free", "fixed") else {"bits": 2}
    words |= {"granularity": "channel", "range": "optimal"} if kind.startswith("scaled") else {}
    methods = {"free": "prune", "fixed": "prune", "scaled": "quant", "scaled joint": "joint"}
    setting = Setting(methods.get(kind, kind), **words)
    weight, gram = rng.standard_normal((2, 4)), a.T @ a
    return weight, gram, state_problem(weight, gram, setting, free_scale=True)


def rows_of(problem):
    """The rows, with half of a shared budget each."""
    for i in range(len(problem)):
        row = problem.row(i)
        if problem.budget is not None:
            row = replace(row, sparsity=replace(row.sparsity, keep=np.array([problem.budget // len(problem)])))
        yield row


def most(h, d):
    """D, scaled until H - D is next to singular."""
    return d / float(np.linalg.eigvals(np.linalg.solve(h, d)).real.max()) * (1 - 1e-9)


def diagonal_of(h):
    return most(h, np.diag(h.diagonal()))


def split_of(h, pairs, v):
    """A split of H, or of H + pp', with D as large as it may be."""
    d = diagonal_of(h)
    for i, j in pairs:
        d[i, j] = d[j, i] = 0.1 * np.sqrt(d[i, i] * d[j, j])
    d = most(h, d)
    return Split(Below(d.diagonal(), (), np.array(pairs, int).reshape(-1, 2), [d[i, j] for i, j in pairs]), v)


def true_proof(row, kind, u):
    """A proof of a kind of the table."""
    h = row.hessian
    paired = kind_of_problem(row) == "free" and row.sparsity.kind != "block"
    if kind in ("split", "pairs"):
        return split_of(h, [(0, 1), (2, 3)] if kind == "pairs" else [], 0.9 * u)
    if kind == "enumeration":
        return Enumeration(Order(np.arange(4), np.zeros((5, 4))), Brute().solve(row).upper * (1 - 1e-12))
    if kind == "reduced":
        t = np.array([[1, 2, 0, -1], [0, 1, 1, 0], [0, 0, 1, 3], [0, 0, 0, 1]])
        basis = Basis(t, np.rint(np.linalg.inv(t)), np.zeros((5, 4)))
        return Reduced(basis, Brute().solve(row).upper * (1 - 1e-12))
    if kind == "scales":
        free, error = row.grid.free, Brute().solve(row).upper
        edges = np.geomspace(0.999 / free.high, 1.001 / free.low, 41)
        stiffness = np.full(40, row.reference + 2 * error)
        search = Enumeration(Order(np.arange(4), np.zeros((5, 4))), 1e6)
        return Scales(edges, 0.75 * (edges[1:] + edges[:-1]), stiffness, (search,) * 40)
    if kind == "blocks":
        d = np.zeros((4, 4))
        for b in ([0, 2], [1, 3]):
            d[np.ix_(b, b)] = h[np.ix_(b, b)]
        d = most(h, d)
        blocks = tuple(Block(b, d[np.ix_(b, b)]) for b in ([0, 2], [1, 3]))
        return Split(Below(np.zeros(4), blocks), 0.9 * u, (Enumeration(Order([1, 0], np.zeros((3, 2))), 1e3),) * 2)
    if kind == "tree":
        return Tree([0, -1, -1], (split_of(h, [(2, 3)] if paired else [], u),))
    if kind == "boxes":  # the lowest value of input 0, then the others, and input 1 between its first two values
        return Boxes([(0, 0), (-1, 0), (1, 0), (-1, 1), (-1, 0)], split_of(h, [], u).below, [u, 0.9 * u])
    values, vectors = np.linalg.eigh(h)
    p, floor = 0.2 * np.sqrt(values[0]) * vectors[:, 0], 25 * (1 - 1e-9)
    reach = np.sqrt(row.error(row.weight + u) / floor) * 1.01
    whole = split_of(h + np.outer(p, p), [(0, 1), (2, 3)] if paired else [], 0.9 * u)
    splits = (whole, Split(whole.below, 0.8 * u), whole)
    return Cover(p, floor, reach * np.array([-1, -0.3, 0.4, 1]), splits)


def with_too_much(split, factor=1 + LITTLE):
    below = split.below
    blocks = tuple(Block(block.inputs, block.matrix * factor) for block in below.blocks)
    return replace(split, below=Below(below.d * factor, blocks, below.pairs, below.across * factor))


def false_twins(row, proof, kind):
    """(why, proof, words of the first checker, words of the second) that differ by little from a true one."""
    if kind in ("split", "blocks", "pairs"):
        yield "too much in D", with_too_much(proof), "semidefinite", "semidefinite"
    if kind == "pairs":
        d, s = 0.4 * proof.below.d, (1 + 1e-9)
        d[[0, 1]] = 0.2 * np.linalg.eigvalsh(row.hessian)[0]
        indefinite = Below(d, (), proof.below.pairs, [d[0] * s, 0.0])
        yield "an indefinite pair", replace(proof, below=indefinite), "minus infinity", "minus infinity"
    if kind == "blocks":
        other = Block([0, 1], proof.below.blocks[0].matrix)
        overlapping = Below(np.zeros(4), (other, proof.below.blocks[1]))
        yield "an input in two blocks", replace(proof, below=overlapping), "overlap", "overlap"
    if kind == "enumeration":
        twice = Order([0, 1, 2, 2], proof.order.diagonal)
        yield "an input twice", replace(proof, order=twice), "cannot be repeated", "no permutation"
    if kind == "reduced":
        for name in ("matrix", "inverse"):
            entries = getattr(proof.basis, name).copy()
            entries[0, 3] += 1
            wrong = replace(proof, basis=replace(proof.basis, **{name: entries}))
            yield f"an entry of the {name}", wrong, "belong together", "belong together"
        coarse = replace(proof.basis, matrix=2 * proof.basis.matrix)
        yield "every second point", replace(proof, basis=coarse), "belong together", "belong together"
        short = replace(proof, basis=replace(proof.basis, diagonal=proof.basis.diagonal[1:]))
        yield "a diagonal is missing", short, "not one of this row", "do not fit"
    if kind == "scales":
        parts = {"anchors": proof.anchors[1:], "stiffness": proof.stiffness[1:], "searches": proof.searches[1:]}
        short = replace(proof, edges=proof.edges[1:], **parts)
        yield "the largest scales are missing", short, "do not cover", "leave scales"
        soft = replace(proof, stiffness=np.full(40, row.reference * (1 - LITTLE)))
        yield "too little stiffness", soft, "below w'Hw", "below w'Hw"
        edges = np.array(proof.edges)
        edges[[1, 2]] = edges[[2, 1]]
        yield "an interval backwards", replace(proof, edges=edges), "ascend", "ascend"
    if kind == "tree":
        short = Tree(proof.code[:-1], proof.splits)
        yield "a leaf is missing", short, "ends before its last leaf", "ends before its last leaf"
        alone = Tree([-1], (with_too_much(proof.splits[-1]),))  # nothing is pruned there
        yield "too much in D at a leaf", alone, "semidefinite", "semidefinite"
    if kind == "boxes":
        below, missing = with_too_much(Split(proof.below, proof.v[0])).below, proof.code[:-1]
        yield "too much in D", replace(proof, below=below), "semidefinite", "semidefinite"
        yield (
            "a leaf is missing",
            replace(proof, code=missing),
            "ends before its last leaf",
            "ends before its last",
        )
        beyond = replace(proof, code=[(0, 9), *proof.code[1:].tolist()])
        yield "all values on one side", beyond, "no values on one side", "no value on one side"
    if kind == "cover":
        steep = replace(proof, floor=proof.floor * (1 + LITTLE))
        yield "too large a floor", steep, "floor", "floor"
        splits = (*proof.splits[:2], with_too_much(proof.splits[2]))
        yield "too much in D in an interval", replace(proof, splits=splits), "semidefinite", "semidefinite"
        edges = np.array(proof.edges)
        edges[[1, 2]] = edges[[2, 1]]
        yield "an interval backwards", replace(proof, edges=edges), "do not cover", "ascend"


def certificate_of(weight, gram, problem, proofs, xs, lowers=None):
    """Claims of both rows; their lower ends are what is proven, unless given."""
    claims, keep = [], None if problem.budget is None else problem.budget // len(problem)
    scope = "row" if keep is None else "layer"
    for i, (row, proof, x) in enumerate(zip(rows_of(problem), proofs, xs, strict=True)):
        lower = lower_bound(row, proof, SAFETY, None, scope) if lowers is None else lowers[i]
        claims.append(RowClaim(i, x, upper_bound(row, x, SAFETY), (Claim(lower, proof, keep),)))
    ends = [claim.lower[0].lower for claim in claims]
    shared = keep is not None
    lower = shared_lower([{keep: max(end, 0.0)} for end in ends], problem.budget) if shared else down(*ends)
    return certify("line", "0" * 64, problem, claims, lower, fsum_above([claim.upper for claim in claims]))


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_true_proof_and_its_false_twins(line):
    kind, of_proof, pattern, scope = line
    weight, gram, problem = stated(kind, pattern, scope)
    rows = list(rows_of(problem))
    solved = [Brute().solve(row) for row in rows]
    xs = [result.x for result in solved]
    proofs = [true_proof(row, of_proof, x - row.weight) for row, x in zip(rows, xs, strict=True)]
    assert {kind_of_problem(row) for row in rows} == {kind}
    assert {kind_of_proof(proof) for proof in proofs} == {of_proof}
    true = certificate_of(weight, gram, problem, proofs, xs)
    verify_certificate(true, weight, gram, "0" * 64)
    check_certificate(true, weight, gram, "0" * 64)
    lowers = [claim.lower[0].lower for claim in true.rows]
    for lower, result in zip(lowers, solved, strict=True):
        assert 0.02 * result.upper < lower <= result.upper

    def refused(certificate, first, second):
        with pytest.raises(NotProven, match=first):
            verify_certificate(certificate, weight, gram, "0" * 64)
        with pytest.raises(NotEstablished, match=second):
            check_certificate(certificate, weight, gram, "0" * 64)

    slightly = [lowers[0] * (1 + 1e-5), lowers[1]]
    refused(certificate_of(weight, gram, problem, proofs, xs, slightly), "the proof gives", "proven")
    twins = list(false_twins(rows[0], proofs[0], of_proof))
    assert twins
    for _, false, first, second in twins:
        refused(certificate_of(weight, gram, problem, [false, proofs[1]], xs, lowers), first, second)


def test_no_line_is_left_out():
    """The parameters above come from the table itself, and each kind of proof has its twins."""
    assert {line[:2] for line in LINES} == set(TABLE)
    assert len(LINES) == 82
