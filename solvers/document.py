"""The result document `pvq.result/1`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pvq.bounds.codebooks import INT_GRIDS
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.outliers import outliers_db
from pvq.bounds.sqnr import sqnr_db
from pvq.bounds.zero import WithoutShift
from pvq.layers.format import Layer

from .base import Options
from .rows import LayerResult, RowResult
from .sample import Sample

SCHEMA = "pvq.result/1"
CURVE_SCHEMA = "pvq.curve/1"


def result_document(
    layer: Layer,
    problem: LayerProblem,
    options: Options,
    result: LayerResult,
    environment: Mapping[str, Any],
    model: Mapping[str, Any] | None = None,
    sample: Sample | None = None,
    zero: WithoutShift | None = None,
) -> dict[str, Any]:
    """Everything a run has proven, with what defines its problem; numbers are finite or null.

    `model` is what the volume model says beside it, `sample` what the rows say of others that were not drawn:
    fields of their own, never part of what is proven. `zero` is whether H without its shift reaches an error of 0.
    """
    cost = outliers_db(problem, layer.weight)
    return {
        "schema": SCHEMA,
        "layer": {
            "name": layer.name,
            "sha256": layer.sha256,
            "out": layer.weight.shape[0],
            "in": layer.weight.shape[1],
            "samples": layer.samples,
            "rank": problem.rank,
            "gram_shift": problem.gram_shift,
            "dead_inputs": problem.dead_inputs,
            **({"gram_asymmetry": layer.asymmetry} if layer.asymmetry else {}),
        },
        "problem": {
            **problem.setting.as_json(),
            "rows": row_ranges(problem),
            "inputs": [problem.inputs.start, problem.inputs.stop],
            "gap": options.gap,
            "time_limit": options.time_limit,
            "seed": options.seed,
        },
        "rows": [_row(problem, i, row) for i, row in enumerate(result.rows)],
        "total": {
            "lower": result.lower,
            "upper": result.upper,
            "reference": result.reference,
            "status": result.status.value,
            "reason": result.reason.value,
            "bound_kind": result.bound_kind.value,
            "sqnr_min_db": sqnr_db(result.reference, result.upper),
            "sqnr_max_db": sqnr_db(result.reference, result.lower),
            "empirical": dict(result.empirical),
            **({} if model is None else {"model": dict(model)}),
            **({} if cost is None else {"outliers_db": cost}),
            **({} if zero is None else {"zero_without_shift": zero.as_json()}),
        },
        **({} if sample is None else {"sample": sample.as_json()}),
        "environment": dict(environment),
    }


def row_ranges(problem: LayerProblem) -> list[Any]:
    """The rows, half-open; of a sample a list of ranges, so that nobody takes its total for that of all rows."""
    if problem.drawn_from is not None:
        return row_ranges_of(problem.rows)
    return [problem.span.start, problem.span.stop]


def row_ranges_of(rows: Iterable[int]) -> list[list[int]]:
    """Rows that are some of those that were asked about."""
    return [[row, row + 1] for row in rows]


def curve_document(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Result documents of one layer at several sparsities."""
    return {"schema": CURVE_SCHEMA, "results": list(results)}


def _row(problem: LayerProblem, i: int, row: RowResult) -> dict[str, Any]:
    result = row.result
    document: dict[str, Any] = {
        "row": row.row,
        "lower": row.lower,
        "upper": result.upper,
        "reference": row.reference,
        "status": result.status.value,
        "reason": result.reason.value,
        "bound_kind": result.bound_kind.value,
        "solver": result.solver,
        "nodes": result.nodes,
        "seconds": result.seconds,
        "verify_seconds": result.verify_seconds,
    }
    if result.fault is not None:
        document["fault"] = result.fault.value
    document |= row_grid(problem, i)
    if problem.setting.prunes:
        document["kept"] = [problem.inputs.start + int(j) for j in result.x.nonzero()[0]]
    document["empirical"] = dict(row.empirical)
    if result.info:
        document["info"] = {key: value for key, value in result.info.items() if _is_json(value)}
    return document


def row_grid(problem: LayerProblem, i: int) -> dict[str, Any]:
    """What rebuilds a row's levels to the last bit, one entry for each group of inputs that is in the problem.

    Integer grids: scale * ({first ... last} - zero), as the grid's name and the bits say. Others: the levels.
    """
    grid = problem.row_grid(i)
    if grid is None:
        return {}
    if problem.setting.grid not in INT_GRIDS:
        return {"levels": grid.levels.tolist()}
    assert grid.scale is not None
    assert grid.zero is not None
    scale, zero = grid.scale.tolist(), [int(z) for z in grid.zero]
    if len(scale) == 1:
        return {"scale": scale[0], "zero": zero[0]}
    return {"scale": scale, "zero": zero}


def _is_json(value: object) -> bool:
    if isinstance(value, float):
        return abs(value) < float("inf")  # False for NaN as well
    return isinstance(value, str | int | bool) or value is None


@cache
def packages() -> dict[str, str]:
    """Versions of what a result depends on; asked for before the work, as they are read from files."""
    found = {}
    for name in ("pvq-bound", "numpy", "scipy", "numba", "gurobipy", "pyscipopt", "cvxpy", "clarabel"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def environment(solver: str, jobs: int, prepare_seconds: float, total_seconds: float) -> dict[str, Any]:
    """Versions, processor and the time that no row accounts for."""
    return {
        "solver": solver,
        "jobs": jobs,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "packages": dict(packages()),
        "prepare_seconds": prepare_seconds,
        "seconds": total_seconds,
    }
