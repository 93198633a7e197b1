"""
Write a solver
==============

A solver is a class with a name and a method ``_solve``: it takes one row and returns
a point, a lower bound, or both. Nothing that it claims is believed. The upper end is
recomputed from the point, a point that breaks a constraint is replaced, and a lower
end that a feasible point contradicts makes the result ``failed``.
"""

from importlib.resources import files

import numpy as np
import pvq
from pvq.bounds.proof import Below, Split
from pvq.solvers.base import Options, Solver
from pvq.solvers.result import Outcome


class Nearest(Solver):
    """Rounds to the nearest level; a bound from the smallest eigenvalue of H."""

    name = "nearest"
    summary = "rounding, bounded by the smallest eigenvalue"
    methods = frozenset({"quant"})
    proves = "bound"

    def _solve(self, problem, options, start):
        x = problem.grid.nearest(problem.weight)
        smallest = max(0.0, np.linalg.eigvalsh(problem.hessian)[0])
        lower = smallest * ((problem.weight - x) ** 2).sum()
        return Outcome(x, lower)


# %%
# A row to try it on, and the optimum to compare with. ``_solve`` gets a row without
# dead inputs (zero rows of H), in units in which its numbers are of order 1.

folder = files("pvq.benchmarks") / "instances"
layer = pvq.load_layer(folder / "efficientnet_lite0.blocks.4.expand.npz")
exact = pvq.bound(layer, pvq.Quant(bits=4), rows=(0, 1), methods=())
row = exact.problem.row(0)
found = Nearest().solve(row, Options())
print(found.status, found.bound_kind, found.lower, found.upper)
print("optimum:", exact.upper)
assert found.lower <= exact.lower <= exact.upper <= found.upper

# %%
# The bound is ``numerical``: float64 says so. A proof makes it ``rigorous``. The
# simplest one is a diagonal D with H - D positive semidefinite: then e(x) = u'(H -
# D)u + u'Du >= sum of d_i u_i^2, u = x - w, and each u_i is at least the distance of
# w_i from its nearest level. ``Split(Below(D), v)`` says this with v = 0; the
# verifier computes the sum itself.


class Proven(Nearest):
    """The same, with a proof."""

    name = "proven"

    def _solve(self, problem, options, start):
        claimed = super()._solve(problem, options, start)
        smallest = max(0.0, np.linalg.eigvalsh(problem.hessian)[0])
        diagonal = np.full(problem.n, (1 - 1e-6) * smallest)  # room for rounding
        proof = Split(Below(diagonal), np.zeros(problem.n))
        return Outcome(claimed.x, claimed.lower, proof=proof)


proven = Proven().solve(row, Options())
print(proven.status, proven.bound_kind, proven.lower, proven.upper)
assert proven.bound_kind == "rigorous"

# %%
# A solver that is wrong, by a minus sign or by intent, gets nowhere.


class Wrong(Nearest):
    """Claims that its point is the optimum, and a hundredth more."""

    name = "wrong"

    def _solve(self, problem, options, start):
        x = problem.grid.nearest(problem.weight)
        return Outcome(x, 1.01 * problem.error(x))


caught = Wrong().solve(row, Options())
print(caught.status, caught.lower, caught.info["why"])
assert caught.status == "failed"

# %%
# Join by entry point
# -------------------
#
# With these lines in the ``pyproject.toml`` of a package of yours, once it is
# installed, ``--solver nearest`` and ``pvq.bound(..., solver="nearest")`` use it for
# whole layers, and ``pvq solvers`` lists it:
#
# .. code-block:: toml
#
#     [project.entry-points."pvq.solvers"]
#     nearest = "pvq_nearest:Nearest"
#
# The whole of such a package is in ``tests/solvers/plugin``. Solvers that run for
# long look at ``options.time_limit`` and ``options.stop``, most simply through
# ``pvq.solvers.base.Clock``, and say why they stopped, as in
# ``Outcome(x, lower, Reason.TIME)``.
