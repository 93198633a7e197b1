"""`pvq report`: what is in the page, what a browser shows of it, and bad input."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pvq
import pytest
from allocation_cases import layer, pair, record, skipped
from pvq.layers.format import save_layer
from pvq.solvers.compare.verdict import Interval, margin_db

from compare_cases import random_layer

pytest.importorskip("plotly", reason="reports need plotly: pip install 'pvq-bound[report]'")
pytest.importorskip("jinja2", reason="reports need jinja2: pip install 'pvq-bound[report]'")

HOSTILE = "</script><img src=x onerror=document.title='taken'>"


def page_for(path: Path, count: int = 6) -> Path:
    """A report of made-up layers: quantization better, pruning better, open, and no pair, in turn."""
    layers = []
    for i in range(count):
        name = HOSTILE if i == 1 else f"block.{i}"
        pairs = [
            pair(2, (4.0, 5.0), (1.0, 2.0)),
            pair(3, (0.5, 1.0), (0.8, 2.0)),
            pair(4, (0.1, 0.2), (0.4, 0.5)),
            skipped(5),
        ]
        for one in pairs[:3]:
            one["words"] = f"words of {name}"
            sides = [Interval(one[side]["lower"], one[side]["upper"]) for side in ("quant", "prune")]
            one["margin_db"] = margin_db(*sides)
            one["quant"]["empirical"] = {"gptq": 6.0 + i}
        layers.append(layer(name, pairs))
    document = record([*layers, layer("dead", [], why="every input is dead")])
    path.write_text(json.dumps(document))
    return path


def test_the_page_has_everything_inside_and_names_stay_names(cli, tmp_path) -> None:
    source, page = page_for(tmp_path / "run.json"), tmp_path / "a.html"
    ended = cli("report", source, "-o", page)
    assert ended.code == 0, ended.err
    text = page.read_text()
    assert HOSTILE not in text
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=.?(https?:)?//", text)
    for said in ("dead: every input is dead", "pruning proven better", "gptq", "report by"):
        assert said in text
    first = re.findall(r"<tr><th>block.0</th>(.*)</tr>", text)[0]
    assert " ".join(re.sub(r"<[^>]+>", " ", first).split()) == "P 3.0 ~4.0 ? 1.0 ~Q3.0 Q 3.0 ~4.0 -"
    margin, known = (column["values"][:4] for column in data_of(page)["tables"]["pairs"][4:6])
    assert margin == [3.01, -0.97, 3.01, None]  # what is proven, or missing
    assert known == [-3.98, 3.01, 3.98, None]  # 10 log10(2 / 5), 10 log10(2 / 1), 10 log10(0.5 / 0.2)


def test_of_drawn_rows_the_page_says_what_they_say(cli, tmp_path) -> None:
    """All rows have ends as well, but of the others nothing is known but what rounding reaches."""
    layer, page = random_layer("regular", 3, rows=40), tmp_path / "a.html"
    found = pvq.compare(layer, [2, 4], sample_rows=6, time_limit=None)
    found.save(tmp_path / "c.json")
    assert cli("report", tmp_path / "c.json", "-o", page).code == 0
    for row, one in enumerate(found.document["layers"][0]["pairs"]):
        assert one["verdict"] in ("sampled", "open")
        columns = [column["values"][row] for column in data_of(page)["tables"]["pairs"]]
        drawn = one["sampled"]
        margin = drawn["margin_db"]["low"] if one["verdict"] == "sampled" else None
        assert columns[4] == (None if margin is None else round(margin, 2))
        ahead = 10 * np.log10(drawn["prune"]["upper"]["estimate"] / drawn["quant"]["upper"]["estimate"])
        assert columns[5] == pytest.approx(ahead, abs=0.006)
        assert columns[6] == round(drawn["quant"]["sqnr_min_db"], 2)
        kinds = data_of(page)["tables"]["pairs"][8]
        assert kinds["words"][kinds["values"][row]] == "sampled"


def data_of(page: Path) -> dict:
    """What the tables and charts of a page are made of."""
    return json.loads(re.findall(r"const DATA = (.*);</script>", page.read_text())[0])


def test_distances_are_those_of_the_methods(cli, tmp_path) -> None:
    page = tmp_path / "a.html"
    assert cli("report", page_for(tmp_path / "run.json"), "-o", page).code == 0
    names, bits, methods, least, most, modelled = data_of(page)["tables"]["distances"]
    assert methods["words"] == ["gptq (quantization)"]
    assert [column["values"][0] for column in (bits, least, most)] == [2, 0.79, 1.76]  # 6 against 5 and 4
    assert (names["words"][names["values"][-1]], len(least["values"])) == ("block.5", 18)
    assert modelled["values"] == [None] * 18


def test_what_the_volume_model_predicts_is_beside_what_is_proven(cli, tmp_path) -> None:
    layer, page = random_layer("regular", 3, rows=40), tmp_path / "a.html"
    found = pvq.compare(layer, [2, 4], methods="gptq", time_limit=None)
    found.save(tmp_path / "c.json")
    assert cli("report", tmp_path / "c.json", "-o", page).code == 0
    tables = data_of(page)["tables"]
    quant = [pair["quant"] for pair in found.document["layers"][0]["pairs"]]
    for row, side in enumerate(quant):
        predicted = 10 * np.log10(side["reference"] / side["model"]["optimum"])
        assert tables["pairs"][12]["values"][row] == pytest.approx(predicted, abs=0.006)
        above = 10 * np.log10(side["empirical"]["gptq"] / side["model"]["optimum"])
        assert tables["distances"][5]["values"][row] == pytest.approx(above, abs=0.006)


def many_layers(path: Path) -> Path:
    """300 layers at seven widths with eleven methods, under long names."""
    rng = np.random.default_rng(0)
    methods = {
        "quant": ("rtn", "gptq", "gptq-act-order", "awq", "adaround", "smoothquant"),
        "prune": ("magnitude", "magnitude-updated", "wanda", "sparsegpt", "admm"),
    }
    layers = []
    for i in range(300):
        pairs = []
        for bits in range(2, 9):
            ends = np.sort(rng.uniform(0.1, 1.0, (2, 2)), axis=1) * 4.0**-bits
            one = pair(bits, *ends.tolist())
            one["words"] = f"At {bits} bits either may be better: what is known of the errors leaves it open."
            for side, names in methods.items():
                one[side]["empirical"] = {n: one[side]["upper"] * rng.uniform(1.0, 2.0) for n in names}
            pairs.append(one)
        layers.append(layer(f"model.layers.{i // 7}.self_attn.q_proj.{i}", pairs))
    path.write_text(json.dumps(record(layers)))
    return path


def test_three_hundred_layers_fit_into_ten_megabytes(cli, tmp_path) -> None:
    source, page = many_layers(tmp_path / "run.json"), tmp_path / "a.html"
    assert cli("report", source, "-o", page).code == 0
    assert page.stat().st_size < 7e6
    assert len(data_of(page)["tables"]["distances"][0]["values"]) == 300 * 7 * 11


def test_proofs_are_linked_from_where_the_page_is(cli, tmp_path) -> None:
    save_layer(tmp_path / "a.npz", random_layer("regular", 1, rows=4))
    run = pvq.Ledger.create(tmp_path / "my run", tmp_path / "a.npz", bits=[3])
    run.go(solver="bnb", time_limit=None, full=True, certificates=True)
    found = run.proofs()
    assert {(proof["layer"], proof["bits"]) for proof in found} == {("regular1", 3)}
    assert {proof["side"] for proof in found} == {"quant", "prune"}
    page = tmp_path / "pages" / "a.html"
    page.parent.mkdir()
    assert cli("report", run.folder, "-o", page).code == 0
    links = data_of(page)["tables"]["proofs"][-1]["links"]
    assert links == [f"../my%20run/{proof['file']}" for proof in found]
    for link in links:
        assert cli("verify", page.parent / unquote(link), tmp_path / "a.npz").code == 0
    with served(run.folder) as get:
        assert '"links":' + json.dumps([proof["file"] for proof in found], separators=(",", ":")) in get("/")[1]
        assert get(f"/{found[0]['file']}")[0] == 200
        assert get("/certificates/9/none.npz")[0] == 404
        assert get("/ledger.sqlite")[0] == 404
        assert get("/certificates/1/../../ledger.sqlite")[0] == 404


def test_a_run_is_reported_with_its_rows(cli, tmp_path) -> None:
    save_layer(tmp_path / "a.npz", random_layer("regular", 1, rows=4))
    run = pvq.Ledger.create(tmp_path / "run", tmp_path / "a.npz", bits=[3])
    run.go(solver="bnb", time_limit=None, full=True)
    assert sum(entry["rows"] for entry in run.distribution()) == 8
    assert {entry["width"] for entry in run.distribution()} == {"solved"}
    assert cli("run", "report", run.folder, "-o", tmp_path / "a.html").code == 0
    page = (tmp_path / "a.html").read_text()
    assert "8 of 8 rows have a result, 8 are solved" in page
    assert "estimates the optimum of 1 of 1 quantized layers: no bounds" in page
    alone = pvq.Ledger.create(tmp_path / "alone", tmp_path / "a.npz", "quant", bits=[3])  # nothing is known yet
    assert cli("report", alone.folder, "-o", tmp_path / "b.html").code == 0


def test_bad_input_is_one_line(cli, tmp_path, monkeypatch) -> None:
    def refused(*words, says):
        ended = cli("report", *words)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert says in ended.err

    source, page = page_for(tmp_path / "run.json"), tmp_path / "a.html"
    refused(source, says="either -o FILE.html or --live")
    refused(source, "-o", tmp_path / "a.pdf", says=".html")
    refused(tmp_path, "-o", page, says="no run")
    refused(tmp_path / "none.json", "-o", page, says="cannot be read")
    broken = tmp_path / "broken.json"
    broken.write_text(source.read_text().replace('"lower": 4.0', '"lower": 6.0'))
    refused(broken, "-o", page, says="lower 6 above upper 5")
    monkeypatch.setattr("pvq.bounds.app.report.page.find_spec", lambda name: None)
    refused(source, "-o", page, says="pip install 'pvq-bound[report]'")
    assert not page.exists()


@contextmanager
def served(source: Path):
    """What gets an address of a live page: status and text."""
    from pvq.bounds.app.report.live import HOST, handler_of

    server = ThreadingHTTPServer((HOST, 0), handler_of(source))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def get(path, host=None):
        asked = http.client.HTTPConnection(HOST, server.server_port)
        asked.request("GET", path, headers={} if host is None else {"Host": host})
        answer = asked.getresponse()
        text = answer.read().decode(errors="replace")
        asked.close()
        return answer.status, text

    try:
        yield get
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_live_page_answers_this_machine_only(tmp_path) -> None:
    source = page_for(tmp_path / "run.json")
    with served(source) as get:
        code, text = get("/")
        assert (code, 'http-equiv="refresh"' in text, '<script src="/plotly.js"' in text) == (200, True, True)
        assert len(text) < 1e6
        assert get("/plotly.js")[0] == 200
        assert get("/", "evil.example")[0] == 403
        assert get("/etc/passwd")[0] == 404
        source.unlink()
        assert get("/")[0] == 503


def chromium() -> str | None:
    """A browser of the system, or of playwright."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    return os.environ.get("PVQ_CHROMIUM") or next(filter(None, found), None)


@contextmanager
def opened(page: Path, width: int):
    """A page in a browser that has no network, and what it said."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as play:
        own = Path(play.chromium.executable_path)
        browser = chromium() or (str(own) if own.exists() else None)
        if browser is None:
            pytest.skip("no Chromium; `make browser-test` gets one")
        launched = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        context = launched.new_context(viewport={"width": width, "height": 800}, offline=True)
        context.set_default_timeout(120_000)  # ms; a busy machine draws slowly
        shown, said = context.new_page(), []
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("request", lambda asked: said.extend([asked.url] if asked.url.startswith("http") else []))
        shown.goto(page.as_uri())
        shown.wait_for_selector("#map td")
        yield shown, said
        launched.close()


@pytest.mark.browser
def test_in_a_browser(cli, tmp_path) -> None:
    page = tmp_path / "a.html"
    assert cli("report", page_for(tmp_path / "run.json"), "-o", page).code == 0
    with opened(page, 1280) as (shown, said):
        assert shown.title() == "run.json"  # the hostile name did nothing
        for width in (390, 1280):  # a phone, a desk
            shown.set_viewport_size({"width": width, "height": 800})
            shown.wait_for_function(f"document.documentElement.scrollWidth <= {width}")  # charts follow
        cells = shown.locator("#map td").all_text_contents()
        assert cells[:4] == ["P 3.0 ~4.0", "? 1.0 ~Q3.0", "Q 3.0 ~4.0", "-"]
        for chart in ("curves", "gaps"):  # drawn when one gets there
            shown.locator(f"#{chart}").scroll_into_view_if_needed()
            shown.wait_for_selector(f"#{chart} .main-svg")

        def asked(table, column):
            return f"[data-table='{table}'][data-column='{column}']"

        def visible(table="pairs"):
            return shown.locator(f"#{table} tbody tr:visible").count()

        assert (visible(), visible("distances"), visible("map")) == (24, 18, 6)
        shown.fill(asked("pairs", 0), "BLOCK.4")
        assert visible() == 4
        shown.select_option(asked("pairs", 3), "open")
        assert visible() == 1
        assert shown.text_content("[data-count='pairs']") == "1 of 24"
        shown.fill(asked("pairs", 0), "")
        shown.select_option(asked("pairs", 3), "")
        shown.select_option(asked("pairs", 1), "2")
        assert visible() == 6
        shown.select_option(asked("pairs", 1), "")
        shown.fill("#find", "block.3")
        assert visible("map") == 1
        shown.fill("#find", "")
        margin = shown.locator("#pairs thead th").nth(4)
        margin.click()
        first = shown.locator("#pairs tbody tr").first
        assert first.locator("td").nth(4).text_content() == "-"
        margin.click()
        assert first.locator("td").nth(4).text_content() == "3.01"
        shown.locator("#map tbody tr").nth(4).locator("td").nth(2).click()
        assert shown.input_value("#layer") == "block.4"
        told = shown.text_content("#said")
        assert told.startswith(
            "block.4, 4 bits against 75.0 % sparsity: quantization proven better, margin 3.01 dB"
        )
        assert "quantization ahead by 3.98 dB" in told
        drawn = "document.querySelector('#curves').data.map(trace => trace.name)"
        assert "quantization: gptq" in shown.evaluate(drawn)
        assert said == []


@pytest.mark.browser
def test_many_layers_in_a_browser(cli, tmp_path) -> None:
    """What opens is a part of the page: lines are made as they are looked at."""
    page = tmp_path / "a.html"
    assert cli("report", many_layers(tmp_path / "run.json"), "-o", page).code == 0
    with opened(page, 1280) as (shown, said):
        assert shown.locator("#map tbody tr").count() == 300
        assert shown.locator("#distances tbody tr").count() == 200
        assert shown.evaluate("document.querySelectorAll('*').length") < 15_000
        assert shown.text_content("[data-more='distances']") == "22900 more"
        shown.click("[data-more='distances']")
        assert shown.locator("#distances tbody tr").count() == 1200
        shown.fill("[data-table='distances'][data-column='0']", "q_proj.299")
        shown.select_option("[data-table='distances'][data-column='2']", "gptq (quantization)")
        assert shown.locator("#distances tbody tr").count() == 7
        assert not shown.locator("[data-more='distances']").is_visible()
        shown.locator("#distances thead th").nth(3).click()
        lines = [line.split() for line in shown.locator("#distances tbody tr td:nth-child(4)").all_text_contents()]
        assert lines == sorted(lines, key=lambda line: float(line[0]))
        assert said == []
