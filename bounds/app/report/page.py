"""The page of a report: data, charts and a template, put together to one file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pvq
from pvq.bounds.errors import ProblemError
from pvq.bounds.sqnr import sqnr_db
from pvq.solvers.compare.schema import read_record
from pvq.solvers.compare.verdict import OPEN, SKIPPED

from ..compare.text import conclusion, margin_of
from . import charts

NEEDED = ("plotly", "jinja2")


def check_extra() -> None:
    """Raise `ProblemError` before any work where a report cannot be made."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ProblemError(f"reports need {' and '.join(missing)}: pip install 'pvq-bound[report]'")


def page_of(source: Path, script: str | None = None, refresh: int | None = None) -> str:
    """The page as HTML.

    Parameters
    ----------
    source : a run's folder, or a file `pvq.compare/1`.
    script : where the page gets plotly's script from; None to have it inside.
    refresh : seconds after which the page asks for itself again.

    Raises
    ------
    ProblemError
        Neither a run nor such a file.
    """
    check_extra()
    from jinja2 import Environment
    from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    texts = files(__package__)
    inner = get_plotlyjs() if script is None else ""
    return environment.from_string((texts / "page.html").read_text(encoding="utf-8")).render(
        style=(texts / "page.css").read_text(encoding="utf-8"),
        glue=(texts / "page.js").read_text(encoding="utf-8"),
        plotly=inner,
        script=script,
        refresh=refresh,
        **_contents(source),
    )


def _contents(source: Path) -> dict[str, Any]:
    """What the template shows."""
    status, spread = None, []
    if os.path.isdir(source):
        run = pvq.Ledger(source)
        status, spread = run.status(), run.distribution()
        document = run.document() if run.method == "both" else None
    else:
        document = read_record(source, "report")
    layers = [] if document is None else [layer for layer in document["layers"] if layer["skipped"] is None]
    skipped = {} if document is None else {x["name"]: x["skipped"] for x in document["layers"] if x["skipped"]}
    gaps = charts.gaps(layers)
    times = [(layer["name"], sum(pair.get("seconds", 0.0) for pair in layer["pairs"])) for layer in layers]
    settings = (document or {}).get("settings") or (status or {}).get("settings") or {}
    packages = (status or {}).get("packages") or [(document or {}).get("environment", {}).get("packages", {})]
    data = {
        "map": charts.verdict_map(layers, document["bits"]) if document and layers else None,
        "names": [layer["name"] for layer in layers],
        "curves": {layer["name"]: charts.curves(layer) for layer in layers if layer["pairs"]},
        "gaps": charts.gap_chart(gaps),
        "widths": charts.widths(spread, pvq.Ledger.WIDTHS),
        "seconds": charts.seconds(times),
    }
    return {
        "title": source.name or str(source),
        "words": "" if document is None else conclusion(document),
        "bits": [] if document is None else document["bits"],
        "summary": [] if document is None else document["summary"],
        "status": status,
        "data": _short(data),
        "pairs": [_line(layer, pair) for layer in layers for pair in layer["pairs"]],
        "gaps": gaps,
        "kinds": _kinds(spread, layers),
        "skipped": skipped | (status or {}).get("skipped", {}),
        "settings": {name: value for name, value in settings.items() if value is not None},
        "packages": packages,
        "certificates": _certificates(source),
        "version": pvq.__version__,
    }


def _short(value: Any) -> Any:
    """Numbers of charts in six digits, more than a chart shows: a fifth of a page of many layers."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    return [_short(part) for part in value] if isinstance(value, list) else value


def _line(layer: Mapping[str, Any], pair: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the table of pairs: text, and numbers to sort by."""
    line: dict[str, Any] = {"layer": layer["name"], "bits": pair["bits"], "verdict": pair["verdict"]}
    if pair["verdict"] == SKIPPED:
        return {**line, "margin": None, "known": None, "quant": pair["reason"], "prune": "", "seconds": None}
    margin = margin_of(pair)
    return {
        **line,
        "margin": margin if margin is None or pair["verdict"] != OPEN else -abs(margin),
        "known": sqnr_db(pair["prune"]["upper"], pair["quant"]["upper"]),
        "quant": f"{charts.db_range(pair['quant'])}, {pair['quant']['bound_kind']}",
        "prune": f"{charts.db_range(pair['prune'])}, {pair['prune']['bound_kind']}",
        "seconds": pair["seconds"],
    }


def _kinds(spread: Sequence[Mapping[str, Any]], layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many rows, or without rows sides of pairs, are proven by which arithmetic."""
    words = {"rigorous": "the verifier accepted a proof", "numerical": "float64, to a stated tolerance"}
    words["none"] = "no lower bound"
    counts = dict.fromkeys(words, 0)
    for entry in spread:
        counts[entry["kind"]] += entry["rows"]
    unit = "rows"
    if not spread:
        unit = "layers at a width, both sides counted"
        for layer in layers:
            for pair in layer["pairs"]:
                for side in ("quant", "prune") if pair["verdict"] != SKIPPED else ():
                    counts[pair[side]["bound_kind"]] += 1
    return [{"kind": kind, "words": words[kind], "count": count, "unit": unit} for kind, count in counts.items()]


def _certificates(source: Path) -> list[str]:
    """Files of proofs of a run, below the report's folder if that is beside the run."""
    folder = source / "certificates"
    return sorted(str(path.relative_to(source.parent)) for path in folder.glob("*/*.npz"))[:1000]
