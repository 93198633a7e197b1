"""What a comparison found: verdicts by layer and bits, drawn and tabulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pvq.bounds.errors import ProblemError
from pvq.solvers.compare.column import column_of, columns_of, has_several
from pvq.solvers.compare.document import known_pairs
from pvq.solvers.compare.verdict import SKIPPED

from .shown import Recorded, html_table, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDES = {"quant": "quantization", "prune": "pruning"}
STYLES: dict[str, dict[str, Any]] = {
    "quant": {"color": "#1f4e9c", "hatch": "////"},
    "prune": {"color": "#d1601f", "hatch": "...."},
}
DASHES = ("-", "--", ":", "-.")
"""Of lines of one side: its granularities, or its patterns."""


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Recorded):
    """For each layer and bit width: is b-bit quantization better, or pruning at equal cost?"""

    document: dict[str, Any]
    """`pvq.compare/1`, as the command line writes it."""
    bits: tuple[int, ...] = ()
    """The widths that were asked for."""
    failures: tuple[str, ...] = ()
    """Why layers could not be read again at their turn (their pairs are missing), or solutions not be written."""

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C ended it: pairs are missing or were left open."""
        return bool(self.document["environment"].get("interrupted", False))

    @property
    def verdicts(self) -> dict[str, dict[int | str, str]]:
        """By layer and bits: quantization proven better, pruning proven better, sampled, open or skipped.

        Instead of bits words as "3 bits channel, 2:4", where several granularities or patterns were asked for.
        """
        several = has_several(self.document)
        return {
            layer["name"]: {column_of(p).words if several else p["bits"]: p["verdict"] for p in layer["pairs"]}
            for layer in self.document["layers"]
        }

    def plot(self, layer: str | None = None, ax: Axes | None = None) -> Axes:
        """Proven intervals of the best possible SQNR of one layer against bits.

        Parameters
        ----------
        layer : str, optional
            Which layer; the first without.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure without.

        Raises
        ------
        ProblemError
            No layer of this name.
        ImportError
            matplotlib is not installed.
        """
        layers = {known["name"]: known for known in self.document["layers"]}
        name = next(iter(layers)) if layer is None else layer
        if name not in layers:
            raise ProblemError(f"no layer is called '{name}'; there are: {', '.join(layers)}")
        pairs = [pair for pair in layers[name]["pairs"] if pair["verdict"] != SKIPPED]
        ax = new_axes(6.4, 4.2) if ax is None else ax
        ends = [pair[side][f"sqnr_{end}_db"] for pair in pairs for side in SIDES for end in ("min", "max")]
        top = max((end for end in ends if end is not None), default=0.0) + 10.0
        for side, title in SIDES.items():
            for number, (choice, shown) in enumerate(_lines(pairs, side).items()):
                bits = list(shown)
                least = [found["sqnr_min_db"] for found in shown.values()]
                highest = [found["sqnr_max_db"] for found in shown.values()]
                most = [top if value is None else value for value in highest]
                style = {"color": STYLES[side]["color"], "linestyle": DASHES[number % len(DASHES)]}
                marker, label = "." if len(bits) > 1 else "o", " ".join(filter(None, (title, choice)))
                ax.plot(bits, least, **style, marker=marker, label=f"{label}, reached")
                ax.fill_between(bits, least, most, facecolor="none", edgecolor=style["color"],
                                hatch=STYLES[side]["hatch"], linewidth=0.5)  # fmt: skip
        ax.set_xlabel("bits a weight")
        ax.set_ylabel("SQNR of the layer output (dB)")
        ax.set_title(f"{name}: hatched is not excluded by proof", fontsize=10, parse_math=False)
        ax.legend()
        return ax

    def __repr__(self) -> str:
        verdicts = [pair["verdict"] for _, pair in self._pairs()]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        return f"<pvq.Comparison of {len(self.document['layers'])} layers: {counts or 'no pairs'}>"

    def _repr_html_(self) -> str:
        columns = columns_of(self.document)
        body = []
        for layer, pairs in known_pairs(self.document).items():
            found = [pairs[column]["verdict"] if column in pairs else "-" for column in columns]
            body.append((escape(layer), *map(escape, found)))
        head = "at equal cost" if self.document["settings"].get("against") is None else "against a given pattern"
        return html_table(head, ("layer", *(column.words for column in columns)), body)

    def _records(self) -> tuple[list[dict[str, Any]], list[str]]:
        records = []
        for layer, pair in self._pairs():
            record = {"layer": layer["name"], **column_of(pair).entries, "sparsity": pair.get("sparsity")}
            record |= {"verdict": pair["verdict"], "margin_db": pair.get("margin_db")}
            for side in SIDES:
                for name in ("lower", "upper", "sqnr_min_db", "sqnr_max_db", "bound_kind"):
                    record[f"{side}_{name}"] = pair.get(side, {}).get(name)
            model = pair.get("quant", {}).get("model", {})
            record |= {f"quant_model_{name}": model.get(name) for name in ("lower", "odds", "optimum", "refused")}
            records.append(record)
        several = [
            name for name in ("granularity", "against") if isinstance(self.document["settings"].get(name), list)
        ]
        return records, ["layer", "bits", *several]

    def _pairs(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        return [(layer, pair) for layer in self.document["layers"] for pair in layer["pairs"]]


def _lines(pairs: Sequence[Mapping[str, Any]], side: str) -> dict[str, dict[int, Mapping[str, Any]]]:
    """A side by bits, for each granularity, or pattern, that a comparison has several of.

    Without a pattern that is given, what is pruned may depend on the granularity: on what its scales cost.
    """
    lines: dict[str, dict[int, Mapping[str, Any]]] = {}
    for pair in pairs:
        column = column_of(pair)
        choice = column.granularity if side == "quant" else column.against or column.granularity
        if pair[side]["sqnr_min_db"] is not None:
            lines.setdefault(choice, {})[column.bits] = pair[side]
    return lines
