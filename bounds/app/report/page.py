"""The page of a report: data, charts and a template, put together to one file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pvq
from pvq.bounds.errors import ProblemError
from pvq.solvers.compare.column import column_of, columns_of, has_several
from pvq.solvers.compare.schema import read_record
from pvq.solvers.compare.verdict import SKIPPED

from ..compare.text import conclusion
from . import charts
from .tables import METHOD, gaps_table, pairs_table, proofs_table

NEEDED = ("plotly", "jinja2")
MOST_PROOFS = 5000
"""Files that are listed; a folder of more is looked into by other means."""


def check_extra() -> None:
    """Raise `ProblemError` before any work where a report cannot be made."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ProblemError(f"reports need {' and '.join(missing)}: pip install 'pvq-bound[report]'")


def page_of(source: Path, folder: Path, script: str | None = None, refresh: int | None = None) -> str:
    """The page as HTML.

    Parameters
    ----------
    source : a run's folder, or a file `pvq.compare/1`.
    folder : where the page is going to be; links to proofs begin there.
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
        **_contents(source, folder),
    )


def _contents(source: Path, folder: Path) -> dict[str, Any]:
    """What the template shows."""
    status, spread, proofs = None, [], []
    if os.path.isdir(source):
        run = pvq.Ledger(source)
        status, spread, proofs = run.status(), run.distribution(), run.proofs()
        document = run.document() if run.method == "both" else None
    else:
        document = read_record(source, "report")
    layers = [] if document is None else [layer for layer in document["layers"] if layer["skipped"] is None]
    skipped = {} if document is None else {x["name"]: x["skipped"] for x in document["layers"] if x["skipped"]}
    columns = [] if document is None else columns_of(document)
    times = [(layer["name"], sum(pair.get("seconds", 0.0) for pair in layer["pairs"])) for layer in layers]
    settings = (document or {}).get("settings") or (status or {}).get("settings") or {}
    packages = (status or {}).get("packages") or [(document or {}).get("environment", {}).get("packages", {})]
    links = [_link(source / proof["file"], folder) for proof in proofs[:MOST_PROOFS]]
    gaps = gaps_table(layers)
    data = {
        "tables": {
            "pairs": pairs_table(layers),
            "distances": gaps,
            "proofs": proofs_table(proofs[:MOST_PROOFS], links),
        },
        "curves": None if document is None or has_several(document) else charts.curves(layers),
        "charts": {
            "gaps": charts.gap_chart(gaps[METHOD]),
            "widths": charts.widths(spread, pvq.Ledger.WIDTHS),
            "seconds": charts.seconds(times),
        },
    }
    return {
        "title": source.name or str(source),
        "words": "" if document is None else conclusion(document),
        "columns": columns,
        "map": charts.verdict_map(layers, columns),
        "summary": [] if document is None else [(column_of(line), line) for line in document["summary"]],
        "status": status,
        "data": data,
        "kinds": _kinds(spread, layers),
        "skipped": skipped | (status or {}).get("skipped", {}),
        "settings": {name: value for name, value in settings.items() if value is not None},
        "packages": packages,
        "proofs": len(proofs),
        "version": pvq.__version__,
    }


def _link(file: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(file, folder)).as_posix())


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
