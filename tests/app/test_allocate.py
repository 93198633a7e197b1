"""`pvq allocate`: against every allocation of made records, what is said, bad input in one line."""

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pvq
import pytest
from allocation_cases import layer, pair, random_record, record, skipped


def every_allocation(document, budget, weight):
    """Least sums of upper and of lower ends over all allocations of a record that fit."""
    rows = []
    for each in document["layers"]:
        size = each["out"] * each["in"]
        pairs = [p for p in each["pairs"] if "quant" in p]
        options = [
            (p[s]["lower"], p[s]["upper"], p[s]["storage_bits"] * size) for p in pairs for s in ("quant", "prune")
        ]
        rows.append([(weight[each["name"]], *option) for option in [*options, (0.0, 0.0, 16 * size)]])
    ends = {"lower": None, "upper": None}
    for taken in itertools.product(*rows):
        if sum(option[3] for option in taken) > budget + 1e-6:  # costs are whole: 1e-6 is rounding
            continue
        for end, place in (("lower", 1), ("upper", 2)):
            total = sum(Fraction(option[0]) * Fraction(option[place]) for option in taken)
            ends[end] = total if ends[end] is None else min(ends[end], total)
    return ends


@pytest.mark.parametrize("seed", range(120))
def test_both_ends_are_those_of_all_allocations(seed):
    document = random_record(seed)
    rng = np.random.default_rng(seed)
    size = sum(each["out"] * each["in"] for each in document["layers"])
    weight = {each["name"]: float(rng.random()) for each in document["layers"]}
    budget = int(size * rng.uniform(1, 14)) // 8
    ends = every_allocation(document, 8 * budget, weight)
    if all(len(each["pairs"]) == 1 and "quant" not in each["pairs"][0] for each in document["layers"]):
        pytest.skip("nothing to choose")
    if ends["upper"] is None:
        with pytest.raises(pvq.ProblemError, match="the least that the recorded options allow"):
            pvq.allocate(document, bytes=budget, weight=weight)
        return
    found = pvq.allocate(document, bytes=budget, weight=weight)
    assert found.lower <= ends["lower"] <= ends["upper"] <= found.upper
    # rounded outwards, and no further
    assert math.nextafter(found.lower, math.inf) > ends["lower"]
    assert math.nextafter(found.upper, -math.inf) < ends["upper"]
    assert found.document["total"]["storage_bits"] <= 8 * budget
    said = sum(each["weight"] * each["upper"] for each in found.document["layers"])
    assert said == pytest.approx(found.upper, rel=1e-12)
    shares = [each["gap_share"] for each in found.document["layers"]]
    assert min(shares) >= 0
    assert sum(shares) == pytest.approx(1) or sum(shares) == 0


def two_layers():
    """One with closed intervals, one that nothing is proven of at 3 bits."""
    closed = [pair(b, (4.0**-b, 4.0**-b), (0.5, 0.6), reference=2.0) for b in (3, 4, 5)]
    opened = [pair(3, (0.0, 0.1), (0.5, 0.6)), pair(5, (0.001, 0.001), (0.5, 0.6))]
    return record([layer("closed", closed), layer("open", opened)])


def test_the_layer_that_decides_the_gap_is_named(cli, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(two_layers()))
    ended = cli("allocate", path, "--bits", "4")
    assert ended.code == 0, ended.err
    assert "The gap is decided by open (" in ended.out
    assert "quantized at 3 bits, an error of 0 is not excluded" in ended.out
    assert "uniform quantization, 3 bits" in ended.out
    assert "closed (" not in ended.out


def test_budgets_by_bits_and_bytes_are_the_same(cli, tmp_path):
    document = two_layers()
    by_bits, by_bytes = pvq.allocate(document, bits=4.0), pvq.allocate(document, bytes=32)
    assert by_bits.document == by_bytes.document
    assert by_bits.budget == 4 * 64
    path = tmp_path / "r.json"
    path.write_text(json.dumps(document))
    ended = cli("allocate", path, "--bytes", "32", "--json", "-")
    assert json.loads(ended.out) == by_bits.document


def test_weights_change_the_allocation(tmp_path):
    document = two_layers()
    for favoured, other in (("closed", "open"), ("open", "closed")):
        weight = {favoured: 1.0, other: 1e-9}
        path = tmp_path / "w.json"
        path.write_text(json.dumps(weight))
        found = pvq.allocate(document, bits=4, weight=path)
        assert found.choices[favoured] == "5 bits"
        assert found.choices == pvq.allocate(document, bits=4, weight=weight).choices
    relative = pvq.allocate(document, bits=4, weight="relative")
    assert [each["weight"] for each in relative.document["layers"]] == [0.5, 1.0]


def test_a_layer_without_a_pair_stays_as_it_is(cli, tmp_path):
    document = two_layers()
    document["layers"] += [layer("bare", [skipped(3)]), layer("gone", [], 0, 0, "cannot be read")]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(document))
    ended = cli("allocate", path, "--bits", "8")
    assert ended.code == 0, ended.err
    assert "Uncompressed, the record has no pair of them: bare." in ended.out
    assert "Left out, their size is not known: gone." in ended.out
    found = pvq.allocate(path, bits=8)
    assert found.choices["bare"] == "uncompressed"
    assert "gone" not in found.choices
    assert found.document["total"]["storage_bits"] <= 8 * 96


def test_a_budget_that_pays_for_everything_has_no_error(cli, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(two_layers()))
    ended = cli("allocate", path, "--bits", "16")
    assert "reaches 0: no error at all." in ended.out
    found = pvq.allocate(path, bits=16)
    assert (found.lower, found.upper, found.gap) == (0, 0, 0)


def test_what_the_bound_is_worth_is_the_worst_of_what_it_rests_on():
    rigorous = [pair(b, (4.0**-b, 4.0**-b), (0.5, 0.6)) for b in (3, 4)]
    numerical = [pair(b, (4.0**-b, 4.0**-b), (0.5, 0.6), kind="numerical") for b in (3, 4)]
    assert pvq.allocate(record([layer("a", rigorous)]), bits=4).bound_kind == "rigorous"
    both = record([layer("a", rigorous), layer("b", numerical)])
    assert pvq.allocate(both, bits=4).bound_kind == "numerical"
    nothing = record([layer("a", [pair(3, (0.0, 0.1), (0.0, 0.6))])])
    assert pvq.allocate(nothing, bits=4).bound_kind == "none"


def test_the_figure_and_the_frame(cli, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(two_layers()))
    ended = cli("allocate", path, "--bits", "4", "--figure", tmp_path / "f.svg")
    assert ended.code == 0, ended.err
    drawn = (tmp_path / "f.svg").read_text()
    assert drawn.startswith("<?xml")
    assert "mathdefault" not in drawn  # a scale in powers of ten is labelled with plain numbers
    found = pvq.allocate(path, bits=4)
    assert list(found.to_frame().index) == ["closed", "open"]
    assert "2 layers within 4 bits" in repr(found)
    assert "closed" in found._repr_html_()
    axes = found.plot()
    reached, proven = (line.get_ydata() for line in axes.get_lines()[:2])
    pairs = [(low, high) for low, high in zip(proven, reached, strict=True) if low == low and high == high]
    assert len(pairs) > 5
    assert all(low <= high for low, high in pairs)


@pytest.mark.parametrize(
    ("change", "words", "expected"),
    [
        (None, ("--bits", "2"), "--bits is below 3, the least that the recorded options allow"),
        (None, ("--bytes", "20"), "--bytes is below 24, the least"),
        (None, ("--bits", "0"), "--bits must be above 0"),
        (None, ("--bits", "nan"), "--bits must be above 0"),
        (None, ("--bytes", "0"), "--bytes must be at least 1"),
        (None, (), "as --bits (a weight, on average) or as --bytes, one of the two"),
        (None, ("--bits", "4", "--bytes", "40"), "one of the two"),
        (None, ("--bits", "4", "--weight", "size"), "--weight must be error, relative or a JSON file"),
        (None, ("--bits", "4", "--weight", "{list}"), "is no JSON object"),
        (None, ("--bits", "4", "--weight", "{few}"), "'open' has none"),
        (None, ("--bits", "4", "--weight", "{bad}"), "'open' has -1"),
        (None, ("--bits", "4", "--figure", "{list}.pdf"), ".png or .svg"),
        (None, ("--bits", "4", "--json", "{record}"), "which is read"),
        (lambda d: d.update(schema="pvq.result/1"), ("--bits", "4"), "cannot use: "),
        (lambda d: d["settings"].pop("base"), ("--bits", "4"), "the record says 'base' None"),
        (lambda d: d["settings"].update(base=16.0), ("--bits", "4"), "the record says 'base' 16.0"),
        (lambda d: [each.update(pairs=[]) for each in d["layers"]], ("--bits", "4"), "there is nothing to choose"),
        (lambda d: d["layers"][0].update(out=0), ("--bits", "4"), "has pairs and no weights"),
        (lambda d: d["layers"][0]["pairs"][0]["quant"].update(lower=9), ("--bits", "4"), "above upper"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_one_line(cli, tmp_path, change, words, expected):
    document = two_layers()
    if change is not None:
        change(document)
    files = {name: tmp_path / f"{name}.json" for name in ("record", "list", "few", "bad")}
    files["record"].write_text(json.dumps(document))
    files["list"].write_text("[1]")
    files["few"].write_text('{"closed": 1}')
    files["bad"].write_text('{"closed": 1, "open": -1}')
    before = files["record"].read_text()
    ended = cli("allocate", files["record"], *(word.format(**files) for word in words))
    assert (ended.code, ended.out) == (2, "")
    assert expected in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert files["record"].read_text() == before
