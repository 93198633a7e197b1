"""Pairs from drawn rows: what is called proven holds for the whole layer, what is likely is a word of its own."""

import json

import numpy as np
import pytest
from pvq.layers.format import Layer, save_layer
from pvq.solvers.base import Options
from pvq.solvers.compare.layer import compare_layer
from pvq.solvers.compare.schema import Unfit, read_record
from pvq.solvers.compare.verdict import OPEN, QUANT, SAMPLED

from compare_cases import comparison


def layer_of(rows: int, seed: int = 0, n: int = 8) -> Layer:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((5 * n, n)) @ (np.eye(n) + 0.3 * rng.standard_normal((n, n)))
    weight = rng.standard_normal((rows, n)) * rng.lognormal(0, 0.3, (rows, 1))
    return Layer(f"wide{rows}", weight, x.T @ x / len(x))


def pairs(layer: Layer, bits: range = range(2, 6), **changes):
    return list(compare_layer(layer, comparison(bits, **changes)))


@pytest.fixture(scope="module")
def layer():
    return layer_of(36)


@pytest.fixture(scope="module")
def whole(layer):
    return pairs(layer, full=True)


@pytest.fixture(scope="module")
def sampled(layer):
    return pairs(layer, sample_rows=12)


def test_its_ends_bound_the_whole_layer(whole, sampled) -> None:
    for exact, some in zip(whole, sampled, strict=True):
        for side in ("quant", "prune"):
            assert some[side]["lower"] <= exact[side]["upper"] * (1 + 1e-9)
            assert some[side]["upper"] >= exact[side]["lower"] * (1 - 1e-9)
            assert some[side]["reference"] == pytest.approx(exact[side]["reference"])
            assert some[side]["rows_bounded"] <= 12
            assert some[side]["empirical"] == {}


def test_a_likely_verdict_is_a_word_of_its_own_and_agrees_with_the_proven_one(whole, sampled) -> None:
    assert SAMPLED in [pair["verdict"] for pair in sampled]
    for exact, some in zip(whole, sampled, strict=True):
        assert some["verdict"] in (SAMPLED, OPEN, exact["verdict"])  # a third of the rows may prove it all
        found = some["sampled"]
        assert (found["rows"], found["of"], found["seed"]) == (12, 36, 0)
        if some["verdict"] == SAMPLED:
            assert found["better"] == ("quant" if exact["verdict"] == QUANT else "prune")
            assert found["margin_db"]["low"] > 0
            assert "no proof" in some["words"]
            assert "proven" not in some["words"]
    json.dumps(sampled, allow_nan=False)


def test_estimates_hold_what_all_rows_have_but_for_a_few(layer, whole) -> None:
    missed = 0
    for seed in range(3):
        options = Options(time_limit=None, seed=seed)
        some = pairs(layer, range(3, 5), sample_rows=24, full=True, options=options)
        for exact, pair in zip(whole[1:3], some, strict=True):
            for side in ("quant", "prune"):
                found, known = pair["sampled"][side], exact[side]
                missed += found["lower"]["low"] > known["upper"] * (1 + 1e-9)
                missed += found["upper"]["high"] < known["lower"] * (1 - 1e-9)
                assert found["sqnr_min_db"] <= found["sqnr_max_db"]
    assert missed <= 3  # of 24, each at 2.5 % and some together


def test_likely_verdicts_are_wrong_no_more_often_than_they_say() -> None:
    """Both sides of one pair are made equal on average, so that every likely verdict is a false one."""
    from pvq.bounds.sampling import ratio

    rng = np.random.default_rng(0)
    x = rng.lognormal(0, 0.4, 60)
    y = x * rng.gamma(16, 1 / 16, 60)
    other = rng.permutation(y / x) * x
    other *= y.sum() / other.sum()
    wrong = 0
    for _ in range(2000):
        rows = rng.choice(60, 12, replace=False)
        first, second = (ratio(of[rows], x[rows], 60).times(x.sum()) for of in (y, other))
        wrong += first.over(second).in_db().estimate().low > 0
        wrong += second.over(first).in_db().estimate().low > 0
    assert wrong <= 2000 * 0.08  # 5 % and what twelve rows do not know of the tails


def test_one_row_gives_no_verdict(layer) -> None:
    for pair in pairs(layer, range(3, 5), sample_rows=1):
        assert pair["verdict"] == OPEN
        assert pair["sampled"]["better"] is None
        assert pair["sampled"]["quant"]["upper"]["low"] is None


def test_all_rows_are_no_sample() -> None:
    small = layer_of(5)
    (pair,) = pairs(small, range(4, 5), sample_rows=5)
    assert "sampled" not in pair
    assert pair["verdict"] == QUANT


def test_the_same_rows_whatever_else_is_asked(layer) -> None:
    first = pairs(layer, range(3, 4), sample_rows=6, options=Options(time_limit=None, seed=4))
    again = pairs(layer, range(2, 4), sample_rows=6, options=Options(time_limit=None, seed=4))[1:]
    other = pairs(layer, range(3, 4), sample_rows=6, options=Options(time_limit=None, seed=5))
    quant = [found[0]["sampled"]["quant"]["upper"]["estimate"] for found in (first, again, other)]
    assert quant[0] == quant[1] != quant[2]


@pytest.fixture
def run(cli, tmp_path):
    """`pvq compare` of a wide and a narrow layer."""
    folder = tmp_path / "net"
    folder.mkdir()
    for rows in (36, 5):
        save_layer(folder / f"wide{rows}.npz", layer_of(rows))
    out = tmp_path / "out.json"

    def call(*words):
        return cli("compare", folder, "--bits", "2", "--json", out, "--quiet", *words)

    return call, out


def test_a_person_is_told_that_it_is_sampled(run) -> None:
    call, out = run
    ended = call("--sample-rows", "12", "--compare", "rtn")
    assert ended.code == 0, ended.err
    assert "sampled: 12 of 36 rows, limits of 95 % confidence" in ended.out
    assert "sampled: quantization better by" in ended.out
    assert "quantization better in 1, pruning in 0; 1 sampled (likely, no proof); 0 open." in ended.out
    document = json.loads(out.read_text())
    assert document["settings"]["sample_rows"] == 12
    assert [line["sampled"] for line in document["summary"]] == [1]
    assert [line["decided_share"] for line in document["summary"]] == [0.5]
    wide = next(layer for layer in document["layers"] if layer["out"] == 36)
    assert list(wide["pairs"][0]["sampled"]["quant"]["empirical"]) == ["rtn"]


def test_it_goes_on_with_the_same_sample_alone(run) -> None:
    call, out = run
    assert call("--sample-rows", "12").code == 0
    before = out.read_text()
    assert call("--sample-rows", "12", "--resume").code == 0
    assert json.loads(out.read_text())["layers"] == json.loads(before)["layers"]
    ended = call("--resume")
    assert (ended.code, "made with sample_rows = 12, not None" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pair: pair["sampled"].update(better=None), "says 'sampled', but its intervals say 'open'"),
        (lambda pair: pair["sampled"]["margin_db"].update(low=-1.0), "but its margin does not"),
        (lambda pair: pair["sampled"]["margin_db"].update(low="1"), "'low' of 'margin_db'"),
        (lambda pair: pair["sampled"]["quant"].pop("upper"), "has no 'upper'"),
        (lambda pair: pair["sampled"]["quant"].update(empirical={"rtn": 3}), "is no JSON object"),
        (lambda pair: pair.pop("sampled"), "says 'sampled', but its intervals say 'open'"),
        (lambda pair: pair.update(verdict=QUANT), "but its intervals say 'open'"),
    ],
)
def test_a_record_that_claims_what_its_sample_does_not_is_refused(run, tmp_path, change, said) -> None:
    call, out = run
    assert call("--sample-rows", "12").code == 0
    document = json.loads(out.read_text())
    change(next(layer for layer in document["layers"] if layer["out"] == 36)["pairs"][0])
    out.write_text(json.dumps(document))
    with pytest.raises(Exception, match="cannot resume") as error:
        read_record(out)
    assert said in str(error.value)
    assert not isinstance(error.value, Unfit)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sample-rows", "0"), "--sample-rows must be at least 1"),
        (("--sample-rows", "3", "--scope", "layer"), "does not go with --scope layer"),
        (("--sample-rows", "3", "--table", "t.md"), "--table is of all rows"),
    ],
)
def test_what_cannot_be_sampled_is_said(run, words, said) -> None:
    ended = run[0](*words)
    assert ended.code == 2
    assert said in " ".join(ended.err.split())
