"""`pvq theory`: the command; its mathematics is tested in tests/bounds/test_analytic.py."""

import json
import sys

import numpy as np
import pytest


def document(cli, *words):
    ended = cli("theory", *words, "--json", "-")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_the_table_shows_the_published_values(cli):
    ended = cli("theory", "--dist", "normal")
    assert ended.code == 0, ended.err
    (four,) = (line for line in ended.out.splitlines() if line.split()[:1] == ["4"])
    assert "19.26" in four
    assert "5.58" in four
    assert "75.00%" in four
    assert "never in 2..8 bits" in ended.out
    assert "may exceed it" in ended.out  # the limit is labelled as no bound


def test_json_holds_all_of_it(cli, tmp_path):
    file = tmp_path / "theory.json"
    assert cli("theory", "--dist", "truncated-student-t:2,100", "--bits", "6:7", "--json", file).code == 0
    found = json.loads(file.read_text())
    assert found["schema"] == "pvq.theory/1"
    assert [row["bits"] for row in found["rows"]] == [6, 7]
    (crossing,) = found["crossings"]
    assert 6 < crossing["bits"] < 7
    assert crossing["better_at_fewer_bits"] == "prune"
    assert crossing["compression"] == pytest.approx(16 / crossing["bits"])
    assert "pruning overtakes at compression" in found["verdict"]
    # infinite kurtosis is null, not NaN
    assert document(cli, "--dist", "student-t:3", "--bits", "2")["distribution"]["kurtosis"] is None


@pytest.mark.parametrize("grid", ["int-sym", "int-asym", "ternary", "fp4-e2m1", "fp8-e4m3", "nf4"])
def test_every_grid_of_the_product(cli, grid):
    found = document(cli, "--dist", "laplace", "--grid", grid)
    assert found["grid"] == grid
    assert all(row["quant"]["sqnr_db"] > 0 for row in found["rows"])
    assert len(found["rows"]) == (7 if grid.startswith("int") else 1)


def test_samples_and_levels_from_files(cli, tmp_path):
    samples, levels = tmp_path / "samples.npy", tmp_path / "levels.txt"
    np.save(samples, np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32))
    levels.write_text("-1\n0\n1\n")
    found = document(cli, "--dist", samples, "--grid", levels)
    assert [row["bits"] for row in found["rows"]] == [2]
    assert found["rows"][0]["quant"]["sqnr_db"] == pytest.approx(7.2, abs=0.3)  # the normal's ternary optimum


def test_a_layer_beside_its_average_case_limit(cli, expand40):
    found = document(cli, "--layer", expand40, "--bits", "2:4")
    assert found["distribution"]["name"].startswith("weights of ")
    assert "not a bound" in found["layer"]["limit"]
    for row in found["layer"]["rows"]:
        assert row["magnitude_sqnr_db"] < row["rounding_sqnr_db"] < row["water_filling_db"]
    assert "average-case limit" in cli("theory", "--layer", expand40, "--bits", "4").out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--dist", "norml"), "did you mean 'normal'"),
        (("--dist", "student-t:0"), "above 2, not 0"),
        (("--dist", "student-t:2"), "infinite variance"),
        (("--dist", "truncated-student-t:-1,3"), "above 0, not -1"),
        ((), "say which weights"),
        (("--dist", "normal", "--bits", "8:2"), "--bits must be A:B"),
        (("--dist", "normal", "--bits", "x"), "--bits must be A:B"),
        (("--dist", "normal", "--bits", "2:16"), "below 16"),
        (("--dist", "normal", "--grid", "nf4", "--bits", "2:3"), "nf4 has 4 bits"),
        (("--dist", "normal", "--grid", "itn"), "did you mean 'int'"),
        (("--dist", "normal", "--figure", "x.jpeg"), ".png or .svg"),
        (("--dist", "normal", "--figure-kurtosis", "x.png"), "needs --dist student-t"),
        (("--dist", "normal", "--json", "no/such/folder/x.json"), "no folder"),
        (("--layer", "no.npz"), "no.npz"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(cli, words, says):
    if any("figure" in word for word in words):
        pytest.importorskip("matplotlib")
    ended = cli("theory", *words)
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert says in ended.err


def test_samples_that_are_not_finite_are_said(cli, tmp_path):
    file = tmp_path / "samples.npy"
    np.save(file, np.array([1.0, np.nan, np.inf]))
    ended = cli("theory", "--dist", file)
    assert ended.code == 2
    assert "2 NaN or infinite samples" in ended.err


def test_figures(cli, tmp_path, expand40, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("pvq.bounds.app.theory.figure.RANGES", 4)
    heavy = ("--dist", "truncated-student-t:2,100", "--bits", "2:3")
    png, svg, kurtosis = tmp_path / "a.png", tmp_path / "b.svg", tmp_path / "k.png"
    assert cli("theory", *heavy, "--figure", png, "--figure-kurtosis", kurtosis).code == 0
    assert cli("theory", "--layer", expand40, "--bits", "2:3", "--figure", svg).code == 0
    for path in (png, kurtosis):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()[:1000]
    again = tmp_path / "again.svg"
    cli("theory", "--layer", expand40, "--bits", "2:3", "--figure", again)
    assert again.read_bytes() == svg.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "again.svg", "b.svg", "k.png"]


def test_without_matplotlib_one_line_says_what_to_install(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = cli("theory", "--dist", "normal", "--figure", tmp_path / "x.png")
    assert ended.code == 2
    assert "pip install 'pvq-bound[plot]'" in ended.err
    assert not list(tmp_path.iterdir())
