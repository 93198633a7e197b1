"""`pvq.compare` of layers in memory and in files, gone on with, kept, stopped."""

import json
import pickle
import sys
import threading

import numpy as np
import pvq
import pytest


@pytest.fixture
def folder(tmp_path, layer):
    (tmp_path / "net").mkdir()
    pvq.save_layer(tmp_path / "net" / "a.npz", pvq.Layer.from_gram(layer.weight, layer.grams, "a"))
    pvq.save_layer(tmp_path / "net" / "b.npz", pvq.Layer.from_gram(layer.weight[:2], layer.grams, "b"))
    pvq.save_layer(tmp_path / "net" / "dead.npz", pvq.Layer.from_gram(np.ones((2, 3)), np.zeros((3, 3)), "dead"))
    return tmp_path / "net"


def without_times(found):
    pairs = [{**pair, "seconds": 0} for known in found.document["layers"] for pair in known["pairs"]]
    return json.dumps([pairs, found.document["summary"]])


def test_files_and_layers_in_memory_are_the_same(folder):
    files = pvq.compare(folder, [2, 3], time_limit=0)
    loaded = [pvq.load_layer(path) for path in sorted(folder.iterdir())]
    memory = pvq.compare(loaded, [3, 2], time_limit=None)
    mixed = pvq.compare([folder / "a.npz", *loaded[1:]], range(2, 4), time_limit=0)
    assert without_times(files) == without_times(memory) == without_times(mixed)
    assert list(files.verdicts) == ["a", "b", "dead"]
    assert files.verdicts["dead"] == {}
    assert (files.bits, files.failures, files.is_interrupted) == ((2, 3), (), False)
    named = pvq.compare({"x": loaded[1]}, [2], time_limit=0)
    assert named.verdicts["x"][2] == files.verdicts["b"][2]


def test_it_goes_on_from_an_earlier_one_and_says_how_it_stands(folder, tmp_path):
    stop, kept = threading.Event(), []

    def keep(comparison):
        comparison.save(tmp_path / "run.json")
        kept.append(
            len(comparison.document["layers"][0]["pairs"]) + len(comparison.document["layers"][1]["pairs"])
        )
        if kept[-1] == 2:
            stop.set()

    part = pvq.compare(folder, [2, 3], time_limit=0, keep=keep, stop=stop)
    assert kept == [0, 1, 2]
    assert part.is_interrupted
    first = json.loads((tmp_path / "run.json").read_text())["layers"][1]["pairs"]  # the smaller layer
    assert len(first) == 2
    rest = pvq.compare(folder, [2, 3], time_limit=0, earlier=tmp_path / "run.json")
    assert not rest.is_interrupted
    assert rest.document["layers"][1]["pairs"] == first  # not computed again: the same seconds
    assert without_times(rest) == without_times(pvq.compare(folder, [2, 3], time_limit=0))
    with pytest.raises(pvq.ProblemError, match="made with granularity = tensor, not channel"):
        pvq.compare(folder, [2, 3], granularity="channel", earlier=tmp_path / "run.json")


def test_a_number_of_layers_may_be_bounded_in_full(folder):
    for most, full in ((1, False), (2, True), (False, False), (True, True)):
        found = pvq.compare(folder, [3], full=most, time_limit=0)
        assert {pair["full"] for known in found.document["layers"] for pair in known["pairs"]} == {full}


def test_a_file_that_changes_is_a_failure_and_the_others_are_kept(folder, layer):
    def spoil(name, pair):
        pvq.save_layer(folder / "a.npz", pvq.Layer.from_gram(2 * layer.weight, layer.grams, "a"))

    found = pvq.compare(folder, [2], time_limit=0, progress=spoil)
    assert len(found.failures) == 1
    assert "a.npz: has changed" in found.failures[0]
    assert list(found.verdicts["b"]) == [2]  # smaller layers come first


def test_it_pickles_and_has_a_frame(layer, monkeypatch):
    class DataFrame(list):
        from_records = classmethod(lambda cls, records: cls(records))
        set_index = lambda self, index: (index, list(self))  # noqa: E731

    monkeypatch.setitem(sys.modules, "pandas", type(sys)("pandas"))
    sys.modules["pandas"].DataFrame = DataFrame
    found = pvq.compare(layer, [3, 4], time_limit=0)
    assert pickle.loads(pickle.dumps(found)).document == found.document
    index, records = found.to_frame()
    assert index == ["layer", "bits"]
    assert [(record["bits"], record["verdict"]) for record in records] == list(found.verdicts[layer.name].items())
    for record in records:
        assert 0 <= record["quant_lower"] <= record["quant_upper"]


@pytest.mark.parametrize(
    ("given", "words", "says"),
    [
        ([], {}, "nothing to compare"),
        (3, {}, "`layers` must be of pvq.Layer or paths"),
        ([3], {}, "`layers` must be of pvq.Layer or paths, not int"),
        ("layer", {"bits": []}, "`bits` must be one width or more"),
        ("layer", {"bits": [16]}, "`bits` must be below 16"),
        ("layer", {"nm": 1}, "`nm` M must be at least 2"),
        ("layer", {"range": "best"}, "`range` must be one of"),
        ("layer", {"scope": "model"}, "`scope`"),
        ("layer", {"base": 8}, "`base` must be 16 or 32"),
        ("layer", {"time_limit": -1}, "`time_limit`"),
        ("layer", {"jobs": 0}, "`jobs`"),
    ],
)
def test_impossible_parameters_are_named(layer, given, words, says):
    with pytest.raises(pvq.ProblemError, match=says) as error:
        pvq.compare(layer if given == "layer" else given, **words)
    assert "--" not in str(error.value)
