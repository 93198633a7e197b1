"""Products of H with the v of many splits at once: a row that comes alone reads all of H twice for its own.

They are what `split.terms` would compute: a sum of n products has the same bound in any order (Higham, 3.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary
from weakref import ref as weakref

import numpy as np

from ..gram import FloatArray, Gram
from ..proof import Cover, Proof, Split

AT_ONCE = 256
"""Splits of one product."""

_known: WeakKeyDictionary[Split, tuple[weakref[Gram], FloatArray, FloatArray]] = WeakKeyDictionary()


def multiply(gram: Gram, proofs: Iterable[Proof | None]) -> None:
    """Know Hv and |H||v| of the splits of some proofs until they are asked for; trees are left to themselves."""
    splits: list[Split] = []
    for proof in proofs:
        if isinstance(proof, Split | Cover):
            splits += (proof,) if isinstance(proof, Split) else proof.splits
    splits = [split for split in splits if split.v.shape == (len(gram),)]
    if len(splits) < 2:
        return
    size = size_of(gram)
    with np.errstate(all="ignore"):
        for first in range(0, len(splits), AT_ONCE):
            some = splits[first : first + AT_ONCE]
            v = np.array([split.v for split in some])
            for split, product, sizes in zip(some, v @ gram.matrix, np.abs(v) @ size, strict=True):
                _known[split] = weakref(gram), product.copy(), sizes.copy()


def products(gram: Gram, split: Split) -> tuple[FloatArray, FloatArray]:
    """(n,) Hv and |H||v|, which are forgotten with it."""
    if not split.v.any():
        return np.zeros(len(gram)), np.zeros(len(gram))
    known = _known.pop(split, None)
    if known is not None and known[0]() is gram:
        return known[1], known[2]
    return gram.matrix @ split.v, size_of(gram) @ np.abs(split.v)


def size_of(gram: Gram) -> FloatArray:
    """(n, n) |H|."""
    return gram.memo(np.abs, lambda: np.abs(gram.matrix))
