"""The best weights back into the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvq.bounds.errors import ProblemError
from pvq.layers.solutions import Solution, found_in

from .results import Result

if TYPE_CHECKING:
    from pvq.layers.apply import Applied

Given = Result | Solution | str | os.PathLike[str]


def apply(
    model: Any,
    results: Given | Iterable[Given],
    *,
    batches: Iterable[Any] | None = None,
    option: tuple[str, int] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> list[Applied]:
    """Put the best weights found into a torch module, in the places of the layers they were found for.

    With calibration data it is checked at once that the mean squared difference of the outputs is e(x): on the
    inputs that reach a layer of the unchanged model, mean |W x - X x|^2 = sum over rows (w - x)'H(w - x).

    Parameters
    ----------
    model : torch.nn.Module
        With the weights that the layers were extracted with; it gets the new ones, in its own type.
    results : Result, path, or several of them
        Of `bound`; files of `--solution`, or folders of such files.
    batches : iterable, optional
        The calibration data of the extraction, as `extract` takes them.
    option : (str, int), optional
        Of files for several options take these, as ("quant", 4).
    progress : callable, optional
        Called with the number of batches done and of all, None if unknown.

    Returns
    -------
    list of pvq.layers.apply.Applied
        For each layer the certified and the measured error, and whether they agree.

    Raises
    ------
    LayerError
        A result is of other weights than the model has, or of none of its layers; nothing has changed then.
    ProblemError
        There are no results, or none for the option.
    """
    from pvq.layers.apply import apply_solutions

    return apply_solutions(model, solutions_of(results, option), batches, progress)


def solutions_of(results: Given | Iterable[Given], option: tuple[str, int] | None = None) -> list[Solution]:
    """The weights of results, files and folders, of one option where it is named."""
    single = isinstance(results, Result | Solution | str | os.PathLike)
    several: Sequence[Any] = [results] if single else list(results)  # type: ignore[arg-type]
    found: list[Solution] = []
    for each in several:
        if isinstance(each, Result):
            found.append(each.solution())
        elif isinstance(each, Solution):
            found.append(each)
        elif isinstance(each, str | os.PathLike):
            found += found_in([Path(each)])
        else:
            raise ProblemError(f"`results` must be of pvq.Result or paths, not {type(each).__name__}")
    chosen = [each for each in found if option is None or each.option == option]
    if not chosen:
        there = ", ".join(sorted({"{}:{}".format(*each.option) for each in found})) or "nothing"
        raise ProblemError(f"`results` have nothing for the option that is asked for; they have {there}")
    return chosen
