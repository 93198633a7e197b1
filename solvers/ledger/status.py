"""How far a run is, from the sums that are kept: quick for any number of rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pvq.bounds.outward import sum_down, sum_up
from pvq.bounds.sqnr import sqnr_db

from ..compare.verdict import OPEN, PRUNE, QUANT
from .ledger import LayerTask, Ledger
from .pairs import pairs_of, verdict_of
from .schema import NAME
from .sums import Total
from .told import MODEL, OUTLIERS, check_sizes, legible

EDGES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
"""dB at which widths are told apart."""
WIDTHS = ("solved", *(f"up to {edge:g} dB" for edge in EDGES), f"above {EDGES[-1]:g} dB", "no lower bound")
COUNTS = ("rows", "known", "solved", "rigorous", "numerical", "failed")


def status_of_run(ledger: Ledger) -> dict[str, Any]:
    """Counts of rows, by setting and in all; of pairs the verdicts by bits; numbers are finite or null."""
    tasks, totals = ledger.tasks(), ledger.totals()
    groups: dict[Any, list[LayerTask]] = {}
    for task in tasks:
        sparsity = None if ledger.about["method"] == "both" else task.sparsity
        groups.setdefault((task.side, task.bits, sparsity, task.setting.nm), []).append(task)
    faults = [why for _, why in ledger.chunk_faults()]
    return {
        "schema": "pvq.run/1",
        "method": ledger.about["method"],
        "settings": ledger.settings,
        "layers": sum(layer.skipped is None for layer in ledger.layers),
        "skipped": {layer.name: layer.skipped for layer in ledger.layers if layer.skipped is not None},
        **_counts(totals.values()),
        "by_setting": [
            {
                "side": side,
                "bits": bits,
                "sparsity": sparsity if nm is None else None,
                "nm": None if nm is None else f"{nm[0]}:{nm[1]}",
                "layers": len(some),
                **_counts([totals[task.id] for task in some]),
                **_ends([totals[task.id] for task in some]),
            }
            for (side, bits, sparsity, nm), some in groups.items()
        ],
        "verdicts": _verdicts(ledger, tasks, totals),
        **_beside(ledger, tasks),
        "faults": faults,
        "packages": ledger.packages(),
    }


def distribution(ledger: Ledger) -> list[dict[str, Any]]:
    """Rows by side, bits, kind of bound and width 10 log10(upper / lower) of their interval."""
    found = ledger.count_widths([10 ** (edge / 10) for edge in EDGES])
    names = ("side", "bits", "kind", "width", "rows")
    return [dict(zip(names, (*line[:3], WIDTHS[line[3]], line[4]), strict=True)) for line in found]


def proofs_of_run(ledger: Ledger) -> list[dict[str, Any]]:
    """Files of proofs, with the layer and the setting that they are of."""
    names = {layer.id: layer.name for layer in ledger.layers}
    tasks = {task.id: task for task in ledger.tasks()}
    found = [(tasks[number], file) for number, file in ledger.proofs() if number in tasks]
    return [{"layer": names[t.layer], "side": t.side, "bits": t.bits, "file": file} for t, file in found]


def _counts(totals: Iterable[Total]) -> dict[str, Any]:
    totals = list(totals)
    counts = {name: sum(getattr(total, name) for total in totals) for name in COUNTS}
    return {**counts, "seconds": math.fsum(total.seconds for total in totals)}


def _ends(totals: list[Total]) -> dict[str, Any]:
    upper = sum_up(total.upper for total in totals)
    lower, reference = sum_down(total.lower for total in totals), sum_up(total.reference for total in totals)
    if not math.isfinite(upper):
        return {"lower": lower, "upper": None, "sqnr_min_db": None, "sqnr_max_db": None}
    ends = {"sqnr_min_db": sqnr_db(reference, upper), "sqnr_max_db": sqnr_db(reference, lower)}
    return {"lower": lower, "upper": upper, **ends}


def _verdicts(ledger: Ledger, tasks: list[LayerTask], totals: dict[int, Total]) -> list[dict[str, Any]]:
    if ledger.about["method"] != "both":
        return []
    found: dict[int, dict[str, int]] = {}
    words = {QUANT: "quantization_better", PRUNE: "pruning_better", OPEN: "open"}
    for quant, prune in pairs_of(tasks):
        count = found.setdefault(quant.bits or 0, dict.fromkeys([*words.values(), "skipped"], 0))
        count[words[verdict_of(totals[quant.id], totals[prune.id])]] += 1
    for _, bits, _ in ledger.gaps():
        found.setdefault(bits, dict.fromkeys([*words.values(), "skipped"], 0))["skipped"] += 1
    return [{"bits": bits, **counts} for bits, counts in sorted(found.items())]


def _beside(ledger: Ledger, tasks: Iterable[LayerTask]) -> dict[str, Any]:
    """For how many quantized layers the volume model is stated, refused, or not made, and what one scale costs."""
    quantized = [task for task in tasks if task.setting.quantizes]
    if not quantized:
        return {}
    costs: dict[int, float] = {}
    with legible(f"{ledger.folder}: {NAME}", "what stands beside its bounds"):
        models = [task.facts[MODEL]["refused"] for task in quantized if MODEL in task.facts]
        for task in quantized:
            cost = task.facts.get(OUTLIERS, 0.0)
            check_sizes(outliers_db=cost)
            costs[task.layer] = max(cost, costs.get(task.layer, 0.0))
    stated, worse = models.count(None), [cost for cost in costs.values() if cost > 0]
    return {
        "models": {"stated": stated, "refused": len(models) - stated, "not_made": len(quantized) - len(models)},
        "outliers": {"layers": len(worse), "of": len(costs), "most_db": max(worse, default=None)},
    }
