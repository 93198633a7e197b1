"""Where an error of 0 is reached by algebra, without a search."""

from __future__ import annotations

from .layer_problem import LayerProblem


def rank_that_suffices(problem: LayerProblem) -> int | None:
    """The rank r of H, if as many as the problem keeps reach an error of 0 for any weights; None if they need not.

    H = B'B with r independent columns b_i, i in S, has B w = sum_S b_i x_i for some x: so r kept weights of a row
    are enough, whatever w is, and so are r blocks. N:M may keep too few of S in a group. It is the numerical rank,
    and H may have been shifted by tau: the error is then tau |w - x|^2 and rounding.

    Parameters
    ----------
    problem : a layer's rows; only pruning with re-optimised weights is answered.
    """
    setting, pattern = problem.setting, problem.sparsity
    if pattern is None or setting.quantizes or not setting.update or setting.nm is not None:
        return None
    rank = max(gram.rank for gram in problem.grams)
    kept, rows = (int(pattern.keep[0]), 1) if problem.budget is None else (problem.budget, len(problem))
    return rank if kept >= rank * rows else None
