"""How far fine-tuning moved what the layers compute."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from pvq.layers.extract import evaluating, run_batch
from torch import Tensor, nn

from .compress import places

LIMIT = 200.0
"""dB that stand for equal activations."""


@torch.no_grad()
def activation_sqnr(original: nn.Module, tuned: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
    """SQNR in dB between the outputs of each compressed layer in two networks that get the same inputs.

    10 log10(sum |y|^2 / sum |y - y'|^2), y of the original network, over all calls of the layer. A layer
    whose outputs do not pair up (other samples are sent to an expert) has none.

    Parameters
    ----------
    batches : what the networks take, as `pvq.extract` does.
    """
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    unlike: set[str] = set()
    with ExitStack() as stack:
        for module in (original, tuned):
            stack.enter_context(evaluating(module))
        first, second = (stack.enter_context(_Outputs(module)) for module in (original, tuned))
        for batch in batches:
            run_batch(original, batch)
            run_batch(tuned, batch)
            for name in first.seen.keys() | second.seen.keys():
                before, after = first.seen.pop(name, []), second.seen.pop(name, [])
                if [y.shape for y in before] != [y.shape for y in after]:
                    unlike.add(name)
                    continue
                for y, z in zip(before, after, strict=True):
                    signal[name] = signal.get(name, 0.0) + float(y.double().square().sum())
                    noise[name] = noise.get(name, 0.0) + float((y.double() - z.double()).square().sum())
    return {name: _db(signal[name], noise[name]) for name in signal if name not in unlike}


def _db(signal: float, noise: float) -> float:
    if noise <= 0:
        return LIMIT
    return min(LIMIT, 10 * math.log10(signal / noise)) if signal > 0 else -LIMIT


class _Outputs:
    """Outputs of the layers of a module, one for each call."""

    def __init__(self, module: nn.Module) -> None:
        self.seen: dict[str, list[Tensor]] = {}
        self._places = places(module)
        self._handles: list[Any] = []

    def __enter__(self) -> _Outputs:
        for name, place in self._places.items():
            self._handles.append(place.owner.register_forward_hook(self._keep(name)))
        return self

    def _keep(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, Tensor):
                self.seen.setdefault(name, []).append(output)

        return hook

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
