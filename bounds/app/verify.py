"""`pvq verify CERTIFICATE LAYER.npz`: check a certificate with a small program that trusts nothing in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument

if TYPE_CHECKING:
    from pvq.bounds.layer_problem import Setting

    from ..verify.certificate import Verified


def verify(
    certificate: Annotated[Path, Argument(metavar="CERTIFICATE", help="Written by `pvq-bound --certificate`.")],
    layer: Annotated[Path, Argument(metavar="LAYER.npz", help="The layer file that it is about.")],
) -> None:
    """Check both ends of every claim of a certificate against the layer itself.

    Example: pvq verify proof.npz layer.npz

    Exit code 0: all that is claimed is proven. 1: the first claim that is not, or another layer. 2: unreadable.
    """
    from pvq.bounds.certificate import load_certificate
    from pvq.bounds.verify import NotProven
    from pvq.layers.format import load_layer

    from ..verify.certificate import verify_certificate

    claimed = load_certificate(certificate)
    data = load_layer(layer)
    try:
        verified = verify_certificate(claimed, data.weight, data.grams, data.sha256)
    except NotProven as error:
        print(f"pvq: not verified: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print("\n".join(describe(claimed.name, verified)))


def describe(name: str, verified: Verified) -> list[str]:
    """What has been proven, in words."""
    problem = verified.problem
    rows, inputs = problem.rows, problem.inputs
    reference = sum(problem.row(i).reference for i in range(len(problem)))
    shift = problem.gram_shift
    return [
        f"verified: layer '{name}', rows {rows.start}:{rows.stop}, inputs {inputs.start}:{inputs.stop}",
        f"  no weights with {in_words(problem.setting)} have a smaller error than the lower end below,",
        "  and those in the certificate have at most the upper end:",
        f"  {verified.lower + 0.0:.17g} <= smallest error <= {verified.upper + 0.0:.17g}",
        f"  best possible SQNR between {in_db(reference, verified.upper)} and {in_db(reference, verified.lower)}",
        f"  {len(rows) - verified.unproven} of {len(rows)} rows have a proof of their lower end"
        + ("; the others count as 0" if verified.unproven else ""),
        f"  error: (w - x)'H(w - x) summed over the rows, H the file's Gram matrix + {shift:.3g} I"
        + (f" + {problem.setting.ridge:g} times its mean diagonal" if problem.setting.ridge else ""),
        f"  arithmetic of the lower ends: rational in {verified.rational} rows, "
        f"float64 with a bound for every rounding error in {len(rows) - verified.rational}",
    ]


def in_db(reference: float, error: float) -> str:
    """SQNR, which nothing limits where the error is or may be 0."""
    from pvq.bounds.sqnr import sqnr_db

    value = sqnr_db(reference, error)
    return "no limit" if value is None else f"{value:.4f} dB"


def in_words(setting: Setting) -> str:
    """The constraint."""
    words = []
    if setting.quantizes:
        bits = f"{setting.bits} bit " if setting.bits is not None else ""
        words.append(f"{bits}{setting.grid} levels (scale per {setting.granularity}, range {setting.range})")
    if setting.prunes:
        if setting.nm is not None:
            text = f"at most {setting.nm[0]} of every {setting.nm[1]} weights non-zero"
        else:
            of = "the layer's weights" if setting.scope == "layer" else "each row's weights"
            text = f"a share of {setting.sparsity:g} of {of} zero"
            text += f" in blocks of {setting.block}" if setting.block else ""
        text += "" if setting.update or setting.quantizes else ", the others unchanged"
        words.append(text)
    return " and ".join(words)
