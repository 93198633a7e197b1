"""`pvq evaluate MODEL`: accuracy, perplexity, and agreement with the original."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from . import options
from .extract import (
    MODEL_HELP,
    BatchSize,
    Limit,
    ModelWeights,
    SequenceLength,
    TextColumn,
    Tokens,
    TorchDevice,
    batch_progress,
    check_batches,
    check_torch,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvq.evaluating import Evaluated

DATA_HELP = (
    "A folder with one folder of images a class, a text or .jsonl file, an .npz file of arrays x and y, "
    "package.module:function of the model, or data without labels as for `pvq extract`."
)
NAMES = {
    "accuracy": "accuracy",
    "perplexity": "perplexity",
    "loss": "mean of -log p (nats)",
    "agreement": "agreement with the original",
    "kl": "KL from the original (nats)",
    "sqnr_db": "SQNR of the outputs (dB)",
}


def evaluate(
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[str, Option(metavar="SOURCE", help=DATA_HELP)],
    weights: ModelWeights = None,
    original: Annotated[
        str | None, Option(metavar="MODEL", help="The model it is of, to say how far it is from that.")
    ] = None,
    batch_size: BatchSize = 8,
    limit: Limit = None,
    sequence_length: SequenceLength = None,
    tokens: Tokens = None,
    text_column: TextColumn = None,
    device: TorchDevice = "cpu",
    json_: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """How good a network is, and how far from the original: accuracy, perplexity, agreement, KL, SQNR.

    Folders of classes have labels in the order of their names, or are named by the numbers of the classes.

    Example: pvq evaluate zoo:efficientnet-lite0 --weights lite0-4bit.safetensors --original zoo:efficientnet-lite0
    --data photographs/
    """
    check_batches(batch_size, limit)
    from pvq.layers.files import write_each, write_json
    from pvq.layers.outputs import check_outputs

    check_torch("pvq evaluate")
    from pvq.evaluating import evaluate_sources
    from pvq.layers.text import Packing

    check_outputs({"--json": json_}, [weights, data])
    with batch_progress(model, quiet, "evaluation") as progress:
        found = evaluate_sources(
            model,
            data,
            weights=weights,
            original=original,
            batch_size=batch_size,
            limit=limit,
            packing=Packing(sequence_length, tokens, text_column),
            device=device,
            progress=progress,
        )
    document = found.document
    write_each(lambda: print_evaluation(found), (json_, lambda path: write_json(path, document)))


def print_evaluation(found: Evaluated) -> None:
    """Print one line for each measure, of the model and of the original, on standard output."""
    from rich import box
    from rich.table import Table

    from .console import Printer, printable

    table = Table(box=box.SIMPLE)
    table.add_column("", no_wrap=True)
    table.add_column("model", justify="right", no_wrap=True)
    if found.original is not None:
        table.add_column("original", justify="right", no_wrap=True)
    for name, value in found.measures.items():
        if name in ("samples", "labelled"):
            continue
        cells = [cell(name, value)]
        if found.original is not None:
            cells.append(cell(name, found.original.get(name)))
        table.add_row(printable(NAMES.get(name, name)), *cells)
    console = Printer()
    console.table(table)
    for line in counted(found.source, found.measures):
        console.say(line)


def counted(source: str, measures: Mapping[str, Any]) -> list[str]:
    """What the measures are of, in words; nothing where a function of the user's own says them."""
    from .console import printable

    samples, labelled = measures.get("samples"), measures.get("labelled")
    return (
        [] if samples is None else [f"{samples} outputs of {printable(source)}, {labelled} of them with a label."]
    )


def cell(name: str, value: Any) -> str:
    """A measure as text."""
    if value is None:
        return ""
    if math.isinf(value):
        return "no difference" if name == "sqnr_db" and value > 0 else str(value)
    if name in ("accuracy", "agreement"):
        return f"{100 * value:.2f}%"
    return f"{value:.2f}" if name == "sqnr_db" else f"{value:.6g}"
