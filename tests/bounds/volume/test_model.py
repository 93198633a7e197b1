"""The model of a whole layer: levels against enumerated optima, and what it refuses."""

import itertools
from math import fsum

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.volume import volume_model
from pvq.solvers.modelled import within


def gram(rng, n):
    a = rng.standard_normal((4 * n, n)) @ (np.eye(n) + 0.3 * rng.standard_normal((n, n)))
    return a.T @ a / len(a)


def stated(w, h, **setting):
    return state_problem(w, h, Setting("quant", **setting))


def total(problem):
    """Sum of the rows' least errors, by enumeration."""
    h, least = problem.grams[0].matrix, 0.0
    for i, w in enumerate(problem.weight):
        u = w - np.array(list(itertools.product(problem.row_grid(i).levels[0], repeat=len(w))))
        least += np.einsum("pi,ij,pj->p", u, h, u, optimize=True).min()
    return least


GRIDS = [{"grid": "int", "bits": 2}, {"grid": "int-asym", "bits": 2}, {"grid": "ternary"}]
SCALES = [
    {"granularity": "tensor", "range": "mse"},
    {"granularity": "tensor", "range": "minmax"},
    {"granularity": "channel", "range": "minmax"},
    {"granularity": "channel", "range": "mse"},
    {"granularity": "tensor", "range": "gram"},
    {"granularity": "channel", "range": "gram"},
    {"granularity": "group:3", "range": "minmax"},
]


@pytest.mark.parametrize("scale", SCALES, ids=lambda s: "-".join(s.values()))
@pytest.mark.parametrize("grid", GRIDS)
def test_totals_of_random_layers_stay_above_the_level(scale, grid):
    rng = np.random.default_rng(11)
    stated_levels = 0
    for _ in range(4):
        problem = stated(rng.normal(0, 0.02, (24, 6)), gram(rng, 6), **scale, **grid)
        model = volume_model(problem, 0.001)
        if model.refused is None:
            stated_levels += 1
            least = total(problem)
            assert model.lower <= least
            if model.rows_left_to_rigorous == 0 and scale["granularity"] == "tensor":
                assert 0.5 * least <= model.optimum <= 1.6 * least
    assert stated_levels


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_the_test_passes_random_weights(granularity):
    rng = np.random.default_rng(0)
    model = volume_model(stated(rng.normal(0, 1, (100, 40)), gram(rng, 40), bits=4, granularity=granularity))
    assert model.refused is None
    assert 0 < model.lower < model.optimum
    assert model.rows_covered == 100


def random_layer():
    rng = np.random.default_rng(2)
    return rng, rng.normal(0, 1, (60, 32)), gram(rng, 32)


def test_zeros_are_refused():
    rng, w, h = random_layer()
    w[rng.random(w.shape) < 0.3] = 0
    refused = volume_model(stated(w, h, bits=4)).refused
    assert "are 0 or on a level" in refused
    assert refused.endswith("weights before they were pruned or rounded are covered")


def test_repeated_rows_are_refused():
    _, w, h = random_layer()
    w[7] = w[3]
    assert volume_model(stated(w, h, bits=4)).refused.endswith("the layer without the repeats is covered")


def test_a_mesh_near_the_spacing_is_refused():
    _, w, h = random_layer()
    problem = stated(w, h, bits=4)
    mesh = 0.93 * problem.grid.scale[0, 0]
    assert volume_model(stated(mesh * np.round(w / mesh), h, bits=4)).refused is not None


@pytest.mark.parametrize("mesh", [0.02, 0.37])
def test_a_mesh_that_short_rows_do_not_show_is_seen_in_the_layer(mesh):
    rng = np.random.default_rng(3)
    w, h = rng.normal(0, 1, (60, 15)), gram(rng, 15)
    step = mesh * stated(w, h, bits=4).grid.scale[0, 0]
    model = volume_model(stated(step * np.round(w / step) + 0.001, h, bits=4))
    assert model.checks.mesh > 0
    if mesh > 0.1:
        assert model.refused.endswith("weights not rounded before are covered")
    else:
        assert model.refused is None  # fine against the grid


def test_weights_of_16_bits_are_no_mesh_of_the_layer():
    rng = np.random.default_rng(4)
    w = rng.normal(0, 1, (3000, 16)).astype(np.float16).astype(float)
    w[0] *= 0.01  # a row with a scale that is fine against the others
    model = volume_model(stated(w, gram(rng, 16), bits=4, granularity="channel"))
    assert model.refused is None
    assert model.checks.mesh < 1


def test_optima_that_were_planted_are_refused():
    _, w, h = random_layer()
    scale = stated(w, h, bits=4).grid.scale[0, 0]
    planted = scale * (np.round(w / scale) + 0.2 * np.sin(np.arange(w.size)).reshape(w.shape))
    assert "speaks against" in volume_model(stated(planted, h, bits=4)).refused


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"bits": 4, "granularity": "group:8"}, "range minmax, or granularity tensor or channel, is covered"),
        ({"bits": 4, "granularity": "group:8", "range": "gram"}, "fitted (gram)"),
        ({"grid": "fp8-e4m3", "granularity": "group:8", "range": "minmax"}, "up to 32 levels"),
        ({"bits": 10}, "up to 256"),
    ],
)
def test_what_is_not_covered_says_what_would_be(setting, reason):
    _, w, h = random_layer()
    assert reason in volume_model(stated(w, h, **setting)).refused


def test_pruning_and_a_searched_scale_are_not_covered():
    _, w, h = random_layer()
    pruned = state_problem(w, h, Setting("prune", sparsity=0.5))
    assert volume_model(pruned).refused is not None
    free = state_problem(w, h, Setting("quant", bits=4, range="optimal"), free_scale=True)
    assert "minmax, mse or gram is covered" in volume_model(free).refused


def test_a_part_of_a_layer_needs_the_weights_that_set_its_scale():
    _, w, h = random_layer()
    problem = stated(w, h, bits=4, inputs=(0, 16))
    assert "all rows and inputs" in volume_model(problem).refused
    assert volume_model(problem, whole=w).refused is None


def test_an_error_below_the_level_contradicts_the_model():
    _, w, h = random_layer()
    problem = stated(w, h, bits=4)
    found = np.full(len(w), volume_model(problem).lower / len(w) * 0.9)
    assert "below its level" in volume_model(problem, upper=found).refused


def test_a_prediction_stays_within_what_is_proven():
    _, w, h = random_layer()
    problem = stated(w, h, bits=4)
    alone = volume_model(problem)
    each = np.array([row.optimum for row in alone.rows])
    assert alone.limited_by is None
    # bounds of some rows are above their predictions, in the second case of the total as well
    for part, end in ((slice(30), None), (slice(None), "lower")):
        lower = np.zeros(len(w))
        lower[part] = 1.2 * each[part]
        model = volume_model(problem, lower=lower, upper=1.5 * each)
        assert model.limited_by == end
        rounding = 1e-12  # the ends of the total are rounded outwards, by far less than this
        assert fsum(lower) * (1 - rounding) <= model.optimum <= fsum(1.5 * each) * (1 + rounding)
        assert all(row.optimum >= least for row, least in zip(model.rows, lower, strict=True))
    tight = volume_model(problem, upper=0.95 * each)
    assert tight.limited_by == "upper"
    assert tight.optimum == pytest.approx(0.95 * sum(each))
    assert all(row.optimum <= most for row, most in zip(tight.rows, 0.95 * each, strict=True))


def test_a_statement_is_held_to_what_is_proven_later():
    _, w, h = random_layer()
    model = volume_model(stated(w, h, bits=4)).as_json()
    level, predicted = model["lower"], model["optimum"]
    assert within(model, 0.0, 2 * predicted) == model
    lifted = within(model, 1.1 * predicted, 2 * predicted)
    assert (lifted["optimum"], lifted["limited_by"]) == (1.1 * predicted, "lower")
    assert within(lifted, 0.0, 2 * predicted) == lifted  # a bound holds, though others forget it
    assert within(lifted, 0.0, predicted)["limited_by"] == "upper"
    assert "below its level" in within(model, 0.0, 0.9 * level)["refused"]
    refused = within(model, 0.0, 0.9 * level)
    assert within(refused, 0.0, predicted) == refused


def test_rows_small_against_the_grid_are_left_to_the_proven_bounds():
    _, w, h = random_layer()
    w[:5] *= 1e-3
    problem = stated(w, h, bits=4)
    plain = volume_model(problem)
    assert (plain.rows_covered, plain.rows_left_to_rigorous) == (55, 5)
    added = volume_model(problem, lower=np.ones(60))
    assert added.lower == pytest.approx(plain.lower + 5)


def test_a_singular_gram_matrix_is_relaxed():
    rng, w, _ = random_layer()
    a = rng.standard_normal((20, 32))
    model = volume_model(stated(w, a.T @ a / 20, bits=2))
    assert model.refused is None
    assert model.lower > 0
