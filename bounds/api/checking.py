"""Check a certificate."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pvq.bounds.certificate import Certificate, load_certificate
from pvq.bounds.errors import ProblemError
from pvq.bounds.verify.budget import NODES, limited
from pvq.bounds.verify.certificate import Verified, verify_certificate
from pvq.bounds.verify.reference import Limits, NotEstablished, check_certificate
from pvq.bounds.verify.row import NotProven
from pvq.layers.format import Layer, load_layer
from pvq.solvers.base import SolverUnavailable
from pvq.solvers.device import check_device

from .results import Interval

if TYPE_CHECKING:
    from pvq.bounds.verify.gpu.searcher import Searcher

SECOND = 4_000_000
"""Nodes of a search for the second checker, which is slow."""


class Proven(Interval):
    """What a certificate proves: no weights have an error below `min`, and those in it have at most `max`."""

    verified: Verified
    """All that was proven, row by row."""

    notes: tuple[str, ...] = ()
    """What a GPU has repeated."""

    @classmethod
    def of(cls, verified: Verified) -> Proven:
        """From what the checker says."""
        interval = cls(verified.lower, verified.upper)
        interval.verified = verified
        return interval

    def __repr__(self) -> str:
        return repr(Interval(*self))


def verify(
    certificate: Certificate | str | os.PathLike[str],
    layer: Layer | str | os.PathLike[str],
    *,
    time_limit: float | None = None,
    nodes: int | None = None,
    reference: bool = False,
    device: str = "cpu",
) -> Proven:
    """Prove again what a certificate claims; nothing in it is believed.

    Parameters
    ----------
    certificate : Certificate or path
        Of `Result.certificate`, or a file.
    layer : Layer or path
        The layer that it is about.
    time_limit : float, optional
        Seconds after which nothing counts as established, 0 or None for no limit.
    nodes : int, optional
        Nodes after which a search is given up; None: 400 million, of the second checker 4 million.
    reference : bool
        Ask the second checker as well: rational arithmetic, small and slow.
    device : str
        Where long searches over equal steps are repeated: "cpu", "gpu", or "auto", a GPU if there is one.

    Returns
    -------
    Interval
        What was proven: no weights have an error below min, and those in the certificate have at most max.

    Raises
    ------
    NotProven
        A claim is not established, or the certificate is another layer's.
    CertificateError
        The certificate's file cannot be read.
    LayerError
        The layer's file cannot be read.
    ProblemError
        A limit that is none, or no such device.
    SolverUnavailable
        Device "gpu", and there is none that can be used.
    """
    if not (time_limit is None or time_limit >= 0):
        raise ProblemError(f"`time_limit` must not be negative (0: none) and is {time_limit}")
    if nodes is not None and nodes < 1:
        raise ProblemError(f"`nodes` must be at least 1, not {nodes}")
    claimed = certificate if isinstance(certificate, Certificate) else load_certificate(certificate)
    data = layer if isinstance(layer, Layer) else load_layer(layer)
    check_device(device)
    searcher = _searcher(device)
    begin = time.monotonic()
    with limited(time_limit or None, NODES if nodes is None else nodes, sweep=searcher):
        verified = verify_certificate(claimed, data.weight, data.grams, data.sha256)
        if reference:
            try:
                limits = Limits(time_limit or None, SECOND if nodes is None else nodes, begin)
                check_certificate(claimed, data.weight, data.grams, data.sha256, limits)
            except NotEstablished as error:
                raise NotProven(str(error)) from None
    proven = Proven.of(verified)
    proven.notes = () if searcher is None else searcher.notes
    return proven


def _searcher(device: str) -> Searcher | None:
    """The GPU, if one is asked for; None: the CPU."""
    if device == "cpu":
        return None
    from pvq.bounds.cuda.driver import GpuError
    from pvq.bounds.verify.gpu.searcher import on_gpu  # loads what a GPU takes

    try:
        return on_gpu()
    except GpuError as why:
        if device == "auto":
            return None
        raise SolverUnavailable(f"no GPU can be used: {why}") from None
