"""`pvq apply MODEL`: the best weights back into a model."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from . import options
from .extract import (
    CALIBRATION_HELP,
    MODEL_HELP,
    BatchSize,
    Limit,
    SequenceLength,
    TextColumn,
    Tokens,
    TorchDevice,
    batch_progress,
    check_batches,
    check_torch,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvq.layers.apply import Applied


def apply(
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    results: Annotated[
        list[Path],
        Option(
            metavar="FILE|DIR",
            help="Files of --solution, folders of such files, the JSON file of `pvq compare --save-solutions`, "
            "or the folder of `pvq run go --weights`; repeatable.",
        ),
    ],
    out: Annotated[
        Path, Option("--out", "-o", metavar="DIR|FILE", help="New folder, or a .safetensors file, for the model.")
    ],
    weights: Annotated[
        Path | None, Option(metavar="FILE", help="State dict or safetensors file to load into the model first.")
    ] = None,
    take: Annotated[
        str | None,
        Option(
            metavar="TECHNIQUE[:B][:S]",
            help="Of results for several options those of one: quant:4, prune:4 (the sparsity of that cost), "
            "prune:0.75, joint:4:0.5, or a technique alone.",
        ),
    ] = None,
    calibration: Annotated[
        str | None, Option(metavar="SOURCE", help=f"Measure the errors: {CALIBRATION_HELP}")
    ] = None,
    batch_size: BatchSize = 8,
    limit: Limit = None,
    sequence_length: SequenceLength = None,
    tokens: Tokens = None,
    text_column: TextColumn = None,
    device: TorchDevice = "cpu",
    quiet: options.Quiet = False,
) -> None:
    """Put the best weights found into the network, and write it.

    With the calibration data of the extraction, the mean squared difference of each layer's output is measured and
    must be the error that was certified; exit code 1, and nothing is written, where it is not.

    Example: pvq apply zoo:efficientnet-lite0 --results solutions/ --take quant:4 --calibration zoo:photos -o out/
    """
    check_batches(batch_size, limit)
    from pvq.applying import files_behind, solutions_of

    option = None if take is None else option_of(take)
    chosen = solutions_of(results, option)
    check_torch("pvq apply")
    from pvq.layers.apply import apply_to_model, check_place, save_model
    from pvq.layers.calibration import open_calibration
    from pvq.layers.text import Packing

    check_place(out, [model, calibration, weights, *files_behind(results)])
    packing = Packing(sequence_length, tokens, text_column)
    measured = (
        None
        if calibration is None
        else partial(open_calibration, calibration, batch_size=batch_size, limit=limit, packing=packing)
    )
    with batch_progress(model, quiet) as progress:
        loaded, applied = apply_to_model(model, chosen, weights, measured, device, progress)
    print_applied(applied)
    wrong = [each.module for each in applied if each.agrees is False]
    if wrong:
        typer.echo(
            f"pvq: nothing is written: the measured error of {', '.join(wrong[:4])} is not the certified one; is "
            "this the calibration data of the extraction?",
            err=True,
        )
        raise typer.Exit(1)
    save_model(loaded, out)
    typer.echo(f"written: {out}")


def option_of(text: str) -> tuple[Any, ...]:
    """quant:4, prune:4, prune:0.75, joint:4:0.5, or a technique alone."""
    from pvq.bounds.errors import ProblemError
    from pvq.bounds.setting import METHODS

    technique, *numbers = text.split(":")
    with suppress(ValueError):
        known = [float(number) for number in numbers]
        if technique in METHODS and all(0 <= number < math.inf for number in known):
            return technique, *known
    raise ProblemError(f"--take must be a technique, bits and sparsity, as quant:4 or prune:0.75, not '{text}'")


def print_applied(applied: Sequence[Applied]) -> None:
    """Print one line for each layer on standard output."""
    from rich import box
    from rich.table import Table

    from .console import Printer, printable

    console = Printer()
    table = Table(box=box.SIMPLE)
    table.add_column("layer", no_wrap=True)
    for title in ("rows", "certified error", "measured error", "relative difference"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in applied:
        measured, apart = "", ""
        if each.measured is not None:
            measured = f"{each.measured:.9g}"
            apart = f"{abs(each.measured - each.certified) / max(each.certified, each.measured, 1e-300):.1e}"
        rows = str(each.rows) if each.rows == each.out else f"{each.rows} of {each.out}"
        table.add_row(printable(each.module), rows, f"{each.certified:.9g}", measured, apart)
    console.table(table)
    for each in applied:
        if each.also:
            console.say(f"{printable(each.module)} shares its weights with {printable(', '.join(each.also))}.")
    silent = [each.module for each in applied if each.measured is None]
    if silent and len(silent) < len(applied):
        console.say(f"Not measured, no calibration sample reached them: {printable(', '.join(silent))}.")
