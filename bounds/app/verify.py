"""`pvq verify CERTIFICATE LAYER.npz`: check a certificate with a small program that trusts nothing in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from . import options


def verify(
    certificate: Annotated[Path, Argument(metavar="CERTIFICATE", help="Written by `pvq-bound --certificate`.")],
    layer: Annotated[Path, Argument(metavar="LAYER.npz", help="The layer file that it is about.")],
    time_limit: Annotated[
        float, Option(metavar="SEC", help="Seconds after which nothing counts as established, 0 for none.")
    ] = 3600.0,
    nodes: Annotated[
        int | None,
        Option(
            metavar="N",
            help="Nodes after which a search is given up: 400 million, of the second checker 4 million.",
        ),
    ] = None,
    device: Annotated[
        str,
        Option(
            metavar="cpu|gpu|auto",
            help="Where long searches over equal steps are repeated; auto: on a GPU where there is one.",
        ),
    ] = "cpu",
    json_: options.Json = None,
    reference: Annotated[
        bool, Option("--reference", help="Ask the second checker as well: rational arithmetic, small and slow.")
    ] = False,
) -> None:
    """Check both ends of every claim of a certificate against the layer itself.

    Example: pvq verify proof.npz layer.npz

    Exit code 0: all that is claimed is proven. 1: the first claim that is not, or another layer. 2: unreadable.
    3: no GPU.
    """
    import pvq
    from pvq.layers.files import write_each, write_json
    from pvq.layers.outputs import check_outputs

    from .progress import stages
    from .verified import as_json, in_words

    check_outputs({"--json": json_}, inputs=[certificate, layer])
    claimed = pvq.load_certificate(certificate)
    data = pvq.load_layer(layer)
    try:
        with stages(f"checking {certificate}", quiet=False):
            proven = pvq.verify(
                claimed, data, time_limit=time_limit, nodes=nodes, reference=reference, device=device
            )
    except pvq.NotProven as error:
        print(f"pvq: not verified: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for note in proven.notes:
        print(note, file=sys.stderr)
    write_each(
        lambda: print("\n".join(in_words(data, proven.verified)), flush=True),
        (json_, lambda path: write_json(path, as_json(data, proven.verified))),
    )
