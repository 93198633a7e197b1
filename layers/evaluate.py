"""How good a model is, and how far from another one: accuracy, perplexity, agreement, noise of the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from .evaluation_data import UNLABELLED
from .extract import evaluating, moved
from .foreign import foreign
from .format import LayerError
from .parts import unwrapped

LARGEST = 709.0
"""e to a larger power is no float64."""
Batch = tuple[Any, Tensor | None]
"""What a model takes, and labels."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured; None for what the data or the outputs do not give.

    Attributes
    ----------
    samples : rows of the outputs that were looked at: samples, or positions of them.
    labelled : those of them that have a label.
    accuracy : share of labels that are the largest logit.
    perplexity : exp of the mean of -log p(label), for text.
    loss : mean of -log p(label), in nats.
    agreement : share of samples whose largest logit is the original's.
    kl : mean of sum_c p_c log(p_c / q_c), p of the original and q of the model, in nats.
    sqnr_db : 10 log10(sum y^2 / sum (y - z)^2) over all outputs, y of the original and z of the model; infinite
        where they are the same.
    """

    samples: int
    labelled: int = 0
    accuracy: float | None = None
    loss: float | None = None
    perplexity: float | None = None
    agreement: float | None = None
    kl: float | None = None
    sqnr_db: float | None = None

    @property
    def measures(self) -> dict[str, Any]:
        """The numbers that there are, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


def evaluate(
    module: nn.Module,
    batches: Iterable[Batch],
    original: nn.Module | None = None,
    *,
    is_text: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run a model over data, beside the original where one is given.

    Both run in evaluation mode and are left as they were. Sums are of float64.

    Parameters
    ----------
    module : its output is logits with classes on the last axis (of images of logits, (samples, classes, height,
        width), on the second), or has them as `logits`; of other outputs there is only their SQNR.
    batches : each what the module takes, as for `extract_layers`, and its labels or None; labels of -100 do not
        count.
    original : a model with outputs of the same shape.
    is_text : whether labels are next tokens.
    progress : called after every batch with the number of those done.

    Raises
    ------
    LayerError
        A batch does not fit, labels are of another shape or of no class, outputs are not finite or of two shapes.
    """
    return evaluate_pair(module, batches, original, is_text=is_text, progress=progress)[0]


def evaluate_pair(
    module: nn.Module,
    batches: Iterable[Batch],
    original: nn.Module | None = None,
    *,
    is_text: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[Evaluation, Evaluation | None]:
    """As `evaluate`, and what the original reaches by itself, from one pass over the data."""
    module = unwrapped(module)
    original = None if original is None else unwrapped(original)
    sums, own = _Sums(), _Sums()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(module))
        if original is not None:
            stack.enter_context(evaluating(original))
        for done, (batch, labels) in enumerate(batches, start=1):
            out = sums.add(module, batch, labels)
            if original is not None:
                sums.add_pair(*out, own.add(original, batch, labels)[0])
            if progress is not None:
                progress(done)
    return sums.result(is_text), None if original is None else own.result(is_text)


def outputs_of(module: nn.Module, batch: Any) -> tuple[Tensor, bool]:
    """The outputs for a batch, classes on the last axis, and whether they are logits.

    Raises
    ------
    LayerError
        The model fails, gives no tensor, or numbers that are not finite.
    """
    parameter = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    batch = moved(batch, parameter.device, parameter.dtype)
    with foreign("the model fails on a batch"):
        if isinstance(batch, Mapping):
            out = module(**batch)
        elif isinstance(batch, tuple | list):
            out = module(*batch)
        else:
            out = module(batch)
    is_logits = isinstance(out, Tensor) or getattr(out, "logits", None) is not None
    if not isinstance(out, Tensor):
        known = [getattr(out, name, None) for name in ("logits", "last_hidden_state")]
        parts = out.values() if isinstance(out, Mapping) else out if isinstance(out, tuple | list) else ()
        out = next((part for part in (*known, *parts) if isinstance(part, Tensor)), None)
    if out is None or not out.is_floating_point() or out.dim() < 2:
        raise LayerError("the model gives no tensor of outputs (samples, ...); evaluate it by a function of yours")
    out = out.detach().to("cpu", torch.float64)
    if not torch.isfinite(out).all():
        raise LayerError("the model's outputs are not finite; are its weights?")
    return (out.movedim(1, -1) if out.dim() == 4 else out), is_logits


class _Sums:
    """What adds up over batches."""

    def __init__(self) -> None:
        self.samples = self.labelled = self.right = self.same = self.compared = 0
        self.loss = self.kl = self.signal = self.noise = 0.0
        self.is_compared = False

    def add(self, module: nn.Module, batch: Any, labels: Tensor | None) -> tuple[Tensor, bool]:
        """Run a model on a batch; its outputs, and whether they are logits."""
        out, is_logits = outputs_of(module, batch)
        self.samples += out[..., 0].numel()
        if labels is not None and is_logits:
            self.add_labels(out, labels.to("cpu"))
        return out, is_logits

    def add_labels(self, logits: Tensor, labels: Tensor) -> None:
        """Logits (..., classes) and labels (...)."""
        if labels.shape != logits.shape[:-1]:
            shapes = f"{tuple(labels.shape)} and {tuple(logits.shape)}"
            raise LayerError(f"labels and outputs have shapes {shapes}; expected a label for each row of logits")
        counted = labels != UNLABELLED
        labels, logits = labels[counted], logits[counted]
        if not len(labels):
            return
        if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[-1]:
            raise LayerError(
                f"labels go from {labels.min()} to {labels.max()}; there are {logits.shape[-1]} classes"
            )
        self.labelled += len(labels)
        self.right += int((logits.argmax(-1) == labels).sum())
        self.loss -= float(logits.log_softmax(-1).gather(-1, labels[:, None]).sum())

    def add_pair(self, out: Tensor, is_logits: bool, before: Tensor) -> None:
        """Outputs of the model and of the original."""
        if out.shape != before.shape:
            shapes = f"{tuple(out.shape)} and {tuple(before.shape)}"
            raise LayerError(f"the outputs of the two models have shapes {shapes}; is it the original?")
        self.is_compared = True
        self.signal += float(before.square().sum())
        self.noise += float((out - before).square().sum())
        if is_logits:
            self.compared += out[..., 0].numel()
            self.same += int((out.argmax(-1) == before.argmax(-1)).sum())
            p, q = before.log_softmax(-1), out.log_softmax(-1)
            self.kl += float((p.exp() * (p - q)).sum())

    def result(self, is_text: bool) -> Evaluation:
        """The means."""
        if not self.samples:
            raise LayerError("there is nothing to evaluate on: no batch has a sample")
        loss = self.loss / self.labelled if self.labelled else None
        sqnr = None
        if self.is_compared and (self.signal or self.noise):
            sqnr = 10 * math.log10(self.signal / self.noise) if self.signal and self.noise else math.inf
            sqnr = sqnr if self.signal else -math.inf
        return Evaluation(
            self.samples,
            self.labelled,
            self.right / self.labelled if self.labelled else None,
            loss,
            None if loss is None or not is_text else math.exp(loss) if loss < LARGEST else math.inf,
            self.same / self.compared if self.compared else None,
            max(0.0, self.kl / self.compared) if self.compared else None,  # it is never negative but for rounding
            sqnr,
        )


def measures_of(function: Callable[[nn.Module], Any], module: nn.Module) -> dict[str, float]:
    """What a function of the user's own says of a module: one number, or several by name.

    Raises
    ------
    LayerError
        It fails, or returns something else.
    """
    name = getattr(function, "__name__", "evaluate")
    with foreign(f"{name} fails"), evaluating(module), torch.no_grad():
        found = function(module)
    given = found if isinstance(found, Mapping) else {name: found}
    numbers = {}
    for key, value in given.items():
        number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if isinstance(number, bool) or (not isinstance(number, int | float) and not hasattr(number, "__float__")):
            raise LayerError(
                f"{name} returned {type(value).__name__} for {key}; expected a number, or numbers by name"
            )
        numbers[str(key)] = float(number)
    return numbers
