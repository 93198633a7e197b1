"""The README's picture: proven optima of quantization and pruning at equal compression, and what methods reach.

    python -m pvq.benchmarks.readme_figure docs/optimum.png

b bits are compared with sparsity 1 - b/16 (both store b/16 of 16-bit weights), as in Kuzmin et al. 2023.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.sqnr import sqnr_db
from pvq.layers.format import load_layer
from pvq.solvers.base import Options
from pvq.solvers.layer import solve_layer
from pvq.solvers.registry import get_solver
from pvq.solvers.result import Status
from pvq.solvers.rows import LayerResult

LAYER = Path(__file__).parent / "instances" / "efficientnet_lite0.blocks.4.expand.npz"
BITS = range(2, 9)
QUANT = {"gptq": "s", "rtn": "v"}
PRUNE = {"obc": "D", "sparsegpt": "^", "magnitude": "x"}


def solve(setting: Setting, methods: dict[str, str]) -> LayerResult:
    """Optimum of the layer under one setting, with the methods scored beside it."""
    layer = load_layer(LAYER)
    compare = [get_solver(name) for name in methods]
    problem = state_problem(layer.weight, layer.grams, setting)
    result = solve_layer(problem, get_solver("bnb"), Options(time_limit=None), compare)
    if result.status is not Status.OPTIMAL:
        raise SystemExit(f"{setting} is not optimal: {result.status.value}")
    print(setting.method, setting.bits or setting.sparsity, sqnr_db(result.reference, result.upper), flush=True)
    return result


def main(path: str) -> None:
    """Solve, draw, save."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for name, methods, style in (("quantization", QUANT, "-"), ("pruning", PRUNE, "--")):
        results = [
            solve(
                Setting("quant", bits=b) if name == "quantization" else Setting("prune", sparsity=1 - b / 16),
                methods,
            )
            for b in BITS
        ]
        optimum = [sqnr_db(r.reference, r.upper) for r in results]
        axes.plot(BITS, optimum, style, color="black", linewidth=1.5, label=f"{name}: proven optimum")
        for method, marker in methods.items():
            reached = [sqnr_db(r.reference, r.empirical[method]) for r in results]
            fill = "white" if marker != "x" else "0.3"
            axes.plot(BITS, reached, marker, color="0.3", markerfacecolor=fill, label=f"{name}: {method}")
    axes.set_xlabel("bits per weight b (sparsity 1 - b/16)")
    axes.set_ylabel("SQNR of the layer output (dB)")
    axes.set_xticks(list(BITS), [f"{b}\n({1 - b / 16:.0%})" for b in BITS])
    axes.set_title("EfficientNet-lite0 _blocks.4._expand_conv, 240 rows x 40 inputs", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(sys.argv[1])
