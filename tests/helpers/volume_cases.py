"""Random rows whose optimum is enumerated, and what the volume model's theorem says of each."""

import itertools

import numpy as np
from pvq.bounds.volume.density import NORMAL, log_factor
from pvq.bounds.volume.row import Spectrum, Tilt, row_log_z
from scipy import stats

ODDS = (0.1, 0.01, 0.001)
LAWS = {"normal": (NORMAL, 1.0), "wide": (NORMAL, 6.0), "student 3": (3.0, 1.0)}


def hessian(rng, n, condition=20.0):
    q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return (q * np.geomspace(1, condition, n)) @ q.T


def draw(rng, law, shape):
    df, width = LAWS[law]
    return width * (rng.standard_normal(shape) if df == NORMAL else rng.standard_t(df, shape))


def optimum(h, w, levels):
    """Least error of a row: `levels` (n, L) of each input, all but the last half enumerated against each other."""
    n = len(w)
    half = (n + 1) // 2
    first = w[:half] - np.array(list(itertools.product(*levels[:half])))
    second = w[half:] - np.array(list(itertools.product(*levels[half:]))) if n > half else np.zeros((1, 0))
    one = np.einsum("pi,ij,pj->p", first, h[:half, :half], first)
    other = np.einsum("pi,ij,pj->p", second, h[half:, half:], second)
    cross = 2 * first @ h[:half, half:] @ second.T
    return float((one[:, None] + other + cross).min())


def tails(h, covered, law, lams, c=0.1, known=None):
    """(lams, rows) exp(lam opt) Z, at most 1, of each row, the density given; in units of the row's scale."""
    df, width = LAWS[law]
    spectrum = Spectrum.of(h)
    tilts = [Tilt(spectrum, lam, c) for lam in lams]
    known = covered.known if known is None else known
    found = np.empty((len(lams), len(covered.weight)))
    for r, w in enumerate(covered.weight):
        inside = np.flatnonzero(known[r])
        levels = covered.levels(r)
        own = np.array([[df, width / covered.unit[r]]])
        log_a = 0.0
        for g, count in enumerate(np.bincount(covered.group[~known[r]], minlength=len(levels))):
            if count:
                ends = covered.low[r, g], covered.high[r, g]
                log_a += count * float(log_factor(levels[g], *ends, 1.0, np.array([c]), own)[0])
        error = optimum(h, w, levels[covered.group])
        for k, tilt in enumerate(tilts):
            correction = tilt.log_correction(len(w) - len(inside))
            log_z = row_log_z(tilt, inside, log_a, w, levels[covered.group[inside]], correction)
            found[k, r] = np.exp(min(0.0, tilt.lam * error + log_z))
    return found


def too_often(p, odds, factor=1.0):
    """Whether more than `odds` of the rows have p <= odds, beyond what chance does once in 1e5."""
    return (p * factor <= odds).sum() > stats.binom.isf(1e-5, len(p), odds)


def check(h, covered, law, reached=0.2):
    reach = max(np.abs(covered.low).max(), np.abs(covered.high).max())
    found = tails(h, covered, law, (1.0, 4.0, 60.0, 2000.0), 0.2 / reach**2)
    assert not any(too_often(p, odds) for p in found for odds in ODDS)
    assert found.min() < reached  # tails are reached, so that a false bound would show
