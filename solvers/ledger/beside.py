"""What stands beside the bounds of quantized layers: the volume model, and what one scale for all costs.

Neither is proven, and no bound, verdict or row depends on it. Both are kept with the facts of the task: what one
scale costs by who works on its first rows, the model, which has the ends of all rows, where the run is written.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pvq.bounds.layer_problem import state_problem
from pvq.bounds.stages import part
from pvq.layers.format import LayerError

from ..compare.schema import check_model
from ..modelled import modelled, refused, takes_long, within
from ..watch import watched
from .ledger import LayerEntry, LayerTask, Ledger
from .schema import NAME
from .told import MODEL, OUTLIERS, check_sizes, legible
from .work import Shelf

if TYPE_CHECKING:
    from pvq.bounds.volume import Model

NOT_YET = "not made yet; `pvq run go`, or a command with --ledger, makes it once all rows have a result"


def look_beside(ledger: Ledger, odds: float | None, stop: threading.Event) -> list[str]:
    """Make and keep what is missing for tasks whose rows all have a result; what could not be made, a line each.

    Parameters
    ----------
    ledger : open for writing.
    odds : of the model; None for the usual ones, and not for layers where it takes long.
    """
    totals, notes, due = ledger.totals(), list[str](), dict[int, list[LayerTask]]()
    layers = {layer.id: layer for layer in ledger.layers}
    for task in ledger.tasks():
        whole = task.setting.quantizes and totals[task.id].known == totals[task.id].rows
        if whole and _is_due(layers[task.layer], task, odds):
            due.setdefault(task.layer, []).append(task)
    for number, tasks in due.items():
        layer = layers[number]
        shelf = Shelf()
        for task in tasks:
            if stop.is_set():
                return notes
            words = task.setting.grid if task.bits is None else f"{task.bits} bits"
            part(f"{layer.name}, {words}: volume model")
            try:
                model = _made(ledger, layer, task, shelf, odds, stop)
            except LayerError as error:
                notes.append(f"{layer.name}: no volume model, {error}")
                break
            if model is not None:
                ledger.keep(task.id, {MODEL: model.as_json()})
    return notes


def _made(
    ledger: Ledger, layer: LayerEntry, task: LayerTask, shelf: Shelf, odds: float | None, stop: threading.Event
) -> Model | None:
    rows, levels = list(ledger.rows(task.id)), ledger.about["levels"]
    lower, upper = (np.array([getattr(row, end) for row in rows]) for end in ("lower", "upper"))

    def make() -> Model | None:
        read, grams = shelf.layer(layer.path, layer.sha256)
        shared = None if levels is None else tuple(levels)
        problem = state_problem(read.weight, read.grams, task.setting, levels=shared, checked=grams)
        return modelled(problem, odds, read.weight, lower, upper)

    return watched(make, stop)


def _is_due(layer: LayerEntry, task: LayerTask, odds: float | None) -> bool:
    """Whether the model is to be made, for these odds or for the first time."""
    known = task.facts.get(MODEL)
    if odds is None:
        return known is None and takes_long(layer.inputs, layer.grams) is None
    return not isinstance(known, dict) or known.get("odds") != odds


def facts_of(task: LayerTask) -> dict[str, Any]:
    """What is known of its problem."""
    return {name: value for name, value in task.facts.items() if name not in (MODEL, OUTLIERS)}


def beside_of(
    ledger: Ledger, layer: LayerEntry, task: LayerTask, ends: tuple[float, float] | None
) -> Mapping[str, Any]:
    """Entries `model`, and `outliers_db` where it is worth a line; nothing where nothing is quantized.

    Parameters
    ----------
    ends : lower and upper of the layer as they are known by now; None where rows have no result.
    """
    if not task.setting.quantizes:
        return {}
    with legible(f"{ledger.folder}: {NAME}", "what stands beside its bounds"):
        model, cost = task.facts.get(MODEL), task.facts.get(OUTLIERS)
        if model is not None:
            check_model(model)
        if cost is not None:
            check_sizes(outliers_db=cost)
        if model is None:
            model = refused(takes_long(layer.inputs, layer.grams) or NOT_YET)
        elif ends is not None:
            model = within(model, *ends)
        return {MODEL: model, **({} if cost is None else {OUTLIERS: cost})}
