"""The same counting at 7 to 12 inputs, or fewer on grids of more levels: up to a million points of each row."""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.volume.coverage import cover
from volume_cases import ODDS, check, draw, hessian, tails, too_often

ROWS = 200
MINMAX = {"granularity": "channel", "range": "minmax"}
AS_THEY_ARE = {"granularity": "tensor", "range": "none"}
CASES = [
    (7, {"grid": "int", "bits": 3, **MINMAX}, "normal"),
    (8, {"grid": "int", "bits": 2, **MINMAX}, "student 3"),
    (8, {"grid": "int", "bits": 2, "granularity": "group:4", "range": "minmax"}, "normal"),
    (9, {"grid": "int-asym", "bits": 2, **MINMAX}, "normal"),
    (10, {"grid": "int-sym", "bits": 2, **MINMAX}, "wide"),
    (10, {"grid": "int", "bits": 2, **AS_THEY_ARE}, "normal"),
    (11, {"grid": "ternary", **AS_THEY_ARE}, "normal"),
    (12, {"grid": "ternary", **MINMAX}, "normal"),
    (2, {"grid": "fp8-e4m3", **MINMAX}, "normal"),
    (4, {"grid": "nf4", **MINMAX}, "student 3"),
    (4, {"grid": "fp4-e2m1", "granularity": "tensor", "range": "minmax"}, "normal"),
    (4, {"grid": "int", "bits": 4, "granularity": "tensor", "range": "minmax"}, "normal"),
    (4, {"grid": "nf4", "granularity": "group:2", "range": "minmax"}, "normal"),
    (8, {"grid": "ternary", "granularity": "group:4", "range": "minmax"}, "normal"),
    (6, {"grid": "file", **MINMAX}, "normal"),
    (6, {"grid": "file", **AS_THEY_ARE}, "normal"),
]
SEARCHED = [
    (8, {"grid": "int", "bits": 2}),
    (6, {"grid": "int-asym", "bits": 2}),
    (4, {"grid": "nf4"}),
    (4, {"grid": "fp4-e2m1"}),
]


@pytest.mark.parametrize(("n", "setting", "law"), CASES, ids=lambda case: case if isinstance(case, int) else None)
def test_no_row_undercuts_its_tail_more_often_than_it_says(n, setting, law, tmp_path):
    if setting["grid"] == "file":  # of levels that are not even
        file = tmp_path / "levels.txt"
        file.write_text("-2.5 -1 -0.25 0.5 1.75 4")
        setting = {**setting, "grid": str(file)}
    rng = np.random.default_rng(n)
    h = hessian(rng, n)
    w = draw(rng, law, (ROWS, n))
    covered = cover(state_problem(w, h, Setting("quant", **setting)), w)
    assert covered.known.any()  # C is not empty: weights that set a scale, or are outside the levels
    check(h, covered, law)


def bfloat16(w):
    """The nearest numbers of 8 significant bits."""
    mantissa, exponent = np.frexp(w)
    return np.ldexp(np.round(mantissa * 256), exponent - 8)


@pytest.mark.parametrize("law", ["bf16", "AR(.95)"])
def test_what_is_not_refused_though_it_is_no_independent_draw_keeps_the_tails(law):
    rng = np.random.default_rng(21)
    h = hessian(rng, 8)
    w = rng.standard_normal((ROWS, 8))
    if law == "bf16":
        w = bfloat16(w)
    else:
        for i in range(1, 8):
            w[:, i] = 0.95 * w[:, i - 1] + np.sqrt(1 - 0.95**2) * w[:, i]
    check(h, cover(state_problem(w, h, Setting("quant", grid="int", bits=2, **AS_THEY_ARE)), w), "normal")


@pytest.mark.parametrize("method", ["mse", "gram"])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize(("n", "grid"), SEARCHED, ids=[grid["grid"] for _, grid in SEARCHED])
def test_searched_scales_pay_for_their_candidates(method, granularity, n, grid):
    rng = np.random.default_rng(9)
    h = hessian(rng, n)
    w = rng.standard_normal((ROWS if n == 8 else ROWS // 2, n))
    setting = Setting("quant", **grid, granularity=granularity, range=method)
    covered = cover(state_problem(w, h, setting), w)
    p = tails(h, covered, "normal", (30.0, 2000.0))
    candidates = np.exp(covered.log_candidates)
    assert not any(too_often(one, odds, candidates) for one in p for odds in ODDS)


@pytest.mark.parametrize("n", [8, 10])
def test_a_false_twin_is_caught_optima_halved(n):
    """Rows moved towards a grid point until their error is small: more of them than any tail allows."""
    rng = np.random.default_rng(n)
    h = hessian(rng, n)
    w = np.clip(np.round(rng.standard_normal((ROWS, n))), -2, 1) + 0.2 * rng.standard_normal((ROWS, n))
    problem = state_problem(w, h, Setting("quant", grid="int", bits=2, **AS_THEY_ARE))
    p = tails(h, cover(problem, w), "normal", (1.0, 4.0, 60.0))
    assert any(too_often(one, odds) for one in p for odds in ODDS)
