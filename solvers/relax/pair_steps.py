"""Parts of a step of `relax_pairs`: where it starts, its equations, what a failed step teaches the model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types
from pvq.bounds.gram import FloatArray

from ..kernels.apart import BORROWS, MATRIX, TRUTH, VECTOR, apart, inner
from ..kernels.sparing import ZERO
from .node_perspective import ALIVE, QUADRATIC, Quadratic
from .pieces import HULL_PIECES, PAIR_BLOCKS, TIE, HullPieces, PairBlocks

NUDGE = 1e-12
"""Where 0 is not stationary an input gets this part of its price as a value, to see on which piece it starts."""

Places = npt.NDArray[np.uint64]
PLACES = types.uint64[::1]
"""Numbers of inputs, and their type in compiled code: an index that may be negative takes as long as a number."""

BENT = 1e-3
"""Least cosine between a pair's change of gradient and its step for which the model is bent."""


@apart(None, PAIR_BLOCKS, VECTOR, VECTOR, VECTOR, **BORROWS)
def start_from(blocks: PairBlocks, theta: FloatArray, r: FloatArray, x: FloatArray) -> None:
    """Give inputs at 0 that are not stationary there a tiny value of the sign in which they leave."""
    pairs, d, e, group = blocks.pairs, blocks.d, blocks.e, blocks.group
    for i in range(0, 2 * pairs, 2):
        j = i + 1
        price = theta[group[i]]
        tiny = NUDGE * price
        root1, root2 = np.sqrt(d[i]), np.sqrt(d[j])
        if x[i] == 0.0 and x[j] == 0.0:
            f1, f2 = r[i] * r[i] / d[i], r[j] * r[j] / d[j]
            determinant = d[i] * d[j] - e[i] * e[i]
            y1, y2 = (d[j] * r[i] - e[i] * r[j]) / determinant, (d[i] * r[j] - e[i] * r[i]) / determinant
            square = price * price
            alone, together = max(f1, f2) - square, r[i] * y1 + r[j] * y2 - 2.0 * square
            if max(alone, together) <= 0.0:
                continue
            if together >= alone:
                scale = tiny / np.sqrt(y1 * y1 * d[i] + y2 * y2 * d[j])
                x[i], x[j] = scale * y1, scale * y2
            elif f1 >= f2:
                x[i] = tiny / root1 if r[i] > 0.0 else -tiny / root1
            else:
                x[j] = tiny / root2 if r[j] > 0.0 else -tiny / root2
        elif x[i] == 0.0 or x[j] == 0.0:
            s, t = (i, j) if x[j] == 0.0 else (j, i)  # t is at 0
            value = d[s] * x[s]
            least = price * np.sqrt(d[s])
            if abs(value) < least:
                value = least if x[s] > 0.0 else -least
            centre = e[i] / d[s] * value
            reach = price * np.sqrt(d[t] - e[i] * e[i] / d[s])
            wide = abs(value) * np.sqrt(d[t] / d[s])
            if r[t] > min(wide, centre + reach):
                x[t] = tiny / np.sqrt(d[t])
            elif r[t] < max(-wide, centre - reach):
                x[t] = -tiny / np.sqrt(d[t])
    for i in range(2 * pairs, len(d)):
        price = theta[group[i]]
        if x[i] == 0.0 and r[i] * r[i] > price * price * d[i]:
            x[i] = NUDGE * price / np.sqrt(d[i]) if r[i] > 0.0 else -NUDGE * price / np.sqrt(d[i])


@apart(None, QUADRATIC, PAIR_BLOCKS, HULL_PIECES, MATRIX, VECTOR, PLACES, TRUTH, MATRIX, VECTOR, **BORROWS)
def system(
    rest: Quadratic,
    blocks: PairBlocks,
    base: HullPieces,
    bend: FloatArray,
    xs: FloatArray,
    active: Places,
    newton: bool,
    work: FloatArray,
    rhs: FloatArray,
) -> None:
    """The equations of a step from xs in the inputs that are active: the upper triangle of `work`, and `rhs`, out.

    Newton's has K + bend of the pieces `base` and theta eliminated, IRLS's Lambda^-1 of their shares.
    """
    q, b, k, shares, left = rest.q, rest.b, base.k, base.shares, base.left
    pairs, d, e, group = blocks.pairs, blocks.d, blocks.e, blocks.group
    count = len(active)
    for a in range(count):
        rhs[a] = k[active[a], 2]
    for a in range(count):
        i = active[a]
        g = group[i]
        f = k[i, 2] / left[g] if newton and left[g] > TIE else 0.0
        for t in range(np.uintp(a), np.uintp(count)):
            work[a, t] = q[i, active[t]]
        if len(left) == 1:
            for t in range(np.uintp(a), np.uintp(count)):
                work[a, t] += f * rhs[t]
        else:
            for t in range(a, count):
                if group[active[t]] == g:
                    work[a, t] += f * rhs[t]
    for a in range(count):
        rhs[a] = b[active[a]]
    for a in range(count):
        i = np.int64(active[a])
        g = group[i]
        paired = i < 2 * pairs and i % 2 == 0 and a + 1 < count and np.int64(active[a + 1]) == i + 1
        if newton and left[g] > TIE:
            work[a, a] += k[i, 0] + bend[i, 0]
            rhs[a] += bend[i, 0] * xs[i]
            if paired:
                work[a, a + 1] += k[i, 1] + bend[i, 1]
                rhs[a] += bend[i, 1] * xs[i + 1]
                rhs[a + 1] += bend[i, 1] * xs[i]
        elif newton:
            work[a, a] += d[i]
            if paired:
                work[a, a + 1] += e[i]
        elif paired:
            l12 = shares[i, 1]
            l1, l2 = max(shares[i, 0] - l12, 0.0), max(shares[i + 1, 0] - l12, 0.0)
            f = l12 / (d[i] * d[i + 1] - e[i] * e[i])
            k1, k2, k12 = l1 / d[i] + f * d[i + 1], l2 / d[i + 1] + f * d[i], -f * e[i]
            f = 1.0 / (k1 * k2 - k12 * k12)
            work[a, a] += f * k2
            work[a, a + 1] -= f * k12
            work[a + 1, a + 1] += f * k1
        elif not (i < 2 * pairs and i % 2 == 1 and a > 0 and np.int64(active[a - 1]) == i - 1):
            work[a, a] += d[i] / shares[i, 0]
    for a in range(count):
        work[a, a] *= 1.0 + ALIVE  # any x is allowed


@inner(**BORROWS)
def half_gradient(i: int, pairs: int, x: FloatArray, price: float, k: FloatArray) -> float:
    """r_i = (Kx)_i + theta s_i."""
    value = k[i, 0] * x[i] + price * k[i, 2]
    if i < 2 * pairs:
        value += k[i, 1] * x[i + 1] if i % 2 == 0 else k[i - 1, 1] * x[i - 1]
    return value


@apart(None, PAIR_BLOCKS, VECTOR, VECTOR, VECTOR, MATRIX, MATRIX, MATRIX, **BORROWS)
def bend_to(
    blocks: PairBlocks,
    xs: FloatArray,
    xt: FloatArray,
    theta: FloatArray,
    base: FloatArray,
    trial: FloatArray,
    bend: FloatArray,
) -> None:
    """Add to K what makes the model's gradient right at xt (symmetric rank one, >= 0 since phi is convex)."""
    pairs, group, m = blocks.pairs, blocks.group, len(xs)
    i = ZERO
    while i < m:
        price = theta[group[i]]
        dx1 = xt[i] - xs[i]
        miss1 = half_gradient(i, pairs, xt, price, trial) - half_gradient(i, pairs, xt, price, base)
        miss1 -= bend[i, 0] * dx1
        if i >= 2 * pairs:
            if miss1 * dx1 > 0.0 and xt[i] != 0.0:
                bend[i, 0] += miss1 / dx1
            i += 1
            continue
        dx2 = xt[i + 1] - xs[i + 1]
        miss2 = half_gradient(i + 1, pairs, xt, price, trial) - half_gradient(i + 1, pairs, xt, price, base)
        miss1 -= bend[i, 1] * dx2
        miss2 -= bend[i, 1] * dx1 + bend[i + 1, 0] * dx2
        along = miss1 * dx1 + miss2 * dx2
        kink = (xt[i] == 0.0 and xs[i] != 0.0) or (xt[i + 1] == 0.0 and xs[i + 1] != 0.0)
        if not kink and along > BENT * np.sqrt((miss1 * miss1 + miss2 * miss2) * (dx1 * dx1 + dx2 * dx2)):
            bend[i, 0] += miss1 * miss1 / along
            bend[i, 1] += miss1 * miss2 / along
            bend[i + 1, 0] += miss2 * miss2 / along
        i += 2
