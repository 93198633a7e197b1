"""Both checkers asked about one proof, beside the exact optimum."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
from proof_cases import optimum, problem, proof
from pvq.bounds.verify.exact import exact_lower_bound
from pvq.bounds.verify.reference import NotEstablished, reference_bound
from pvq.bounds.verify.row import NotProven, lower_bound
from pvq.bounds.verify.table import kind_of_problem, kind_of_proof


def ask(check, refusal, *arguments):
    try:
        bound = check(*arguments)
        return None if bound == -math.inf else Fraction(bound)  # minus infinity: a block without a bound
    except refusal:
        return None


def compare(seed):
    """What the two say of one proof: words that begin with `wrong` are failures."""
    rng = np.random.default_rng(seed)
    row = problem(rng)
    claim = proof(rng, row)
    name = f"{kind_of_problem(row)} {kind_of_proof(claim)}"
    scope = "layer" if rng.random() < 0.2 else "row"
    best = optimum(row)
    floating = ask(lower_bound, NotProven, row, claim, 1.0, None, scope)
    rational = ask(exact_lower_bound, NotProven, row, claim, scope)
    second = ask(reference_bound, NotEstablished, row, claim, scope)
    if any(bound is not None and bound > best for bound in (floating, rational, second)):
        return name, "wrong: above the optimum"
    first = [bound for bound in (floating, rational) if bound is not None]
    if second is None:
        return name, "wrong: accepted by the first only" if first else "refused by both"
    if not first:
        return name, "accepted by the reference only"
    return name, "accepted by both" if second >= max(first) else "wrong: the reference proves less"


def count(seeds):
    """How often each kind ends how, and the seeds that went wrong."""
    counts, wrong = Counter(), []
    for seed in seeds:
        name, outcome = compare(seed)
        counts[name, outcome] += 1
        if outcome.startswith("wrong"):
            wrong.append((seed, name, outcome))
    return counts, wrong
