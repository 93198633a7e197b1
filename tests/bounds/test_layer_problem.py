import numpy as np
import pytest
from pvq.bounds.codebooks import codebook
from pvq.bounds.errors import ProblemError
from pvq.bounds.layer_problem import Setting, kept, state_problem
from pvq.bounds.ranges import fit_grid

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((12, 10)) * RNG.uniform(0.5, 2, (12, 1))
A = RNG.standard_normal((40, 10))
GRAM = A.T @ A / 40
GRIDS = [("int", 3), ("int-sym", 3), ("int-asym", 3), ("ternary", None), ("fp4-e2m1", None), ("nf4", None)]


def squared_error(problem):
    return sum(
        ((p.weight - p.grid.nearest(p.weight)) ** 2).sum() for p in (problem.row(i) for i in range(len(problem)))
    )


@pytest.mark.parametrize(("grid", "bits"), GRIDS)
def test_minmax_covers_every_weight(grid, bits):
    for granularity in ("tensor", "channel", "group:4"):
        setting = Setting("quant", bits=bits, grid=grid, granularity=granularity, range="minmax")
        problem = state_problem(WEIGHT, GRAM, setting)
        for i in range(len(problem)):
            p = problem.row(i)
            step = np.diff(p.grid.levels, axis=1).max()
            # an integer zero point may move the end by half a step
            slack = step / 2 if grid == "int-asym" else 1e-12
            for j, w in enumerate(p.weight):
                assert p.grid.of(j)[0] - slack <= w <= p.grid.of(j)[-1] + slack


@pytest.mark.parametrize(("grid", "bits"), GRIDS)
def test_mse_range_is_the_best_of_a_dense_scan(grid, bits):
    """No scale of an independent scan rounds better by more than its own resolution allows."""
    book = codebook(grid, bits)
    layer = fit_grid(WEIGHT, book, "tensor", "mse")
    found = ((WEIGHT - book_round(layer.scale[0, 0], layer.zero[0, 0], book)) ** 2).sum()
    zeros = book.levels if book.shifted else [0.0]
    top = np.abs(WEIGHT).max()
    scan = min(
        ((WEIGHT - book_round(s, z, book)) ** 2).sum()
        for s in np.linspace(0.02, 1.3, 400) * 2 * top / np.ptp(book.levels)
        for z in zeros
    )
    assert found <= scan * 1.01


def book_round(scale, zero, book):
    levels = scale * (book.levels - zero)
    return levels[np.abs(WEIGHT[..., None] - levels).argmin(-1)]


@pytest.mark.parametrize(("grid", "bits"), GRIDS)
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group:4"])
def test_finer_ranges_are_better(grid, bits, granularity):
    def at(method):
        setting = Setting("quant", bits=bits, grid=grid, granularity=granularity, range=method)
        return state_problem(WEIGHT, GRAM, setting)

    assert squared_error(at("mse")) <= squared_error(at("minmax")) * (1 + 1e-12)
    if granularity != "group:4":  # a group's own block of H is not the row's error
        rtn = {
            m: sum(at(m).row(i).error(at(m).row(i).grid.nearest(WEIGHT[i])) for i in range(12))
            for m in ("mse", "gram")
        }
        assert rtn["gram"] <= rtn["mse"] * (1 + 1e-12)


def test_range_none_takes_levels_as_given(tmp_path):
    file = tmp_path / "levels.txt"
    file.write_text("-0.5 0 0.25")
    setting = Setting("quant", grid=str(file), range="none")
    assert state_problem(WEIGHT, GRAM, setting).row(0).grid.levels.tolist() == [[-0.5, 0, 0.25]]


def test_scales_come_from_the_whole_tensor_and_rows_keep_their_grid():
    for granularity in ("tensor", "channel", "group:4"):
        setting = Setting("quant", bits=3, granularity=granularity)
        whole = state_problem(WEIGHT, GRAM, setting)
        part = state_problem(
            WEIGHT, GRAM, Setting("quant", bits=3, granularity=granularity, rows=(5, 8), inputs=(2, 9))
        )
        assert list(part.rows) == [5, 6, 7]
        for i, r in enumerate(part.rows):
            for j in range(7):
                assert np.array_equal(part.row(i).grid.of(j), whole.row(r).grid.of(j + 2))
            assert np.array_equal(part.row(i).weight, WEIGHT[r, 2:9])
            assert np.array_equal(part.row(i).hessian, GRAM[2:9, 2:9])


def test_grouped_layer_uses_the_gram_matrix_of_each_rows_group():
    grams = np.stack([GRAM, 2 * GRAM, 3 * GRAM])
    problem = state_problem(WEIGHT, grams, Setting("prune", sparsity=0.5, rows=(3, 9)))
    factors = [problem.row(i).hessian[0, 0] / GRAM[0, 0] for i in range(6)]
    assert np.allclose(factors, [1, 2, 2, 2, 2, 3])


def test_kept_counts():
    assert kept(10, 0.9) == 1
    assert kept(40, 0.75) == 10
    assert kept(27, 0.75) == 6
    assert kept(3, 0.0) == 3


def test_layer_budget():
    problem = state_problem(WEIGHT, GRAM, Setting("prune", sparsity=0.75, scope="layer", rows=(0, 5)))
    assert problem.budget == 12
    assert not problem.sparsity.binding


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"method": "prun", "sparsity": 0.5}, "did you mean 'prune'"),
        ({"method": "prune"}, "needs `sparsity`"),
        ({"method": "prune", "sparsity": 1.0}, r"\[0, 1\)"),
        ({"method": "prune", "sparsity": -0.1}, r"\[0, 1\)"),
        ({"method": "prune", "sparsity": float("nan")}, r"\[0, 1\)"),
        ({"method": "prune", "nm": (5, 4)}, "N <= M"),
        ({"method": "prune", "nm": (2, 4)}, "multiple of 4"),
        ({"method": "prune", "nm": (2,)}, "a pair"),
        ({"method": "prune", "nm": (2, 4, 8)}, "a pair"),
        ({"method": "prune", "nm": (2, 4), "sparsity": 0.5}, "not both"),
        ({"method": "prune", "sparsity": 0.5, "block": 3}, "does not divide"),
        ({"method": "prune", "sparsity": 0.5, "bits": 4}, "`method` prune takes no `bits`"),
        ({"method": "prune", "sparsity": 0.5, "grid": "nf4"}, "`method` prune takes no `grid`"),
        ({"method": "prune", "nm": (1, 2), "range": "gram"}, "`method` prune takes no `range`"),
        ({"method": "prune", "sparsity": 0.5, "granularity": "channel"}, "takes no `granularity`"),
        ({"method": "quant", "bits": 4, "sparsity": 0.5}, "quant takes no `sparsity`"),
        ({"method": "quant", "bits": 4, "nm": (2, 4), "block": 2}, "takes no `nm` and `block`"),
        ({"method": "quant", "bits": 4, "update": False}, "takes no `update`=False"),
        ({"method": "quant", "bits": 4, "scope": "layer"}, "takes no `scope`"),
        ({"method": "quant"}, "needs `bits`"),
        ({"method": "quant", "bits": 0}, "between 1 and 12"),
        ({"method": "quant", "bits": 4, "granularity": "group:0"}, "granularity"),
        ({"method": "quant", "bits": 4, "range": "best"}, "`range`"),
        ({"method": "quant", "bits": 4, "rows": (5, 50)}, "rows 0:12"),
        ({"method": "quant", "bits": 4, "inputs": (0, 11)}, "inputs 0:10"),
        ({"method": "prune", "nm": (1, 2), "scope": "layer"}, "`scope` layer"),
    ],
)
def test_settings_that_make_no_problem(words, says):
    with pytest.raises(ProblemError, match=says):
        state_problem(WEIGHT, GRAM, Setting(**words))
