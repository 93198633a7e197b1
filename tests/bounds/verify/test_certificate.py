"""Certificates: written and read back, accepted as made, rejected when they no longer support their claim."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.certificate import CertificateError, Claim, RowClaim, certify, load_certificate, save_certificate
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.proof import FREE, KEPT, PRUNED, Below, Block, Cover, Enumeration, Order, Split, Tree
from pvq.bounds.verify.certificate import verify_certificate
from pvq.bounds.verify.row import SAFETY, NotProven, lower_bound
from pvq.bounds.verify.split import down, fsum_above, upper_bound
from pvq.solvers.brute import Brute
from pvq.solvers.kernels.diagonal import largest_diagonal

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
KINDS_OF_PROOF = ("split", "pairs", "blocks", "enumeration", "tree", "cover")


def order_of(matrix):
    """An order, and diagonals below its leading blocks."""
    n = len(matrix)
    order = np.argsort(matrix.diagonal())
    permuted = matrix[np.ix_(order, order)]
    diagonal = np.zeros((n + 1, n))
    for m in range(1, n + 1):
        diagonal[m, :m] = largest_diagonal(np.ascontiguousarray(permuted[:m, :m])) * (1 - 1e-9)
    return Order(order, diagonal)


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
        state = np.zeros((3, problem.sparsity.units), np.int8)
        state[0, 0], state[1, :2], state[2, :2] = KEPT, (PRUNED, KEPT), (PRUNED, PRUNED)
        return Tree(state, [0, 1, 1], (Split(below, x - problem.weight), Split(below, 0.5 * (x - problem.weight))))
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


def flip(array, rng, low=0):
    """The array with one bit flipped, of those from `low` up."""
    flipped = np.array(array)
    bits = flipped.reshape(-1).view(np.int64 if flipped.dtype != np.int8 else np.int8)
    size = 8 * flipped.dtype.itemsize
    bits[rng.integers(len(bits))] ^= bits.dtype.type(1) << bits.dtype.type(rng.integers(low, size - 1))
    return flipped


def with_row(certificate, i, **changes):
    rows = list(certificate.rows)
    rows[i] = replace(rows[i], **changes)
    return replace(certificate, rows=tuple(rows))


def with_proof(certificate, i, proof):
    return with_row(certificate, i, lower=(replace(certificate.rows[i].lower[0], proof=proof),))


def change_proof(proof, rng):
    """The proof with something in it changed."""
    if isinstance(proof, Enumeration):
        what = rng.integers(4)
        order = np.array(proof.order.order)
        if what == 0:
            return replace(proof, threshold=float(flip(np.array([proof.threshold]), rng)[0]))
        if what == 1:
            order[rng.integers(len(order))] = rng.integers(len(order) + 1)
            return replace(proof, order=Order(order, proof.order.diagonal))
        if what == 2:
            return replace(proof, order=Order(order, flip(proof.order.diagonal, rng, 40)))
        return replace(proof, threshold=proof.threshold * rng.uniform(0, 1))
    if isinstance(proof, Tree):
        what = rng.integers(3)
        if what == 0:
            rest = np.arange(len(proof.state)) != rng.integers(len(proof.state))
            return Tree(proof.state[rest], proof.split[rest], proof.splits)
        if what == 1:
            state = np.array(proof.state)
            state[rng.integers(len(state)), rng.integers(2)] = rng.choice([FREE, KEPT, PRUNED])
            return Tree(state, proof.split, proof.splits)
        changed = list(proof.splits)
        j = int(rng.integers(len(changed)))
        changed[j] = change_proof(changed[j], rng)
        return Tree(proof.state, proof.split, tuple(changed))
    if isinstance(proof, Cover):
        what = rng.integers(6)
        changed, edges = list(proof.splits), np.array(proof.edges)
        j = int(rng.integers(len(changed)))
        if what == 0:
            return replace(proof, p=flip(proof.p, rng, 20))
        if what == 1:
            return replace(proof, floor=float(flip(np.array([proof.floor]), rng, 20)[0]))
        if what == 2:
            return replace(proof, edges=flip(edges, rng, 20))
        if what == 3:
            return Cover(proof.p, proof.floor, edges[1:], tuple(changed[1:]))
        if what == 4:
            return Cover(proof.p, proof.floor, edges, tuple(changed[:j] + changed[j + 1 :]))
        changed[j] = change_proof(changed[j], rng)
        return Cover(proof.p, proof.floor, edges, tuple(changed))
    if len(proof.below.pairs) and rng.integers(2):
        pairs, across = np.array(proof.below.pairs), proof.below.across
        if rng.integers(2):
            pairs[rng.integers(len(pairs)), rng.integers(2)] = rng.integers(len(proof.v) + 1)
        else:
            across = flip(across, rng, 20)
        return replace(proof, below=replace(proof.below, pairs=pairs, across=across))
    what = rng.integers(4 if proof.blocks else 2)
    if what == 0:
        return replace(proof, v=flip(proof.v, rng, 20))
    if what == 1:
        return replace(proof, below=replace(proof.below, d=flip(proof.below.d, rng, 20)))
    j = int(rng.integers(len(proof.blocks)))
    if what == 2:
        blocks = list(proof.below.blocks)
        blocks[j] = replace(blocks[j], matrix=flip(blocks[j].matrix, rng, 20))
        return replace(proof, below=replace(proof.below, blocks=tuple(blocks)))
    searches = list(proof.blocks)
    searches[j] = change_proof(searches[j], rng)
    return replace(proof, blocks=tuple(searches))


def mutants(weight, gram, certificate, rng):
    """(must be rejected, weight, gram, certificate) with one thing changed."""
    rows = len(certificate.rows)
    for i in range(rows):
        row = certificate.rows[i]
        claim = row.lower[0]
        step = 1e-9 * max(abs(claim.lower), 1e-3 * row.upper)
        yield True, weight, gram, with_row(certificate, i, lower=(replace(claim, lower=claim.lower + step),))
        yield True, weight, gram, with_row(certificate, i, upper=row.upper * (1 - 1e-9))
        yield True, weight, gram, with_row(certificate, i, x=row.x[:-1])
        yield True, weight, gram, with_row(certificate, i, x=np.full_like(row.x, np.nan))
        yield True, weight, gram, with_row(certificate, i, row=row.row + 1)
        for _ in range(6):
            yield False, weight, gram, with_row(certificate, i, x=flip(row.x, rng))
        for _ in range(16):
            yield False, weight, gram, with_proof(certificate, i, change_proof(claim.proof, rng))
        yield claim.lower > 0, weight, gram, with_proof(certificate, i, None)
    yield True, weight, gram, replace(certificate, lower=certificate.lower + 1e-9 * certificate.upper)
    yield True, weight, gram, replace(certificate, upper=certificate.upper * (1 - 1e-9))
    yield True, weight, gram, replace(certificate, rows=certificate.rows[::-1])
    yield True, weight, gram, replace(certificate, rows=certificate.rows[:-1])
    first, second = certificate.rows[:2]
    swapped = (replace(second, row=first.row), replace(first, row=second.row))
    yield False, weight, gram, replace(certificate, rows=swapped)
    yield False, weight[::-1].copy(), gram, certificate
    yield True, weight, gram, replace(certificate, sha256="1" * 64)
    yield True, weight, gram, replace(certificate, shifts=(1e-3,))
    yield True, weight, gram, replace(certificate, shifts=())
    setting = certificate.setting
    if setting.prunes and setting.nm is None:
        for sparsity in (0.25, 0.4, 0.7, 0.9):
            yield False, weight, gram, replace(certificate, setting=replace(setting, sparsity=sparsity))
    if setting.quantizes:
        yield False, weight, gram, replace(certificate, setting=replace(setting, bits=3))
        yield False, weight, gram, replace(certificate, setting=replace(setting, range="minmax", grid="int-sym"))
    for _ in range(3):
        changed = flip(weight, rng, 30)
        if np.isfinite(changed).all() and np.abs(changed).max() < 1e6:
            yield False, changed, gram, certificate
        i, j = rng.integers(0, len(gram), 2)
        other = gram.copy()
        other[i, j] = other[j, i] = gram[i, j] * (1 + 10.0 ** rng.uniform(-6, -1))
        yield False, weight, other, certificate


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


@pytest.mark.parametrize(("name", "kind", "weight", "gram", "certificate"), EXAMPLES)
def test_read_back_and_accepted(name, kind, weight, gram, certificate, tmp_path):
    file = tmp_path / "c.npz"
    save_certificate(file, certificate)
    read = load_certificate(file)
    for found in (certificate, read):
        verified = verify_certificate(found, weight, gram, "0" * 64)
        assert certificate.lower <= verified.lower <= verified.upper <= certificate.upper
        assert verified.unproven == 0
    assert read.setting == certificate.setting
    assert is_true(weight, gram, certificate)


def test_changed_certificates_are_rejected():
    """No mutant is accepted unless what it claims is true, and then only those whose change may be harmless."""
    rng = np.random.default_rng(0)
    rejected = accepted = 0
    for name, kind, weight, gram, certificate in EXAMPLES:
        for must, w, h, mutant in mutants(weight, gram, certificate, rng):
            try:
                verify_certificate(mutant, w, h, "0" * 64)
            except NotProven as error:
                rejected += len(str(error).splitlines()) == 1
                continue
            assert not must, (name, kind)
            assert is_true(w, h, mutant), (name, kind)
            accepted += 1
    assert rejected >= 1000
    assert accepted < rejected / 2


def stored(file):
    with np.load(file) as archive:
        return {name: archive[name] for name in archive.files}


def write(file, header=None, **arrays):
    kept = stored(file) | arrays
    if header is not None:
        kept["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(file, **kept)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.npz"
    save_certificate(path, next(c for name, kind, _, _, c in EXAMPLES if (name, kind) == ("joint", "tree")))
    return path


def header_of(file):
    return json.loads(stored(file)["header"].tobytes())


def rejects(file, match):
    with pytest.raises(CertificateError, match=match) as error:
        load_certificate(file)
    assert "\n" not in str(error.value)


def test_files_that_are_no_certificates(file):
    good, header = file.read_bytes(), header_of(file)
    for length in (0, 3, 30, len(good) // 2, len(good) - 1):
        file.write_bytes(good[:length])
        rejects(file, "certificate")
    file.write_bytes(good)
    write(file, header | {"schema": "pvq.certificate/2"})
    rejects(file, "newer")
    file.write_bytes(good)
    write(file, real=np.where(np.arange(len(stored(file)["real"])) == 3, np.nan, stored(file)["real"]))
    rejects(file, "NaN")
    file.write_bytes(good)
    write(file, header | {"total": {"lower": float("nan"), "upper": 1.0}})
    rejects(file, "NaN")
    file.write_bytes(good)
    write(file, real=np.array([{"a": 1}], dtype=object))
    rejects(file, "pickle")
    np.savez(file, weight=np.zeros(3))
    rejects(file, "no header")
    file.unlink()
    rejects(file, "no such file")
    rejects(file.parent, "cannot be read")


def test_one_damaged_byte(file):
    """The archive's checksums notice; what they do not cover does not matter."""
    name, kind, weight, gram, certificate = next(e for e in EXAMPLES if e[:2] == ("joint", "tree"))
    good, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        file.write_bytes(bad)
        try:
            found = load_certificate(file)
        except CertificateError:
            continue
        assert found.lower == certificate.lower
        verify_certificate(found, weight, gram, "0" * 64)


JUNK = (None, -1, 10**6, 10**400, 1e308, -0.5, True, "x", [], {}, [1], {"a": 1})


def places(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def test_headers_with_junk_are_refused_without_a_traceback(file):
    """Every place of the header takes something else: unreadable, not proven, or true all the same."""
    name, kind, weight, gram, _ = next(e for e in EXAMPLES if e[:2] == ("joint", "tree"))
    good, header, rng = file.read_bytes(), header_of(file), np.random.default_rng(0)
    spots = [path for path in places(header) if path]
    outcomes = []
    for path in spots:
        for junk in rng.choice(np.array(JUNK, dtype=object), 4, replace=False):
            changed = json.loads(json.dumps(header))
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            if rng.random() < 0.1 and isinstance(parent, dict):
                del parent[path[-1]]
            else:
                parent[path[-1]] = junk
            file.write_bytes(good)
            write(file, changed)
            try:
                found = load_certificate(file)
                verify_certificate(found, weight, gram, "0" * 64)
            except (CertificateError, NotProven) as error:
                outcomes.append(type(error) if len(str(error).splitlines()) == 1 else str(error))
                continue
            assert is_true(weight, gram, found), (path, junk)
    assert outcomes.count(CertificateError) > 100
    assert outcomes.count(NotProven) > 10
