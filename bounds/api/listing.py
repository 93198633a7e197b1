"""Solvers that can be plugged in, and layers out of a torch module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from pvq.layers.format import Layer
from pvq.solvers.registry import solver_class, solver_names


class SolverCard(NamedTuple):
    """What a solver is and can do."""

    name: str
    proves: str
    """optimum, bound or nothing."""
    methods: tuple[str, ...]
    """Of quant, prune and joint."""
    patterns: tuple[str, ...]
    """Sparsity patterns; none where it does not prune."""
    is_installed: bool
    extra: str | None
    """Extra of this package that installs what it needs."""
    licence: str
    summary: str


def solver_cards() -> dict[str, SolverCard]:
    """Every solver by name, installed or not; takes no licence and imports no solver's package."""
    cards = {}
    for name in solver_names():
        cls = solver_class(name)
        methods = tuple(method for method in ("quant", "prune", "joint") if method in cls.methods)
        patterns = tuple(sorted(cls.patterns)) if cls.methods & {"prune", "joint"} else ()
        installed = cls.is_available()
        cards[name] = SolverCard(
            name, cls.proves, methods, patterns, installed, cls.extra, cls.licence, cls.summary
        )
    return cards


def installed_solvers() -> dict[str, str]:
    """Names of the solvers that can be used here, with what each is."""
    return {name: card.summary for name, card in solver_cards().items() if card.is_installed}


def extract(
    model: Any,
    batches: Iterable[Any],
    modules: str | Sequence[str] = "*",
    *,
    keep_activations: int = 0,
    progress: Callable[[int, int | None], None] | None = None,
    say: Callable[[str], object] | None = None,
) -> dict[str, Layer]:
    """Layers of a torch module, with the Gram matrices of what reaches them on calibration data.

    Parameters
    ----------
    model : torch.nn.Module
        Runs in evaluation mode and is left as it was.
    batches : iterable
        Each a tensor, a tuple of positional or a dict of keyword arguments of the model. An `attention_mask` of
        shape (batch, positions) among these also says which samples are padding.
    modules : str or sequence of str
        Glob over module names, as "*.mlp.*"; one that starts with ! takes names away.
    keep_activations : int
        Keep the first so many columns of the inputs X as well.
    progress : callable, optional
        Called with the number of batches done and of all, None if unknown.
    say : callable, optional
        Called with a line about chosen layers that no sample reached; a warning where None.

    Returns
    -------
    dict of str to Layer

    Raises
    ------
    LayerError
        Nothing matches, a batch does not fit, no sample reached any of the chosen layers.
    """
    from pvq.layers.extract import extract_layers

    return extract_layers(model, modules, batches, keep_activations=keep_activations, progress=progress, say=say)
