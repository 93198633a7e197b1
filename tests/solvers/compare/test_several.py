"""Several granularities and patterns in one comparison: each pair as alone, and each side bounded once."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pvq
import pytest
from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.proof import Below, Split
from pvq.layers.format import save_layer
from pvq.solvers.base import Options
from pvq.solvers.bnb import BranchAndBound
from pvq.solvers.compare.bounds import raise_lower
from pvq.solvers.compare.column import Column, column_of, columns_of
from pvq.solvers.compare.layer import Sides, compare_layer
from pvq.solvers.compare.schema import check_record
from pvq.solvers.compare.side import Side, merge
from pvq.solvers.compare.verdict import OPEN
from pvq.solvers.empirical.layerwise import layer_point
from pvq.solvers.registry import get_solver
from pvq.solvers.result import BoundKind, Outcome

from compare_cases import KINDS, comparison, random_layer

GRAINS, RIVALS = ["channel", "group:4"], ["2:4", "0.75"]
COLUMNS = [Column(bits, grain, rival) for bits in (2, 3) for grain in GRAINS for rival in RIVALS]


@pytest.mark.parametrize("kind", KINDS)
def test_each_pair_has_the_optima_that_it_has_alone(kind: str) -> None:
    layer = random_layer(kind, 5)
    found = pvq.compare(layer, [2, 3], granularity=GRAINS, against=RIVALS, full=True, time_limit=None)
    pairs = found.document["layers"][0]["pairs"]
    assert [column_of(pair) for pair in pairs] == COLUMNS == columns_of(found.document)
    for pair, column in zip(pairs, COLUMNS, strict=True):
        words = {"granularity": column.granularity, "against": column.against}
        alone = pvq.compare(layer, [column.bits], full=True, time_limit=None, **words)
        (other,) = alone.document["layers"][0]["pairs"]
        for side in ("quant", "prune"):
            # rounding of two evaluations of the same least error
            assert pair[side]["upper"] == pytest.approx(other[side]["upper"], rel=1e-9, abs=1e-15)
            assert pair[side]["lower"] <= other[side]["upper"] * (1 + 1e-9) + 1e-15
        assert found.verdicts[layer.name][column.words] == pair["verdict"]
        assert f"against {column.against}" in pair["words"] or column.against == "0.75"
    assert [line["decided_share"] is not None for line in found.document["summary"]] == [True] * 8


class Counting(BranchAndBound):
    """Counts the rows it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def _solve(self, problem, options, start):
        self.rows += 1
        return super()._solve(problem, options, start)


def test_a_side_of_two_pairs_is_bounded_once() -> None:
    layer = random_layer("regular", 1, rows=4)
    patterns = {"2:4": Setting("prune", nm=(2, 4)), "0.75": Setting("prune", sparsity=0.75)}
    counted = []
    for several in ({"granularities": GRAINS, "patterns": patterns}, {}):
        engine = Counting()
        what = comparison(range(3, 4), engines=[engine], full=True, **several)
        if several:
            assert len(list(compare_layer(layer, what))) == 4
        else:
            for grain in GRAINS:
                for prune in patterns.values():
                    quant = Setting("quant", granularity=grain)
                    (pair,) = compare_layer(layer, replace(what, quant=quant, prune=prune, against="yes"))
                    assert pair["full"]
        counted.append(engine.rows)
    assert counted == [4 * layer.out, 8 * layer.out]


class Late(BranchAndBound):
    """Finds nothing before it is woken."""

    awake = False

    def _solve(self, problem, options, start):
        return super()._solve(problem, options, start) if self.awake else Outcome(start, 0.0)


def test_a_pair_has_what_later_ones_prove_of_its_sides() -> None:
    layer, engine = random_layer("regular", 1, rows=4), Late()
    patterns = {"2:4": Setting("prune", nm=(2, 4)), "0.75": Setting("prune", sparsity=0.75)}
    told = compare_layer(layer, comparison(range(3, 4), engines=[engine], full=True, patterns=patterns))
    first = next(told)
    assert first["verdict"] == OPEN
    assert first["quant"]["lower"] == 0
    engine.awake = True
    second, again = list(told)
    assert [column_of(pair).against for pair in (first, second, again)] == ["2:4", "0.75", "2:4"]
    for end in ("lower", "upper", "bound_kind", "sqnr_max_db"):
        assert again["quant"][end] == second["quant"][end]
    assert again["prune"] == first["prune"]
    assert again["quant"]["lower"] > 0
    alone = pvq.compare(layer, [3], against="2:4", full=True, time_limit=None).document["layers"][0]["pairs"][0]
    best = alone["quant"]["upper"], alone["prune"]["upper"]
    assert again["verdict"] in (alone["verdict"], OPEN)
    assert again["quant"]["lower"] <= best[0] * (1 + 1e-9)
    assert f"[{again['quant']['lower']:.4g}" in again["words"] or again["verdict"] != OPEN


def test_the_pattern_that_all_bits_have_is_bounded_once() -> None:
    layer, engine = random_layer("regular", 1, rows=4), Counting()
    what = comparison(range(2, 4), engines=[engine], full=True, against="0.75")
    pairs = list(compare_layer(layer, replace(what, prune=Setting("prune", sparsity=0.75))))
    assert [pair["bits"] for pair in pairs] == [2, 3]
    assert engine.rows == 3 * layer.out


def test_a_side_is_kept_as_long_as_a_pair_has_it() -> None:
    layer = random_layer("regular", 1)
    what = comparison(range(3, 5), against="0.75", granularities=GRAINS)
    sides = Sides(layer, what)
    first, *later = (what.pair(layer, column) for column in what.columns)
    prune, quant = sides.of(first.prune), sides.of(first.quant)
    sides.leave(later)
    assert sides.of(first.prune) is prune
    assert sides.of(first.quant) is not quant


class Together(BranchAndBound):
    """Bounds rows together, with proofs that nobody accepts, as those that are left out for lack of time."""

    asked = 0

    def together(self, problem):
        return 64

    def _solve_rows(self, problems, options, starts):
        Together.asked += len(problems)
        proof = Split(Below(np.full(problems[0].n, 1e9)), np.zeros(problems[0].n))
        return [Outcome(x, 1e-9, proof=proof) for x in starts]


def test_a_row_without_its_proof_is_bounded_again() -> None:
    layer = random_layer("regular", 1, rows=5)
    side = Side(state_problem(layer.weight, layer.grams, Setting("quant", 3)))
    side.offer(layer_point(get_solver("rtn"), side.problem))
    for times in (1, 2):
        raise_lower(side, Together(), Options(time_limit=None), None, lambda: False)
        assert Together.asked == 5 * times
        assert set(side.kind) == {BoundKind.NUMERICAL}


def test_ends_of_two_runs_that_cross_by_rounding_meet() -> None:
    side = {"sqnr_min_db": 1.0, "sqnr_max_db": 1.0, "bound_kind": "numerical", "rows_bounded": 1, "empirical": {}}
    old = {**side, "lower": 1.0 + 1e-12, "upper": 2.0, "rows_optimal": 1}
    merged = merge(old, {**old, "lower": 0.5, "upper": 1.0})
    assert merged["lower"] == merged["upper"] == 1.0


def test_each_choice_is_a_line_of_its_own() -> None:
    found = pvq.compare(random_layer("regular", 5), [2, 3], granularity=GRAINS, against=RIVALS, time_limit=None)
    axes = found.plot()
    lines = {line.get_label(): list(line.get_xdata()) for line in axes.get_lines()}
    names = [*(f"quantization {grain}" for grain in GRAINS), *(f"pruning {rival}" for rival in RIVALS)]
    assert lines == {f"{name}, reached": [2, 3] for name in names}


@pytest.mark.parametrize("given", [[["channel"]], [1], {"a": 1}, ["channel"] * 65])
def test_a_record_with_choices_that_are_none_is_one_line(given) -> None:
    record = pvq.compare(random_layer("regular", 5), [2], time_limit=None).document
    for name in ("granularity", "against"):
        wrong = {**record, "settings": {**record["settings"], name: given}}
        with pytest.raises(ProblemError, match=f"'{name}' of its settings is") as error:
            check_record(wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(ProblemError, match="it has 65 widths"):
        check_record({**record, "bits": list(range(65))})


def test_a_record_goes_on_with_the_same_ones_only(cli, tmp_path) -> None:
    path, record, page = tmp_path / "l.npz", tmp_path / "c.json", tmp_path / "r.html"
    save_layer(path, random_layer("regular", 2))
    words = ["compare", path, "--bits", "2:3", "--json", record, "--quiet", "--granularity", ",".join(GRAINS)]
    both = cli(*words, "--against", ",".join(RIVALS))
    assert both.code == 0, both.err
    assert "3 bits group:4, 0.75" in both.out
    document = json.loads(record.read_text())
    assert document["settings"]["granularity"] == GRAINS
    assert document["settings"]["against"] == RIVALS
    check_record(document)
    again = cli(*words, "--against", ",".join(RIVALS), "--resume")
    assert again.code == 0, again.err
    assert json.loads(record.read_text())["layers"] == document["layers"]
    other = cli(*words, "--against", "2:4", "--resume")
    assert other.code == 2
    assert "against = ['2:4', '0.75'], not 2:4" in other.err
    wrong = document | {"layers": [{**document["layers"][0], "pairs": 2 * document["layers"][0]["pairs"][:1]}]}
    with pytest.raises(ProblemError, match="has 2 bits channel, 2:4 twice"):
        check_record(wrong)
    assert cli("report", record, "-o", page).code == 0
    assert "<option>3 bits channel, 0.75</option>" in page.read_text()
    refused = cli("allocate", record, "--bits", "3")
    assert refused.code == 2
    assert "allocate from one of each" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--granularity", "channel,channel"), "one or several different ones"),
        (("--against", "0.5,.5"), "one or several different ones"),
        (("--granularity", "channel,rows"), "rows"),
        (("--against", "2:4,0.5", "--table", "t.md"), "--table is of one"),
        (("--against", "2:4,0.5", "--save-solutions", "s"), "weights are kept of one"),
        (("--granularity", "channel,tensor", "--ledger", "run"), "make a run of each"),
    ],
)
def test_what_cannot_be_is_one_line(cli, tmp_path, monkeypatch, words, said) -> None:
    monkeypatch.chdir(tmp_path)
    save_layer(tmp_path / "l.npz", random_layer("regular", 2))
    ended = cli("compare", "l.npz", "--bits", "3", *words)
    assert ended.code == 2
    assert said in ended.err.replace("\n", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.npz"]
