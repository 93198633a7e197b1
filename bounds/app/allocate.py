"""`pvq allocate RECORD`: bits and sparsity for each layer under a budget, with proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from . import options
from .evaluate import DATA_HELP, NAMES, cell, counted
from .extract import (
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
from .options import OUTPUT, PROBLEM

if TYPE_CHECKING:
    import pvq
    from pvq.allocated import Weights
    from pvq.layers.models import Model
    from rich.table import Table

    Measures = tuple[str, dict[str, dict[str, Any]]]
    Evaluate = Callable[[Model, Weights], Measures]

NETWORK = "The network"
UNIFORM = {"quant": "uniform quantization, {} bits", "prune": "uniform pruning that costs {} bits"}
NAMED = 5
"""Layers named as those that decide the gap, at most."""
MOST = 0.9
"""Fewer are named where they make up so much of it."""
CLOSED = 1e-4
"""Relative gaps below are none to spend time on."""


def allocate(
    record: Annotated[Path, Argument(metavar="RECORD", help="JSON file of `pvq compare`.")],
    bits: Annotated[
        float | None,
        Option(metavar="B", help="Budget: bits a weight on average.", rich_help_panel=PROBLEM),
    ] = None,
    bytes_: Annotated[
        int | None,
        Option("--bytes", metavar="N", help="Budget: bytes of all layers.", rich_help_panel=PROBLEM),
    ] = None,
    weight: Annotated[
        str,
        Option(
            metavar="error|relative|FILE",
            help="What is added up: layer errors, layer errors divided by the layer's reference, or layer errors "
            "times the numbers of a JSON file (layer name: number).",
            rich_help_panel=PROBLEM,
        ),
    ] = "error",
    json_: options.Json = None,
    figure: Annotated[
        Path | None,
        Option(metavar="FILE", help="Least error against the budget (.png or .svg).", rich_help_panel=OUTPUT),
    ] = None,
    apply: Annotated[
        str | None,
        Option(
            metavar="MODEL",
            help="Write this network with the allocation; needs --out.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        Option(
            metavar="DIR",
            help="Weights that `pvq compare --save-solutions` kept, if not where the record says; repeatable.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            metavar="DIR|FILE",
            help="New folder, or a .safetensors file, for the network.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    data: Annotated[
        str | None,
        Option(
            metavar="SOURCE",
            help="Evaluate the network, beside the uniform ones and the original, as `pvq evaluate` does: on "
            f"{DATA_HELP[0].lower()}{DATA_HELP[1:]}",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    batch_size: BatchSize = 8,
    limit: Limit = None,
    sequence_length: SequenceLength = None,
    tokens: Tokens = None,
    text_column: TextColumn = None,
    device: TorchDevice = "cpu",
    quiet: options.Quiet = False,
) -> None:
    """The best bits or sparsity for each layer under a budget, and what no allocation gets below.

    Solved twice, over the upper ends of the recorded intervals and over the lower ends.

    Example: pvq allocate network.json --bits 4 --weight relative --figure budget.png

    Example: pvq allocate network.json --bits 4 --apply zoo:efficientnet-lite0 -o mixed/ --data photographs/
    """
    check_batches(batch_size, limit)
    import pvq
    from pvq.applying import files_behind
    from pvq.evaluating import finite
    from pvq.layers.files import write_each, write_json
    from pvq.layers.outputs import check_outputs

    from .figures import FORMATS, check_matplotlib, new_figure, save

    place = None if out is None or out.suffix != ".safetensors" else out
    if (apply is None) != (out is None) or ((results or data) and apply is None):
        raise typer.BadParameter("--apply and --out go together; --results and --data are for them")
    weights = [] if apply is None else results or [record]
    outputs = {"--json": json_, "--figure": figure, "--out": place}
    check_outputs(outputs, [record, weight, apply, data, *files_behind(weights)], {"--figure": FORMATS})
    if figure is not None:
        check_matplotlib()
    found = pvq.allocate(record, bits=bits, bytes=bytes_, weight=weight)
    document, network, measures = found.document, None, None

    def evaluate(model: Model, networks: Weights) -> Measures:
        assert data is not None
        words = {"batch_size": batch_size, "limit": limit}
        return evaluated(model, networks, data, (sequence_length, tokens, text_column), words, device, quiet)

    if apply is not None and out is not None:
        how = None if data is None else evaluate
        network, measures = allocated_network(found, apply, weights, out, how)
    if measures is not None:
        shown = {name: finite(each) for name, each in measures[1].items()}
        document = {**document, "evaluation": {"model": apply, "data": measures[0], "networks": shown}}

    def draw(path: Path) -> None:
        drawing = new_figure(6.4, 4.2)
        found.plot(drawing.subplots())
        save(drawing, path)

    write_each(
        lambda: print_allocation(found.document, measures),
        (json_, lambda path: write_json(path, document)),
        (figure, lambda path: draw(Path(path))),
    )
    if network is not None and out is not None:
        from pvq.layers.apply import save_model

        save_model(network, out)
        typer.echo(f"written: {out}", err=str(json_) == "-")


def allocated_network(
    found: pvq.Allocation, model: str, results: list[Path], out: Path, evaluate: Evaluate | None
) -> tuple[Model, Measures | None]:
    """The model with the weights of what each layer takes; what it, the uniform ones and the original reach."""
    from pvq.allocated import ALLOCATION
    from pvq.applying import files_behind

    chosen = {ALLOCATION: found.solutions(results)} if evaluate is None else found.networks(results)
    check_torch("--apply")
    from pvq.layers.apply import apply_solutions, check_place
    from pvq.layers.models import load_model

    check_place(out, files_behind(results))
    loaded = load_model(model)
    measures = None if evaluate is None else evaluate(loaded, chosen)
    apply_solutions(loaded.module, chosen[ALLOCATION])
    return loaded, measures


def evaluated(
    model: Model,
    networks: Weights,
    data: str,
    packing: tuple[int | None, int | None, str | None],
    words: dict[str, int | None],
    device: str,
    quiet: bool,
) -> Measures:
    """All networks of the model on data."""
    from pvq.allocated import evaluate_networks
    from pvq.layers.foreign import foreign
    from pvq.layers.text import Packing

    with foreign(f"device {device!r} cannot be used"):
        model.module.to(device)
    how: dict[str, Any] = {**words, "packing": Packing(*packing)}
    with batch_progress(model.source, quiet, "evaluation") as progress:
        return evaluate_networks(model, networks, data, progress=progress, **how)


def print_allocation(document: Mapping[str, Any], measures: Measures | None = None) -> None:
    """Print the layers, the two ends, the uniform allocations and their networks on standard output."""
    from .console import Printer, printable

    console = Printer()
    console.table(_layers(document))
    console.table(_totals(document))
    if document["left_out"]:
        console.say("Left out, their size is not known: ", printable(", ".join(document["left_out"])), ".")
    alone = [layer["name"] for layer in document["layers"] if layer["options"] == 1]
    if alone:
        console.say("Uncompressed, the record has no pair of them: ", printable(", ".join(alone)), ".")
    console.say(sentence(document))
    deciding = deciding_layers(document)
    if deciding:
        console.say(f"The gap is decided by {printable('; '.join(deciding))}.")
        console.say("`pvq compare --full --resume` with a longer --time-limit on these layers narrows it.")
    if measures is not None:
        source, networks = measures
        console.table(_networks(networks))
        for line in counted(source, networks["allocation"]):
            console.say(line)


def _layers(document: Mapping[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    from .console import printable

    table = Table(box=box.SIMPLE)
    table.add_column("layer", no_wrap=True)
    table.add_column("takes", no_wrap=True)
    for title in ("bits a weight", "weighted error", "share of the gap"):
        table.add_column(title, justify="right", no_wrap=True)
    for layer in document["layers"]:
        table.add_row(
            printable(layer["name"]),
            _words(layer),
            f"{layer['storage_bits'] / layer['size']:.4g}",
            f"{layer['weight'] * layer['upper']:.4g}",
            f"{100 * layer['gap_share']:.1f}%",
        )
    return table


def _totals(document: Mapping[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    total = document["total"]
    table = Table(box=box.SIMPLE)
    table.add_column("all layers", no_wrap=True)
    for title in ("bits a weight", "bytes", "weighted error", "of the allocation's"):
        table.add_column(title, justify="right", no_wrap=True)

    def line(name: str, cost: int | None, error: float) -> None:
        size = sum(layer["size"] for layer in document["layers"])
        share = f"{error / total['upper']:.4g}" if total["upper"] > 0 else ""
        spent = ("", "") if cost is None else (f"{cost / size:.4g}", str(-(-cost // 8)))
        table.add_row(name, *spent, f"{error:.6g}", share)

    if total["bound_kind"] != "none":
        line(f"no allocation is below ({total['bound_kind']})", None, total["lower"])
    line("this allocation", total["storage_bits"], total["upper"])
    for each in document["uniform"]:
        line(UNIFORM[each["technique"]].format(each["bits"]), each["storage_bits"], each["error"])
    return table


def _networks(networks: Mapping[str, Mapping[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table

    from .console import printable

    names = list(dict.fromkeys(name for measures in networks.values() for name in measures))
    names = [name for name in names if name not in ("samples", "labelled")]
    table = Table(box=box.SIMPLE)
    table.add_column("networks", no_wrap=True)
    for name in names:
        table.add_column(printable(NAMES.get(name, name)), justify="right")
    for key, measures in networks.items():
        if not measures.keys() & set(names):  # of the original without labels
            continue
        technique, _, bits = key.partition(":")
        words = UNIFORM[technique].format(bits) if bits else {"allocation": "this allocation"}.get(key, key)
        table.add_row(words, *(cell(name, measures.get(name)) for name in names))
    return table


def _words(layer: Mapping[str, Any]) -> str:
    if layer["technique"] == "none":
        return "uncompressed"
    return f"{layer['bits']} bits" if layer["technique"] == "quant" else f"sparsity {layer['sparsity']:.4g}"


def sentence(document: Mapping[str, Any]) -> str:
    """One sentence on both ends."""
    total, budget = document["total"], document["budget"]
    start = f"Within {budget['average']:.4g} bits a weight this allocation reaches {total['upper']:.6g}"
    if not total["upper_is_least"]:
        start += " (perhaps not the least sum of upper ends)"
    if total["upper"] <= 0:
        return f"{start}: no error at all."
    if total["bound_kind"] == "none":
        return f"{start}; nothing is proven of what is impossible."
    how = "exact arithmetic" if total["bound_kind"] == "rigorous" else "float64 arithmetic"
    return (
        f"{start}; no allocation of the recorded options gets below {total['lower']:.6g} (bounds of the record in "
        f"{how}): a gap of {100 * total['gap']:.3g}%."
    )


def deciding_layers(document: Mapping[str, Any]) -> list[str]:
    """The layers that make up most of the gap, each with its share and what is not excluded of it."""
    if document["total"]["gap"] <= CLOSED:
        return []
    found: list[str] = []
    covered = 0.0
    for layer in sorted(document["layers"], key=lambda layer: -layer["gap_share"])[:NAMED]:
        if covered >= MOST or layer["gap_share"] <= 0:
            break
        covered += layer["gap_share"]
        rival = layer["rival"]
        side = {"quant": "quantized", "prune": "pruned", "none": "uncompressed"}[rival["technique"]]
        found.append(
            f"{layer['name']} ({100 * layer['gap_share']:.0f}%: {side} at {rival['bits']} bits, an error of "
            f"{rival['lower']:.4g} is not excluded)"
        )
    return found
