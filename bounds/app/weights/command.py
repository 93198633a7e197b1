"""`pvq weights MODEL`: every weight tensor of a model quantized and pruned, without calibration data."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from .. import options
from ..options import OUTPUT, PROBLEM
from ..theory.command import KURTOSIS

if TYPE_CHECKING:  # numpy, scipy and numba load only when there is something to compute, so that --help is quick
    from collections.abc import Callable, Iterator, Sequence

    from pvq.layers.tensors import Tensors

    from ...theory.weight_tensors import Share, TensorResult

SCHEMA = "pvq.weights/1"
INCLUDED = "floating-point parameters with at least 2 dimensions (embeddings too)"
SOURCES_HELP = (
    "zoo:efficientnet-lite0, torchvision:NAME, timm:NAME, transformers:DIR, ID or FILE.gguf, "
    "package.module:factory, or a checkpoint: FILE.safetensors (without torch), or a state dict .pt, .pth, .bin."
)


def weights(
    model: Annotated[str, Argument(metavar="MODEL", help=SOURCES_HELP)],
    weights_: Annotated[
        Path | None,
        Option(
            "--weights",
            metavar="FILE",
            help="State dict or safetensors file to load into the model.",
            rich_help_panel=PROBLEM,
        ),
    ] = None,
    tensors: Annotated[
        list[str] | None,
        Option(
            "--tensors",
            metavar="GLOB",
            help="Only tensors of such names, as '*.dense.*'; repeatable.",
            rich_help_panel=PROBLEM,
        ),
    ] = None,
    grid: options.Grid = "int",
    granularity: Annotated[
        str,
        Option(
            metavar="tensor|channel",
            help="Weights that share a scale; a channel is a slice of dimension 0.",
            rich_help_panel=PROBLEM,
        ),
    ] = "tensor",
    bits: options.BitRange = None,
    json_: options.Json = None,
    csv: Annotated[
        Path | None,
        Option(metavar="FILE", help="One line for each tensor and bit width (.csv).", rich_help_panel=OUTPUT),
    ] = None,
    figure: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="Scatter of the two SQNR of every tensor (.png or .svg).", rich_help_panel=OUTPUT
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Kurtosis and SQNR of quantization (range of least squared error) and magnitude pruning, tensor by tensor.

    b bits are compared with sparsity 1 - b/16 of the whole tensor. Included are floating-point parameters with at
    least 2 dimensions, embeddings too.

    Example: pvq weights zoo:efficientnet-lite0 --figure scatter.png --csv tensors.csv
    """
    from pvq.layers.files import write_each, write_json
    from pvq.layers.models import shorten
    from pvq.layers.outputs import check_outputs
    from pvq.layers.tensors import open_tensors

    from ...errors import ProblemError
    from ...theory.analytic import bit_widths
    from ...theory.weight_tensors import GRANULARITIES, measure, shares
    from ..bits import bit_range
    from ..figures import FORMATS, check_matplotlib

    begin = time.perf_counter()
    widths = bit_widths(grid, None if bits is None else bit_range(bits))
    if granularity not in GRANULARITIES:
        raise ProblemError(f"--granularity must be {' or '.join(GRANULARITIES)}, not '{granularity}'")
    check_outputs(
        {"--json": json_, "--csv": csv, "--figure": figure},
        inputs=(model, weights_, grid),
        suffixes={"--csv": (".csv",), "--figure": FORMATS},
    )
    if figure is not None:
        check_matplotlib()
    opened = open_tensors(model, weights_, tensors)
    results = []
    with tensor_progress(opened.count, quiet) as advance:
        for name, array in opened.arrays:
            results.append(measure(name, array, grid, granularity, widths))
            advance(name)
    if not results:
        types = f"; of other types are {shorten(list(opened.other))}" if opened.other else ""
        raise ProblemError(f"{model} has no {INCLUDED}" + (" of these names" if tensors else "") + types)
    summary = shares(results)
    document = {
        "schema": SCHEMA,
        "model": model,
        "weights": None if weights_ is None else str(weights_),
        "included": INCLUDED,
        "only": tensors,
        "left_out": opened.left_out,
        "other_types": list(opened.other),
        "share_left_out": opened.share,
        "grid": grid,
        "granularity": granularity,
        "kurtosis_definition": KURTOSIS,
        "correlation": "Spearman's rank correlation over the tensors",
        "tensors": [_tensor_json(result) for result in results],
        "shares": [_share_json(share) for share in summary],
        "seconds": time.perf_counter() - begin,
    }
    write_each(
        lambda: _print(opened, grid, granularity, results, summary),
        (json_, lambda path: write_json(path, document)),
        (csv, lambda path: write_csv(path, results)),
        (figure, lambda path: _draw(Path(path), opened.name, results)),
    )


def _draw(path: Path, name: str, results: Sequence[TensorResult]) -> None:
    from .figure import scatter_figure

    scatter_figure(path, name, results)


@contextmanager
def tensor_progress(total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A callback for each finished tensor: a bar on a terminal, a line every few seconds in a log."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from ..console import Printer, plain_column

    console = Printer(stderr=True)
    if quiet:
        yield lambda name: None
        return
    if not console.is_terminal:
        last, done = time.monotonic(), 0

        def plain(name: str) -> None:
            nonlocal last, done
            done += 1
            if done == total or time.monotonic() - last > 5.0:
                last = time.monotonic()
                console.say(f"{done} of {total} tensors")

        yield plain
        return
    what = plain_column("tensors, {task.description}")
    columns = (BarColumn(), MofNCompleteColumn(), what, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda name: bar.update(task, advance=1, description=name)


def _tensor_json(tensor: TensorResult) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "size": tensor.size,
        "kurtosis": tensor.kurtosis,
        "skipped": tensor.skipped,
        "widths": [
            {
                "bits": result.bits,
                "sparsity": result.sparsity,
                "quant_sqnr_db": result.quant_db,
                "prune_sqnr_db": result.prune_db,
                "higher": result.better,
            }
            for result in tensor.widths
        ],
    }


def _share_json(share: Share) -> dict[str, Any]:
    return {
        "bits": share.bits,
        "tensors": share.tensors,
        "prune_higher": share.prune_higher / share.tensors,
        "quant_higher": share.quant_higher / share.tensors,
        "kurtosis_with_quant": share.kurtosis_with_quant,
        "kurtosis_with_prune": share.kurtosis_with_prune,
        "kurtosis_with_advantage": share.kurtosis_with_advantage,
    }


CSV_COLUMNS = (
    "name",
    "shape",
    "size",
    "kurtosis",
    "bits",
    "sparsity",
    "quant_sqnr_db",
    "prune_sqnr_db",
    "higher",
    "skipped",
)


def write_csv(path: str | Path, tensors: Sequence[TensorResult]) -> None:
    import csv
    import io

    from pvq.layers.files import write_text

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for tensor in tensors:
        shape = "x".join(str(size) for size in tensor.shape)
        start = (tensor.name, shape, tensor.size, tensor.kurtosis)
        if tensor.skipped is not None:
            writer.writerow((*start, "", "", "", "", "", tensor.skipped))
        for result in tensor.widths:
            db = (result.quant_db, result.prune_db)
            exact = ["inf" if value is None else value for value in db]
            writer.writerow((*start, result.bits, result.sparsity, *exact, result.better, ""))
    write_text(path, text.getvalue())


def _print(
    opened: Tensors,
    grid: str,
    granularity: str,
    tensors: Sequence[TensorResult],
    summary: Sequence[Share],
) -> None:
    from pvq.layers.models import shorten
    from rich import box
    from rich.table import Table

    from ..console import Printer, printable

    console = Printer()
    skipped = sum(tensor.skipped is not None for tensor in tensors)
    console.say(
        f": {len(tensors) - skipped} weight tensors ({INCLUDED}), {skipped} skipped; "
        f"{printable(grid)} grid, squared-error range per {granularity}",
        name=opened.name,
    )
    if opened.share:
        types = f", {len(opened.other)} of other types: {shorten(list(opened.other))}" if opened.other else ""
        console.say(
            f"Not included, {opened.share:.1%} of the numbers: {opened.left_out} with fewer dimensions", types
        )
    table = Table(box=box.SIMPLE, title="SQNR of quantization minus SQNR of pruning, dB", title_justify="left")
    for title in ("tensor", "shape", "kurtosis"):
        table.add_column(title, justify="right" if title == "kurtosis" else "left")
    for share in summary:
        table.add_column(f"{share.bits} bits", justify="right", no_wrap=True)
    for tensor in tensors:
        shape = "x".join(str(size) for size in tensor.shape)
        if tensor.skipped is not None:
            table.add_row(printable(tensor.name), shape, f"skipped: {tensor.skipped}")
            continue
        cells = ["-" if r.advantage_db is None else f"{r.advantage_db:+z.1f}" for r in tensor.widths]
        table.add_row(printable(tensor.name), shape, f"{tensor.kurtosis:.4g}", *cells)
    console.table(table)
    if not summary:
        return
    table = Table(box=box.SIMPLE)
    table.add_column("bits (sparsity)", no_wrap=True)
    for share in summary:
        table.add_column(f"{share.bits} ({1 - share.bits / 16:.1%})", justify="right", no_wrap=True)
    lines = (
        ("pruning higher, % of tensors", [f"{100 * s.prune_higher / s.tensors:.1f}" for s in summary]),
        ("quantization higher, %", [f"{100 * s.quant_higher / s.tensors:.1f}" for s in summary]),
        ("kurtosis with quantization SQNR", [_rho(s.kurtosis_with_quant) for s in summary]),
        ("kurtosis with pruning SQNR", [_rho(s.kurtosis_with_prune) for s in summary]),
        ("kurtosis with their difference", [_rho(s.kurtosis_with_advantage) for s in summary]),
    )
    for title, cells in lines:
        table.add_row(title, *cells)
    console.table(table)
    console.say(f"Kurtosis: {KURTOSIS}. Its lines: Spearman's rank correlation over the tensors.", style="dim")


def _rho(value: float | None) -> str:
    return "-" if value is None else f"{value:+z.2f}"
