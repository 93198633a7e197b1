"""Every certificate that a test makes, or that the first checker accepts in one, is given to the second too."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from pvq.bounds.certificate import Certificate, Claim
from pvq.bounds.proof import Tree
from pvq.bounds.verify import certificate as first
from pvq.bounds.verify.reference import Limits, NotEstablished, check_certificate
from pvq.solvers import certify

WORK = 200_000
"""Leaves times the cube of the inputs that are asked about: at most about half a second."""
NODES = 20_000
asked = 0
"""Certificates that the second checker has answered for."""


class Disagreement(AssertionError):
    """The second checker refuses what the first accepts, or what a solver of ours has proven."""


def work(certificate: Certificate) -> int:
    """What the second checker takes, roughly."""
    return sum(leaves(claim) * len(row.x) ** 3 for row in certificate.rows for claim in row.lower)


def leaves(claim: Claim) -> int:
    """Splits that are evaluated."""
    return claim.proof.leaves if isinstance(claim.proof, Tree) else 1


def ask(certificate: Certificate, weight: Any, grams: Any, sha256: str) -> None:
    """Raise `Disagreement` if the second checker refuses a certificate that is small enough."""
    global asked
    if work(certificate) > WORK:
        return
    try:
        check_certificate(certificate, weight, grams, sha256, Limits(nodes=NODES))
    except NotEstablished as error:
        if f"within {NODES} nodes" not in str(error):
            raise Disagreement(f"the second checker refuses: {error}") from None
        return
    asked += 1


def install() -> None:
    """Make both functions ask, wherever they have been imported."""
    verify, build = first.verify_certificate, certify.build_certificate

    @functools.wraps(verify)
    def verified(certificate: Certificate, weight: Any, grams: Any, sha256: str) -> Any:
        found = verify(certificate, weight, grams, sha256)
        ask(certificate, weight, grams, sha256)
        return found

    @functools.wraps(build)
    def built(layer: Any, problem: Any, result: Any) -> Certificate:
        certificate = build(layer, problem, result)
        ask(certificate, layer.weight, layer.grams, layer.sha256)
        return certificate

    _replace(verify, verified)
    _replace(build, built)


def _replace(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("pvq.") or name == "pvq":
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)
