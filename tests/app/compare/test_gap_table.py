"""The optimality gap table and the figures of a comparison."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from pvq.bounds.app.compare.figure import comparison_figure
from pvq.bounds.app.compare.gap_table import as_csv, gap_of, latex, markdown
from pvq.layers.format import Layer, save_layer


@pytest.fixture
def document(cli, tmp_path):
    """A comparison of a small layer whose name needs escapes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 12)) @ (np.eye(12) + 0.5 * rng.normal(size=(12, 12)))
    path = save_layer(tmp_path / "a.npz", Layer("block_1 & more", rng.normal(size=(4, 12)), x.T @ x / 40))
    words = ("--bits", "2:4", "--full", "--compare", "gptq,rtn,obc,magnitude", "--quiet", "--json", "-")
    ended = cli("compare", path, *words)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_the_gap_is_an_interval_of_db() -> None:
    exact = gap_of(2.0, 1.0, 1.0)
    assert exact is not None
    assert exact.least == exact.most == pytest.approx(10 * math.log10(2))
    assert exact.text(" to ", ">= ") == "3.01"
    wide = gap_of(2.0, 0.5, 1.0)
    assert wide is not None
    assert wide.text(" to ", ">= ") == "3.01 to 6.02"
    unknown = gap_of(2.0, 0.0, 1.0)
    assert unknown is not None
    assert unknown.text(" to ", ">= ") == ">= 3.01"
    assert gap_of(1.0, 0.0, 0.0) is None


def test_three_formats_say_the_same(document) -> None:
    rows = list(csv.DictReader(as_csv(document).splitlines()))
    assert len(rows) == 3 * 4
    for row in rows:
        pair = next(p for p in document["layers"][0]["pairs"] if p["bits"] == int(row["bits"]))
        side = pair[row["side"]]
        assert float(row["error"]) == side["empirical"][row["method"]]
        assert float(row["gap_least_db"]) == pytest.approx(10 * math.log10(float(row["error"]) / side["upper"]))
        shown = f"{float(row['gap_least_db']):.2f}"
        for text, line_end in ((markdown(document), "|"), (latex(document), "\\\\")):
            line = next(x for x in text.splitlines() if row["method"] in x)
            assert shown in line
            assert line.endswith(line_end)
    assert "block\\_1 \\& more" in latex(document)
    assert latex(document).count("\\begin{") == latex(document).count("\\end{") == 2


def test_what_the_model_predicts_has_rows_of_its_own(document) -> None:
    pairs = document["layers"][0]["pairs"]
    for one in pairs:
        one["quant"] = {**one["quant"], "model": {"refused": "of * no kind", "lower": None, "optimum": None}}
    for text in (markdown(document), latex(document)):
        assert "Not modelled at 2 bits, 3 bits, 4 bits: of" in text
        assert ", modelled" not in text
    stated = {"refused": None, "lower": 0.1, "optimum": 0.5, "odds": 0.001}
    pair = pairs[1]
    pair["quant"] = {**pair["quant"], "model": stated}
    above = 10 * math.log10(pair["quant"]["empirical"]["gptq"] / 0.5)
    for text, cell in (
        (markdown(document), f"| - | about {above:.2f} | - |"),
        (latex(document), f"{above:.2f} & -"),
    ):
        line = next(line for line in text.splitlines() if line.removeprefix("| ").startswith("gptq, modelled"))
        assert cell in line
        assert "an estimate and no bound" in text
        assert "Not modelled at 2 bits, 4 bits: " in text
    rows = [r for r in csv.DictReader(as_csv(document).splitlines()) if r["method"] == "gptq"]
    assert [row["model_optimum"] for row in rows] == ["", "0.5", ""]
    assert float(rows[1]["model_gap_db"]) == pytest.approx(above)
    assert [bool(row["model_refused"]) for row in rows] == [True, False, True]


def test_the_table_is_written_by_suffix(cli, tmp_path, document) -> None:
    for name, start in (("t.md", "### block_1"), ("t.tex", "% \\usepackage{booktabs}"), ("t.csv", "layer,side")):
        ended = cli("compare", tmp_path / "a.npz", "--bits", "2", "--compare", "gptq", "--table", tmp_path / name)
        assert ended.code == 0
        assert (tmp_path / name).read_text().startswith(start)


@pytest.mark.parametrize("layers", [1, 2, 8])
def test_figures_show_every_layer(tmp_path, document, layers: int) -> None:
    many = [{**document["layers"][0], "name": f"layer {i}"} for i in range(layers)]
    many[0]["pairs"] = [dict(pair) for pair in many[0]["pairs"]]
    pair = many[0]["pairs"][1]  # a band, and one without an upper limit
    pair["prune"] = {**pair["prune"], "sqnr_max_db": None, "lower": 0.0}
    pair["quant"] = {**pair["quant"], "sqnr_max_db": pair["quant"]["sqnr_min_db"] + 3}
    document = {**document, "layers": many}
    for name in ("a.png", "a.svg"):
        comparison_figure(tmp_path / name, document)
        first = (tmp_path / name).read_bytes()
        comparison_figure(tmp_path / name, document)
        assert (tmp_path / name).read_bytes() == first
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.svg").read_bytes().count(b"<path") > 20
