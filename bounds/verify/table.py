"""Which kind of proof proves which kind of problem; what is not in the table is refused.

With u = x - w, H = M + D and M positive semidefinite, inequality (1) of `proof` holds for every x whatever C
is:

    e(x) >= -v'Mv + u'Du + 2 (Mv)'u,

so that the least right side over any set that contains C is a lower bound of the optimum. The theorems differ
in that set and in how the minimum over it is found:

*split*: D is diagonal, the right side a sum over inputs. On a grid the set is C itself. Under a pattern a unit
    costs one number if kept and one if pruned, and each group keeps those of its units that save most: exact
    over all patterns, with kept weights free (-g_i^2 / d_i, which needs d_i > 0, or d_i = 0 and g_i = 0), fixed
    (0) or on the grid.
*blocks*: on a block of inputs u'D_b u + 2 g_b'u is minimised over all their levels by a complete search. With a
    pattern (joint) 0 is a level more and the budget is not held in blocks: a larger set. Without a grid a block
    has no finite set.
*pairs*: two single inputs of one group with free weights; f_S as in `pairs`, its concave hull over |S| is below
    every f_S, so that its increments may compete for the budget one by one.
*enumeration*: the points of C are finitely many and all of them are visited, or cut by a proven bound. Points
    are grid levels, or {0, w_i} where kept weights are fixed. Free weights are no such set: nothing is proven
    of them.
*reduced*: the same of grids with equal steps, whose points are first + step T y with y whole and T y in a box:
    all of them, as T and its inverse have whole entries.
*tree*: every pattern of C is covered by a leaf, and each leaf has the theorem of its split on what it leaves
    open.
*boxes*: every point of C, as in an enumeration, is covered by a leaf, which leaves an interval of its values to
    every input; the right side is minimised over these and under what the kept units leave of the budget.
*cover*: every t = p'(w - x) lies in an interval or outside of all. (t - a)(t - b) <= 0 in an interval, so that
    it may be added to e, and its split bounds the sum; outside e >= floor t^2.
*scales*: where the scale of the grid is chosen with the weights, C is the union of the grids of all scales of a
    range. Nothing that holds at one of them holds for C; here every scale lies in an interval, whose search bounds
    the errors of all of its scales.

Scope `layer`: a proof about a row holds for the budget that it is made for, and `scope` adds up budgets.
No proof about a row is one about a mask that the rows share. N:M fixes every group of every row and has no such
budget.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..problem import Problem
from ..proof import Cover, Proof, Scales, Split, Tree

ROW, LAYER = frozenset({"row"}), frozenset({"row", "layer"})
GRID = frozenset({"none"})
ALL, SINGLE = frozenset({"row", "nm", "block"}), frozenset({"row", "nm"})


@dataclass(frozen=True)
class Line:
    """A line of the table: where the theorem of a kind of proof holds for a kind of problem."""

    patterns: frozenset[str]
    """none | row | nm | block."""
    scopes: frozenset[str]
    """row | layer."""
    parts: frozenset[str] = frozenset()
    """Kinds of splits that a tree or a cover may be made of, if the problem has a line for them too; of searches,
    for scales."""


PLAIN, PAIRED = frozenset({"split"}), frozenset({"split", "pairs"})

TABLE: dict[tuple[str, str], Line] = {
    ("quant", "split"): Line(GRID, ROW),
    ("quant", "blocks"): Line(GRID, ROW),
    ("quant", "enumeration"): Line(GRID, ROW),
    ("quant", "reduced"): Line(GRID, ROW),
    ("quant", "cover"): Line(GRID, ROW, PLAIN),
    ("free", "split"): Line(ALL, LAYER),
    ("free", "pairs"): Line(SINGLE, LAYER),
    ("free", "tree"): Line(ALL, LAYER, PAIRED),
    ("free", "cover"): Line(ALL, LAYER, PAIRED),
    ("fixed", "split"): Line(ALL, LAYER),
    ("fixed", "enumeration"): Line(ALL, LAYER),
    ("fixed", "tree"): Line(ALL, LAYER, PLAIN),
    ("fixed", "boxes"): Line(ALL, LAYER),
    ("fixed", "cover"): Line(ALL, LAYER, PLAIN),
    ("joint", "split"): Line(ALL, LAYER),
    ("joint", "blocks"): Line(ALL, LAYER),
    ("joint", "enumeration"): Line(ALL, LAYER),
    ("joint", "tree"): Line(ALL, LAYER, PLAIN),
    ("joint", "boxes"): Line(ALL, LAYER),
    ("joint", "cover"): Line(ALL, LAYER, PLAIN),
    ("scaled", "scales"): Line(GRID, ROW, frozenset({"enumeration", "reduced"})),
    ("scaled joint", "scales"): Line(ALL, ROW, frozenset({"enumeration", "boxes"})),
}
"""(kind of problem, kind of proof) -> where it holds."""


def kind_of_problem(problem: Problem) -> str:
    """quant | free | fixed | joint | scaled | scaled joint.

    Pruning with kept weights re-optimised, or as they are, and the grids; scaled where their scale is chosen too.
    """
    if problem.grid is not None and problem.grid.free is not None:
        return "scaled" if problem.sparsity is None else "scaled joint"
    if problem.method != "prune":
        return problem.method
    return "free" if problem.free_weights else "fixed"


def kind_of_proof(proof: Proof) -> str:
    """split | blocks | pairs | enumeration | reduced | tree | boxes | cover | scales."""
    if isinstance(proof, Split):
        if proof.below.blocks or proof.blocks:
            return "blocks and pairs" if len(proof.below.pairs) else "blocks"
        return "pairs" if len(proof.below.pairs) else "split"
    return type(proof).__name__.lower()


def why_refused(problem: Problem, proof: Proof, scope: str = "row") -> str | None:
    """One line on why the table has no theorem for this proof of this problem, None if it has."""
    kind, of = kind_of_proof(proof), kind_of_problem(problem)
    words = {
        "quant": "quantization",
        "free": "pruning with re-optimised weights",
        "fixed": "pruning with fixed weights",
        "joint": "quantization and pruning",
        "scaled": "quantization at any scale",
        "scaled joint": "quantization and pruning at any scale",
    }[of]
    line = TABLE.get((of, kind))
    if line is None:
        return f"a proof by {kind} proves nothing about {words}"
    pattern = "none" if problem.sparsity is None else problem.sparsity.kind
    if pattern not in line.patterns or scope not in line.scopes or (scope == "layer" and pattern == "nm"):
        return f"a proof by {kind} proves nothing about {words} with pattern {pattern} and scope {scope}"
    if isinstance(proof, Scales):
        for part in {kind_of_proof(search) for search in proof.searches}:
            if part not in line.parts:
                return f"a proof by {kind} made of {part} proves nothing about {words}"
    if isinstance(proof, Tree | Cover):
        for part, split in {kind_of_proof(split): split for split in proof.splits}.items():
            if part not in line.parts or why_refused(problem, split, scope) is not None:
                return f"a {kind} made of {part} proves nothing about {words} with pattern {pattern}"
    return None
