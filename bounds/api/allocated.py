"""The networks of an allocation: with its weights, with those of the uniform ones beside it, and as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pvq.bounds.errors import ProblemError
from pvq.layers.foreign import foreign
from pvq.layers.solutions import Solution
from pvq.solvers.allocate.record import NOTHING, Item, Option

from .applying import Given, solutions_in
from .evaluating import Progress, evaluate_loaded

if TYPE_CHECKING:
    from pvq.layers.models import Model
    from pvq.layers.text import Packing

ALLOCATION, ORIGINAL = "allocation", "original"
Measured = TypeVar("Measured")
Weights = Mapping[str, Sequence[Solution]]
"""Of the compressed layers of each network, by its name."""


def weights_of(
    items: Sequence[Item], choices: Mapping[str, Sequence[Option]], results: Given | Iterable[Given]
) -> dict[str, list[Solution]]:
    """The weights of what each layer takes in each choice; layers that stay as they are have none.

    Raises
    ------
    ProblemError
        The weights of a layer are missing, or have a larger error than the record says.
    """
    wanted = {
        name: {(item.name, o.technique, o.bits): o for item, o in zip(items, options, strict=True)}
        for name, options in choices.items()
    }
    every = {key: o for of in wanted.values() for key, o in of.items() if o.technique != NOTHING}
    found: dict[tuple[str, str, int], Solution] = {}
    for each in solutions_in(results):  # of all that was kept only what is wanted stays in memory
        key = (str(each.meta["layer"]), *each.option)
        if key in every and (key not in found or each.error < found[key].error):  # those of two runs may be there
            found[key] = each
    for key, option in every.items():
        _check(found.get(key), key, option.upper)
    return {name: [found[key] for key in of if key in every] for name, of in wanted.items()}


def _check(found: Solution | None, key: tuple[str, str, int], upper: float) -> None:
    layer, technique, bits = key
    if found is None:
        raise ProblemError(
            f"`results` have no {technique}:{bits} of '{layer[:80]}'; `pvq compare --save-solutions` keeps them"
        )
    if not found.is_whole:
        raise ProblemError(f"`results` have a part of '{layer[:80]}' only, not every weight")
    if found.error > upper:
        raise ProblemError(
            f"`results`: the weights of '{layer[:80]}' have an error of {found.error:.6g}, those of "
            f"the record {upper:.6g}; they are of another run"
        )


def measured(
    module: Any, networks: Weights, measure: Callable[[Any], tuple[Measured, Measured | None]]
) -> dict[str, Measured]:
    """What is measured of a module with each set of weights, one after the other, and of itself.

    Parameters
    ----------
    module : torch.nn.Module
        It stays as it is; every network is a copy.
    networks : mapping
        Weights by name.
    measure : callable
        Takes a network, and returns what it reaches and what `module` does.
    """
    from pvq.layers.apply import apply_solutions

    found: dict[str, Measured] = {}
    own = None
    for name, solutions in networks.items():
        with foreign("the model cannot be copied"):
            network = copy.deepcopy(module)
        apply_solutions(network, solutions)
        found[name], own = measure(network)
    return found if own is None else {**found, ORIGINAL: own}


def evaluate_networks(
    model: Model,
    networks: Weights,
    data: str,
    *,
    batch_size: int = 8,
    limit: int | None = None,
    packing: Packing | None = None,
    progress: Progress | None = None,
) -> tuple[str, dict[str, dict[str, Any]]]:
    """What `pvq allocate --data` does: every network and the original on a source, whose name comes first.

    Raises
    ------
    LayerError
        The weights or the data do not fit the model.
    """
    source, place = data, 0

    def tell(done: int, of: int | None) -> None:
        if progress is not None:
            count = None if of is None else len(networks) * of
            progress(done if of is None else place * of + done, count)

    def measure(module: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
        nonlocal source, place
        source, found, own = evaluate_loaded(
            replace(model, module=module), data, model, batch_size, limit, packing, tell
        )
        place += 1
        return found, own

    found = measured(model.module, networks, measure)
    return source, found
