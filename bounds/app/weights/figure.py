"""The scatter of SQNR of all weight tensors of a model, after Kuzmin et al. 2023, figure 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...theory.weight_tensors import TensorResult
from ..figures import new_figure, save

MARKERS = "osD^v<>Pp*hX"


def scatter_figure(path: Path, model: str, tensors: Sequence[TensorResult]) -> None:
    """Each tensor and bit width is a point: SQNR of quantization across, of pruning up, equal on the diagonal."""
    from matplotlib import colormaps
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = new_figure(11.5, 5.2)
    left, right = figure.subplots(1, 2)
    measured = [tensor for tensor in tensors if tensor.skipped is None]
    widths = [result.bits for result in measured[0].widths] if measured else []
    everything: list[float] = []
    for i, bits in enumerate(widths):
        points = [
            (tensor.kurtosis, tensor.widths[i].quant_db, tensor.widths[i].prune_db)
            for tensor in measured
            if tensor.widths[i].quant_db is not None and tensor.widths[i].prune_db is not None
        ]
        kurtosis, quant, prune = np.array(points, dtype=float).reshape(-1, 3).T
        style = {
            "s": 26,
            "marker": MARKERS[i % len(MARKERS)],
            "color": colormaps["viridis"](i / max(1, len(widths) - 1)),
            "edgecolors": "black",
            "linewidths": 0.5,
            "label": f"{bits} bits, {1 - bits / 16:.1%}",
        }
        left.scatter(quant, prune, **style)
        right.scatter(kurtosis, quant - prune, **style)
        everything += [*quant, *prune]
    low, high = (min(everything) - 2, max(everything) + 2) if everything else (0, 1)
    left.plot([low, high], [low, high], color="black", linewidth=1, linestyle="--", label="equal")
    left.set(
        xlim=(low, high),
        ylim=(low, high),
        xlabel="SQNR of quantization (dB)",
        ylabel="SQNR of magnitude pruning (dB)",
        title="Above the line pruning is better",
    )
    left.set_aspect("equal")
    left.legend(title="quantized to, pruned to sparsity", fontsize=8, title_fontsize=8, loc="best")
    right.axhline(0, color="black", linewidth=1, linestyle="--")
    right.set(
        xlabel="kurtosis (Pearson, 3 for the normal)",
        ylabel="SQNR of quantization minus pruning (dB)",
        title="Below the line pruning is better",
    )
    if everything:  # a logarithmic axis without points cannot be drawn
        right.set_xscale("log")
        right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        right.xaxis.set_major_formatter("{x:g}")
        right.xaxis.set_minor_formatter(NullFormatter())
    right.grid(alpha=0.3)
    figure.suptitle(f"{model}: {len(measured)} weight tensors")
    save(figure, path)
