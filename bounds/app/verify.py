"""`pvq verify CERTIFICATE LAYER.npz`: check a certificate with a small program that trusts nothing in it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option


def verify(
    certificate: Annotated[Path, Argument(metavar="CERTIFICATE", help="Written by `pvq-bound --certificate`.")],
    layer: Annotated[Path, Argument(metavar="LAYER.npz", help="The layer file that it is about.")],
    time_limit: Annotated[
        float, Option(metavar="SEC", help="Seconds after which nothing counts as established, 0 for none.")
    ] = 3600.0,
    nodes: Annotated[int, Option(metavar="N", help="Nodes after which a search is given up.")] = 4_000_000,
    json_: Annotated[
        str | None, Option("--json", metavar="FILE|-", help="What was proven as JSON, for programs.")
    ] = None,
    reference: Annotated[
        bool, Option("--reference", help="Ask the second checker as well: rational arithmetic, small and slow.")
    ] = False,
) -> None:
    """Check both ends of every claim of a certificate against the layer itself.

    Example: pvq verify proof.npz layer.npz

    Exit code 0: all that is claimed is proven. 1: the first claim that is not, or another layer. 2: unreadable.
    """
    from pvq.bounds.certificate import load_certificate
    from pvq.bounds.verify import NotProven, verify_certificate
    from pvq.bounds.verify.budget import limited
    from pvq.bounds.verify.reference import Limits, NotEstablished, check_certificate
    from pvq.layers.files import write_json
    from pvq.layers.format import load_layer
    from pvq.layers.outputs import check_outputs

    from .verified import as_json, in_words

    if time_limit < 0 or nodes < 1:
        raise typer.BadParameter("--time-limit must not be negative, --nodes at least 1")
    check_outputs({"--json": json_}, inputs=[certificate, layer])
    claimed = load_certificate(certificate)
    data = load_layer(layer)
    begin = time.monotonic()
    try:
        with limited(time_limit or None, nodes):
            verified = verify_certificate(claimed, data.weight, data.grams, data.sha256)
            if reference:
                check_certificate(
                    claimed, data.weight, data.grams, data.sha256, Limits(time_limit or None, nodes, begin)
                )
    except (NotProven, NotEstablished) as error:
        print(f"pvq: not verified: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if json_ != "-":
        print("\n".join(in_words(data, verified)))
    if json_ is not None:
        write_json(json_, as_json(data, verified))
