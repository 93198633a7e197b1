"""Certificates: written and read back, accepted as made, rejected when they no longer support their claim."""

from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.certificate import load_certificate, save_certificate
from pvq.bounds.proof import Cover, Enumeration, Order, Reduced, Tree
from pvq.bounds.verify import NotProven
from pvq.bounds.verify.certificate import verify_certificate

from certificate_cases import EXAMPLES, is_true


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
    if isinstance(proof, Reduced):
        basis, what = proof.basis, rng.integers(4)
        if what == 0:
            return replace(proof, threshold=float(flip(np.array([proof.threshold]), rng)[0]))
        if what == 1:
            return replace(proof, basis=replace(basis, diagonal=flip(basis.diagonal, rng, 40)))
        name = "matrix" if what == 2 else "inverse"
        entries = np.array(getattr(basis, name))
        entries.flat[rng.integers(entries.size)] += rng.choice([-1, 1])
        return replace(proof, basis=replace(basis, **{name: entries}))
    if isinstance(proof, Tree):
        what = rng.integers(3)
        if what == 0:
            return Tree(np.delete(proof.code, rng.integers(len(proof.code))), proof.splits)
        if what == 1:
            code = np.array(proof.code)
            code[rng.integers(len(code))] = rng.integers(-len(proof.splits) - 1, 4)
            return Tree(code, proof.splits)
        changed = list(proof.splits)
        j = int(rng.integers(len(changed)))
        changed[j] = change_proof(changed[j], rng)
        return Tree(proof.code, tuple(changed))
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
