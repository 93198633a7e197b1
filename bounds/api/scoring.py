"""Somebody else's compressed model against the proven intervals, layer by layer."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from pvq.bounds.durations import seconds_of
from pvq.bounds.errors import ProblemError
from pvq.bounds.outward import sum_down, sum_up
from pvq.bounds.recognise import recognise
from pvq.bounds.recover import Recovered
from pvq.bounds.setting import GRID_WORDS, PATTERN_WORDS, Setting
from pvq.bounds.sqnr import sqnr_db
from pvq.bounds.stages import part
from pvq.layers.arrays import Plain
from pvq.layers.checkpoint import Checkpoint, of_state, open_checkpoint, tensor_of
from pvq.layers.format import Layer, load_layer
from pvq.layers.packed import Packed
from pvq.solvers.base import UnsupportedProblem
from pvq.solvers.compare.network import Member
from pvq.solvers.compile_time import working_seconds
from pvq.solvers.document import environment

from .bounding import bound
from .comparing import Layers, members_of
from .problems import Problem, problem_of
from .results import Result, Score
from .running import check_limits, quiet_machine
from .shown import Recorded, html_table, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = "pvq.score/1"
UNCHANGED, UNKNOWN, MISSING, SKIPPED, FAILED = "unchanged", "not recognised", "missing", "skipped", "failed"
"""What a layer may be instead of quantized or pruned."""


@dataclass(frozen=True, eq=False, repr=False)
class ModelScore(Recorded):
    """How far a compressed model is from the least errors there are, layer by layer.

    Attributes
    ----------
    document : dict
        `pvq.score/1`, as the command line writes it.
    results : dict of str to Result
        The proven interval of each layer whose compression was recognised.
    scores : dict of str to Score
        Its weights against that.
    is_interrupted : bool
        Whether Ctrl-C ended it: layers are missing, or have wide intervals.
    """

    document: dict[str, Any]
    results: dict[str, Result] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    is_interrupted: bool = False

    def plot(self, ax: Axes | None = None) -> Axes:
        """Each layer's distance from the least error there is: proven at least and at most, and modelled.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure without.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        layers = [layer for layer in self.document["layers"] if layer.get("above_optimum_min_db") is not None]
        ax = new_axes(6.4, 1.4 + 0.22 * len(layers)) if ax is None else ax
        ends = [layer[f"above_optimum_{end}_db"] for layer in layers for end in ("min", "max")]
        right = max((end for end in ends if end is not None), default=0.0) + 1.0
        for place, layer in enumerate(layers):
            least, most = layer["above_optimum_min_db"], layer["above_optimum_max_db"]
            width = (right if most is None else most) - least
            ax.barh(place, width, left=least, height=0.6, color="none", edgecolor="black", hatch="////")
            ax.plot([least], [place], marker="|", markersize=10, color="black")
            if layer["above_estimate_db"] is not None:
                ax.plot([layer["above_estimate_db"]], [place], marker="o", color="#d1601f", linestyle="none")
        ax.set_yticks(range(len(layers)), [layer["name"] for layer in layers], fontsize=8, parse_math=False)
        ax.invert_yaxis()
        ax.set_xlabel("dB above the least error (hatched: proven to be between; dot: above the model's estimate)")
        return ax

    def __repr__(self) -> str:
        layers = self.document["layers"]
        return f"<pvq.ModelScore of {len(self.scores)} of {len(layers)} layers: {sentence(self.document)}>"

    def _repr_html_(self) -> str:
        body = [
            (escape(layer["name"]), escape(layer["words"]), f"{layer['error']:.6g}", distance(layer))
            for layer in self.document["layers"]
            if layer.get("error") is not None
        ]
        heads = ("layer", "what it is", "error", "dB from the optimum")
        return html_table(sentence(self.document), heads, body)

    def _records(self) -> tuple[list[dict[str, Any]], str]:
        return [dict(layer) for layer in self.document["layers"]], "name"


def score_model(
    layers: Layers,
    other: Any,
    *,
    solver: str = "auto",
    time_limit: float = 60.0,
    budget: float | str | None = None,
    gap: float = 1e-6,
    jobs: int = 1,
    seed: int = 0,
    odds: float | None = None,
    progress: Callable[[str, Mapping[str, Any]], object] | None = None,
    stop: threading.Event | None = None,
) -> ModelScore:
    """How far somebody's quantized or pruned model is from the best there is, layer by layer.

    For each layer the grid that its new weights x lie on is recognised, or the pattern of their zeros; e(x) =
    (w - x)'H(w - x) is compared with lower <= min over that grid or pattern <= upper. Packed weights (the GPTQ
    layout, compressed-tensors) bring their scales, others have them recovered from their values.

    Parameters
    ----------
    layers : Layer, path, or several of them
        Of the model as it was, as in `compare`.
    other : path, torch.nn.Module or mapping
        The compressed model: a file or folder of weights, a source as for `pvq extract`, a module, or arrays by
        the names of a state dict.
    solver : str
        As in `bound`.
    time_limit : float
        Seconds for each layer.
    budget : float or str, optional
        Seconds for all layers, or a duration as "30m", instead of `time_limit`.
    gap : float
        As in `bound`.
    jobs : int
        Rows at the same time.
    seed : int
        As in `bound`.
    odds : float, optional
        As in `bound`.
    progress : callable, optional
        Called with the name of each layer and what is known of it.
    stop : threading.Event, optional
        Ends the run, as Ctrl-C does where none is given.

    Returns
    -------
    ModelScore
        Where Ctrl-C stopped it, the layers so far.

    Raises
    ------
    LayerError
        `other` cannot be read, or has weights of another shape; none of the layers is in it.
    ProblemError
        A parameter is impossible, or two layers have one name.
    """
    begin = time.perf_counter()
    check_limits(time_limit, gap, jobs)
    if not time_limit > 0:
        raise ProblemError(f"`time_limit` must be above 0 and is {time_limit}")
    until = None if budget is None else working_seconds() + seconds_of("`budget`", budget)
    found = ModelScore({"schema": SCHEMA, "other": _name(other), "layers": []})
    search = {"solver": solver, "gap": gap, "jobs": jobs, "seed": seed, "odds": odds}
    with quiet_machine(stop) as event, _opened(other) as checkpoint:
        members = members_of(layers)
        checkpoint.fit([tensor_of(_layer(member)) for member in members if member.skipped is None])
        for member in members:
            if member.skipped is None:
                checkpoint.weights(_layer(member))  # what is wrong with one is said before hours of work
        for place, member in enumerate(members):
            if event.is_set():
                break
            seconds = time_limit
            if until is not None:
                seconds = max(0.0, until - working_seconds()) / (len(members) - place)
            part(f"{member.name}, layer {place + 1} of {len(members)}")
            how = {**search, "budget": max(seconds, 0.01), "stop": event}
            document = _document(member, checkpoint, found, how)
            found.document["layers"].append(document)
            if progress is not None:
                progress(member.name, document)
        interrupted = event.is_set()
    found.document["total"] = _total(found.document["layers"])
    used = environment(solver, jobs, 0.0, time.perf_counter() - begin)
    found.document["environment"] = {**used, "interrupted": interrupted}
    return replace(found, is_interrupted=interrupted)


@contextmanager
def _opened(other: Any) -> Iterator[Checkpoint]:
    """The compressed model, whatever it is given as."""
    state = other.state_dict() if hasattr(other, "state_dict") else other
    if isinstance(state, Mapping):
        yield of_state("`other`", state)
    elif isinstance(other, str | os.PathLike):
        with open_checkpoint(other) as checkpoint:
            yield checkpoint
    else:
        kind = type(other).__name__
        raise ProblemError(f"`other` must be a path, a module or a mapping of names to weights, not {kind}")


def _layer(member: Member) -> Layer:
    return load_layer(member.path) if member.layer is None else member.layer


def _document(member: Member, checkpoint: Checkpoint, found: ModelScore, search: dict[str, Any]) -> dict[str, Any]:
    """What is known of one layer; its result and score go to `found`."""
    begin = time.perf_counter()
    document: dict[str, Any] = {"name": member.name, "kind": SKIPPED, "words": member.skipped or ""}
    if member.skipped is not None:
        return document
    layer = _layer(member)
    given = checkpoint.weights(layer)
    if given is None:
        return {**document, "kind": MISSING, "words": "not in the other model"}
    if isinstance(given, Packed):
        form, weights, eps, known = given.form, given.weight, float(np.finfo(np.float64).eps), _known(given)
    else:
        form, weights, eps, known = "dense", given.array, given.eps, None
    if isinstance(given, Packed) and given.order is not None:  # the same problem, its inputs in another order
        layer, weights = _ordered(layer, given.order), weights[:, given.order]
    recognised = recognise(layer.weight, weights, eps, known)
    error = layer.error(weights)
    reference = layer.error(np.zeros_like(weights))
    document |= {"form": form, "error": error, "reference": reference, "sqnr_db": sqnr_db(reference, error)}
    if recognised.setting is None:
        kind = UNCHANGED if recognised.unchanged else UNKNOWN
        words = "as they were" if recognised.unchanged else "on no grid of up to 8 bits, and without a pattern"
        return {**document, "kind": kind, "words": words}
    setting, grid = recognised.setting, recognised.grid
    document |= {"kind": setting.method, "words": words_of(setting), "setting": setting.as_json()}
    document["ambiguous_scales"] = 0 if grid is None else grid.ambiguous
    scales = None if grid is None else {"scale": grid.scale, "zero": grid.zero}
    try:
        result = bound(layer, _problem(setting), scales=scales, **search)
        score = result.score(Plain(weights, recognised.eps))
    except (ProblemError, UnsupportedProblem) as error_of:
        return {**document, "kind": FAILED, "words": f"{document['words']}: {' '.join(str(error_of).split())}"}
    found.results[member.name], found.scores[member.name] = result, score
    return {**document, **_measured(result, score), "seconds": time.perf_counter() - begin}


def _measured(result: Result, score: Score) -> dict[str, Any]:
    total, model = result.document["total"], result.model
    estimate = None if model is None or model.refused is not None else model.optimum
    above = None
    if estimate and score.error > 0:
        above = 10 * math.log10(score.error / estimate)
    return {
        **score.as_json(),
        **{name: total[name] for name in ("lower", "upper", "bound_kind", "status", "empirical")},
        **({"model": total["model"]} if total.get("model") else {}),
        "estimate": estimate,
        "above_estimate_db": above,
    }


def _known(packed: Packed) -> tuple[dict[str, Any], Recovered]:
    """Words and scales of a grid that a file says; zero points in the middle are those of `int`."""
    middle = 2.0 ** (packed.bits - 1)
    grid = "int" if (packed.zero == middle).all() else "int-asym"
    n = packed.weight.shape[1]
    granularity = "channel" if packed.group >= n else f"group:{packed.group}"
    zero = np.zeros_like(packed.zero) if grid == "int" else packed.zero
    return {"bits": packed.bits, "grid": grid, "granularity": granularity}, Recovered(packed.scale, zero, 0)


def _ordered(layer: Layer, order: Any) -> Layer:
    """The layer with its inputs in another order."""
    grams = layer.grams.reshape(-1, layer.inputs, layer.inputs)
    return Layer(layer.name, layer.weight[:, order], grams[:, order][:, :, order], layer.samples)


def _problem(setting: Setting) -> Problem:
    words = {name: getattr(setting, name) for name in (*GRID_WORDS, *PATTERN_WORDS) if name != "range"}
    return problem_of(setting.method, **words)


def words_of(setting: Setting) -> str:
    """A setting in a few words."""
    words = []
    if setting.quantizes:
        bits = f"{setting.bits} bits " if setting.bits else ""
        words.append(f"{bits}{setting.grid}, scale per {setting.granularity}")
    if setting.prunes:
        shared = " of the layer" if setting.scope == "layer" else " of each row"
        words.append(
            f"{setting.nm[0]}:{setting.nm[1]}" if setting.nm else f"sparsity {setting.sparsity:.4g}{shared}"
        )
        if not (setting.update or setting.quantizes):
            words[-1] += ", kept weights as they were"
    return "; ".join(words)


def _total(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over the layers that have an interval."""
    known = [layer for layer in layers if "lower" in layer and layer["feasible"]]
    error, lower, upper = (sum(layer["error"] for layer in known), sum_down(layer["lower"] for layer in known),
                           sum_up(layer["upper"] for layer in known))  # fmt: skip
    kinds = {layer["bound_kind"] for layer in known}
    proven = kinds - {"none"}
    kind = "none" if not proven else "rigorous" if proven == {"rigorous"} else "numerical"
    far = {"above_optimum_min_db": _above(error, upper), "above_optimum_max_db": _above(error, lower)}
    count = {"layers": len(layers), "bounded": len(known)}
    return {**count, "error": error, "lower": lower, "upper": upper, "bound_kind": kind, **far}


def _above(error: float, end: float) -> float | None:
    return max(0.0, 10 * math.log10(error / end)) if error > 0 and end > 0 else None


def distance(layer: Mapping[str, Any]) -> str:
    """How far a layer, or all of them, is from the optimum, in dB."""
    least, most = layer.get("above_optimum_min_db"), layer.get("above_optimum_max_db")
    if least is None:
        return ""
    return f"{least:.2f} or more" if most is None else f"{least:.2f} to {most:.2f}"


def sentence(document: Mapping[str, Any]) -> str:
    """One sentence on all layers together."""
    total = document["total"]
    if not total["bounded"]:
        return "no layer has a grid or a pattern that is recognised"
    start = f"the layers' errors add up to {total['error']:.4g}"
    if total["above_optimum_min_db"] is None:
        return f"{start}; nothing is proven of how far that is from the least"
    how = {"rigorous": ", proven", "numerical": ", in float64 arithmetic", "none": ""}[total["bound_kind"]]
    return f"{start}, {distance(total)} dB above the least that there is on their grids and patterns{how}"


def _name(other: Any) -> str:
    return os.fspath(other) if isinstance(other, str | os.PathLike) else type(other).__name__
