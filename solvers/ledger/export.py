"""A run in the formats of its results: `pvq.compare/1`, `pvq.result/1` and `pvq.curve/1`, and tables of rows."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from pvq.bounds.errors import ProblemError
from pvq.bounds.outward import closed, sum_down, sum_up
from pvq.bounds.sqnr import sqnr_db
from pvq.layers.files import write_atomically
from pvq.layers.outputs import Named

from ..compare.document import summarise
from ..compare.schema import SCHEMA, check_record
from ..compare.verdict import OPEN, SKIPPED, Interval, margin_db, opening, sentence
from ..document import CURVE_SCHEMA, row_ranges_of
from ..document import SCHEMA as RESULT_SCHEMA
from ..result import BoundKind, Reason, status_of
from ..rows import total_kind, worst
from .beside import beside_of, facts_of
from .ledger import LayerEntry, LayerTask, Ledger
from .pairs import pairs_of, verdict_of
from .record import Record
from .sums import Total

ROWS_AT_ONCE = 100_000
"""Rows of a batch of a Parquet file."""
SUFFIXES = (".json", ".csv", ".parquet")
COLUMNS = (
    *("layer", "side", "bits", "sparsity", "row", "lower", "proven", "upper", "reference", "kind", "status"),
    *("reason", "solver", "nodes", "seconds", "verify_seconds", "weights", "certificate"),
)


def document_of(ledger: Ledger) -> dict[str, Any]:
    """`pvq.compare/1` of a run of pairs; else `pvq.result/1`, or where there are several `pvq.curve/1`.

    What rows keep is in the files of their weights: `kept` is left out.
    """
    if ledger.about["method"] == "both":
        return _comparison(ledger)
    layers = {layer.id: layer for layer in ledger.layers}
    results = [result for task in ledger.tasks() if (result := _result(ledger, layers[task.layer], task))]
    if not results:
        raise ProblemError(f"{ledger.folder}: no row has a result yet; `pvq run go` makes them")
    return results[0] if len(results) == 1 else {"schema": CURVE_SCHEMA, "results": results}


def _environment(ledger: Ledger, seconds: float) -> dict[str, Any]:
    packages = ledger.packages()
    return {
        "solver": "run",
        "cores": os.cpu_count(),
        "packages": packages[-1] if packages else ledger.about["made_with"],
        "all_packages": packages,
        "seconds": seconds,
        "interrupted": False,
    }


def _comparison(ledger: Ledger) -> dict[str, Any]:
    tasks, totals = ledger.tasks(), ledger.totals()
    entries = {layer.id: layer for layer in ledger.layers}
    layers: dict[int, dict[str, Any]] = {}
    for layer in ledger.layers:
        about: dict[str, Any] = {"name": layer.name, "file": layer.path.name, "sha256": layer.sha256}
        about |= {"out": layer.rows, "in": layer.inputs, "skipped": layer.skipped, "pairs": []}
        layers[layer.id] = about
    for number, bits, why in ledger.gaps():
        layers[number]["pairs"].append({"bits": bits, "verdict": SKIPPED, "reason": why})
    for quant, prune in pairs_of(tasks):
        if math.isfinite(totals[quant.id].upper + totals[prune.id].upper):
            layers[quant.layer]["pairs"].append(_pair(ledger, entries[quant.layer], quant, prune, totals))
    for about in layers.values():
        about["pairs"].sort(key=lambda pair: pair["bits"])
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "settings": ledger.settings,
        "bits": sorted({pair["bits"] for about in layers.values() for pair in about["pairs"]}),
        "layers": list(layers.values()),
        "summary": [],
        "environment": _environment(ledger, math.fsum(total.seconds for total in totals.values())),
    }
    summarise(document)
    return dict(check_record(document))


def _pair(
    ledger: Ledger, layer: LayerEntry, quant: LayerTask, prune: LayerTask, totals: Mapping[int, Total]
) -> dict[str, Any]:
    sides = [totals[task.id] for task in (quant, prune)]
    ends = [Interval(side.lower, side.upper) for side in sides]
    found = verdict_of(*sides)
    assert quant.bits is not None
    assert prune.sparsity is not None
    seconds = math.fsum(side.seconds for side in sides)
    start = opening(quant.bits, prune.sparsity, prune.setting.nm)
    open_rows = found == OPEN and any(side.numerical + side.rigorous < side.rows for side in sides)
    return {
        "bits": quant.bits,
        "sparsity": prune.sparsity,
        "verdict": found,
        "margin_db": margin_db(*ends),
        "words": sentence(start, sides[0].reference, *ends),
        "status": "interrupted" if open_rows else "done",
        "full": all(side.solved == side.rows for side in sides),
        "time_limit": seconds,  # a comparison that goes on from here with more takes an open pair up again
        "seconds": seconds,
        "quant": {
            **_side(ledger, quant, sides[0]),
            **beside_of(ledger, layer, quant, (ends[0].lower, ends[0].upper)),
        },
        "prune": {"pattern": prune.setting.as_json(), **_side(ledger, prune, sides[1])},
    }


def _side(ledger: Ledger, task: LayerTask, total: Total) -> dict[str, Any]:
    rows = ledger.rows(task.id) if total.failed else ()
    failed = [row.row for row in rows if row.reason == Reason.FAILURE]
    return {
        "lower": total.lower,
        "upper": total.upper,
        "reference": total.reference,
        "bound_kind": total.kind,
        "sqnr_min_db": sqnr_db(total.reference, total.upper),
        "sqnr_max_db": sqnr_db(total.reference, total.lower),
        "rows_bounded": total.rigorous + total.numerical,
        "rows_optimal": total.solved,
        "storage_bits": task.storage_bits,
        "macs": task.macs,
        "empirical": dict(total.empirical),
        "failed_rows": failed,
    }


def _result(ledger: Ledger, layer: LayerEntry, task: LayerTask) -> dict[str, Any] | None:
    """`pvq.result/1` of the rows of a task that have a result."""
    rows = list(ledger.rows(task.id))
    if not rows:
        return None
    whole = len(rows) == layer.rows
    lower, upper = sum_down(row.lower for row in rows), sum_up(row.upper for row in rows)
    reference, reason = sum_up(row.reference for row in rows), worst(Reason(row.reason) for row in rows)
    solved = all(row.solved for row in rows) and closed(
        lower, upper, sum_up(row.rounding for row in rows), ledger.about["gap"]
    )
    scores = [row.scores for row in rows]
    names = set.intersection(*map(set, scores))
    return {
        "schema": RESULT_SCHEMA,
        "layer": {
            "name": layer.name,
            "sha256": layer.sha256,
            "out": layer.rows,
            "in": layer.inputs,
            "samples": None,
            **facts_of(task),
        },
        "problem": {
            **task.setting.as_json(),
            "rows": [0, layer.rows] if whole else row_ranges_of([row.row for row in rows]),
            "inputs": [0, layer.inputs],
            "gap": ledger.about["gap"],
            "time_limit": None,
            "seed": 0,
        },
        "rows": [_row(row) for row in rows],
        "total": {
            "lower": lower,
            "upper": upper,
            "reference": reference,
            "status": status_of(reason, lower, solved).value,
            "reason": reason.value,
            "bound_kind": total_kind([BoundKind(row.kind) for row in rows]).value,
            "sqnr_min_db": sqnr_db(reference, upper),
            "sqnr_max_db": sqnr_db(reference, lower),
            "empirical": {name: sum_up(score[name] for score in scores) for name in sorted(names)},
            **beside_of(ledger, layer, task, (lower, upper) if whole else None),
        },
        "environment": _environment(ledger, math.fsum(row.seconds + row.verify_seconds for row in rows)),
    }


def _row(row: Record) -> dict[str, Any]:
    names = ("row", "lower", "upper", "reference", "status", "reason")
    found = {name: getattr(row, name) for name in names}
    found |= {"bound_kind": row.kind, "solver": row.solver, "nodes": row.nodes, "seconds": row.seconds}
    found |= {"verify_seconds": row.verify_seconds, **json.loads(row.grid or "{}"), "empirical": row.scores}
    return found


def rows_of_run(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """One entry for each row that has a result, with `COLUMNS` and a column `error_NAME` for each method."""
    names = {layer.id: layer.name for layer in ledger.layers}
    for task in ledger.tasks():
        about = {"layer": names[task.layer], "side": task.side, "bits": task.bits, "sparsity": task.sparsity}
        for row in ledger.rows(task.id):
            own = {name: getattr(row, name) for name in COLUMNS[4:]}
            yield {**about, **own, **{f"error_{name}": error for name, error in row.scores.items()}}


def write_csv(path: Named, ledger: Ledger) -> None:
    """The rows as CSV, whole or not at all; numbers have all digits."""
    columns = [*COLUMNS, *(f"error_{name}" for name in ledger.methods())]

    def write(file: Any) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        table = csv.DictWriter(text, columns, extrasaction="ignore", restval="", lineterminator="\n")
        table.writeheader()
        for row in rows_of_run(ledger):
            table.writerow({name: repr(v) if isinstance(v, float) else v for name, v in row.items()})
        text.flush()
        text.detach()

    write_atomically(path, write)


def write_parquet(path: Named, ledger: Ledger) -> None:
    """The rows as Parquet, whole or not at all.

    Raises
    ------
    ProblemError
        pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ProblemError(
            "a .parquet file needs pyarrow: pip install pyarrow (or export to .csv, which needs nothing)"
        ) from None
    kinds = dict.fromkeys(COLUMNS, pa.string())
    kinds |= dict.fromkeys(("bits", "row", "nodes"), pa.int64())
    reals = ("sparsity", "lower", "proven", "upper", "reference", "seconds", "verify_seconds")
    kinds |= dict.fromkeys((*reals, *(f"error_{name}" for name in ledger.methods())), pa.float64())
    schema = pa.schema(list(kinds.items()))

    def write(file: Any) -> None:
        with pq.ParquetWriter(file, schema) as table:
            batch: list[dict[str, Any]] = []
            for row in rows_of_run(ledger):
                batch.append(row)
                if len(batch) == ROWS_AT_ONCE:
                    table.write_table(pa.Table.from_pylist(batch, schema))
                    batch = []
            table.write_table(pa.Table.from_pylist(batch, schema))

    write_atomically(path, write)
