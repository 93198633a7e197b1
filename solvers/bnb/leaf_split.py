"""The split of a leaf of a pruning proof: D and v from its record, with D below H as far as a verifier sees it.

Let two inputs be the same and H singular but for its shift. Where a leaf keeps one of them and leaves the other
open, D has to share what H has in the direction (1, -1), some 1e-13 of its diagonal: 1e-12 for the kept input, as
elsewhere, is too much. Such *dependent* inputs, whose variance given the others of the leaf is next to nothing,
gain nothing for it: they get a small part of that variance, and the stationary point, whether kept or free.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import KEPT, PRUNED, Below, Split

from ..kernels import lapack

KEPT_D = 1e-12
"""d_i of kept inputs relative to h_ii: it costs nothing but room for the others."""

DEPENDENT = 1e-9
"""Variance given the others, relative to h_ii, of which `KEPT_D` is too large a part."""

PARTS = (0.25, 2.0**-5, 2.0**-9, 2.0**-14)
"""Of that variance, that D may have: less leaves more of H for others, more leaves more room for rounding in v."""

REFINED = 2
"""Times that a linear system is solved: the second time refines."""


def variances(h: FloatArray) -> FloatArray:
    """(n,) of each input given the others, relative to its h_ii; all 0 where rounding hides that H is definite."""
    size = np.sqrt(h.diagonal())
    inverse = np.ascontiguousarray(h / size / size[:, None])
    if not (lapack.factor(inverse) and lapack.invert(inverse)):
        return np.zeros(len(h))
    return np.asarray(1 / inverse.diagonal())


def has_dependent(gram: Gram) -> bool:
    """Whether a row's leaves may have dependent inputs: of fewer inputs none has less variance."""
    return gram.memo(has_dependent, lambda: bool((variances(gram.matrix) < DEPENDENT).any()))


def leaf_splits(problem: Problem, split: Split, state: np.ndarray) -> Iterator[Split]:
    """The split, with its kept inputs at their stationary point, then others with less of D at dependent inputs.

    Parameters
    ----------
    split : D and v of the leaf's free inputs, 0 elsewhere.
    state : (n,) of each input FREE, KEPT or PRUNED.
    """
    h, d = problem.hessian, split.below.d.copy()
    d[state == KEPT] = KEPT_D * h.diagonal()[state == KEPT]
    plain = Split(Below(d, (), split.below.pairs, split.below.across), split.v)
    yield _stationary(problem, plain, state == KEPT)
    inside = np.flatnonzero(state != PRUNED)
    if not has_dependent(problem.gram):
        return
    left = np.full(problem.n, np.inf)
    left[inside] = variances(h[np.ix_(inside, inside)]) * h.diagonal()[inside]
    dependent = left < DEPENDENT * h.diagonal()
    if dependent.any():
        for part in PARTS:
            less = Split(_with_less(plain.below, dependent, part / dependent.sum() * left), split.v)
            yield _stationary(problem, less, (state == KEPT) | dependent)


def _with_less(below: Below, dependent: BoolArray, most: FloatArray) -> Below:
    """D with no more than that at dependent inputs, each alone; a partner keeps what their block leaves it.

    Of a positive definite block [[d, e], [e, c]] a smaller d' at the first input leaves c - e^2 / (d - d') of c.
    """
    d, coupled = below.d.copy(), dependent[below.pairs].any(axis=1)
    d[dependent] = np.minimum(d, most)[dependent]
    for (i, j), e in zip(below.pairs[coupled].tolist(), below.across[coupled].tolist(), strict=True):
        for one, other in ((i, j), (j, i)):
            if dependent[one] and not dependent[other]:
                d[other] -= e * e / max(below.d[one] - d[one], 0.5 * below.d[one])
    return Below(d, (), below.pairs[~coupled], below.across[~coupled])


def _stationary(problem: Problem, split: Split, own: BoolArray) -> Split:
    """With v where (Hv)_i = d_i v_i at some inputs, which D does not couple; pruned ones have v_i = -w_i."""
    h, d, v, i = problem.hessian, split.below.d, split.v.copy(), np.flatnonzero(own)
    if len(i):
        m = h[np.ix_(i, i)] - np.diag(d[i])
        for _ in range(REFINED):
            v[i] -= np.linalg.solve(m, h[i] @ v - d[i] * v[i])
    return Split(split.below, v)
