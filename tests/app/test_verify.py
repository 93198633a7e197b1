"""`pvq-bound --certificate` and `pvq verify`: what is proven is proven again, and everything else is one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pvq.bounds.certificate import load_certificate, save_certificate
from pvq.layers.format import Layer, save_layer

RUNS = (
    ("--method", "quant", "--bits", 3),
    ("--method", "quant", "--grid", "nf4", "--granularity", "group:4"),
    ("--method", "joint", "--bits", 3, "--sparsity", 0.5),
    ("--method", "prune", "--sparsity", 0.75, "--no-update"),
    ("--method", "prune", "--nm", "2:4", "--no-update"),
    ("--method", "prune", "--sparsity", 0.5, "--block", 2, "--no-update"),
    ("--method", "prune", "--sparsity", 0.0),
)


@pytest.fixture
def layer(tmp_path):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((50, 12))
    a[:, 5] = 0
    return save_layer(tmp_path / "layer.npz", Layer("small", rng.standard_normal((4, 12)), a.T @ a / 50))


def write(cli, layer, *words):
    file = layer.with_name("proof.npz")
    ended = cli("bound", layer, *words, "--certificate", file, "--json", layer.with_name("r.json"), "--quiet")
    assert ended.code == 0, ended.err
    return file, json.loads(layer.with_name("r.json").read_text())


@pytest.mark.parametrize("words", RUNS, ids=lambda words: " ".join(map(str, words)))
def test_exact_results_are_verified(cli, layer, words):
    file, document = write(cli, layer, *words)
    assert document["total"]["bound_kind"] == "rigorous"
    ended = cli("verify", file, layer)
    assert ended.code == 0, ended.err
    assert "verified: layer 'small', rows 0:4, inputs 0:12" in ended.out
    proven = 0 if words[-1] == 0.0 else 4  # a lower end of 0 needs none
    assert f"{proven} of 4 rows have a proof" in ended.out
    certificate = load_certificate(file)
    assert certificate.lower == pytest.approx(document["total"]["lower"], rel=1e-12)
    assert certificate.upper == pytest.approx(document["total"]["upper"], rel=1e-12)


def test_a_part_of_the_layer(cli, layer):
    file, _ = write(cli, layer, "--method", "quant", "--bits", 2, "--rows", "1:3", "--inputs", "2:9")
    ended = cli("verify", file, layer)
    assert ended.code == 0
    assert "rows 1:3, inputs 2:9" in ended.out


def test_a_file_of_levels_travels_with_the_certificate(cli, layer):
    levels = layer.with_name("levels.txt")
    levels.write_text("-1\n-0.3\n0.4\n1\n")
    file, _ = write(cli, layer, "--method", "quant", "--grid", levels)
    levels.unlink()
    assert cli("verify", file, layer).code == 0


def test_rows_without_a_proof_claim_nothing(cli, layer):
    file, document = write(cli, layer, "--method", "quant", "--bits", 2, "--solver", "gptq")
    assert document["total"]["bound_kind"] == "none"
    ended = cli("verify", file, layer)
    assert ended.code == 0
    assert "0 of 4 rows have a proof of their lower end; the others count as 0" in ended.out
    assert "  0 <= smallest error <=" in ended.out


def test_claims_that_fail(cli, layer):
    """Exit code 1 and one line on stderr, never the word that would reassure."""
    file, _ = write(cli, layer, "--method", "quant", "--bits", 2)
    certificate = load_certificate(file)
    other = layer.with_name("other.npz")
    rng = np.random.default_rng(1)
    save_layer(other, Layer("small", rng.standard_normal((4, 12)), np.eye(12)))
    for certified, against in ((certificate, other), (raised(certificate), layer)):
        save_certificate(file, certified)
        ended = cli("verify", file, against)
        assert ended.code == 1
        assert ended.err.startswith("pvq: not verified: ")
        assert ended.err.count("\n") == 1
        assert "verified:" not in ended.out


def raised(certificate):
    first = certificate.rows[0]
    claim = first.lower[0]
    row = replace(first, lower=(replace(claim, lower=claim.lower * (1 + 1e-9)),))
    return replace(certificate, rows=(row, *certificate.rows[1:]))


def test_files_that_cannot_be_read(cli, layer, tmp_path):
    file, _ = write(cli, layer, "--method", "quant", "--bits", 2)
    good = file.read_bytes()
    broken = tmp_path / "broken.npz"
    broken.write_bytes(good[: len(good) // 2])
    for certificate, layer_file in ((broken, layer), (layer, layer), (file, broken), (tmp_path / "none", layer)):
        ended = cli("verify", certificate, layer_file)
        assert ended.code == 2
        assert ended.err.count("\n") == 1
        assert ended.out == ""


def test_the_certificate_must_be_an_npz_file(cli, layer):
    ended = cli("bound", layer, "--method", "quant", "--bits", 2, "--certificate", layer.with_name("proof.txt"))
    assert ended.code == 2
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("words", [("--no-update",), ("--block", "2"), ()])
def test_rows_that_share_a_budget(cli, layer, words):
    file, document = write(cli, layer, "--method", "prune", "--sparsity", 0.6, "--scope", "layer", *words)
    ended = cli("verify", file, layer)
    assert ended.code == 0, ended.err
    certificate = load_certificate(file)
    assert certificate.lower == pytest.approx(document["total"]["lower"], rel=1e-5)
    for k in (0, 1):  # without the bound at one of its budgets a row proves less
        rows = list(certificate.rows)
        rows[0] = replace(rows[0], lower=rows[0].lower[:k])
        save_certificate(file, replace(certificate, rows=tuple(rows)))
        assert cli("verify", file, layer).code == 1
    bigger = replace(certificate, setting=replace(certificate.setting, sparsity=0.7))
    save_certificate(file, bigger)
    ended = cli("verify", file, layer)
    assert ended.code == 1
    assert "keep" in ended.err


def test_every_digit_that_decides_is_printed(cli, layer):
    """0.7500001 keeps one weight less than 0.75; it must not read the same."""
    file, _ = write(cli, layer, "--method", "prune", "--sparsity", "0.7500001")
    ended = cli("verify", file, layer)
    assert "at most 2 of the 12 weights of each row non-zero (sparsity 0.7500001)" in ended.out
    file, _ = write(cli, layer, "--method", "prune", "--sparsity", "0.75", "--ridge", "0.01")
    ended = cli("verify", file, layer)
    assert "at most 3 of the 12 weights of each row non-zero (sparsity 0.75)" in ended.out
    assert "+ 0.01 times its mean diagonal" in ended.out


@pytest.mark.parametrize("name", ["INT", "int ", "int levels or any others\x1b[8m"])
def test_a_grid_file_cannot_call_itself_something_else(cli, layer, name):
    levels = layer.with_name("levels.txt")
    levels.write_text("-1\n1\n")
    file, _ = write(cli, layer, "--method", "quant", "--grid", levels)
    certificate = load_certificate(file)
    save_certificate(file, replace(certificate, setting=replace(certificate.setting, grid=name, bits=4)))
    ended = cli("verify", file, layer)
    if ended.code == 0:
        assert "the 2 levels -1.0, 1.0 of a file" in ended.out
        assert name not in ended.out
        assert "4 bit" not in ended.out


def test_names_come_from_the_layer_and_cannot_write_a_report(cli, layer):
    file, _ = write(cli, layer, "--method", "quant", "--bits", 2)
    certificate = load_certificate(file)
    save_certificate(file, replace(certificate, name="other\n  99 <= smallest error <= 100\x1b[8m"))
    ended = cli("verify", file, layer)
    assert ended.code == 0
    assert "99" not in ended.out.splitlines()[1]
    assert ended.out.startswith("verified: layer 'small',")
    rng = np.random.default_rng(0)
    false = "small', rows 0:9\n  99 <= smallest error <= 100\x1b[8m\u202e"
    a = rng.standard_normal((50, 12))
    named = save_layer(layer.with_name("named.npz"), Layer(false, rng.standard_normal((4, 12)), a.T @ a / 50))
    file, _ = write(cli, named, "--method", "quant", "--bits", 2)
    ended = cli("verify", file, named)
    assert ended.code == 0
    first = ended.out.splitlines()[0]
    assert "\\n" in first
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out
    assert sum("smallest error <=" in line for line in ended.out.splitlines()[1:]) == 1


def test_the_printed_ends_are_rounded_outwards(cli, layer):
    from decimal import Decimal

    file, _ = write(cli, layer, "--method", "quant", "--bits", 3)
    out = layer.with_name("verified.json")
    ended = cli("verify", file, layer, "--json", out)
    document = json.loads(out.read_text())
    line = next(line for line in ended.out.splitlines() if "smallest error <=" in line)
    low, high = (Decimal(word) for word in line.split(" <= smallest error <= "))
    assert low <= Decimal(document["total"]["lower"]) <= Decimal(document["total"]["upper"]) <= high
    assert document["schema"] == "pvq.verify/1"
    assert document["problem"]["bits"] == 3
    assert len(document["problem"]["levels"]) == 8
    assert [row["row"] for row in document["rows"]] == [0, 1, 2, 3]
    assert document["layer"]["sha256"] in ended.out


def test_limits_of_the_verification(cli, layer):
    file, _ = write(cli, layer, "--method", "quant", "--bits", 3)
    ended = cli("verify", file, layer, "--time-limit", "1e-9")
    assert ended.code == 1
    assert "not established within 1e-09 s" in ended.err
    assert cli("verify", file, layer, "--nodes", "3").code == 1
    assert cli("verify", file, layer, "--nodes", "0").code == 2
    assert cli("verify", file, layer, "--json", layer).code == 2  # it would destroy the layer


def test_where_long_searches_are_repeated(cli, layer, monkeypatch):
    from pvq.bounds.verify.gpu import searcher
    from pvq.solvers.bnb.gpu import here

    for module in (here, searcher):
        monkeypatch.setattr(module, "missing", lambda: "numba-cuda is not installed")
    file, _ = write(cli, layer, "--method", "quant", "--bits", 3)
    assert cli("verify", file, layer, "--device", "auto").code == 0
    ended = cli("verify", file, layer, "--device", "gpu")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == "pvq: no GPU can be used: numba-cuda is not installed\n"
    assert cli("verify", file, layer, "--device", "tpu").code == 2
