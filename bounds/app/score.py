"""`pvq score MODEL OTHER`: somebody's compressed model against the proven intervals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from . import options
from .extract import (
    CALIBRATION_HELP,
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
from .options import OUTPUT

if TYPE_CHECKING:
    import pvq

ORIGINAL_HELP = "The model as it was, as for `pvq extract`; or its layer files, or a folder of them."
OTHER_HELP = (
    "The compressed model: a state dict or safetensors file, a folder of such files (dense, GPTQ layout or "
    "compressed-tensors), or a model as for `pvq extract`."
)


NOTHING = {"unchanged": "As they were", "missing": "Not in the other model", "skipped": "No layer to score"}
"""Layers that have no line of their own, and what is said of them."""
SHOWN = 6


def score(
    model: Annotated[str, Argument(metavar="MODEL", help=ORIGINAL_HELP)],
    other: Annotated[str, Argument(metavar="OTHER_MODEL", help=OTHER_HELP)],
    calibration: Annotated[
        str | None, Option(metavar="SOURCE", help=f"For a model that is not layer files: {CALIBRATION_HELP}")
    ] = None,
    layer: Annotated[
        list[str] | None, Option(metavar="GLOB", help="Names of layers, as 'blocks.*.conv' (all); repeatable.")
    ] = None,
    weights: ModelWeights = None,
    time_limit: Annotated[float, Option(metavar="SEC", help="Seconds for the bounds of one layer.")] = 60.0,
    budget: options.Budget = None,
    solver: options.Solver = "auto",
    gap: options.Gap = 1e-6,
    jobs: Annotated[int, Option(help="Rows of a layer solved at the same time.")] = 1,
    seed: options.Seed = 0,
    batch_size: BatchSize = 8,
    limit: Limit = None,
    sequence_length: SequenceLength = None,
    tokens: Tokens = None,
    text_column: TextColumn = None,
    device: TorchDevice = "cpu",
    json_: options.Json = None,
    figure: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="Each layer's distance from the optimum (.png, .svg).", rich_help_panel=OUTPUT
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """How far a quantized or pruned network is from the best there is, layer by layer.

    The grid of its weights, or the pattern of their zeros, is recognised; each layer's error is held against the
    proven interval of the least error on that grid or pattern, and against the volume model's estimate.

    Example: pvq score zoo:efficientnet-lite0 mine.safetensors --calibration zoo:photos --figure score.png

    Example: pvq score layers/ gptq-checkpoint/ --json score.json
    """
    check_batches(batch_size, limit)
    import pvq
    from pvq.layers.files import write_each, write_json
    from pvq.layers.outputs import check_outputs

    from .figures import FORMATS, check_matplotlib, new_figure, save
    from .progress import stages

    check_outputs({"--json": json_, "--figure": figure}, [model, other, weights], {"--figure": FORMATS})
    if figure is not None:
        check_matplotlib()
    search: dict[str, Any] = {
        "solver": solver,
        "time_limit": time_limit,
        "budget": budget,
        "gap": gap,
        "seed": seed,
    }
    layers: Any = [Path(model)]
    if os.path.exists(model):
        if calibration is not None or layer or weights is not None:
            raise typer.BadParameter(f"{model} is layer files; --calibration, --layer, --weights are for a model")
    else:
        packing = (sequence_length, tokens, text_column)
        taken = {"weights": weights, "batch_size": batch_size, "limit": limit, "device": device}
        layers = extracted(model, calibration, other, layer, packing, taken, quiet)
    with stages(f"reading {other}", quiet):
        found = pvq.score_model(layers, other, **search)
    document = {**found.document, "model": model}

    def draw(path: Path) -> None:
        drawing = new_figure(7.0, 1.4 + 0.22 * len(found.scores))
        found.plot(drawing.subplots())
        save(drawing, path)

    write_each(
        lambda: print_score(found),
        (json_, lambda path: write_json(path, document)),
        (figure, lambda path: draw(Path(path))),
    )
    if found.is_interrupted:
        raise typer.Exit(130)


def extracted(
    model: str,
    calibration: str | None,
    other: str,
    layer: list[str] | None,
    packing: tuple[int | None, int | None, str | None],
    taken: dict[str, Any],
    quiet: bool,
) -> dict[str, pvq.Layer]:
    """The layers of a model, and before the long pass the other one is looked at."""
    import sys

    from pvq.bounds.errors import ProblemError
    from pvq.layers.checkpoint import open_checkpoint
    from pvq.layers.format import LayerError

    from .console import printable

    if calibration is None and ":" not in model:
        raise LayerError(f"{model}: no such layer file or folder")
    if calibration is None:
        raise ProblemError("`calibration` is needed: how much a weight matters depends on the inputs of its layer")
    check_torch("pvq score of a model")
    from pvq.layers.extraction import layers_in_memory
    from pvq.layers.text import Packing

    with open_checkpoint(other):
        pass
    with batch_progress(model, quiet) as progress:
        return layers_in_memory(
            model,
            layer or ["*"],
            calibration,
            packing=Packing(*packing),
            progress=progress,
            say=lambda line: print(f"pvq: {printable(line)}", file=sys.stderr),
            **taken,
        )


def print_score(found: pvq.ModelScore) -> None:
    """Print a line for each layer, and one for all of them, on standard output."""
    from pvq.scoring import distance, sentence
    from rich import box
    from rich.table import Table

    from .console import Printer, printable

    table = Table(box=box.SIMPLE)
    table.add_column("layer", no_wrap=True)
    table.add_column("is", no_wrap=True)
    for title in ("error", "SQNR (dB)", "dB above the optimum", "above the estimate", "bound"):
        table.add_column(title, justify="right", no_wrap=True)
    layers = [layer for layer in found.document["layers"] if layer["kind"] not in NOTHING]
    for layer in layers:
        sqnr, above = layer.get("sqnr_db"), layer.get("above_estimate_db")
        table.add_row(
            printable(layer["name"]),
            printable(layer["words"]),
            "" if layer.get("error") is None else f"{layer['error']:.4g}",
            "" if sqnr is None else f"{sqnr:.2f}",
            distance(layer),
            "" if above is None else f"{above:.2f}",
            layer.get("bound_kind", ""),
        )
    console = Printer()
    console.table(table)
    for kind, words in NOTHING.items():
        names = [layer["name"] for layer in found.document["layers"] if layer["kind"] == kind]
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            console.say(f"{words}: {printable(', '.join(names[:SHOWN]))}{more}.")
    doubtful = [layer["name"] for layer in layers if layer.get("ambiguous_scales")]
    if doubtful:
        console.say(f"Other scales would explain the weights as well: {printable(', '.join(doubtful[:SHOWN]))}.")
    for layer in layers:
        if layer.get("reason"):
            console.say(f"{printable(layer['name'])}: not within its own grid or pattern: {layer['reason']}.")
    words = sentence(found.document)
    console.say(words[0].upper() + words[1:] + ".")
