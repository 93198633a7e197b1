"""`pvq extract MODEL`: from a model and calibration data to layer files."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from . import options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL_HELP = (
    "zoo:efficientnet-lite0, torchvision:NAME, timm:NAME, transformers:DIR, ID or FILE.gguf, "
    "or package.module:factory."
)
CALIBRATION_HELP = "zoo:photos, a folder of images, a text or .jsonl file (language models) or a .npy array."
BatchSize = Annotated[int, Option(help="Samples per batch.")]
ModelWeights = Annotated[
    Path | None, Option(metavar="FILE", help="State dict or safetensors file to load into the model.")
]
Limit = Annotated[int | None, Option(metavar="N", help="Use at most N samples (lines of a text).")]
TorchDevice = Annotated[str, Option(help="torch device.")]
SequenceLength = Annotated[
    int | None,
    Option(metavar="N", help="Fill sequences of N tokens from line to line; else each line is one."),
]
Tokens = Annotated[int | None, Option(metavar="N", help="Use at most N tokens of a text.")]
TextColumn = Annotated[
    str | None, Option(metavar="NAME", help="The text of each object of a .jsonl file ('text').")
]


def extract(
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    layer: Annotated[list[str], Option(metavar="GLOB", help="Names of layers, as 'blocks.*.conv'; repeatable.")],
    calibration: Annotated[str, Option(metavar="SOURCE", help=CALIBRATION_HELP)],
    out: Annotated[Path, Option("--out", "-o", metavar="DIR", help="Folder for the layer files.")],
    weights: ModelWeights = None,
    keep_activations: Annotated[int, Option(metavar="N", help="Also store the first N columns of inputs.")] = 0,
    batch_size: BatchSize = 8,
    limit: Limit = None,
    sequence_length: SequenceLength = None,
    tokens: Tokens = None,
    text_column: TextColumn = None,
    name: Annotated[str | None, Option(help="Name of the model in the files; that of its source without.")] = None,
    device: TorchDevice = "cpu",
    dtype: Annotated[
        str | None,
        Option(
            metavar="TYPE",
            help="The model computes in float64, float32, bfloat16 or float16, with its weights rounded to that. "
            "Sums are float64.",
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Write one layer file (weights, Gram matrix) for every chosen layer, in one pass over the data.

    Example: pvq extract zoo:efficientnet-lite0 --layer '_blocks.*._expand_conv' --calibration zoo:photos -o out/
    """
    if name is not None and not name.strip():
        raise typer.BadParameter("--name must not be empty")
    if keep_activations < 0 or batch_size < 1 or (limit is not None and limit < 1):
        raise typer.BadParameter("--keep-activations must not be negative, --batch-size and --limit at least 1")
    check_torch("pvq extract")
    import pvq
    from pvq.layers.extraction import Extraction
    from pvq.layers.text import Packing

    from .console import printable

    def say(line: str) -> None:
        print(f"pvq: {printable(line)}", file=sys.stderr)

    with batch_progress(model, quiet) as progress:
        asked = Extraction(
            model,
            layer,
            calibration,
            out,
            weights=weights,
            name=name,
            batch_size=batch_size,
            limit=limit,
            packing=Packing(sequence_length, tokens, text_column),
            device=device,
            dtype=dtype,
        )
        if asked.batches.data.note is not None:
            say(asked.batches.data.note)
        layers = pvq.extract(
            asked.module, asked.batches, layer, keep_activations=keep_activations, progress=progress, say=say
        )
    left_out = asked.left_out()
    if left_out is not None:
        say(left_out)
    files = asked.save(layers)
    for file in files:
        print(file)


def check_torch(what: str) -> None:
    """Raise `LayerError` where torch is not installed; it is not imported."""
    import importlib.util

    from pvq.layers.format import LayerError

    if importlib.util.find_spec("torch") is None:
        raise LayerError(f"{what} needs torch: pip install 'pvq-bound[extract]'")


def check_batches(batch_size: int, limit: int | None) -> None:
    """Raise `BadParameter` for a size or a number of batches that is none."""
    if batch_size < 1 or (limit is not None and limit < 1):
        raise typer.BadParameter("--batch-size and --limit must be at least 1")


@contextmanager
def batch_progress(
    model: str, quiet: bool, what: str = "calibration"
) -> Iterator[Callable[[int, int | None], None] | None]:
    """A callback that shows batches done on standard error: a bar on a terminal, else one line each.

    Before the first batch, and while it runs, the stage is named.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from .console import Printer, plain_column
    from .progress import stages

    console = Printer(stderr=True)
    if quiet:
        yield None
        return
    columns = (plain_column(what), BarColumn(), MofNCompleteColumn(), plain_column("batches"))
    with ExitStack() as first, ExitStack() as rest:
        first.enter_context(stages(f"loading {model}, and a first batch", quiet))
        bar: Progress | None = None

        def advance(done: int, total: int | None) -> None:
            nonlocal bar
            first.close()
            if not console.is_terminal:
                console.print(f"batch {done} of {total or '?'}")
                return
            if bar is None:
                bar = rest.enter_context(
                    Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
                )
                bar.add_task(what, total=None)
            bar.update(bar.task_ids[0], completed=done, total=total)

        yield advance
