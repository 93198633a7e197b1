"""Both checkers asked about one proof of one row, beside the exact optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import problems
from mutations import mutated
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Proof
from pvq.bounds.verify.exact import exact_lower_bound
from pvq.bounds.verify.reference import Limits, NotEstablished, reference_bound
from pvq.bounds.verify.reference.leaf import Shared
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.table import kind_of_problem, kind_of_proof
from pvq.solvers.base import Options
from pvq.solvers.registry import get_solver
from shapes import shaped

NODES = 20_000
"""Of a search of the second checker: what takes more is counted apart."""


def ask(check: Callable[..., Any], refusal: type[Exception], *arguments: Any) -> Fraction | None:
    """What a checker proves; None where it refuses, or says minus infinity (a block without a bound)."""
    try:
        bound = check(*arguments)
    except refusal:
        return None
    return None if bound == -math.inf else Fraction(bound)


def made_row(rng: np.random.Generator) -> Problem:
    """A row of at most 7 inputs of any kind, none of them dead."""
    while True:
        made = problems.made_problem(rng)
        row = None if made is None else presolve(made[2]).problem
        if row is not None:
            return row


def solved(rng: np.random.Generator, row: Problem, prove: bool) -> Any:
    """What a solver of ours finds, with its proof if it is asked for one."""
    solver = get_solver(str(rng.choice(problems.OWN)))
    nodes = int(rng.choice([1, 10, 3000]))
    return solver.solve(
        row, Options(time_limit=0.3, gap=float(rng.choice([1e-6, 1e-2])), node_limit=nodes, prove=prove)
    )


def made_proof(rng: np.random.Generator, row: Problem, best: Fraction) -> tuple[str, Proof]:
    """Where it is from, and the proof: of a solver, made by hand, or one of these with one thing changed."""
    origin, proof = "made", None
    if rng.random() < 0.3:
        origin, proof = "honest", solved(rng, row, True).proof
    if proof is None:
        x = solved(rng, row, False).x if rng.random() < 0.5 else np.where(rng.random(row.n) < 0.5, 0, row.weight)
        origin, proof = "made", shaped(rng, row, x - row.weight, float(best))
    if rng.random() < 0.4:
        return f"{origin}, changed", mutated(rng, proof)
    return origin, proof


def compare(seed: int) -> tuple[str, str]:
    """The case, and what the two say of it: words that begin with `wrong` are failures."""
    rng = np.random.default_rng(seed)
    row = made_row(rng)
    best = problems.optimum(row)
    origin, proof = made_proof(rng, row, best)
    scope = "layer" if rng.random() < 0.2 else "row"
    return f"{kind_of_problem(row)} {kind_of_proof(proof)} ({origin})", outcome(row, proof, scope, best, origin)


def outcome(row: Problem, proof: Proof, scope: str, best: Fraction, origin: str = "") -> str:
    """What the two say of a proof."""
    floating = ask(lower_bound, NotProven, row, proof, 1.0, None, scope)
    rational = ask(exact_lower_bound, NotProven, row, proof, scope)
    try:
        second = ask(reference_bound, (), row, proof, scope, Shared(Limits(nodes=NODES)))
    except NotEstablished as error:
        if f"within {NODES} nodes" in str(error):
            return "too long for the reference"
        second = None
    if any(bound is not None and bound > best for bound in (floating, rational, second)):
        return "wrong: above the optimum"
    first = [bound for bound in (floating, rational) if bound is not None]
    if origin == "honest" and scope == "row" and len(first) < 2:
        return "wrong: an honest proof is refused"
    if second is None:
        return "wrong: accepted by the first only" if first else "refused by both"
    if not first:
        return "accepted by the reference only"
    return "accepted by both" if second >= max(first) else "wrong: the reference proves less"
