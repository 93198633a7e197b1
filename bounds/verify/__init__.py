"""The verifier: what a proof proves, whoever made it. It imports no solver, no relaxation and none of their
kernels.

`row` is the entry: what a proof proves of a row, in float64 with every rounding bounded. `table` says which
proof proves which problem, `split`, `pairs`, `tree`, `enumeration`, `reduced` and `scales` evaluate the kinds of
proof, `psd` shows matrices semidefinite, `exact` does the same in rational arithmetic for short rows, `scope` adds
up rows that share a budget, and `certificate` checks a whole file's claims.
"""

from .certificate import verify_certificate
from .row import NotProven, lower_bound

__all__ = ["NotProven", "lower_bound", "verify_certificate"]
