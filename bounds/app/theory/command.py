"""`pvq theory`: expected error of quantization and pruning for a distribution of weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from .. import options
from ..options import OUTPUT, PROBLEM

if TYPE_CHECKING:  # numpy and scipy load only when there is something to compute, so that --help is quick
    from collections.abc import Sequence

    from ...theory.analytic import ExpectedErrors
    from ...theory.distributions import Distribution
    from ...theory.layer_output import OutputRow

SCHEMA = "pvq.theory/1"
KURTOSIS = "E[(x - mean)^4] / E[(x - mean)^2]^2 (Pearson; 3 for the normal)"
GAUSSIAN_LIMIT = (
    "Gaussian limit: SQNR of sigma^2 2^(-2R), the least expected error of Gaussian weights at R bits each; "
    "weights of another distribution may exceed it."
)
AVERAGE_CASE = (
    "Average-case limit: reverse water-filling over the eigenvalues of H, the least expected error over Gaussian "
    "weights with this H; not a bound for the weights in the file, which may exceed it."
)


def theory(
    dist: Annotated[
        str | None,
        Option(
            metavar="NAME|FILE",
            help="normal, laplace, uniform, student-t:DF, truncated-student-t:DF,RANGE or a file of samples "
            "(.npy or text). With --layer the default is the layer's weights.",
            rich_help_panel=PROBLEM,
        ),
    ] = None,
    bits: options.BitRange = None,
    grid: options.Grid = "int",
    layer: Annotated[
        Path | None,
        Option(
            metavar="LAYER.npz",
            help="Also the output error of a layer, beside its average-case limit.",
            rich_help_panel=PROBLEM,
        ),
    ] = None,
    json_: options.Json = None,
    figure: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="Distributions, error densities and SQNR (.png or .svg).", rich_help_panel=OUTPUT
        ),
    ] = None,
    figure_kurtosis: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Error against kurtosis of a truncated Student t with growing range.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Expected error of quantization (best range) and magnitude pruning at equal compression.

    b bits are compared with sparsity 1 - b/16. SQNR = 10 log10(E[x^2] / error).

    Example: pvq theory --dist truncated-student-t:2,100 --bits 2:8 --figure heavy-tails.png
    """
    from pvq.layers.files import write_each, write_json
    from pvq.layers.outputs import check_outputs

    from ...errors import ProblemError
    from ...theory.analytic import bit_widths, compare
    from ...theory.distributions import Empirical, distribution
    from ..bits import bit_range
    from ..figures import FORMATS, check_matplotlib

    if dist is None and layer is None:
        raise ProblemError(
            "say which weights: --dist normal (or another distribution or file) or --layer LAYER.npz"
        )
    widths = bit_widths(grid, None if bits is None else bit_range(bits))
    check_outputs(
        {"--json": json_, "--figure": figure, "--figure-kurtosis": figure_kurtosis},
        inputs=(layer, dist, grid),
        suffixes={"--figure": FORMATS, "--figure-kurtosis": FORMATS},
    )
    if figure is not None or figure_kurtosis is not None:
        check_matplotlib()
    source: Distribution
    data = None
    if layer is not None:
        from pvq.layers.format import load_layer

        data = load_layer(layer)
    if dist is not None:
        source = distribution(dist)
    else:
        assert data is not None
        source = Empirical(data.weight, f"weights of {data.name}")
    degrees = _degrees_of_freedom(source) if figure_kurtosis is not None else None
    rows = [compare(source, grid, width) for width in widths]
    output = None
    if data is not None:
        from ...theory.layer_output import output_rows

        output = output_rows(data.weight, data.grams, grid, widths)
    name = None if data is None else data.name

    def draw(path: str | Path) -> None:
        from .figure import comparison_figure

        comparison_figure(Path(path), source, grid, rows, output, name or "")

    def draw_kurtosis(path: str | Path) -> None:
        from .figure import kurtosis_figure

        assert degrees is not None
        kurtosis_figure(Path(path), degrees, grid, widths)

    write_each(
        lambda: _print(source, grid, rows, output, name),
        (json_, lambda path: write_json(path, document(source, grid, rows, output, name))),
        (figure, draw),
        (figure_kurtosis, draw_kurtosis),
    )


def _degrees_of_freedom(source: Distribution) -> float:
    from ...errors import ProblemError
    from ...theory.distributions import StudentT, TruncatedStudentT

    if not isinstance(source, StudentT | TruncatedStudentT):
        raise ProblemError(
            f"--figure-kurtosis needs --dist student-t:DF or truncated-student-t, not {source.name}"
        )
    return source.df


def document(
    source: Distribution,
    grid: str,
    rows: Sequence[ExpectedErrors],
    output: Sequence[OutputRow] | None,
    layer: str | None,
) -> dict[str, Any]:
    """All results; infinite numbers are null."""
    from ...theory.analytic import crossings, sparsity_of, verdict
    from ...theory.rate_distortion import gaussian_limit_db

    result: dict[str, Any] = {
        "schema": SCHEMA,
        "distribution": {
            "name": source.name,
            "mean_square": source.mean_square,
            "kurtosis": _finite(source.kurtosis),
            "kurtosis_definition": KURTOSIS,
            "largest": _finite(source.largest),
        },
        "grid": grid,
        "gaussian_limit": GAUSSIAN_LIMIT,
        "rows": [
            {
                "bits": row.bits,
                "compression": row.compression,
                "quant": {
                    "scale": row.quantized.scale,
                    "zero": row.quantized.zero,
                    "lowest": float(row.quantized.levels[0]),
                    "highest": float(row.quantized.levels[-1]),
                    "mse": row.quantized.error,
                    "sqnr_db": row.quant_db,
                },
                "prune": {
                    "sparsity": row.sparsity,
                    "threshold": row.threshold,
                    "mse": row.pruned_error,
                    "sqnr_db": row.prune_db,
                },
                "gaussian_limit_db": gaussian_limit_db(row.bits),
            }
            for row in rows
        ],
        "crossings": [
            {
                "bits": crossing.bits,
                "compression": crossing.compression,
                "sparsity": sparsity_of(crossing.bits),
                "better_at_fewer_bits": "prune" if crossing.pruning_wins_below else "quant",
            }
            for crossing in crossings(source, rows)
        ],
        "verdict": verdict(source, rows),
    }
    if output is not None:
        result["layer"] = {
            "name": layer,
            "limit": AVERAGE_CASE,
            "rows": [
                {
                    "bits": row.bits,
                    "rounding_sqnr_db": row.rounding_db,
                    "magnitude_sqnr_db": row.magnitude_db,
                    "water_filling_db": row.limit_db,
                }
                for row in output
            ],
        }
    return result


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _db(value: float | None) -> str:
    return "exact" if value is None else f"{value:z.2f}"


def _print(
    source: Distribution,
    grid: str,
    rows: Sequence[ExpectedErrors],
    output: Sequence[OutputRow] | None,
    layer: str | None,
) -> None:
    from rich import box
    from rich.table import Table

    from ...theory.analytic import verdict
    from ...theory.rate_distortion import gaussian_limit_db
    from ..console import Printer, printable

    console = Printer()
    console.say(
        f": E[x^2] {source.mean_square:.6g}, kurtosis {source.kurtosis:.4g} "
        f"(Pearson, normal 3); {printable(grid)} grid at its best range",
        name=source.name,
    )
    table = Table(box=box.SIMPLE)
    titles = (
        "bits",
        "levels from",
        "to",
        "quant MSE",
        "quant dB",
        "sparsity",
        "|x| below",
        "prune MSE",
        "prune dB",
    )
    for title in (*titles, "higher", "Gaussian limit dB"):
        table.add_column(title, justify="right")
    for row in rows:
        advantage = row.pruned_error - row.quantized.error
        table.add_row(
            str(row.bits),
            f"{row.quantized.levels[0]:.4g}",
            f"{row.quantized.levels[-1]:.4g}",
            f"{row.quantized.error:.4g}",
            _db(row.quant_db),
            f"{row.sparsity:.2%}",
            f"{row.threshold:.4g}",
            f"{row.pruned_error:.4g}",
            _db(row.prune_db),
            "equal" if advantage == 0 else "quant" if advantage > 0 else "prune",
            f"{gaussian_limit_db(row.bits):.2f}",
        )
    console.table(table)
    console.say(verdict(source, rows))
    console.say(GAUSSIAN_LIMIT, style="dim")
    if output is None:
        return
    console.print()
    console.say(": error of the layer's output", name=layer or "")
    table = Table(box=box.SIMPLE)
    for title in ("bits", "rounding dB", "magnitude pruning dB", "average-case limit dB"):
        table.add_column(title, justify="right")
    for result in output:
        table.add_row(
            str(result.bits), _db(result.rounding_db), _db(result.magnitude_db), f"{result.limit_db:.2f}"
        )
    console.table(table)
    console.say(AVERAGE_CASE, style="dim")
