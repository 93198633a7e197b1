"""Made problems against their optimum in rational arithmetic: `python tests/fuzz/problems.py N [SEED] [JOBS]`.

Each case is one small row (at most 7 inputs): a Gram matrix of a nasty kind, a grid, a pattern or both, numbers
from 2^-1000 to 2^300. An own solver and an empirical method in turn solve it; the exact optimum says whether
lower <= optimum <= e(x) <= upper, and whether the words `rigorous` and `optimal` are true. Nothing is rounded in
the check: float64 numbers are fractions.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity
from pvq.solvers.base import Options
from pvq.solvers.registry import get_solver, solver_class, solver_names
from pvq.solvers.result import BoundKind, Result, Status

KINDS = [
    "regular",
    "singular",
    "rank1",
    "dup",
    "neardup",
    "dead",
    "cond",
    "range",
    "integer",
    "negcorr",
    "diag",
    "nearly_diag",
    "mixed",
    "zero",
]
OWN = ("bnb", "bound", "auto")
COPIES = 20
"""One case of so many has two inputs that are equal up to the noise of float32, where weights of 1e7 pay."""
POINTS = 1500
"""Points of a grid problem that are tried."""
CANDIDATES = 8
"""Points with the least float64 error whose error is then taken exactly; ties are broken there."""
WARM = 400
"""Cases that run before others do beside them, so that nothing is compiled twice."""
Case = Callable[[int], tuple[str, list[str]]]
"""From the number of a case to its kind and what is wrong with it."""
CHECKED = {Status.OPTIMAL, Status.TIME_LIMIT, Status.NODE_LIMIT, Status.BOUND_ONLY, Status.FEASIBLE_ONLY}


def made_gram(rng: np.random.Generator, n: int, kind: str) -> np.ndarray:
    """(n, n) symmetric, positive semidefinite up to rounding."""
    samples = {"singular": max(1, n - int(rng.integers(1, 3))), "rank1": 1}.get(kind, n + int(rng.integers(1, 9)))
    a = rng.standard_normal((samples, n))
    if kind == "dup":
        a[:, 0] = a[:, -1] * rng.choice([1, -1, 2, 0.5])
    if kind == "neardup":
        a[:, 0] = a[:, -1] + 10.0 ** rng.uniform(-12, -5) * rng.standard_normal(samples)
    if kind == "copies":
        a[:, 0] = a[:, -1] * rng.choice([1, -1, 2, 0.7])
        a[:, 0] += 10.0 ** rng.uniform(-7.6, -6.6) * rng.standard_normal(samples)
    if kind == "dead":
        a[:, rng.random(n) < 0.4] = 0
    if kind == "range":
        a *= 10.0 ** rng.uniform(-8, 8, n)
    if kind == "integer":
        a = rng.integers(-2, 3, (samples, n)).astype(float)
        return a.T @ a
    if kind == "cond":
        q, _ = np.linalg.qr(rng.standard_normal((n, n)))
        h = (q * 10.0 ** rng.uniform(-rng.uniform(0, 16), 0, n)) @ q.T
        return (h + h.T) / 2
    if kind == "negcorr" and n > 1:
        h = np.eye(n)
        i, j = rng.choice(n, 2, replace=False)
        h[i, j] = h[j, i] = (1 - 10.0 ** -rng.uniform(1, 15)) * rng.choice([-1, 1])
        size = 10.0 ** rng.uniform(-2, 2, n)
        return h * size * size[:, None]
    if kind == "diag":
        return np.diag(10.0 ** rng.uniform(-3, 3, n))
    if kind == "nearly_diag":
        h = np.diag(10.0 ** rng.uniform(-3, 3, n))
        e = 1e-13 * rng.standard_normal((n, n)) * np.sqrt(np.outer(h.diagonal(), h.diagonal()))
        np.fill_diagonal(e, 0)
        return h + e + e.T
    if kind == "mixed" and n > 2:
        a *= 10.0 ** rng.uniform(-4, 4, n)
        a[:, 0], a[:, 2] = a[:, 1] * (1 + 1e-10), -a[:, 1]
    return np.zeros((n, n)) if kind == "zero" else a.T @ a / samples


def made_grid(rng: np.random.Generator, n: int) -> Grid:
    """Few enough values for `POINTS`, evenly spaced or not, up to three scales."""
    most = max(2, int(POINTS ** (1 / n)) - 1)
    if rng.random() < 0.6:
        book = np.arange(-1.0 - int(rng.integers(0, 3)), 8)
    elif rng.random() < 0.5:
        book = np.array([-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6])
    else:
        book = np.unique(np.round(rng.standard_normal(9), int(rng.integers(1, 4))))
    count = min(len(book), most, 8)
    first = int(rng.integers(0, len(book) - count + 1))
    groups = int(rng.integers(1, 4)) if rng.random() < 0.3 else 1
    scale = 10.0 ** rng.uniform(-2, 1, groups)
    given = scale if rng.random() < 0.6 else None
    return Grid(scale[:, None] * book[None, first : first + count], rng.integers(0, groups, n), given)


def made_weight(rng: np.random.Generator, n: int, h: np.ndarray, grid: Grid | None) -> np.ndarray:
    """(n,) ordinary, zero, tiny, huge, on the grid, between its values, or along what H hardly sees."""
    w = rng.standard_normal(n)
    how = int(rng.integers(0, 9))
    if how == 0:
        return w * (rng.random(n) < 0.5)
    if how == 1:
        return w * 10.0 ** rng.uniform(-6, 6, n)
    if how == 2:
        return w * 10.0 ** rng.uniform(-9, 4)
    if how == 3 and grid is not None:
        w = np.array([rng.choice(grid.of(i)) for i in range(n)])
        return w if rng.random() < 0.4 else w + 10.0 ** rng.uniform(-12, -5) * rng.standard_normal(n)
    if how == 4 and grid is not None:
        pairs = [rng.integers(len(grid.of(i)) - 1) for i in range(n)]
        return np.array([(grid.of(i)[k] + grid.of(i)[k + 1]) / 2 for i, k in enumerate(pairs)])
    if how == 5 and h.any():
        return np.linalg.eigh(h / np.abs(h).max())[1][:, 0] * 10.0 ** rng.uniform(0, 6)
    return np.round(2 * w) / 2 if how == 6 else w


def made_sparsity(rng: np.random.Generator, n: int, update: bool) -> Sparsity:
    """Row, N:M or blocks."""
    how = int(rng.integers(0, 4))
    m = int(rng.choice([m for m in range(1, n + 1) if n % m == 0]))
    if how == 1:
        return Sparsity.nm(n, int(rng.integers(0, m + 1)), m, update)
    if how == 2:
        return Sparsity.blocks(n, m, int(rng.integers(0, n // m + 1)), update)
    return Sparsity.row(n, int(rng.integers(0, n + 1)), update)


def made_problem(rng: np.random.Generator, kind: str | None = None) -> tuple[str, str, Problem] | None:
    """A method, a kind of matrix, any if none is given, and a row; None where the matrix is refused."""
    method = str(rng.choice(["quant", "prune", "fixed", "joint"]))
    kind = kind or str(rng.choice(KINDS))
    n = int(rng.integers(1, 8 if method in ("prune", "fixed") else 6))
    try:
        gram = Gram.from_array(made_gram(rng, n, kind))
    except ProblemError:
        return None
    grid = made_grid(rng, n) if method in ("quant", "joint") else None
    sparsity = None if method == "quant" else made_sparsity(rng, n, method != "fixed")
    w = made_weight(rng, n, gram.matrix, grid)
    if rng.random() < 0.3:  # far from order 1, by powers of two: ties stay ties
        of_h, of_w = int(rng.integers(-950, 300)), int(rng.integers(-20, 20))
        if rng.random() < 0.3:
            of_h, of_w = int(rng.integers(-300, 200)), int(rng.integers(-200, 50))
        h = np.ldexp(gram.matrix, of_h)
        h.setflags(write=False)
        gram, w = Gram(h, float(np.ldexp(gram.shift, of_h)), gram.rank), np.ldexp(w, of_w)
        if grid is not None:
            grid = Grid(np.ldexp(grid.levels, of_w), grid.group)
    if not np.isfinite(gram.matrix).all() or not np.isfinite(w).all():
        return None
    return method, kind, Problem(w, gram, grid, sparsity)


def made_options(rng: np.random.Generator) -> Options:
    """Limits that bite now and then; none in seconds, so that a case can be repeated."""
    gap = float(rng.choice([1e-6, 1e-6, 1e-6, 0.0, 1e-2, 1e-9]))
    nodes = int(rng.choice([1, 2, 5, 20, 100])) if rng.random() < 0.15 else 3000
    return Options(time_limit=0.3, gap=gap, node_limit=nodes, prove=bool(rng.random() < 0.5))


def exact(problem: Problem, x: np.ndarray) -> Fraction:
    """e(x), written out."""
    u = [Fraction(a) - Fraction(b) for a, b in zip(problem.weight.tolist(), x.tolist(), strict=True)]
    total = Fraction(0)
    for ui, row in zip(u, problem.hessian.tolist(), strict=True):
        if ui:
            total += ui * sum((Fraction(h) * uj for h, uj in zip(row, u, strict=True) if h and uj), Fraction(0))
    return total


def least_on_support(problem: Problem, kept: list[int]) -> Fraction:
    """Least e(x) with x = 0 off `kept`: the Schur complement of H at w, by exact elimination."""
    rest = [i for i in range(problem.n) if i not in kept]
    order, m = kept + rest, len(kept)
    a = [[Fraction(v) for v in row] for row in problem.hessian[np.ix_(order, order)].tolist()]
    for k in range(m):
        pivot = max(range(k, m), key=lambda i: a[i][i])
        if a[pivot][pivot] <= 0:
            break
        a[k], a[pivot] = a[pivot], a[k]
        for row in a:
            row[k], row[pivot] = row[pivot], row[k]
        for i in range(k + 1, len(a)):
            f = a[i][k] / a[k][k]
            if f:
                a[i] = [v - f * top for v, top in zip(a[i], a[k], strict=True)]
    w = [Fraction(v) for v in problem.weight[rest].tolist()]
    pairs = itertools.product(range(len(rest)), repeat=2)
    return sum((w[i] * w[j] * a[m + i][m + j] for i, j in pairs), Fraction(0))


def optimum(problem: Problem) -> Fraction:
    """The least error of all points; for grids of those with the least float64 error (ties are broken exactly)."""
    n, sparsity, grid = problem.n, problem.sparsity, problem.grid
    if problem.free_weights:
        assert sparsity is not None
        masks = [np.array(m) for m in itertools.product([False, True], repeat=n) if sparsity.allows(np.array(m))]
        largest = [m for m in masks if not any((m <= o).all() and (m != o).any() for o in masks)]
        return min(least_on_support(problem, np.flatnonzero(m).tolist()) for m in largest)
    if grid is None:
        values = [sorted({0.0, float(w)}) for w in problem.weight]
    else:
        zero = [] if sparsity is None else [0.0]
        values = [sorted({*grid.of(i).tolist(), *zero}) for i in range(n)]
    points = np.array(list(itertools.product(*values)))
    if sparsity is not None:
        points = points[[sparsity.allows(x != 0) for x in points]]
    # in units of order 1 and long numbers, so that no point is missed
    h = problem.hessian.astype(np.longdouble)
    h /= np.abs(h).max() or 1
    u = (problem.weight.astype(np.longdouble) - points.astype(np.longdouble)) / (
        max(np.abs(problem.weight).max(), np.abs(points).max()) or 1
    )
    errors = np.einsum("ri,ij,rj->r", u, h, u)
    best = np.argsort(errors, kind="stable")[:CANDIDATES]
    return min(exact(problem, points[i]) for i in best)


def complaints(problem: Problem, result: Result, least: Fraction, options: Options) -> list[str]:
    """What is not true of a result."""
    bad = []
    if not problem.is_feasible(result.x):
        return ["its x violates the constraints"]
    error, lower, upper = exact(problem, result.x), Fraction(result.lower), Fraction(result.upper)
    if Fraction(result.proven) > least:
        bad.append(f"proven {result.proven!r} above the optimum {float(least)!r}")
    if lower > least:
        bad.append(f"{result.bound_kind} lower {result.lower!r} above the optimum {float(least)!r}")
    if not error <= upper <= error * Fraction(1 + 3e-9) + Fraction(2.0**-1060):
        bad.append(f"upper {result.upper!r} is not e(x) {float(error)!r}")
    width = max(Fraction(options.gap) * upper, Fraction(result.rounding))
    wide = upper - lower > width * Fraction(1 + 1e-9) or upper - least > width * 2
    if result.status is Status.OPTIMAL and wide:
        bad.append(f"called optimal: {result.lower!r} to {result.upper!r}, the optimum is {float(least)!r}")
    if result.rounding > 3e-9 * result.upper and result.rounding > 2e-12 * problem.reference:
        bad.append(f"a rounding of {result.rounding!r} at {result.upper!r}")
    if result.status not in CHECKED:
        bad.append(f"{result.status}: {dict(result.info)}")
    if (result.bound_kind is BoundKind.NONE) != (lower == 0 and result.status is not Status.OPTIMAL):
        bad.append(f"{result.bound_kind} with lower {result.lower!r}, {result.status}")
    return bad


@functools.cache
def empirical() -> list[str]:
    """Names of the methods that give an upper end only."""
    return [name for name in solver_names() if solver_class(name).proves == "nothing"]


def one_case(seed: int) -> tuple[str, list[str]]:
    """The kind of a case, and what is wrong with the results: nothing, one hopes."""
    rng = np.random.default_rng(seed)
    made = made_problem(rng, "copies" if seed % COPIES == COPIES - 1 else None)
    if made is None:
        return "refused", []
    method, kind, problem = made
    options, least = made_options(rng), optimum(problem)
    names = [OWN[seed % len(OWN)], str(rng.choice(empirical()))]
    bad = []
    for name in names:
        solver = get_solver(name)
        if solver.why_unsupported(problem) is None and solver.is_available():
            result = solver.solve(problem, options)
            if problem.is_feasible(result.x):  # where H is next to singular, points may have been ranked wrongly
                least = min(least, exact(problem, result.x))
            bad += [f"{name}: {what}" for what in complaints(problem, result, least, options)]
    return f"{method} {kind}", bad


def run(count: int, seed: int = 0, name: str = "problems", case: Case = one_case, jobs: int = 1) -> int:
    """Number of wrong cases among `count`, which are named on the way."""
    begin, wrong, kinds = time.perf_counter(), 0, Counter[str]()
    numbers = range(seed, seed + count)
    first = min(count, WARM) if jobs > 1 else count
    guarded = functools.partial(_guarded, case)
    for found in map(guarded, numbers[:first]):  # compiles before the others start
        wrong += _tell(found, kinds)
    if first < count:
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            for found in pool.imap_unordered(guarded, numbers[first:], chunksize=50):
                wrong += _tell(found, kinds)
    seconds = time.perf_counter() - begin
    print(f"{name}: {count} cases from seed {seed}, {wrong} wrong, {seconds:.0f} s, {dict(kinds)}", flush=True)
    return wrong


def _guarded(case: Case, number: int) -> tuple[int, str, list[str]]:
    try:
        return number, *case(number)
    except Exception as broken:  # a crash is a finding as well
        return number, "crash", [repr(broken)]


def _tell(found: tuple[int, str, list[str]], kinds: Counter[str]) -> bool:
    number, kind, bad = found
    kinds[kind.split()[0]] += 1
    for what in bad:
        print(f"case {number} ({kind}): {what}", flush=True)
    return bool(bad)


def main(name: str, case: Case, words: list[str]) -> bool:
    """Run N [SEED] [JOBS] as they stand on the command line; whether a case was wrong."""
    warnings.simplefilter("error")  # as in the tests
    count, seed, jobs = (*map(int, words), *(0, 1)[len(words) - 1 :])
    return run(count, seed, name, case, jobs) > 0


if __name__ == "__main__":
    sys.exit(main("problems", one_case, sys.argv[1:]))
