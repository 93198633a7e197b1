"""The best weights back into the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvq.bounds.errors import ProblemError
from pvq.layers.solutions import Solution, files_of, found_in
from pvq.solvers.compare.solutions import folder_of_record
from pvq.solvers.ledger.schema import is_run
from pvq.solvers.ledger.weights import files_with_weights, weights_of_run

from .results import Result

if TYPE_CHECKING:
    from pvq.layers.apply import Applied

RECORD = ".json"
Given = Result | Solution | str | os.PathLike[str]


def apply(
    model: Any,
    results: Given | Iterable[Given],
    *,
    batches: Iterable[Any] | None = None,
    option: tuple[Any, ...] | None = None,
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
        Of `bound`; files of `--solution`, folders of such files, the record of a comparison that saved them, or
        the folder of a run that kept weights.
    batches : iterable, optional
        The calibration data of the extraction, as `extract` takes them.
    option : tuple, optional
        Of files for several options take these: a technique, then bits, a sparsity (below 1) or both, as
        ("quant", 4), ("prune", 0.75) or ("joint", 4, 0.5).
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


def solutions_of(results: Given | Iterable[Given], option: tuple[Any, ...] | None = None) -> list[Solution]:
    """The weights of results, files and folders, of one option where it is named."""
    chosen, there = [], set()
    for each in solutions_in(results):
        there.add(each.words)
        if option is None or each.is_of(*option):
            chosen.append(each)
    if not chosen:
        known = ", ".join(sorted(there)) or "nothing"
        raise ProblemError(f"`results` have nothing for the option that is asked for; they have {known}")
    return chosen


def solutions_in(results: Given | Iterable[Given]) -> Iterator[Solution]:
    """The same of all options, one by one: a run may have many, and large ones."""
    single = isinstance(results, Result | Solution | str | os.PathLike)
    several: Sequence[Any] = [results] if single else list(results)  # type: ignore[arg-type]
    return chain.from_iterable(map(_solutions, several))


def files_behind(results: Iterable[Path]) -> list[Path]:
    """The files that `solutions_of` reads, which nothing is written over."""
    files: list[Path] = []
    for path in results:
        if is_run(path):
            files += files_with_weights(path)
        elif path.suffix == RECORD:
            files += [path, *files_of([folder_of_record(path)])]
        else:
            files += files_of([path])
    return files


def _solutions(given: Any) -> Iterable[Solution]:
    if isinstance(given, Result):
        return [given.solution()]
    if isinstance(given, Solution):
        return [given]
    if not isinstance(given, str | os.PathLike):
        raise ProblemError(f"`results` must be of pvq.Result or paths, not {type(given).__name__}")
    path = Path(given)
    if is_run(path):
        return weights_of_run(path)
    return found_in([folder_of_record(path) if path.suffix == RECORD else path])
