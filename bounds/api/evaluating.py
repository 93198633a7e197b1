"""How good a network is, and how far from its original."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvq.layers.format import LayerError

if TYPE_CHECKING:
    from pvq.layers.evaluate import Evaluation
    from pvq.layers.models import Model
    from pvq.layers.text import Packing

SCHEMA = "pvq.evaluation/1"
Progress = Callable[[int, int | None], None]
OWN = "expected package.module:function, which takes the model and returns a number or numbers by name"


@dataclass(frozen=True)
class Evaluated:
    """A model named by its source, evaluated on a source."""

    source: str
    measures: dict[str, Any]
    """By name, as in `Evaluation`, or what a function of the user's own said."""
    original: dict[str, Any] | None
    """The same of the original by itself; None where there is none."""
    document: dict[str, Any]
    """`pvq.evaluation/1`"""


def evaluate(
    model: Any,
    batches: Iterable[Any],
    *,
    original: Any = None,
    is_text: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """How good a torch module is, and how far its outputs are from those of the original.

    Accuracy, perplexity exp(mean of -log p(next token)), agreement of the largest logits, mean
    KL(original || model) and 10 log10(sum y^2 / sum (y - z)^2), y the outputs of the original and z of the model.

    Parameters
    ----------
    model : torch.nn.Module
        It runs in evaluation mode and is left as it was.
    batches : iterable
        Pairs of what the model takes and its labels, or None for no labels; labels of -100 do not count.
    original : torch.nn.Module, optional
        The model before it was compressed.
    is_text : bool
        Whether labels are next tokens, so that there is a perplexity.
    progress : callable, optional
        Called with the number of batches done.

    Returns
    -------
    pvq.layers.evaluate.Evaluation

    Raises
    ------
    LayerError
        A batch, its labels or the outputs do not fit.
    """
    from pvq.layers.evaluate import evaluate as run

    return run(model, batches, original, is_text=is_text, progress=progress)


def evaluate_sources(
    model: str,
    data: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    original: str | None = None,
    batch_size: int = 8,
    limit: int | None = None,
    packing: Packing | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Evaluated:
    """What `pvq evaluate` does: models and data by their sources.

    Raises
    ------
    LayerError
        A model or the data cannot be opened, or they do not fit each other.
    """
    from pvq.layers.foreign import foreign
    from pvq.layers.models import load_model

    loaded = load_model(model, weights)
    before = None if original is None else load_model(original)
    with foreign(f"device {device!r} cannot be used"):
        loaded.module.to(device)
        if before is not None:
            before.module.to(device)
    source, measures, own = evaluate_loaded(loaded, data, before, batch_size, limit, packing, progress)
    shown = {"model": model, "weights": None if weights is None else os.fspath(weights), "original": original}
    finites = {"measures": finite(measures), "of_original": None if own is None else finite(own)}
    document = {"schema": SCHEMA, **shown, "data": source, **finites}
    return Evaluated(source, measures, own, document)


def evaluate_loaded(
    model: Model,
    data: str,
    before: Model | None,
    batch_size: int = 8,
    limit: int | None = None,
    packing: Packing | None = None,
    progress: Progress | None = None,
) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """A loaded model, and the one it was before, on a source: its name, the measures of both."""
    if _is_function(data):
        return data, *_by_function(data, model, before)
    return _by_data(data, model, before, batch_size, limit, packing, progress)


def _is_function(data: str) -> bool:
    """Whether a source is package.module:function; a path is one that is there, or has a folder in it."""
    head, colon, name = data.partition(":")
    is_name = all(part.isidentifier() for part in head.split(".")) and name.isidentifier()
    return bool(colon) and head != "zoo" and is_name and not os.path.exists(data)


def _by_function(
    data: str, model: Model, before: Model | None
) -> tuple[dict[str, float], dict[str, float] | None]:
    from pvq.layers.evaluate import measures_of
    from pvq.layers.models import own_function

    function = own_function(data, OWN)
    return measures_of(function, model.module), None if before is None else measures_of(function, before.module)


def _by_data(
    data: str,
    model: Model,
    before: Model | None,
    batch_size: int,
    limit: int | None,
    packing: Packing | None,
    progress: Progress | None,
) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    from pvq.layers.evaluate import evaluate_pair
    from pvq.layers.evaluation_data import open_evaluation

    opened = open_evaluation(data, model, batch_size, limit, packing)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, max(done, opened.count))

    module = None if before is None else before.module
    found, own = evaluate_pair(model.module, opened.batches(), module, is_text=opened.is_text, progress=tell)
    if all(getattr(found, name) is None for name in ("accuracy", "sqnr_db")):
        raise LayerError(
            f"{data}: has no labels, so there is nothing to measure by itself; give --original to compare with"
        )
    return opened.source, found.measures, None if own is None else own.measures


def finite(measures: dict[str, Any]) -> dict[str, Any]:
    """For JSON, which has no infinite numbers: null."""
    return {name: value if abs(value) < float("inf") else None for name, value in measures.items()}
