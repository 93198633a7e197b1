"""Bits and sparsity for each layer under a budget, with proof."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvq.bounds.errors import ProblemError
from pvq.layers.solutions import Solution
from pvq.solvers.allocate.record import QUANT, Item, Option, items_of, uniform
from pvq.solvers.allocate.solve import Allocated, Uniform, uniform_within
from pvq.solvers.allocate.solve import allocate as solve
from pvq.solvers.compare.schema import check_record, read_record

from .allocated import ALLOCATION, measured, weights_of
from .applying import Given
from .budgets import budget_of, too_little, weighted
from .comparison import SIDES, STYLES, Comparison
from .shown import Recorded, html_table, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pvq.layers.evaluate import Evaluation

SCHEMA = "pvq.allocation/1"
POINTS = 24
"""Budgets along the curve of a figure."""
SHORT = 500
"""Partial choices of the proof at each of them: where it is given up, the bound is a little lower."""


@dataclass(frozen=True)
class Allocation(Recorded):
    """What each layer takes: lower <= the least weighted sum of errors of any allocation <= upper.

    Attributes
    ----------
    document : dict
        `pvq.allocation/1`, as the command line writes it.
    budget : int
        Bits of all layers together, at most.
    """

    document: dict[str, Any] = field(repr=False)
    budget: int
    _items: tuple[Item, ...] = field(repr=False)
    _solved: Allocated = field(repr=False)

    @property
    def lower(self) -> float:
        """No allocation of the recorded options within the budget has a smaller sum."""
        return self._solved.lower

    @property
    def upper(self) -> float:
        """The sum that this one reaches."""
        return self._solved.upper

    @property
    def gap(self) -> float:
        """(upper - lower) / upper, 0 for a sum of 0."""
        return (self.upper - self.lower) / self.upper if self.upper > 0 else 0.0

    @property
    def bound_kind(self) -> str:
        """What lower is worth: rigorous, numerical or none."""
        return self._solved.kind.value

    @property
    def choices(self) -> dict[str, str]:
        """What each layer takes, in words: 4 bits, sparsity 0.75 or uncompressed."""
        return {item.name: option.words for item, option in self._chosen()}

    def solutions(self, results: Given | Iterable[Given]) -> list[Solution]:
        """The weights of what each layer takes, for `apply`; layers that stay as they are have none.

        Parameters
        ----------
        results : path, Solution, or several of them
            What `compare` saved as the record was made (`solutions`, `--save-solutions`), files or folders.

        Raises
        ------
        ProblemError
            The weights of a layer are missing, or have a larger error than the record says.
        """
        return weights_of(self._items, {ALLOCATION: self._solved.options}, results)[ALLOCATION]

    def networks(self, results: Given | Iterable[Given]) -> dict[str, list[Solution]]:
        """The weights of this allocation and of the uniform ones within the budget: allocation, quant:4, prune:4.

        Parameters
        ----------
        results : path, Solution, or several of them
            As for `solutions`.

        Raises
        ------
        ProblemError
            As for `solutions`.
        """
        choices: dict[str, Sequence[Option]] = {ALLOCATION: self._solved.options}
        for each in uniform_within(self._items, self.budget):
            name = f"{each.technique}:{each.bits}"
            choices[name] = uniform(self._items, each.technique, each.bits)
        return weights_of(self._items, choices, results)

    def evaluate(
        self,
        model: Any,
        results: Given | Iterable[Given],
        batches: Iterable[Any],
        *,
        is_text: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Evaluation]:
        """How good the network is with this allocation, beside the uniform ones, and as it was.

        Accuracy, perplexity, agreement and 10 log10(sum y^2 / sum (y - z)^2), as `pvq.evaluate` measures them.

        Parameters
        ----------
        model : torch.nn.Module
            With the weights that the layers were extracted with; it stays as it is.
        results : path, Solution, or several of them
            As for `solutions`.
        batches : iterable
            As for `pvq.evaluate`, but gone through once for each network: a list or a loader, no generator.
        is_text : bool
            As for `pvq.evaluate`.
        progress : callable, optional
            Called with the number of batches done, for each network from 1.

        Returns
        -------
        dict of str to pvq.layers.evaluate.Evaluation
            By the names of `networks`, and original.

        Raises
        ------
        ProblemError
            As for `solutions`, or `batches` can be gone through only once.
        LayerError
            The weights are of another model, or a batch does not fit.
        """
        from pvq.layers.evaluate import evaluate_pair

        if iter(batches) is batches:
            raise ProblemError("`batches` must be a list or a loader; a generator ends with the first network")
        how: dict[str, Any] = {"is_text": is_text, "progress": progress}
        networks = self.networks(results)
        return measured(model, networks, lambda network: evaluate_pair(network, batches, model, **how))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Least weighted error against the budget: reached and proven, with the uniform allocations.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure without.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        ax = new_axes(6.4, 4.2) if ax is None else ax
        size = sum(item.size for item in self._items)
        every = uniform_within(self._items, None)
        least = sum(item.cheapest for item in self._items)
        most = max([self.budget, *(each.cost for each in every)])
        budgets = sorted({least + (most - least) * k // POINTS for k in range(POINTS + 1)})
        found = [(budget / size, solve(self._items, budget, SHORT)) for budget in budgets]
        curve = [(bits, solved) for bits, solved in found if solved is not None]
        bits = [bits for bits, _ in curve]
        upper = [_shown(solved.upper) for _, solved in curve]
        lower = [_shown(solved.lower) for _, solved in curve]
        ax.plot(bits, upper, color="black", label="best allocation, reached")
        ax.plot(bits, lower, color="black", linestyle=":", label="no allocation is below")
        for side, title in SIDES.items():
            points = [(each.cost / size, _shown(each.error)) for each in every if each.technique == side]
            marker = "o" if side == QUANT else "s"
            ax.plot(*zip(*points, strict=True), color=STYLES[side]["color"], marker=marker, linestyle="--",
                    linewidth=0.7, label=f"uniform {title}")  # fmt: skip
        ax.axvline(self.budget / size, color="0.6", linewidth=0.8)
        if any(math.isfinite(value) for value in upper):
            ax.set_yscale("log")
        ax.set_xlabel("bits a weight on average")
        ax.set_ylabel("weighted sum of layer errors")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        bits = self.budget / sum(item.size for item in self._items)
        return (
            f"<pvq.Allocation of {len(self._items)} layers within {bits:.4g} bits a weight: "
            f"{self.lower:.6g} <= least error <= {self.upper:.6g} ({self.bound_kind})>"
        )

    def _repr_html_(self) -> str:
        body = [
            (escape(item.name), escape(option.words), f"{option.cost / item.size:.4g}", f"{option.upper:.6g}")
            for item, option in self._chosen()
        ]
        return html_table(repr(self)[1:-1], ("layer", "takes", "bits a weight", "error"), body)

    def _records(self) -> tuple[list[dict[str, Any]], str]:
        return [dict(layer) for layer in self.document["layers"]], "name"

    def _chosen(self) -> list[tuple[Item, Option]]:
        return list(zip(self._items, self._solved.options, strict=True))


def allocate(
    record: Comparison | Mapping[str, Any] | str | os.PathLike[str],
    *,
    bits: float | None = None,
    bytes: int | None = None,
    weight: str | os.PathLike[str] | Mapping[str, float] = "error",
) -> Allocation:
    """The best option for each layer under a budget, and what no choice of options gets below.

    min over one option a_i for each layer of sum_i s_i e_i(a_i), subject to sum_i cost_i(a_i) <= budget, solved
    over the upper ends of the errors and over the lower ends. Options are the recorded widths, the sparsities of
    equal cost, and the weights as they are, without error.

    Parameters
    ----------
    record : Comparison, mapping or path
        Of `compare`, or its file `pvq.compare/1`.
    bits : float, optional
        Budget in bits a weight on average, over all layers of the record; this or `bytes`.
    bytes : int, optional
        Budget of all layers together, in bytes.
    weight : str, path or mapping
        s_i: error (1), relative (1 / reference of the layer), or a number for each layer by name, given or in a
        JSON file.

    Returns
    -------
    Allocation

    Raises
    ------
    ProblemError
        No option fits the budget, the record has no pairs or is none, weights are missing or impossible.
    """
    if isinstance(record, Comparison):
        document: Mapping[str, Any] = record.document
    elif isinstance(record, Mapping):
        document = check_record(record)
    else:
        document = read_record(Path(record), "use")
    layers, unknown = items_of(document)
    items = weighted(layers, weight)
    size = sum(item.size for item in items)
    budget = budget_of(bits, bytes, size)
    solved = solve(items, budget)
    if solved is None:
        raise ProblemError(too_little(items, size, bits))
    words = weight if isinstance(weight, str) and weight in ("error", "relative") else "given"
    shown = _document(document, items, unknown, budget, words, solved)
    return Allocation(shown, budget, tuple(items), solved)


def _document(
    record: Mapping[str, Any],
    items: list[Item],
    unknown: list[str],
    budget: int,
    weight: str,
    solved: Allocated,
) -> dict[str, Any]:
    size = sum(item.size for item in items)
    lines = zip(items, solved.options, solved.shares, solved.rivals, strict=True)
    used = sum(option.cost for option in solved.options)
    gap = (solved.upper - solved.lower) / solved.upper if solved.upper > 0 else 0.0
    return {
        "schema": SCHEMA,
        "settings": dict(record["settings"]),
        "budget": {"bits": budget, "average": budget / size, "weight": weight},
        "layers": [
            {
                "name": item.name,
                "technique": option.technique,
                "bits": option.bits,
                "sparsity": option.sparsity,
                "storage_bits": option.cost,
                "size": item.size,
                "weight": item.weight,
                "lower": option.lower,
                "upper": option.upper,
                "gap_share": share,
                "rival": {"technique": rival.technique, "bits": rival.bits, "lower": rival.lower},
                "options": len(item.options),
            }
            for item, option, share, rival in lines
        ],
        "left_out": unknown,
        "total": {
            "lower": solved.lower,
            "upper": solved.upper,
            "gap": gap,
            "bound_kind": solved.kind.value,
            "upper_is_least": solved.is_exact[0],
            "lower_is_least": solved.is_exact[1],
            "storage_bits": used,
            "average": used / size,
        },
        "uniform": [_uniform(each, size) for each in uniform_within(items, budget)],
    }


def _uniform(each: Uniform, size: int) -> dict[str, Any]:
    return {
        "technique": each.technique,
        "bits": each.bits,
        "storage_bits": each.cost,
        "average": each.cost / size,
        "error": each.error,
    }


def _shown(error: float) -> float:
    """For an axis with a logarithmic scale."""
    return error if error > 0 else math.nan
