"""Whether fine-tuning gets a layer below the least error that is possible without moving its inputs."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pvq
from pvq.solvers.watch import watched

if TYPE_CHECKING:
    from pvq.benchmarks.finetune.study import Study
    from pvq.benchmarks.finetune.train import Cell
    from torch import nn

Stage = Callable[[str], object]


def against_bounds(study: Study, budget: float, stop: threading.Event, stage: Stage) -> list[dict[str, Any]]:
    """Each fine-tuned layer on the inputs of the original network, beside the interval of its least error there.

    e(x) = (w - x)'H(w - x), w and H of the original network on validation data. A pruned layer is a point of the
    problem (k weights of the whole tensor, values free), so it is never below the lower end. A quantized one has a
    step of its own, while the problem has that of least squared rounding error: it may be.

    Parameters
    ----------
    budget : seconds for each layer, method and width.
    stop : ends it; what is known so far is returned.
    stage : called with what is being done.
    """
    stage("layers of the original network")
    read = watched(lambda: _read(study), stop)  # a pass over all validation data, which hears nothing
    if read is None:
        return []
    layers, tuned = read
    lines: list[dict[str, Any]] = []
    for name, layer in layers.items():
        for method, bits in dict.fromkeys((cell.method, cell.bits) for cell in tuned):
            if stop.is_set():
                return lines
            stage(f"bounding {name}, {bits} bits, {method}")
            problem = problem_of(method, bits)
            if problem is None:
                continue
            result = pvq.bound(layer, problem, budget=budget, methods=(), stop=stop)
            for cell in tuned:
                if (cell.method, cell.bits) == (method, bits):
                    line = {"layer": name, "method": method, "bits": bits, "seed": cell.seed}
                    lines.append(line | compared(result, tuned[cell][name]))
    return lines


def problem_of(method: str, bits: int) -> pvq.Quant | pvq.Prune | None:
    """What the fine-tuned weights are held against."""
    from pvq.benchmarks.finetune.compress import BASE

    return pvq.Quant(bits) if method == "quant" else pvq.Prune(1 - bits / BASE, scope="layer")


def compared(result: pvq.Result, weight: Any) -> dict[str, Any]:
    """The error of weights beside the interval of the least one."""
    score = result.score(weight)
    total = result.document["total"]
    return {
        "error": score.error,
        "reference": total["reference"],
        "lower": total["lower"],
        "upper": min(total["upper"], score.error) if score.feasible else total["upper"],  # itself a point
        "bound_kind": total["bound_kind"],
        "status": total["status"],
        "below_lower": bool(score.error < total["lower"]),
    }


def _cells(study: Study) -> Iterator[Cell]:
    for method in ("quant", "prune"):
        yield from (cell for cell in study.cells(method) if cell in study.known)


def _read(study: Study) -> tuple[dict[str, pvq.Layer], dict[Cell, dict[str, Any]]]:
    layers = _layers(study, study.folder.original(study.task.model))
    return layers, {cell: _weights(study, cell, layers) for cell in _cells(study)}


def _layers(study: Study, original: nn.Module) -> dict[str, pvq.Layer]:
    """Weights and Gram matrices of the compressed layers, on validation data in float64."""
    import torch
    from pvq.benchmarks.finetune.compress import places
    from pvq.layers.extract import moved
    from pvq.layers.parts import candidates

    wanted = [name for name in places(original) if name in candidates(original)]
    batches = [moved(study.task.inputs(b), torch.device("cpu"), torch.float64) for b in study.task.validation]
    return pvq.extract(original.double(), batches, wanted, say=lambda line: None)


def _weights(study: Study, cell: Cell, layers: Mapping[str, pvq.Layer]) -> dict[str, Any]:
    """Weights (out, n) of a fine-tuned network by layer."""
    from pvq.benchmarks.finetune.compress import places

    found = places(study.folder.load(study.task.model, study.folder.weights(cell)))
    weights = {}
    for name, layer in layers.items():
        weight = found[name].weight
        weights[name] = weight.T if layer.meta.get("transposed") else weight.reshape(len(weight), -1)
    return weights


def above_db(line: dict[str, Any]) -> tuple[float, float]:
    """dB of a fine-tuned layer above the least error, at least and at most."""
    error = line["error"]
    if error <= 0:
        return -math.inf, -math.inf
    least = 10 * math.log10(error / line["upper"]) if line["upper"] > 0 else math.inf
    return least, 10 * math.log10(error / line["lower"]) if line["lower"] > 0 else math.inf
