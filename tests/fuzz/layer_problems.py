"""Made layers through `pvq.bound` against their optimum: `python tests/fuzz/layer_problems.py N [SEED] [JOBS]`.

Each case is a layer of at most four rows and five inputs under one setting of `pvq.bound`: every grid,
granularity, range, pattern and scope, an engine in turn, all empirical methods, now and then with a certificate
that both checkers are asked about. The optimum of a row is that of `problems`; of rows that share a budget the
least sum of all ways to share it; with the scale of a grid part of the search, a point is found by trying scales,
which no lower end may exceed.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import problems
import pvq
from one_scale import codes_of, optimum_at_one_scale
from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.problem import Problem
from pvq.bounds.verify import NotProven, verify_certificate
from pvq.bounds.verify.reference import NotEstablished, check_certificate
from pvq.solvers.base import Options
from pvq.solvers.result import BoundKind, Status

ENGINES = ("bnb", "bound", "auto")
SCALES = 40
"""Scales that are tried where the scale is part of the search."""
LIMIT = 5.0
"""Seconds for a row: long enough for every row of this size."""


def made_layer(rng: np.random.Generator) -> tuple[str, pvq.Layer]:
    """A kind of Gram matrix, and a layer with one or two of them."""
    kind = str(rng.choice(problems.KINDS))
    n, rows, groups = int(rng.integers(1, 6)), int(rng.integers(1, 5)), 1
    if rows % 2 == 0 and rng.random() < 0.2:
        groups = 2
    grams = np.array([problems.made_gram(rng, n, kind) for _ in range(groups)])
    weight = np.array([problems.made_weight(rng, n, grams[0], None) for _ in range(rows)])
    if rng.random() < 0.2:
        weight[-1] = weight[0] if rng.random() < 0.5 else 0.0
    if rng.random() < 0.2:
        grams, weight = np.ldexp(grams, int(rng.integers(-900, 250))), np.ldexp(weight, int(rng.integers(-20, 20)))
    return kind, pvq.Layer.from_gram(weight, grams if groups > 1 else grams[0])


def made_quant(rng: np.random.Generator, n: int) -> pvq.Quant:
    """A grid of few levels, under any range and granularity."""
    most = int(problems.POINTS ** (1 / n))
    granularity = str(rng.choice(["tensor", "channel", f"group:{max(1, n // 2)}"]))
    kind = str(rng.choice(["mse", "minmax", "gram", "optimal", "none"]))
    grids: list[dict[str, Any]] = [{"grid": "int", "bits": b} for b in (1, 2, 3) if 2**b <= most]
    grids += [{"grid": g, "bits": 2} for g in ("int-sym", "int-asym") if most >= 4]
    grids += [{"grid": "ternary"}, {"grid": "fp4-e2m1"}, {"grid": "nf4"}] if most >= 16 else [{"grid": "ternary"}]
    grids += [{"grid": np.unique(np.round(rng.standard_normal(min(most, 5)), 1)).tolist()}]
    return pvq.Quant(**grids[int(rng.integers(len(grids)))], granularity=granularity, range=kind)


def made_prune(rng: np.random.Generator, n: int) -> pvq.Prune:
    """A pattern of any kind and scope."""
    update, how = bool(rng.random() < 0.6), int(rng.integers(0, 4))
    size = int(rng.choice([m for m in range(1, n + 1) if n % m == 0]))
    if how == 0:
        return pvq.Prune(nm=(int(rng.integers(0, size + 1)), size), update=update)
    scope = "layer" if how == 1 else "row"
    sparsity = float(rng.choice([0.0, 0.25, 0.5, 0.75, rng.uniform(0, 1)]))
    return pvq.Prune(sparsity=sparsity, block=size if how == 2 else None, update=update, scope=scope)


def made_setting(rng: np.random.Generator, n: int) -> pvq.Quant | pvq.Prune | pvq.Joint:
    """Quantized, pruned or both."""
    how = rng.random()
    if how < 0.4:
        return made_quant(rng, n)
    return made_prune(rng, n) if how < 0.75 else pvq.Joint(made_quant(rng, n), made_prune(rng, n))


def shared_optimum(stated: LayerProblem) -> Fraction:
    """The least sum of the rows' optima over all ways to share the budget."""
    assert stated.budget is not None
    assert stated.sparsity is not None
    best = {0: Fraction(0)}
    for i in range(len(stated)):
        curve = [problems.optimum(with_budget(stated.row(i), k)) for k in range(stated.sparsity.units + 1)]
        wider: dict[int, Fraction] = {}
        for (spent, so_far), (k, least) in itertools.product(best.items(), enumerate(curve)):
            total, use = so_far + least, spent + k
            if use <= stated.budget and (use not in wider or total < wider[use]):
                wider[use] = total
        best = wider
    return min(best.values())


def with_budget(problem: Problem, k: int) -> Problem:
    """The row with k units."""
    assert problem.sparsity is not None
    return dataclasses.replace(problem, sparsity=dataclasses.replace(problem.sparsity, keep=np.array([k])))


def reached(stated: LayerProblem, rows: list[int], low: float, high: float) -> Fraction:
    """The error of a good point of rows that share a scale in [low, high], exactly."""
    found = None
    for scale in np.geomspace(low, high, SCALES).tolist():
        for _ in range(4):  # best codes at a scale, best scale of these codes
            total, slope, curvature, chosen = Fraction(0), 0.0, 0.0, []
            for i in rows:
                row, codes = stated.row(i), codes_of(stated, i)
                h = row.hessian / (np.abs(row.hessian).max() or 1.0)
                u = row.weight - scale * codes
                c = codes[int(np.argmin(np.einsum("ri,ij,rj->r", u, h, u)))]
                slope, curvature = (
                    slope + float(c @ row.hessian @ row.weight),
                    curvature + float(c @ row.hessian @ c),
                )
                chosen.append((row, c))
            for row, c in chosen:
                total += problems.exact(row, scale * c)
            found = total if found is None or total < found else found
            better = slope / curvature if curvature > 0 else math.nan
            if not low <= better <= high or better == scale:
                break
            scale = better
    assert found is not None
    return found


def complaints(result: pvq.Result, gap: float) -> list[str]:
    """What is not true of a result."""
    stated, solved = result.problem, result.solved
    setting = stated.setting
    if setting.quantizes and setting.range == "optimal":
        return free_scale_complaints(result)
    if stated.budget is not None:
        least = shared_optimum(stated)
        bad = []
    else:
        optima = [problems.optimum(stated.row(i)) for i in range(len(stated))]
        least, bad = sum(optima, Fraction(0)), []
        options = Options(gap=gap)
        for i, row in enumerate(solved.rows):
            bad += [
                f"row {i}: {what}" for what in problems.complaints(stated.row(i), row.result, optima[i], options)
            ]
            if row.lower != row.result.lower:
                bad.append(f"row {i}: lower {row.lower} beside {row.result.lower}")
            bad += [
                f"row {i}: {name} below the optimum"
                for name, e in row.empirical.items()
                if Fraction(e) < optima[i]
            ]
    if Fraction(result.lower) > least:
        bad.append(f"{result.bound_kind} total {result.lower!r} above the optimum {float(least)!r}")
    errors = [problems.exact(stated.row(i), x) for i, x in enumerate(result.weights)]
    if Fraction(result.upper) < sum(errors, Fraction(0)):
        bad.append(f"total upper {result.upper!r} below the error {float(sum(errors))!r} of its weights")
    if result.is_optimal and Fraction(result.upper) - least > 2 * max(
        Fraction(gap) * Fraction(result.upper), rounding(result)
    ):
        bad.append(f"called optimal: {result.lower!r} to {result.upper!r}, the optimum is {float(least)!r}")
    if stated.sparsity is not None and stated.budget is not None:
        used = sum(len(set(stated.sparsity.unit[x != 0].tolist())) for x in result.weights)
        bad += [f"{used} units of {stated.budget}"] if used > stated.budget else []
    return bad


def rounding(result: pvq.Result) -> Fraction:
    """What the errors of all rows may be off by."""
    return sum((Fraction(row.result.rounding) for row in result.solved.rows), Fraction(0))


def sharing(stated: LayerProblem) -> list[list[int]]:
    """The rows that share a scale which is searched."""
    together = stated.grid is not None and len(stated.grid.scale) == 1
    return [list(range(len(stated)))] if together else [[i] for i in range(len(stated))]


def least_at_one_scale(stated: LayerProblem, rows: list[int]) -> Fraction:
    """The least error of such rows, or of the best that is found where they have too many points."""
    assert stated.grid is not None
    assert stated.grid.span is not None
    at = stated.rows[rows[0]] if len(stated.grid.scale) > 1 else 0
    low, high = (float(ends[at, 0]) for ends in stated.grid.span)
    found, least = reached(stated, rows, low, high), optimum_at_one_scale(stated, rows)
    return found if least is None else min(found, least)


def free_scale_complaints(result: pvq.Result) -> list[str]:
    """A lower end above the error of a point, scales being searched: without rounding where it is rigorous."""
    stated, bad = result.problem, []
    groups = sharing(stated)
    for rows in groups:
        together = len(rows) == len(stated)
        ends = [result.solved.rows[i].result for i in rows]
        info = ends[0].info
        if "scale_low" not in info:
            continue
        lower = Fraction(result.lower) if together else Fraction(ends[0].lower)
        reference = sum(stated.row(i).reference for i in rows)
        least = least_at_one_scale(stated, rows)
        kind = result.solved.bound_kind if together else ends[0].bound_kind
        rigorous = kind is BoundKind.RIGOROUS
        rounding = 0 if rigorous else Fraction(1e-9) * least + Fraction(1e-12 * reference)
        if lower > least + rounding:
            bad.append(f"rows {rows}: {kind} lower {float(lower)!r} above the error {float(least)!r} of a point")
    for i, row in enumerate(result.solved.rows):
        problem = stated.row(i)
        if not problem.is_feasible(row.result.x):
            bad.append(f"row {i}: its x violates the constraints")
        if problems.exact(problem, row.result.x) > Fraction(row.result.upper):
            bad.append(f"row {i}: upper {row.result.upper!r} below the error of its weights")
        if row.result.status not in {*problems.CHECKED, Status.FEASIBLE_ONLY}:
            bad.append(f"row {i}: {row.result.status}: {dict(row.result.info)}")
    return bad


def certificate_complaints(result: pvq.Result) -> list[str]:
    """Both checkers accept what the result said, and prove no more than what holds."""
    certificate, layer = result.certificate(), result.layer
    given = (certificate, layer.weight, layer.grams, layer.sha256)
    try:
        proven = verify_certificate(*given)
    except NotProven as refused:
        return [f"its certificate is refused: {refused}"]
    bad = []
    if result.problem.budget is None:
        rigorous = [row.result for row in result.solved.rows if row.result.bound_kind is BoundKind.RIGOROUS]
        claims = sum(Fraction(row.lower) for row in rigorous)
        if result.solved.bound_kind is BoundKind.RIGOROUS:  # also of rows that share a scale
            claims = max(claims, Fraction(result.lower))
        if Fraction(proven.lower) < claims * Fraction(1 - 1e-9):
            bad.append(f"verified {proven.lower!r}, rigorous rows said {float(claims)!r}")
        if result.problem.setting.range == "optimal":
            optima = [least_at_one_scale(result.problem, rows) for rows in sharing(result.problem)]
        else:
            optima = [problems.optimum(result.problem.row(i)) for i in range(len(result.problem))]
        least = sum(optima, Fraction(0))
    else:
        least = shared_optimum(result.problem)
        if result.bound_kind == "rigorous" and not result.lower <= min(proven.lower, least):
            bad.append(
                f"verified {proven.lower!r}, the layer said {result.lower!r}, its optimum is {float(least)!r}"
            )
    if not Fraction(proven.lower) <= least <= Fraction(proven.upper):
        bad.append(f"verified {proven.lower!r} to {proven.upper!r}, the optimum is {float(least)!r}")
    try:
        check_certificate(*given)
    except NotEstablished as refused:
        bad.append(f"the second checker refuses it: {refused}")
    return bad


def one_case(seed: int) -> tuple[str, list[str]]:
    """The kind of a case, and what is wrong with the result: nothing, one hopes."""
    rng = np.random.default_rng([seed, 1])
    try:
        kind, layer = made_layer(rng)
        setting = made_setting(rng, layer.inputs)
    except ProblemError:
        return "refused", []
    gap = float(rng.choice([1e-6, 1e-6, 0.0, 1e-2]))
    certify = bool(rng.random() < 0.4)
    engine = ENGINES[seed % len(ENGINES)]
    part = (0, int(rng.integers(1, layer.out + 1))) if rng.random() < 0.2 else None
    name = f"{type(setting).__name__.lower()} {kind} {engine}"
    try:
        result = pvq.bound(
            layer, setting, rows=part, solver=engine, methods="all", gap=gap, certify=certify, time_limit=LIMIT
        )
    except (ProblemError, pvq.UnsupportedProblem):  # combinations that are refused with a reason
        return "refused", []
    bad = complaints(result, gap)
    if certify:
        bad += certificate_complaints(result)
    return name, [f"{setting}: {what}" for what in bad]


if __name__ == "__main__":
    sys.exit(problems.main("layers", one_case, sys.argv[1:]))
