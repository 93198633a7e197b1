"""Weight tensors themselves: kurtosis, and the SQNR of quantizing or pruning each (Kuzmin et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..codebooks import FIXED_BITS, codebook
from ..errors import ProblemError
from ..gram import FloatArray
from ..grid import nearest_index
from ..ranges import fit_grid
from ..sqnr import sqnr_db
from .analytic import fit_range, sparsity_of
from .distributions import Empirical

GRANULARITIES = ("tensor", "channel")


@dataclass(frozen=True)
class WidthResult:
    """A tensor quantized to b bits, and magnitude-pruned to sparsity 1 - b / 16; errors relative to sum w^2."""

    bits: int
    quant_error: float
    prune_error: float

    @property
    def sparsity(self) -> float:
        return sparsity_of(self.bits)

    @property
    def quant_db(self) -> float | None:
        return sqnr_db(1.0, self.quant_error)

    @property
    def prune_db(self) -> float | None:
        return sqnr_db(1.0, self.prune_error)

    @property
    def advantage_db(self) -> float | None:
        """SQNR of quantization minus SQNR of pruning; None where either has no error."""
        if self.quant_db is None or self.prune_db is None:
            return None
        return self.quant_db - self.prune_db

    @property
    def better(self) -> str:
        """quant, prune or equal: which has the higher SQNR."""
        if self.quant_error == self.prune_error:
            return "equal"
        return "prune" if self.prune_error < self.quant_error else "quant"


@dataclass(frozen=True)
class TensorResult:
    """One tensor; either skipped for a reason or with one result for each bit width."""

    name: str
    shape: tuple[int, ...]
    kurtosis: float | None = None
    widths: tuple[WidthResult, ...] = ()
    skipped: str | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Share:
    """All tensors at one bit width."""

    bits: int
    tensors: int
    prune_higher: int
    quant_higher: int
    kurtosis_with_quant: float | None
    """Spearman's rank correlation of kurtosis with the SQNR of quantization; None for fewer than 3 tensors."""
    kurtosis_with_prune: float | None
    kurtosis_with_advantage: float | None
    """With SQNR of quantization minus SQNR of pruning."""


def measure(name: str, weight: FloatArray, grid: str, granularity: str, widths: Sequence[int]) -> TensorResult:
    """Compare both on one tensor of any shape.

    The range is the one of least squared error, for the tensor or for each slice of its first dimension
    (channel); pruning removes the smallest magnitudes of the whole tensor in both cases.
    """
    if granularity not in GRANULARITIES:
        raise ProblemError(f"`granularity` must be tensor or channel, not '{granularity}'")
    reason = _reason_to_skip(weight)
    if reason:
        return TensorResult(name, weight.shape, skipped=reason)
    try:
        source = Empirical(weight, name)
    except ProblemError as problem:
        return TensorResult(name, weight.shape, skipped=str(problem).removeprefix(f"{name}: "))
    results = []
    for bits in widths:
        book = codebook(grid, None if grid in FIXED_BITS else bits)
        if granularity == "tensor":
            error = fit_range(source, book).error / source.mean_square
        else:
            rows = weight.reshape(weight.shape[0], -1) / source.largest
            fitted = fit_grid(rows, book, "channel")
            ratio = rows / fitted.scale + fitted.zero
            difference = (ratio - book.levels[nearest_index(book.levels, ratio)]) * fitted.scale
            error = float(np.sum(difference**2) / np.sum(rows**2))
        pruned = source.prune(sparsity_of(bits))[1] / source.mean_square
        results.append(WidthResult(bits, error, pruned))
    return TensorResult(name, weight.shape, source.kurtosis, tuple(results))


def _reason_to_skip(weight: FloatArray) -> str | None:
    if weight.size <= 1:
        return "no elements" if weight.size == 0 else "one element"
    if not np.isfinite(weight).all():
        return "NaN or infinite entries"
    if weight.min() == weight.max():
        return "constant"
    return None


def shares(tensors: Sequence[TensorResult]) -> list[Share]:
    """For each bit width the tensors on each side, and how SQNR goes with kurtosis."""
    measured = [tensor for tensor in tensors if tensor.skipped is None]
    found = []
    for results in zip(*(tensor.widths for tensor in measured), strict=True):
        triples = [
            (tensor.kurtosis, result.quant_db, result.prune_db)
            for tensor, result in zip(measured, results, strict=True)
            if tensor.kurtosis is not None and result.quant_db is not None and result.prune_db is not None
        ]
        kurtosis, quant, prune = np.array(triples).reshape(-1, 3).T
        sides = [result.better for result in results]
        found.append(
            Share(
                results[0].bits,
                len(results),
                sides.count("prune"),
                sides.count("quant"),
                _rank_correlation(kurtosis, quant),
                _rank_correlation(kurtosis, prune),
                _rank_correlation(kurtosis, quant - prune),
            )
        )
    return found


def _rank_correlation(a: FloatArray, b: FloatArray) -> float | None:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.spearmanr(a, b).statistic)
