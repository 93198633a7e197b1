"""Whole certificates of small layers, as they are made or with one thing changed, given to both as files."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import problems
from mutations import mutated
from one_scale import optimum_at_one_scale
from pvq.bounds.certificate import Certificate, CertificateError, load_certificate, save_certificate
from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import LayerProblem, Setting, state_problem
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.verify.certificate import NotProven, verify_certificate
from pvq.bounds.verify.reference import NotEstablished, check_certificate
from pvq.layers.format import Layer
from pvq.solvers.base import Options
from pvq.solvers.certify import build_certificate
from pvq.solvers.layer import solve_layer
from pvq.solvers.registry import get_solver

KINDS = ("regular", "singular", "rank1", "dup", "neardup", "dead", "cond", "integer", "nearly_diag")
POINTS = 5000
"""Points of a row that are tried to find its optimum; where a changed setting has more, nothing is judged."""


def made_layer(rng: np.random.Generator, n: int) -> Layer:
    """One to three rows; one Gram matrix, or one for each row."""
    rows = int(rng.integers(1, 4))
    groups = rows if rng.random() < 0.2 else 1
    grams = np.array([problems.made_gram(rng, n, str(rng.choice(KINDS))) for _ in range(groups)])
    return Layer("made", rng.standard_normal((rows, n)), (grams + grams.transpose(0, 2, 1)) / 2)


def made_setting(rng: np.random.Generator, n: int) -> Setting:
    """Any method, pattern, scope, grid and selection whose rows are short enough to try everything."""
    method = str(rng.choice(["quant", "prune", "joint"]))
    words: dict[str, object] = {}
    if method != "prune":
        bits = int(rng.integers(1, 4 if n <= 3 else 3))
        words["grid"] = str(
            rng.choice(["int", "int-asym"] if bits == 1 else ["int", "int-sym", "int-asym", "ternary"])
        )
        words["bits"] = None if words["grid"] == "ternary" else bits
        words["granularity"] = str(rng.choice(["tensor", "channel", "group:2"]))
        words["range"] = str(rng.choice(["mse", "minmax", "gram"]))
    if method != "quant":
        words["update"] = bool(rng.random() < 0.6)
        if n % 2 == 0 and rng.random() < 0.3:
            words["nm"] = (1, 2)
        else:
            words["sparsity"] = float(rng.choice([0.0, 0.3, 0.5, 0.7]))
            words["block"] = 2 if n % 2 == 0 and rng.random() < 0.3 else None
            words["scope"] = str(rng.choice(["row", "row", "layer"]))
    words["ridge"] = float(rng.choice([0.0, 0.0, 0.01]))
    words["inputs"] = (1, n) if n > 2 and n % 2 and rng.random() < 0.2 else None
    return Setting(method, **words)  # type: ignore[arg-type]


def made(rng: np.random.Generator) -> tuple[Layer, Certificate] | None:
    """A layer and what a solver of ours has proven of it; None where the problem cannot be stated."""
    n = int(rng.integers(2, 6))
    try:
        layer, setting = made_layer(rng, n), made_setting(rng, n)
        problem = state_problem(layer.weight, layer.grams, setting)
    except ProblemError:
        return None
    solver = get_solver("auto" if setting.scope == "layer" else str(rng.choice(problems.OWN)))
    options = Options(time_limit=0.3, node_limit=int(rng.choice([1, 10, 3000])), prove=True)
    return layer, build_certificate(layer, problem, solve_layer(problem, solver, options))


def compare(seed: int) -> tuple[str, str]:
    """The case, and what the two say of it: words that begin with `wrong` are failures."""
    rng = np.random.default_rng(seed)
    found = None
    while found is None:
        found = made(rng)
    layer, certificate = found
    changed = rng.random() < 0.7
    name = f"certificate{', changed' if changed else ''}"
    try:
        if changed:
            certificate = mutated(rng, certificate)
        certificate = read_back(certificate)
    except (CertificateError, ProblemError):
        return name, "unreadable" if changed else "wrong: unreadable"
    return name, outcome(layer, certificate, changed)


def read_back(certificate: Certificate) -> Certificate:
    """As a file says it; raises CertificateError or ProblemError."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "c.npz"
        with file.open("wb") as stream:
            save_certificate(stream, certificate)
        return load_certificate(file)


def outcome(layer: Layer, certificate: Certificate, changed: bool = True) -> str:
    """What the two say of a certificate that has been read."""
    what = certificate, layer.weight, layer.grams, layer.sha256
    try:
        first = verify_certificate(*what)
    except NotProven as error:
        first, why = None, str(error)
    try:
        check_certificate(*what)
        second = True
    except NotEstablished as error:
        second, reason = False, str(error)
    if first is None and not second:
        return "refused by both" if changed else f"wrong: refused: {why}"
    if not second:
        return f"wrong: accepted by the first only: {reason}"
    shifts, levels, scales = certificate.shifts, certificate.levels, certificate.scales
    problem = state_problem(layer.weight, layer.grams, certificate.setting, shifts, levels, scales=scales)
    false = complaint(problem, certificate)
    if false is not None:
        return f"wrong: {false}"
    if first is None:
        return "accepted by the reference only" if changed else f"wrong: refused: {why}"
    proven = replace(certificate, lower=first.lower, upper=first.upper)
    false = complaint(problem, proven)
    return "accepted by both" if false is None else f"wrong: what was proven: {false}"


def complaint(problem: LayerProblem, certificate: Certificate) -> str | None:
    """What is not true of the claims, by trying everything; None if all are."""
    if problem.grid is not None and (problem.grid.codebook.levels.size + 1.0) ** len(problem.inputs) > POINTS:
        return None
    upper, used, free = Fraction(0), 0, problem.grid is not None and problem.grid.span is not None
    rows = [problem.row(i) for i in range(len(problem))]
    for i, (row, claim) in enumerate(zip(rows, certificate.rows, strict=True)):
        error = problems.exact(row, claim.x)
        upper += error
        if not row.is_feasible(claim.x):
            return "an x that is not feasible"
        if claim.upper < error:
            return "an upper end below e(x)"
        for at in claim.lower:
            own = row if at.keep is None else keeping(row, at.keep)
            if at.lower > (optimum_at_one_scale(problem, [i]) if free else optimum(own)):
                return f"a lower end {at.lower!r} above the optimum"
        if row.sparsity is not None:
            used += len({*row.sparsity.unit[claim.x != 0].tolist()})
    if free:
        groups = [[*range(len(rows))]] if len(problem.grid.scale) == 1 else [[i] for i in range(len(rows))]
        least = sum((optimum_at_one_scale(problem, group) for group in groups), Fraction(0))
    elif problem.budget is None:
        least = sum((optimum(row) for row in rows), Fraction(0))
    else:
        least = shared_optimum(rows, problem.budget)
        if used > problem.budget:
            return "more units kept than the budget"
    if certificate.lower > min(least, upper):
        return f"a total lower end {certificate.lower!r} above the optimum {float(least)!r}"
    return "a total upper end below e(x)" if certificate.upper < upper else None


def keeping(row: Problem, k: int) -> Problem:
    """The row with a budget of its own."""
    assert row.sparsity is not None
    return replace(row, sparsity=replace(row.sparsity, keep=np.array([k])))


def optimum(row: Problem) -> Fraction:
    """The least error of a row that may have dead inputs."""
    reduced = presolve(row).problem
    return Fraction(0) if reduced is None else problems.optimum(reduced)


def shared_optimum(rows: list[Problem], budget: int) -> Fraction:
    """The least error of rows that keep so many units together."""
    best = {0: Fraction(0)}
    for row in rows:
        assert row.sparsity is not None
        of_row = [optimum(keeping(row, k)) for k in range(row.sparsity.units + 1)]
        new: dict[int, Fraction] = {}
        for used, value in best.items():
            for k, error in enumerate(of_row):
                if used + k <= budget:
                    new[used + k] = min(new.get(used + k, value + error), value + error)
        best = new
    return min(best.values())
