"""The figures of the analytic comparison, after Kuzmin et al. 2023, figures 1 and 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...grid import nearest_index
from ...theory.analytic import FULL_BITS, ExpectedErrors, compare, crossings
from ...theory.distributions import Distribution, TruncatedStudentT
from ...theory.layer_output import OutputRow
from ...theory.rate_distortion import gaussian_limit_db
from ..figures import LIMIT, PRUNE, QUANT, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WEIGHT = "weight (dimensionless)"
LIGHT = "#8fb1e3"
SHOWN_BITS = 4
"""The bit width of the first two panels, if it was asked for."""
SHOWN_WIDTHS = 3
"""So many bit widths in the kurtosis figure."""
RANGES = 24
LARGEST_RANGE = 1e3


def comparison_figure(
    path: Path,
    source: Distribution,
    grid: str,
    rows: Sequence[ExpectedErrors],
    output: Sequence[OutputRow] | None,
    layer: str = "",
) -> None:
    """What both do to the distribution, where the error comes from, and SQNR against compression."""
    figure = new_figure(10.5, 8.2) if output else new_figure(15, 4.6)
    axes = figure.subplots(2, 2).ravel() if output else figure.subplots(1, 3)
    shown = next((row for row in rows if row.bits == SHOWN_BITS), rows[0])
    reach = _reach(source, shown)
    _distributions(axes[0], source, shown, reach)
    _error_density(axes[1], source, shown, reach)
    _sqnr(axes[2], source, rows)
    if output:
        _layer(axes[3], output, layer)
    figure.suptitle(f"{source.name}, {grid} grid at its best range")
    save(figure, path)


def _reach(source: Distribution, row: ExpectedErrors) -> float:
    """How far the horizontal axis goes: the grid and the threshold, not every outlier."""
    levels = row.quantized.levels
    highest = max(float(np.abs(levels).max()), row.threshold if math.isfinite(row.threshold) else 0.0)
    return min(1.25 * highest, 1.1 * source.largest)


def _distributions(axes: Axes, source: Distribution, row: ExpectedErrors, reach: float) -> None:
    x = np.linspace(-reach, reach, 1501)
    density = source.density(x)
    axes.plot(x, density, color="black", linewidth=1.2, label="before compression")
    kept = np.where(np.abs(x) > row.threshold, density, np.nan)
    axes.fill_between(
        x, kept, hatch="///", facecolor="none", edgecolor=PRUNE["color"], label="pruned: kept, as they are"
    )
    axes.set(
        xlabel=WEIGHT,
        ylabel="probability density (per unit of weight)",
        ylim=(0, 1.4 * float(density.max())),  # room for the legend
        title="Distributions after compression",
    )
    masses = axes.twinx()
    levels = row.quantized.levels
    edges = np.concatenate([[-np.inf], (levels[:-1] + levels[1:]) / 2, [np.inf]])
    mass = np.diff(source.below(edges)[0])
    masses.vlines(levels, 0, mass, color=QUANT["color"], linewidth=1.5)
    masses.plot(
        levels,
        mass,
        linestyle="none",
        marker="o",
        markersize=4,
        color=QUANT["color"],
        label=f"quantized: {row.bits} bits, {len(levels)} levels",
    )
    masses.vlines([0.0], 0, row.sparsity, color=PRUNE["color"], linewidth=1.5, linestyle="--")
    masses.plot(
        [0.0],
        [row.sparsity],
        linestyle="none",
        marker="s",
        markersize=6,
        color=PRUNE["color"],
        label=f"pruned: share {row.sparsity:.1%} at 0",
    )
    masses.set(ylabel="probability of one value (stems)", ylim=(0, 1))
    handles = [pair for each in (axes, masses) for pair in zip(*each.get_legend_handles_labels(), strict=True)]
    masses.legend(*zip(*handles, strict=True), fontsize=7.5, loc="upper right")
    axes.set_xlim(-reach, reach)


def _error_density(axes: Axes, source: Distribution, row: ExpectedErrors, reach: float) -> None:
    x = np.linspace(-reach, reach, 4001)
    density = source.density(x)
    levels = row.quantized.levels
    rounding = (x - levels[nearest_index(levels, x)]) ** 2 * density
    pruning = np.where(np.abs(x) <= row.threshold, x * x, 0.0) * density
    axes.fill_between(x, rounding, color=LIGHT, label=_mse("quantized", row.quantized.error))
    axes.plot(x, rounding, color=QUANT["color"], linewidth=0.8)
    axes.fill_between(
        x, pruning, hatch="///", facecolor="none", edgecolor=PRUNE["color"], label=_mse("pruned", row.pruned_error)
    )
    axes.set(
        xlabel=WEIGHT,
        ylabel="squared error × density (units of weight)",
        ylim=(0, 1.25 * float(max(pruning.max(), rounding.max()))),
        xlim=(-reach, reach),
        title=f"Error, {row.bits} bits or sparsity {row.sparsity:.1%}",
    )
    axes.legend(fontsize=8, loc="upper right")


def _mse(name: str, error: float) -> str:
    return f"{name}: area = MSE = {error:.3g}"


def _sqnr(axes: Axes, source: Distribution, rows: Sequence[ExpectedErrors]) -> None:
    compression = [row.compression for row in rows]
    axes.plot(compression, [_or_nan(row.quant_db) for row in rows], **QUANT, label="quantization")
    axes.plot(compression, [_or_nan(row.prune_db) for row in rows], **PRUNE, label="magnitude pruning")
    ratios = np.linspace(min(compression), max(compression), 200)
    limit = [gaussian_limit_db(FULL_BITS / ratio) for ratio in ratios]
    axes.plot(
        ratios, limit, **LIMIT, label="average-case limit, Gaussian weights\n(σ² 2⁻²ᴿ; no bound for these weights)"
    )
    for crossing in crossings(source, rows):
        axes.axvline(crossing.compression, color="gray", linewidth=1)
        text = f" pruning overtakes at {crossing.compression:.1f}"
        if crossing.pruning_wins_below:
            axes.annotate(text, (crossing.compression, 0.02), xycoords=("data", "axes fraction"), fontsize=8)
    axes.set(ylabel="SQNR (dB)", title="SQNR against compression")
    _compression_axis(axes, [row.bits for row in rows])
    axes.legend(fontsize=8)


def _layer(axes: Axes, output: Sequence[OutputRow], name: str) -> None:
    compression = [FULL_BITS / row.bits for row in output]
    axes.plot(compression, [_or_nan(row.rounding_db) for row in output], **QUANT, label="rounding to nearest")
    axes.plot(compression, [_or_nan(row.magnitude_db) for row in output], **PRUNE, label="magnitude pruning")
    axes.plot(
        compression,
        [row.limit_db for row in output],
        **LIMIT,
        label="average-case limit over Gaussian weights\n(reverse water-filling on H; no bound for this layer)",
    )
    axes.set(ylabel="SQNR of the layer's output (dB)", title=f"Output of {name}")
    _compression_axis(axes, [row.bits for row in output])
    axes.legend(fontsize=8)


def _compression_axis(axes: Axes, bits: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks([FULL_BITS / b for b in bits], [f"{FULL_BITS / b:.3g}\n{b}" for b in bits])
    axes.minorticks_off()
    axes.set_xlabel("compression (16 / bits), and bits per weight below")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    axes.grid(alpha=0.3)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def kurtosis_figure(path: Path, df: float, grid: str, widths: Sequence[int]) -> None:
    """Error and SQNR of both against the kurtosis of a Student t cut to a growing range: growing outliers."""
    figure = new_figure(11.5, 4.8)
    left, right = figure.subplots(1, 2)
    sources = [TruncatedStudentT(df, float(r)) for r in np.geomspace(1, LARGEST_RANGE, RANGES)]
    kurtosis = [source.kurtosis for source in sources]
    for bits, mark in zip(widths[:SHOWN_WIDTHS], ("o", "^", "D"), strict=False):
        rows = [compare(source, grid, bits) for source in sources]
        for axes, quant, prune in (
            (left, [row.quantized.error for row in rows], [row.pruned_error for row in rows]),
            (right, [_or_nan(row.quant_db) for row in rows], [_or_nan(row.prune_db) for row in rows]),
        ):
            common = {"marker": mark, "markersize": 4.5, "markevery": 3}
            axes.plot(kurtosis, quant, **{**QUANT, **common}, label=f"quantized, {bits} bits")
            axes.plot(
                kurtosis,
                prune,
                **{**PRUNE, **common, "markerfacecolor": "white"},
                label=f"pruned, sparsity {1 - bits / FULL_BITS:.1%}",
            )
    left.set(yscale="log", ylabel="expected squared error (weight²)", title="Error")
    right.set(ylabel="SQNR (dB)", title="SQNR: error relative to E[x²]")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="kurtosis (Pearson, 3 for the normal)")
        axes.grid(alpha=0.3)
    right.legend(fontsize=8)
    figure.suptitle(
        f"Student t, {df:g} degrees of freedom, cut to |x| ≤ r, r from 1 to {LARGEST_RANGE:g}; {grid} grid"
    )
    save(figure, path)
