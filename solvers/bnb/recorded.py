"""From the leaves of a finished search to the record of its tree that a proof holds."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import IntArray
from pvq.bounds.proof import FREE, KEPT, PRUNED


def recorded(states: np.ndarray) -> IntArray | None:
    """(nodes,) code of a `pvq.bounds.proof.Tree` whose leaf i has split i; None where the leaves are no tree.

    The search may have branched in another order. In any tree some unit is decided in all leaves, that of its
    first branch; the leaves that keep it and those that do not are trees again, without it.

    Parameters
    ----------
    states : (leaves, units) FREE, KEPT or PRUNED.
    """
    code: list[int] = []
    todo = [(np.arange(len(states)), np.zeros(states.shape[1], dtype=bool))]
    while todo:
        leaves, decided = todo.pop()
        if len(leaves) == 1:
            code.append(-1 - int(leaves[0]))
            continue
        mine = states[leaves]
        kept = (mine == KEPT).sum(axis=0)
        parts = (mine != FREE).all(axis=0) & ~decided & (kept > 0) & (kept < len(leaves))
        if not parts.any():
            return None
        # the most even of them: the record is shorter where paths are
        unit = int(np.where(parts, np.minimum(kept, len(leaves) - kept), -1).argmax())
        code.append(unit)
        decided = decided.copy()
        decided[unit] = True
        todo += [(leaves[mine[:, unit] == side], decided) for side in (PRUNED, KEPT)]
    return np.array(code, dtype=np.int64)
