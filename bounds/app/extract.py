"""`pvq extract MODEL`: from a model and calibration data to layer files."""

from __future__ import annotations

from typing import Annotated

from typer import Argument


def extract(
    model: Annotated[str, Argument(metavar="MODEL", help="zoo:efficientnet-lite0, torchvision:NAME, ...")],
) -> None:
    """Extract."""
