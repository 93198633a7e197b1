"""From the JSON alone, the levels of every grid can be rebuilt to the last bit; the weights found lie on them."""

import json

import numpy as np
import pytest
from pvq.layers.format import Layer, save_layer

FIRST = {"int": lambda b: -(2 ** (b - 1)), "int-sym": lambda b: 1 - 2 ** (b - 1), "int-asym": lambda b: 0}
LAST = {"int": lambda b: 2 ** (b - 1) - 1, "int-sym": lambda b: 2 ** (b - 1) - 1, "int-asym": lambda b: 2**b - 1}


@pytest.fixture
def solved(cli, tmp_path):
    """The JSON and the weights of `--solution` for a setting."""
    rng = np.random.default_rng(3)
    a = rng.standard_normal((40, 8))
    weight = 0.5 * rng.standard_normal((3, 8)) + np.array([[0.2], [-1.9], [1.9]])
    save_layer(tmp_path / "l.npz", Layer("l", weight, a.T @ a / 40))

    def run(*words):
        solution = tmp_path / "s.npz"
        ended = cli(
            "bound", tmp_path / "l.npz", *words, "--json", tmp_path / "r.json", "--solution", solution, "--quiet"
        )
        assert ended.code == 0, ended.err
        return json.loads((tmp_path / "r.json").read_text()), np.load(solution)["weight"]

    return run


def rebuilt(document, row):
    """(inputs, levels) of a row, from the document."""
    problem = document["problem"]
    inputs = np.arange(*problem["inputs"])
    size = int(problem["granularity"].partition(":")[2] or document["layer"]["in"])
    groups = inputs // size - inputs[0] // size
    if "levels" in row:
        return np.array(row["levels"])[groups]
    scale, zero = np.atleast_1d(row["scale"]), np.atleast_1d(row["zero"])
    numbers = np.arange(FIRST[problem["grid"]](problem["bits"]), LAST[problem["grid"]](problem["bits"]) + 1.0)
    return (scale[:, None] * (numbers - zero[:, None]))[groups]


def check(document, weights):
    assert len(document["rows"]) == len(weights) == 3
    for row, x in zip(document["rows"], weights, strict=True):
        levels = rebuilt(document, row)
        assert len(levels) == len(x)
        kept = [i - document["problem"]["inputs"][0] for i in row.get("kept", [])]
        for i, (value, of_input) in enumerate(zip(x, levels, strict=True)):
            if "kept" in row and i not in kept:
                assert value == 0
            else:
                assert value.tobytes() in [level.tobytes() for level in of_input]


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group:4", "group:3"])
@pytest.mark.parametrize("grid", ["int", "int-sym", "int-asym", "ternary", "fp4-e2m1", "fp8-e4m3", "nf4", "file"])
@pytest.mark.parametrize("more", [(), ("--inputs", "3:8")], ids=["all", "part"])
def test_every_grid_at_every_granularity(solved, tmp_path, grid, granularity, more):
    if 8 % int(granularity.partition(":")[2] or 1):
        granularity = "group:2"
    words = ["--bits", "3"] if grid.startswith("int") else []
    if grid == "file":
        grid = tmp_path / "integers.txt"
        grid.write_text("-0.9 -0.1\n0.3 1\n")
    words += ["--grid", str(grid), "--granularity", granularity, *more, "--solver", "bnb"]
    document, weights = solved("--method", "quant", *words)
    check(document, weights)


RANGES = [("int", range_) for range_ in ("minmax", "gram", "none", "optimal")]
RANGES += [("int-asym", range_) for range_ in ("minmax", "gram", "none")]


@pytest.mark.parametrize(("grid", "range_"), RANGES)
def test_every_range(solved, grid, range_):
    words = ("--method", "quant", "--bits", "2", "--grid", grid, "--range", range_, "--granularity", "channel")
    check(*solved(*words, "--time-limit", "2"))


ASYMMETRIC = ("--method", "quant", "--bits", "2", "--grid", "int-asym", "--granularity", "channel")


def test_zero_points_are_not_all_zero(solved):
    document, weights = solved(*ASYMMETRIC)
    check(document, weights)
    assert len({row["zero"] for row in document["rows"]}) > 1


def test_pruned_and_quantized(solved):
    for grid in ("int-asym", "int"):
        words = ("--method", "joint", "--bits", "2", "--grid", grid, "--sparsity", "0.5")
        check(*solved(*words))


def test_a_wrong_zero_point_is_seen(solved):
    """The check above can fail."""
    document, weights = solved(*ASYMMETRIC)
    for row in document["rows"]:
        row["scale"] = np.nextafter(row["scale"], 1)
    with pytest.raises(AssertionError):
        check(document, weights)
