"""Quantization or pruning at equal cost, with proof."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting
from pvq.bounds.storage import CostModel
from pvq.layers.files import write_json
from pvq.layers.format import Layer
from pvq.solvers.base import Options
from pvq.solvers.compare import layer as engine
from pvq.solvers.compare.document import add_pair, new_document, settings, summarise
from pvq.solvers.compare.engines import engines_by_name, methods_by_name
from pvq.solvers.compare.network import Task, task_of
from pvq.solvers.compare.verdict import SKIPPED
from pvq.solvers.document import environment
from pvq.solvers.interrupt import stop_on_interrupt
from pvq.solvers.registry import get_solver

from .bounding import check_limits
from .problems import Prune, Quant
from .results import frame_of, html_table, new_axes
from .threads import one_blas_thread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDES = {"quant": "quantization", "prune": "pruning"}
STYLES: dict[str, dict[str, Any]] = {
    "quant": {"color": "#1f4e9c", "hatch": "////"},
    "prune": {"color": "#d1601f", "hatch": "...."},
}


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """For each layer and bit width: is b-bit quantization better, or pruning at equal cost?"""

    document: dict[str, Any]
    """`pvq.compare/1`, as the command line writes it."""

    @property
    def verdicts(self) -> dict[str, dict[int, str]]:
        """By layer and bits: quantization proven better, pruning proven better, open or skipped."""
        return {
            layer["name"]: {pair["bits"]: pair["verdict"] for pair in layer["pairs"]}
            for layer in self.document["layers"]
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the document `pvq.compare/1`, whole or not at all."""
        write_json(os.fspath(path), self.document)

    def to_frame(self) -> Any:
        """The pairs as a pandas data frame.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        records = []
        for layer, pair in self._pairs():
            record = {"layer": layer["name"], "bits": pair["bits"], "sparsity": pair.get("sparsity")}
            record |= {"verdict": pair["verdict"], "margin_db": pair.get("margin_db")}
            for side in SIDES:
                for name in ("lower", "upper", "sqnr_min_db", "sqnr_max_db", "bound_kind"):
                    record[f"{side}_{name}"] = pair.get(side, {}).get(name)
            records.append(record)
        return frame_of(records, ["layer", "bits"])

    def plot(self, layer: str | None = None, ax: Axes | None = None) -> Axes:
        """Proven intervals of the best possible SQNR of one layer against bits.

        Parameters
        ----------
        layer : str, optional
            Which layer; the first without.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure without.

        Raises
        ------
        ProblemError
            No layer of this name.
        ImportError
            matplotlib is not installed.
        """
        layers = {known["name"]: known for known in self.document["layers"]}
        name = next(iter(layers)) if layer is None else layer
        if name not in layers:
            raise ProblemError(f"no layer is called '{name}'; there are: {', '.join(layers)}")
        pairs = [pair for pair in layers[name]["pairs"] if pair["verdict"] != SKIPPED]
        ax = new_axes(6.4, 4.2) if ax is None else ax
        ends = [pair[side][f"sqnr_{end}_db"] for pair in pairs for side in SIDES for end in ("min", "max")]
        top = max((end for end in ends if end is not None), default=0.0) + 10.0
        for side, title in SIDES.items():
            shown = [pair for pair in pairs if pair[side]["sqnr_min_db"] is not None]
            bits = [pair["bits"] for pair in shown]
            least = [pair[side]["sqnr_min_db"] for pair in shown]
            highest = [pair[side]["sqnr_max_db"] for pair in shown]
            most = [top if value is None else value for value in highest]
            color = STYLES[side]["color"]
            ax.plot(bits, least, color=color, marker="." if len(bits) > 1 else "o", label=f"{title}, reached")
            ax.fill_between(
                bits, least, most, facecolor="none", edgecolor=color, hatch=STYLES[side]["hatch"], linewidth=0.5
            )
        ax.set_xlabel("bits a weight")
        ax.set_ylabel("SQNR of the layer output (dB)")
        ax.set_title(f"{name}: hatched is not excluded by proof", fontsize=10, parse_math=False)
        ax.legend()
        return ax

    def __repr__(self) -> str:
        verdicts = [pair["verdict"] for _, pair in self._pairs()]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        return f"<pvq.Comparison of {len(self.document['layers'])} layers: {counts or 'no pairs'}>"

    def _repr_html_(self) -> str:
        bits = self.document["bits"]
        body = [
            (escape(name), *(escape(by_bits.get(b, "-")) for b in bits)) for name, by_bits in self.verdicts.items()
        ]
        return html_table("at equal cost", ("layer", *(f"{b} bits" for b in bits)), body)

    def _pairs(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        return [(layer, pair) for layer in self.document["layers"] for pair in layer["pairs"]]


def compare(
    layers: Layer | Iterable[Layer] | Mapping[str, Layer],
    bits: Iterable[int] = range(2, 9),
    *,
    grid: str = "int",
    granularity: str = "tensor",
    range: str = "mse",
    nm: int | None = None,
    block: int | None = None,
    update: bool = True,
    scope: str = "row",
    base: int = 16,
    mask: str = "none",
    scale_bits: int = 0,
    solver: str = "auto",
    methods: Sequence[str] | str = (),
    time_limit: float | None = 60.0,
    full: bool = False,
    gap: float = 1e-6,
    jobs: int = 1,
    seed: int = 0,
    progress: Callable[[str, Mapping[str, Any]], object] | None = None,
) -> Comparison:
    """Which is better at equal cost, b-bit quantization or sparsity 1 - b/16, with proof.

    A technique is proven better if its upper end is below the other's lower end.

    Parameters
    ----------
    layers : Layer, or several, or a mapping of them
        A mapping's keys name them.
    bits : iterable of int
        Bits of the quantized side.
    grid, granularity, range : str
        As in `Quant`.
    nm : int, optional
        M of N:M sparsity, N the most that the bits pay for.
    block, update, scope : optional
        As in `Prune`.
    base : int
        Bits of a weight that is not quantized, 16 or 32.
    mask : str
        What the sparsity pays for its mask: none, bitmask or index.
    scale_bits : int
        Bits of each scale, 0 to leave them out of the cost.
    solver, methods, gap, seed
        As in `bound`.
    time_limit : float, optional
        Seconds for the bounds of one pair, 0 or None for no limit.
    full : bool
        Bound both sides on all rows, also where a verdict needs less.
    jobs : int
        Rows solved at the same time.
    progress : callable, optional
        Called with the layer's name and each finished pair of `pvq.compare/1`.

    Returns
    -------
    Comparison
        Where Ctrl-C stopped it, the pairs so far.

    Raises
    ------
    ProblemError
        A parameter is impossible, or two layers have one name.
    SolverUnavailable, UnsupportedProblem
        The solver is not installed or proves nothing; a method cannot do what it should.
    """
    begin = time.perf_counter()
    check_limits(time_limit, gap, jobs)
    if nm is not None and (nm < 2 or scope == "layer" or block is not None):
        raise ProblemError("`nm` must be at least 2, and goes neither with `block` nor with `scope` layer")
    named = _named(layers)
    wanted = sorted(set(bits))
    for width in wanted:
        Quant(width, grid, granularity, range)
    Prune(0.5, block=block, update=update, scope=scope)
    what = engine.Comparison(
        bits=wanted,
        quant=Setting("quant", grid=grid, granularity=granularity, range=range),
        prune=Setting("prune", sparsity=0.5, block=block, update=update, scope=scope),
        cost=CostModel(base, mask, scale_bits),
        engines=engines_by_name(solver),
        quick=[get_solver(name) for name in engine.QUICK],
        close=[get_solver(name) for name in engine.CLOSE],
        methods=methods_by_name(methods, update),
        nm=nm,
        time_limit=time_limit or None,
        full=full,
    )
    tasks = [(layer, task_of(layer, Path(name))) for name, layer in named.items()]
    document = new_document([task for _, task in tasks], settings(what, solver), wanted, None)
    with one_blas_thread(), stop_on_interrupt(SIGINT) as stop:
        what = replace(what, options=Options(time_limit=None, gap=gap, seed=seed, stop=stop))
        for layer, task in tasks:
            if task.skipped is None:
                _compare(layer, task, what, jobs, document, progress)
    summarise(document)
    used = environment(solver, jobs, 0.0, time.perf_counter() - begin)
    document["environment"] = {**used, "interrupted": stop.is_set()}
    return Comparison(document)


def _compare(
    layer: Layer,
    task: Task,
    what: engine.Comparison,
    jobs: int,
    document: dict[str, Any],
    progress: Callable[[str, Mapping[str, Any]], object] | None,
) -> None:
    """Add the pairs of one layer to the document."""
    for pair in engine.compare_layer(layer, what, jobs):
        add_pair(document, task.name, pair)
        if progress is not None:
            try:
                progress(task.name, pair)
            except KeyboardInterrupt:
                what.options.stop.set()


def _named(layers: Layer | Iterable[Layer] | Mapping[str, Layer]) -> dict[str, Layer]:
    """Layers by name, which is theirs or a mapping's key."""
    if isinstance(layers, Layer):
        return {layers.name: layers}
    if isinstance(layers, Mapping):
        return {name: replace(layer, name=name) for name, layer in layers.items()}
    named: dict[str, Layer] = {}
    for layer in layers:
        if not isinstance(layer, Layer):
            raise ProblemError(f"`layers` must be of pvq.Layer, not {type(layer).__name__}")
        if layer.name in named:
            raise ProblemError(f"two layers are called '{layer.name}'; give a mapping of names")
        named[layer.name] = layer
    return named
