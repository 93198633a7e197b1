"""`pvq finetune TASK`: quantization or pruning in the loop of training, at equal size."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from .. import options
from ..bits import bit_range
from ..options import OUTPUT, SEARCH

if TYPE_CHECKING:
    from pvq.benchmarks.finetune.study import Study

SCHEMA = "pvq.finetune/1"


def finetune(
    tasks: Annotated[
        list[str],
        Argument(
            metavar="TASK...",
            help="zoo:digits-resnet, -mobile, -vit or -efficientnet, zoo:scenes-segmentation, -detection, "
            "zoo:text-decoder, or package.module:task that gives a pvq.benchmarks.finetune.tasks.FinetuneTask.",
        ),
    ],
    bits: options.BitRange = None,
    seeds: Annotated[
        int, Option(metavar="N", help="Fine-tunings of each size, in different orders of the data.")
    ] = 1,
    epochs: Annotated[
        int | None, Option(metavar="N", help="Epochs of fine-tuning; the task's own without.")
    ] = None,
    rates: Annotated[
        str,
        Option(metavar="R,R,...", help="Learning rates of which each method takes the best, on validation data."),
    ] = "0.03,0.01,0.003",
    folder: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Where records, weights and checkpoints are kept, and gone on from; finetune-NAME without. With "
            "several tasks each has a folder in it.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    bounds: Annotated[
        str | None,
        Option(
            metavar="TIME",
            help="Also bound the least error of each layer at each size, for so long each (as 10s), and say "
            "whether fine-tuned layers are below.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    jobs: Annotated[int, Option(help="Fine-tunings at the same time.", rich_help_panel=SEARCH)] = 1,
    device: Annotated[str, Option(metavar="NAME", help="cpu, cuda or another torch device.")] = "cpu",
    json_: options.Json = None,
    table: Annotated[
        Path | None, Option(metavar="FILE", help="The table in Markdown.", rich_help_panel=OUTPUT)
    ] = None,
    figure: Annotated[
        Path | None, Option(metavar="FILE", help="Quality against size (.png or .svg).", rich_help_panel=OUTPUT)
    ] = None,
    published: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Somebody's published results, printed and drawn beside these: a CSV file with the columns "
            "source, model, measure, method (original, quant, prune), bits, value.",
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Fine-tune a network quantized, and pruned to the same size, and print which is better.

    Learned steps (LSQ) against gradual magnitude pruning to the sparsity 1 - b/16, from the same network, with the
    same data, epochs and seeds.

    Example: pvq finetune zoo:digits-resnet --bits 2:8 --seeds 3 --json t.json --table t.md --figure t.png

    Ctrl-C ends what is being trained, and prints what is there (exit code 130); the same command goes on.
    """
    from pvq.bounds.durations import seconds_of
    from pvq.layers.files import write_each, write_json, write_text
    from pvq.layers.outputs import check_outputs
    from pvq.solvers.interrupt import stop_on_interrupt

    from ..extract import check_torch
    from ..figures import FORMATS, check_matplotlib

    if jobs < 1:
        raise typer.BadParameter("--jobs must be at least 1")
    first, last = bit_range(bits or "2:8")
    budget = None if bounds is None else seconds_of("`bounds`", bounds)
    wanted = dict.fromkeys(tasks)
    places = {task: place(task, folder, len(wanted)) for task in wanted}
    kept = [file for path in places.values() for file in files_below(path)]
    read = [*kept, published]
    check_outputs({"--json": json_, "--table": table, "--figure": figure}, read, {"--figure": FORMATS})
    if figure is not None:
        check_matplotlib()
    check_torch("pvq finetune")
    from pvq.benchmarks.finetune.pool import run_studies
    from pvq.benchmarks.finetune.published import read_published
    from pvq.benchmarks.finetune.table import markdown

    from ..progress import stages
    from .against import against_bounds
    from .progress import epoch_progress
    from .show import draw, print_studies

    others = [] if published is None else read_published(published)
    studies = [
        study(task, places[task], range(first, last + 1), seeds, rates_of(rates), epochs, device)
        for task in wanted
    ]
    with stop_on_interrupt() as stop, epoch_progress(studies, quiet) as advance:
        run_studies(studies, stop, jobs, lambda one, cell, done: advance(one.source, cell, done))
        documents = [dict(one.document()) for one in studies]
        stopped = stop.is_set()
    if budget is not None and not stopped:
        with stop_on_interrupt() as stop, stages("layers of the original network", quiet) as stage:
            for one, document in zip(studies, documents, strict=True):
                document["against_bounds"] = against_bounds(one, budget, stop, stage)
            stopped = stop.is_set()

    record = {"schema": SCHEMA, "tasks": documents, **({"published": others} if others else {})}
    write_each(
        lambda: print_studies([*documents, *others]),
        (json_, lambda path: write_json(path, record)),
        (table, lambda path: write_text(path, markdown([*documents, *others]))),
        (figure, lambda path: draw(Path(path), [*documents, *others])),
    )
    if stopped:
        raise typer.Exit(130)


def place(task: str, folder: Path | None, tasks: int) -> Path:
    """The folder of a task."""
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in task.removeprefix("zoo:"))
    if folder is None:
        return Path(f"finetune-{name}")
    return folder / name if tasks > 1 else folder


def files_below(path: Path) -> list[Path]:
    """What a comparison keeps in its folder, if it is there and can be looked into."""
    with suppress(OSError):
        return list(path.iterdir())
    return []


def rates_of(text: str) -> list[float]:
    """Numbers with commas between them."""
    from pvq.bounds.errors import ProblemError

    try:
        return list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise ProblemError(f"--rates must be numbers as 0.03,0.01, not '{text}'") from None


def study(task: str, folder: Path, bits: range, *more: Any) -> Study:
    """The comparison of a task, once it is known to be one that can be run."""
    from pvq.benchmarks.finetune.folder import Folder
    from pvq.benchmarks.finetune.sources import load_task
    from pvq.benchmarks.finetune.study import Study

    seeds, rates, epochs, device = more
    loaded = load_task(task)
    check_device(device)
    found = Study(task, loaded, Folder(folder), bits, seeds, rates, epochs, device)
    found.folder = Folder.open(folder, task)  # made once everything else is in order
    return found


def check_device(device: str) -> None:
    """Raise `LayerError` where torch cannot use a device."""
    import torch
    from pvq.layers.foreign import foreign

    with foreign(f"--device {device}: cannot be used"):
        torch.zeros(1, device=device)
