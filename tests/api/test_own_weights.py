"""Weights of the user's own: are they feasible, how far from the optimum, and what do their scales allow?"""

import math
from contextlib import nullcontext

import numpy as np
import pvq
import pytest


def test_the_optimum_scores_itself_and_others_score_what_they_are(layer, quantized):
    own = quantized.score(quantized.weights)
    assert own.feasible
    assert own.error == pytest.approx(quantized.upper)
    assert own.from_optimum_db.min == pytest.approx(0, abs=1e-9)
    gptq = quantized.methods["gptq"]
    rounded = np.array([quantized.problem.row(i).grid.nearest(w) for i, w in enumerate(layer.weight)])
    rtn = quantized.score(rounded)
    assert rtn.feasible
    assert rtn.error >= quantized.lower
    assert rtn.sqnr_db == pytest.approx(10 * math.log10(quantized.reference / rtn.error))
    assert gptq.from_optimum_db.min == pytest.approx(10 * math.log10(gptq.error / quantized.upper))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_level_may_be_rounded_to_the_type_of_the_array_and_no_further(quantized, kind):
    stored = quantized.weights.astype(kind)
    assert quantized.score(stored).feasible
    assert not quantized.score(stored.astype(np.float64)).feasible  # these are other numbers
    spoiled = stored.copy()
    spoiled[2, 3] += 16 * np.finfo(kind).eps * np.abs(stored).max()
    score = quantized.score(spoiled)
    assert not score.feasible
    assert score.reason.startswith("row 2: 1 of 12 weights")
    assert math.isnan(score.from_optimum_db.min)


def test_patterns_are_exact(layer):
    result = pvq.bound(layer, pvq.Prune(nm="2:4"))
    assert result.score(result.weights.astype(np.float32)).feasible
    spoiled = result.weights.copy()
    spoiled[4][np.flatnonzero(spoiled[4] == 0)[0]] = 1e-30
    assert result.score(spoiled).reason.startswith("row 4: 7 weights are kept")
    fixed = pvq.bound(layer, pvq.Prune(nm="2:4", update=False))
    assert not fixed.score(result.weights).feasible
    assert fixed.score(fixed.weights.astype(np.float32)).feasible


def test_torch_tensors_of_any_kind_are_taken(layer, quantized):
    torch = pytest.importorskip("torch")
    weight = torch.tensor(layer.weight, requires_grad=True)
    same = pvq.Layer.from_gram(weight, layer.grams.tolist(), layer.name)
    assert same.sha256 == layer.sha256
    linear = torch.nn.Linear(12, 6).to(torch.bfloat16)
    x = torch.randn(2, 5, 12, requires_grad=True)
    made = pvq.Layer.from_linear(linear, x)
    assert made.samples == 10
    assert np.array_equal(made.weight, linear.weight.detach().double().numpy())
    flat = x.detach().double().numpy().reshape(10, 12)
    assert np.allclose(made.grams[0], flat.T @ flat / 10)
    with pytest.raises(pvq.LayerError, match="no Linear"):
        pvq.Layer.from_linear(torch.nn.Conv2d(3, 4, 1), x)
    assert quantized.score(torch.tensor(quantized.weights).bfloat16()).feasible
    layers = pvq.extract(torch.nn.Sequential(torch.nn.Linear(12, 6)), [torch.randn(30, 12)], "0")
    assert pvq.bound(layers["0"], pvq.Prune(sparsity=0.5), rows=(0, 1)).is_optimal


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group:4"])
def test_scales_of_quantized_weights_are_those_of_the_grid(layer, granularity):
    """Bounds on recovered scales equal bounds on the scales themselves, and the weights are on that grid."""
    problem = pvq.Quant(bits=3, granularity=granularity, range="minmax")
    known = pvq.bound(layer, problem)
    rounded = np.array([known.problem.row(i).grid.nearest(w) for i, w in enumerate(layer.weight)])
    few = granularity == "group:4"  # values of such a group may share a factor
    with pytest.warns(UserWarning, match="do not determine 1 of 18") if few else nullcontext():
        found = pvq.bound(layer, problem, scales=rounded)
    assert found.problem.grid.scale == pytest.approx(known.problem.grid.scale, rel=1e-12)
    assert found.upper == pytest.approx(known.upper)
    score = found.score(rounded)
    assert score.feasible
    assert score.error >= found.lower
    given = pvq.bound(layer, problem, scales={"scale": known.problem.grid.scale})
    assert (given.lower, given.upper) == (known.lower, known.upper)
    assert given.document["problem"]["range"] == "given"
    certificate = given.certificate()
    proven = pvq.verify(certificate, layer)
    assert certificate.lower <= proven.min <= proven.max <= certificate.upper


@pytest.mark.parametrize(
    ("scales", "says"),
    [
        (np.ones((2, 3)), "of shape"),
        ({"zero": [0.0]}, "needs 'scale'"),
        ({"scale": [1.0, 2.0]}, "do not fit"),
        ({"scale": [-1.0]}, "positive"),
        ({"scale": [1.0], "zero": [1.0]}, "int-asym"),
        (np.full((6, 12), np.nan), "NaN"),
    ],
)
def test_scales_that_are_none(layer, scales, says):
    with pytest.raises(pvq.ProblemError, match=says):
        pvq.bound(layer, pvq.Quant(bits=3), scales=scales)
    with pytest.raises(pvq.ProblemError, match="are for a grid"):
        pvq.bound(layer, pvq.Prune(sparsity=0.5), scales=scales)


def test_a_comparison(layer, tmp_path):
    from matplotlib.figure import Figure

    seen = []
    found = pvq.compare({"a": layer}, bits=[4, 2], time_limit=0, progress=lambda name, pair: seen.append(name))
    assert seen == ["a", "a"]
    assert list(found.verdicts["a"]) == [2, 4]
    for pair in found.document["layers"][0]["pairs"]:
        if pair["verdict"] == "quantization proven better":
            assert pair["quant"]["upper"] < pair["prune"]["lower"]
        if pair["verdict"] == "pruning proven better":
            assert pair["prune"]["upper"] < pair["quant"]["lower"]
    found.save(tmp_path / "run.json")
    assert "pvq.compare/1" in (tmp_path / "run.json").read_text()
    assert "1 layers" in repr(found)
    assert "<th>2 bits</th>" in found._repr_html_()
    ax = Figure().subplots()
    assert found.plot(ax=ax) is ax
    with pytest.raises(pvq.ProblemError, match="no layer is called 'b'"):
        found.plot("b", ax)
    with pytest.raises(pvq.ProblemError, match="two layers"):
        pvq.compare([layer, layer])
