"""What may be asked: validated where it is written, in the words of Python."""

import dataclasses

import numpy as np
import pvq
import pytest
from pvq.bounds.errors import ProblemError
from pvq.comparing import widths
from pvq.running import Search, check_limits


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pvq.Quant(), "needs `bits`"),
        (lambda: pvq.Quant(bits=0), "`bits` must be between 1 and 12"),
        (lambda: pvq.Quant(bits="4"), "`bits` must be a whole number, not '4'"),
        (lambda: pvq.Quant(bits=4.5), "`bits` must be a whole number, not '4.5'"),
        (lambda: pvq.Quant(bits=True), "`bits` must be a whole number"),
        (lambda: pvq.Quant(bits=4, grid=3), "`grid` must be a name or several levels, not 3"),
        (lambda: pvq.Quant(bits=4, granularity=128), "`granularity` must be tensor, channel or group:G, not 128"),
        (lambda: pvq.Prune(sparsity="0.5"), "`sparsity` must be a number, not '0.5'"),
        (lambda: pvq.Prune(sparsity=0.5, block=2.0), "`block` must be a whole number, not '2.0'"),
        (lambda: check_limits("1", 1e-6, 1), "`time_limit` must be a number, not '1'"),
        (lambda: check_limits(None, None, 1), "`gap` must be a number, not 'None'"),
        (lambda: check_limits(1, 1e-6, 1.5), "`jobs` must be a whole number, not '1.5'"),
        (lambda: Search(solver=None), "`solver` must be a name"),
        (lambda: Search(methods=3), "`methods` must be names"),
        (lambda: Search(methods=["gptq", 3]), "`methods` must be names"),
        (lambda: Search(progress=3), "`progress` must be a function"),
        (lambda: Search(stage="stage"), "`stage` must be a function"),
        (lambda: Search(seed="x"), "`seed` must be a whole number, not 'x'"),
        (lambda: widths("int", 4), r"`bits` must be several widths, as range\(2, 9\) or \[4\], not 4"),
        (lambda: widths("int", ["4"]), "`bits` must be a whole number, not '4'"),
        (lambda: pvq.Quant(grid="nf5"), "did you mean 'nf4'"),
        (lambda: pvq.Quant(bits=4, grid="nf4", granularity="block"), "`granularity`"),
        (lambda: pvq.Quant(bits=4, range="max"), "`range` must be one of"),
        (lambda: pvq.Quant(bits=2, grid=[0, 1]), "`bits` is for named grids"),
        (lambda: pvq.Quant(grid=[1, 0]), "must be sorted"),
        (lambda: pvq.Prune(), "needs `sparsity`"),
        (lambda: pvq.Prune(block=8), "`block` says what is pruned together; `sparsity`"),
        (lambda: pvq.Prune(sparsity=1.0), r"`sparsity` must be in \[0, 1\)"),
        (lambda: pvq.Prune(sparsity=0.5, nm="2:4"), "not both"),
        (lambda: pvq.Prune(nm="two:4"), "`nm` must be N:M"),
        (lambda: pvq.Prune(nm="2:" + "9" * 5000), "`nm` must be N:M"),
        (lambda: pvq.Quant(bits=4, granularity="group:" + "9" * 5000), "`granularity`"),
        (lambda: pvq.Quant(bits=4, granularity="group:0"), "`granularity`"),
        (lambda: pvq.Prune(nm="5:4"), "`nm` N:M needs"),
        (lambda: pvq.Prune(sparsity=0.5, scope="model"), "`scope`"),
        (lambda: pvq.Joint(pvq.Prune(sparsity=0.5), pvq.Quant(bits=4)), "Joint"),
    ],
)
def test_what_is_no_problem_is_said_at_once(make, says):
    with pytest.raises(ProblemError, match=says) as error:
        make()
    assert "--" not in str(error.value)
    assert "\n" not in str(error.value)


def test_problems_are_values():
    assert pvq.Prune(nm="2:4") == pvq.Prune(nm=(2, 4))
    assert hash(pvq.Quant(grid=[0, 1])) == hash(pvq.Quant(grid=(0.0, 1.0)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        pvq.Quant(bits=4).bits = 3


def test_levels_are_a_grid(layer):
    levels = [-1.0, -0.25, 0.0, 0.5]
    result = pvq.bound(layer, pvq.Quant(grid=np.array(levels), range="none"), rows=range(2))
    assert result.is_optimal
    assert set(result.weights.ravel()) <= set(levels)
    assert pvq.verify(result.certificate(), layer).min >= result.certificate().lower


@pytest.mark.parametrize("rows", [(1, 3), range(1, 3), slice(1, 3), [1, 3]])
def test_rows_and_inputs_are_half_open(layer, rows):
    result = pvq.bound(layer, pvq.Prune(sparsity=0.5), rows=rows, inputs=(2, 8))
    assert [row.row for row in result.rows] == [1, 2]
    assert result.weights.shape == (2, 6)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"rows": (0, 50)}, "`rows` 0:50"),
        ({"rows": 3}, "`rows` must be"),
        ({"inputs": (4, 4)}, "`inputs` 4:4"),
        ({"gap": -1}, "`gap`"),
        ({"gap": float("nan")}, "`gap`"),
        ({"time_limit": -1}, "`time_limit`"),
        ({"time_limit": float("nan")}, "`time_limit`"),
        ({"jobs": 0}, "`jobs`"),
        ({"ridge": -1}, "`ridge`"),
        ({"solver": "scup"}, "did you mean 'scip'"),
        ({"methods": ["gtpq"]}, "did you mean 'gptq'"),
    ],
)
def test_impossible_parameters_are_named(layer, words, says):
    with pytest.raises(ProblemError, match=says):
        pvq.bound(layer, pvq.Quant(bits=3), **words)


def test_what_is_no_layer_and_no_problem_is_said(layer):
    with pytest.raises(ProblemError, match="`layer` must be"):
        pvq.bound(layer.weight, pvq.Quant(bits=3))
    with pytest.raises(ProblemError, match="`problem` must be"):
        pvq.bound(layer, "quant")
    with pytest.raises(pvq.UnsupportedProblem, match="use `solver`"):
        pvq.bound(layer, pvq.Quant(bits=3), methods="bnb")
    with pytest.raises(TypeError):
        pvq.bound(layer, pvq.Quant(bits=3), (0, 2))  # all else by name
