"""A sample of rows: what is proven is about them, what is said of the others is estimated."""

import json

import numpy as np
import pvq
import pytest
from pvq.bounds.errors import ProblemError


@pytest.fixture(scope="module")
def wide():
    rng = np.random.default_rng(1)
    activations = rng.standard_normal((80, 10)) @ rng.standard_normal((10, 10))
    weight = rng.standard_normal((40, 10)) * rng.lognormal(0, 0.5, (40, 1))
    return pvq.Layer.from_activations(weight, activations, "wide")


@pytest.fixture(scope="module")
def whole(wide):
    return pvq.bound(wide, pvq.Quant(bits=3), methods=("rtn", "gptq"))


def test_drawn_rows_are_bounded_as_if_they_were_asked_for(wide, whole):
    result = pvq.bound(wide, pvq.Quant(bits=3), methods=("rtn", "gptq"), sample_rows=9)
    numbers = [row.row for row in result.rows]
    assert len(numbers) == 9
    for row in result.rows:
        assert (row.lower, row.upper) == pytest.approx((whole.rows[row.row].lower, whole.rows[row.row].upper))
    assert result.lower == pytest.approx(sum(whole.rows[r].lower for r in numbers))
    assert result.bound_kind == "rigorous"
    assert np.array_equal(result.weights, whole.weights[numbers])
    assert result.score(whole.weights).feasible
    assert result.score(whole.weights).error == pytest.approx(result.upper)


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group:5"])
def test_scales_are_those_of_the_whole_layer(wide, granularity):
    problem = pvq.Quant(bits=3, granularity=granularity)
    all_rows = pvq.bound(wide, problem, methods=())
    some = pvq.bound(wide, problem, methods=(), rows=(4, 30), sample_rows=5, seed=3)
    assert all(4 <= row.row < 30 for row in some.rows)
    assert some.sample.of == 26
    for i, row in enumerate(some.rows):
        assert np.array_equal(some.problem.row(i).grid.levels, all_rows.problem.row(row.row).grid.levels)


def test_the_estimate_is_about_all_rows_and_its_parts_are_known(wide, whole):
    result = pvq.bound(wide, pvq.Quant(bits=3), methods=("rtn", "gptq"), sample_rows=20)
    sample = result.sample
    assert (sample.rows, sample.of, sample.seed, sample.beside) == (20, 40, 0, "rtn")
    assert sample.reference == pytest.approx(whole.reference)
    # what is estimated beside itself is known
    assert sample.methods["rtn"].value == pytest.approx(whole.methods["rtn"].error)
    assert sample.methods["rtn"].error == pytest.approx(0, abs=1e-9 * whole.reference)
    assert sample.lower.low <= whole.lower <= sample.lower.high
    assert sample.upper.low <= whole.upper <= sample.upper.high
    least, most = sample.sqnr_db
    assert least <= whole.sqnr_db.min <= whole.sqnr_db.max <= most
    far = whole.methods["gptq"].from_optimum_db
    assert sample.least_db["gptq"].low <= far.min
    assert far.max <= sample.most_db["gptq"].high


@pytest.mark.parametrize(
    "problem", [pvq.Prune(0.5), pvq.Prune(nm="2:4"), pvq.Joint(pvq.Quant(bits=3), pvq.Prune(0.5))]
)
def test_pruned_rows_are_estimated_beside_wanda(wide, problem):
    inputs = (0, 8)
    all_rows = pvq.bound(wide, problem, inputs=inputs, methods=())
    sample = pvq.bound(wide, problem, inputs=inputs, methods=(), sample_rows=20).sample
    assert sample.beside == "wanda"
    assert sample.upper.low <= all_rows.upper <= sample.upper.high


def test_limits_of_a_layer_hold_its_total_about_as_often_as_they_say(wide, whole):
    from pvq.bounds.sampling import draw
    from pvq.solvers.base import Options
    from pvq.solvers.sample import Beside

    beside = Beside.of(whole.problem, Options())
    upper = np.array([row.upper for row in whole.rows])
    hits = 0
    for seed in range(400):
        rows = np.array(draw(range(40), 12, seed, wide.sha256))
        found = beside.total(upper[rows], rows).estimate()
        hits += found.low <= upper.sum() <= found.high
    assert hits >= 0.88 * 400  # 352: three standard deviations below 92.5 %, what skewed rows leave of 95 %


def test_one_row_gives_an_estimate_and_no_limits(wide):
    sample = pvq.bound(wide, pvq.Quant(bits=2), methods=(), sample_rows=1).sample
    assert sample.upper.value > 0
    assert (sample.upper.low, sample.upper.high) == (None, None)
    assert sample.sqnr_db == (None, None)


def test_all_rows_are_no_sample(wide, whole):
    result = pvq.bound(wide, pvq.Quant(bits=3), methods=("rtn", "gptq"), sample_rows=400)
    assert result.sample is None
    assert result.lower == whole.lower
    assert "sample" not in result.document


def test_the_document_says_which_rows_its_total_is_of(wide):
    result = pvq.bound(wide, pvq.Quant(bits=2), sample_rows=3, seed=5)
    document = json.loads(json.dumps(result.document, allow_nan=False))
    assert document["problem"]["rows"] == [[row.row, row.row + 1] for row in result.rows]
    assert document["total"]["upper"] == result.upper
    sample = document["sample"]
    assert (sample["rows"], sample["of"], sample["seed"], sample["confidence"]) == (3, 40, 5, 0.95)
    assert set(sample["lower"]) == {"estimate", "standard_error", "low", "high"}
    assert sample["lower"]["low"] >= result.lower
    assert sample["empirical"]["gptq"]["above_optimum_min_db"]["low"] >= 0


def test_a_curve_has_an_estimate_at_each_sparsity(wide):
    results = pvq.curve(wide, pvq.Prune(0.3), [0.3, 0.6], inputs=(0, 8), sample_rows=6)
    assert len({tuple(row.row for row in result.rows) for result in results}) == 1
    assert results[0].sample.upper.value < results[1].sample.upper.value


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (pvq.Prune(0.5, scope="layer"), "with `scope` layer they share what they keep"),
        (pvq.Quant(bits=2, range="optimal"), "`range` optimal is for all rows"),
    ],
)
def test_what_all_rows_share_is_no_matter_of_some(wide, problem, said):
    with pytest.raises(ProblemError, match=said):
        pvq.bound(wide, problem, sample_rows=3)


def test_a_sample_has_no_certificate(wide):
    with pytest.raises(ProblemError, match="give `rows` instead"):
        pvq.bound(wide, pvq.Quant(bits=2), sample_rows=3, certify=True).certificate()


def test_grouped_layers_draw_rows_of_any_group():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((6, 30, 4))
    layer = pvq.Layer("grouped", rng.standard_normal((12, 4)), x.swapaxes(1, 2) @ x / 30)
    all_rows = pvq.bound(layer, pvq.Quant(bits=2), methods=())
    some = pvq.bound(layer, pvq.Quant(bits=2), methods=(), sample_rows=4)
    for row in some.rows:
        assert row.upper == pytest.approx(all_rows.rows[row.row].upper)
        assert row.reference == pytest.approx(all_rows.rows[row.row].reference)
