"""Ask both checkers, `python tests/fuzz/proofs.py N [SEED] [JOBS]`: proofs of rows, and some whole certificates.

A case depends on its seed alone. Exit 1 if a checker is wrong.
"""

from __future__ import annotations

import sys

import certificates
import checkers
import problems

CERTIFICATES = 20
"""One case of so many is a certificate."""
WORDS = {
    "accepted by both": "both",
    "refused by both": "neither",
    "accepted by the reference only": "reference-only",
    "too long for the reference": "too-long",
    "unreadable": "unreadable",
}


def one_case(seed: int) -> tuple[str, list[str]]:
    """Who accepts it and what it is, and what is wrong with that."""
    name, outcome = certificates.compare(seed) if seed % CERTIFICATES == 0 else checkers.compare(seed)
    if outcome in WORDS:
        return f"{WORDS[outcome]} {name}", []
    return f"wrong {name}", [outcome]


if __name__ == "__main__":
    sys.exit(problems.main("proofs", one_case, sys.argv[1:]))
