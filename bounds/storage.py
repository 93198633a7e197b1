"""What a compressed layer costs to store, and the sparsity that b bits a weight pay for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .errors import ProblemError
from .layer_problem import Setting, kept

BASES = (16, 32)
MASKS = ("none", "bitmask", "index")


@dataclass(frozen=True)
class CostModel:
    """How storage is counted. The defaults are those of Kuzmin et al. 2023: kept weights at 16 bits, nothing else.

    Raises
    ------
    ProblemError
        A base or mask there is none of, negative bits.
    """

    base: int = 16
    """Bits of a weight that is not quantized."""
    mask: str = "none"
    """none: where the kept weights are costs nothing; bitmask: one bit for each weight (or block) kept or not;
    index: each kept weight (or block) carries its position in the row, or in its group for N:M, in whole bits."""
    scale_bits: int = 0
    """Bits of each scale of the quantization grid, 0 to leave scales out."""

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise ProblemError(f"`base` must be {' or '.join(map(str, BASES))} bits, not {self.base}")
        if self.mask not in MASKS:
            raise ProblemError(f"`mask` must be one of {', '.join(MASKS)}, not '{self.mask}'")
        if not 0 <= self.scale_bits <= 64:
            raise ProblemError(f"`scale_bits` must be between 0 and 64, not {self.scale_bits}")

    def quantized(self, rows: int, n: int, bits: float, granularity: str, zero_points: bool = False) -> float:
        """Bits a weight of a quantized layer: b, and the scales where they count (zero points at b bits each)."""
        extra = self.scale_bits + (bits if zero_points else 0) if self.scale_bits else 0
        return bits + scale_count(rows, n, granularity) * extra / (rows * n)

    def pruned(self, n: int, share: float, block: int = 1, of: int | None = None) -> float:
        """Bits a weight of a pruned layer that keeps a share of its weights (a row has n; N:M: groups of `of`)."""
        fixed, each = self._mask(n, block, of)
        return share * (self.base + each) + fixed

    def share(self, budget: float, n: int, block: int = 1, of: int | None = None) -> float:
        """Share of the weights that a budget of bits a weight pays for; may be negative or above 1."""
        fixed, each = self._mask(n, block, of)
        return (budget - fixed) / (self.base + each)

    def _mask(self, n: int, block: int, of: int | None) -> tuple[float, float]:
        """Bits of the mask for every weight, and for every kept weight."""
        if self.mask == "bitmask":
            return 1 / block, 0.0
        positions = of or n // block
        return 0.0, math.ceil(math.log2(positions)) / block if self.mask == "index" else 0.0


def scale_count(rows: int, n: int, granularity: str) -> int:
    """Scales of a weight tensor of `rows` x n: one, one a row, or one for each G inputs of a row."""
    if granularity == "tensor":
        return 1
    if granularity == "channel":
        return rows
    return rows * -(-n // int(granularity.partition(":")[2]))


@dataclass(frozen=True)
class Pair:
    """Two settings of a layer that cost the same: b bits a weight, and the sparsity they pay for, or one given."""

    bits: int
    sparsity: float
    """1 - b/16 by default; the kept weights are the largest whole number that fits."""
    quant: Setting
    prune: Setting
    quant_bits: float
    """Bits a weight, scales included where they count."""
    prune_bits: float
    """Bits a weight, the mask included where it counts; at most `quant_bits` at equal cost."""
    macs: float
    """Share of the multiply-accumulates that pruning leaves (quantization leaves all, at b bits)."""


def equal_cost_pair(
    rows: int, n: int, bits: int, cost: CostModel, quant: Setting, prune: Setting, nm: int | None = None
) -> Pair:
    """The pair of a bit width for a layer of `rows` x n.

    Parameters
    ----------
    quant, prune : everything but bits and sparsity, which are set here.
    nm : M of an N:M pattern; N is the largest that fits.

    Raises
    ------
    ProblemError
        There is no such pair: nothing can be kept, or everything, or the inputs do not divide into groups.
    """
    block = prune.block or 1
    _check_divides(n, nm, block)
    budget = cost.quantized(rows, n, bits, quant.granularity, quant.grid == "int-asym")
    share = cost.share(budget, n, block, nm)
    if share >= 1:
        raise ProblemError(f"{bits}-bit weights pay for all weights at {cost.base} bits: nothing to prune")
    sparsity = 1 - max(share, 0.0)
    if nm:
        count, whole = nm, f"{nm} weights"
    elif prune.scope == "layer":
        count, whole = rows * (n // block), f"{rows * n} weights"
    else:
        count, whole = n // block, f"{n // block} blocks of a row" if block > 1 else f"{n} weights of a row"
    keep = kept(count, sparsity)
    if keep == 0:
        raise ProblemError(f"{bits}-bit weights pay for none of {whole} at {cost.base} bits")
    chosen = replace(prune, sparsity=None, nm=(keep, nm)) if nm else replace(prune, sparsity=sparsity)
    return pair_against(rows, n, bits, cost, quant, chosen)


def pair_against(rows: int, n: int, bits: int, cost: CostModel, quant: Setting, prune: Setting) -> Pair:
    """A bit width beside a sparsity or N:M pattern that is given, whatever each of them costs.

    Parameters
    ----------
    quant : everything but the bits, which are set here.
    prune : all of the pruned side.

    Raises
    ------
    ProblemError
        Nothing is kept, or everything, or the inputs do not divide into groups.
    """
    block, nm = prune.block or 1, prune.nm
    _check_divides(n, None if nm is None else nm[1], block)
    count = rows * (n // block) if prune.scope == "layer" else n // block
    share = nm[0] / nm[1] if nm is not None else kept(count, prune.sparsity or 0.0) / count
    if not 0 < share < 1:
        raise ProblemError(f"this sparsity keeps {'nothing' if share <= 0 else 'everything'} of {n} inputs")
    return Pair(
        bits,
        1 - share if prune.sparsity is None else prune.sparsity,
        replace(quant, bits=bits),
        prune,
        cost.quantized(rows, n, bits, quant.granularity, quant.grid == "int-asym"),
        cost.pruned(n, share, block, None if nm is None else nm[1]),
        share,
    )


def _check_divides(n: int, nm: int | None, block: int) -> None:
    if n % (nm or block):
        pattern = f"N:{nm} sparsity" if nm else f"blocks of {block}"
        raise ProblemError(f"{n} inputs are no multiple of {nm or block}, as {pattern} needs")
