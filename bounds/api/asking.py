"""What a run is asked for, from the words of `Ledger.create`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pvq.bounds.codebooks import INT_GRIDS, file_levels
from pvq.bounds.errors import ProblemError
from pvq.bounds.setting import Setting
from pvq.bounds.storage import CostModel
from pvq.solvers.ledger.plan import Asked

from .comparing import widths
from .problems import Prune, Quant, problem_of, setting_of

BOTH = "both"


def asked_of(
    method: str,
    *,
    bits: Iterable[int] | None,
    grid: str,
    granularity: str,
    range: str,
    sparsity: Sequence[float],
    nm: str | int | None,
    block: int | None,
    update: bool,
    base: int,
    mask: str,
    scale_bits: int,
    gap: float,
) -> Asked:
    """Settings of every layer, or of both sides of pairs; parameters as `Ledger.create`.

    Raises
    ------
    ProblemError
        A parameter is impossible.
    """
    if method == BOTH:
        if sparsity or isinstance(nm, str):
            raise ProblemError("`method` both takes its sparsity from `bits`; `nm` is M alone, as 4")
        if nm is not None and (nm < 2 or block is not None):
            raise ProblemError("`nm` M must be at least 2, and does not go with `block`")
        wanted = tuple(widths(grid, bits))
        Quant(wanted[0] if grid in INT_GRIDS else None, grid, granularity, range)  # checks it
        Prune(0.5, block=block, update=update)
        settings: tuple[Setting, ...] = (
            Setting("quant", grid=grid, granularity=granularity, range=range),
            Setting("prune", sparsity=0.5, block=block, update=update),
        )
    else:
        if isinstance(nm, int):
            raise ProblemError("`nm` must be N:M as 2:4")
        wanted = () if method == "prune" else tuple(widths(grid, bits))
        settings = tuple(
            setting_of(
                problem_of(
                    method,
                    bits=width if grid in INT_GRIDS else None,
                    grid=grid,
                    granularity=granularity,
                    range=range,
                    sparsity=share,
                    nm=nm,
                    block=block,
                    update=update,
                )
            )[0]
            for width in wanted or (None,)
            for share in sparsity or (None,)
        )
    if range == "optimal":
        raise ProblemError("`range` optimal is for pvq-bound; here take mse, minmax or gram")
    levels = None if method == "prune" else file_levels(grid)
    words = {
        "grid": grid,
        "levels": levels,
        "granularity": granularity,
        "range": range,
        "block": block,
        "nm": nm,
        "update": update,
        "scope": "row",
        "base": base,
        "mask": mask,
        "scale_bits": scale_bits,
        "bits": list(wanted),
        "sparsity": list(sparsity),
        "gap": gap,
    }
    each = nm if isinstance(nm, int) else None
    return Asked(method, settings, wanted, CostModel(base, mask, scale_bits), each, levels, gap, words)
