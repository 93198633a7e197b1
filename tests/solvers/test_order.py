"""What is found of a row does not depend on which rows came before it, on the jobs, or on whether it is alone."""

import numpy as np
import pytest
from pvq.bounds.layer_problem import Setting, state_problem
from pvq.bounds.proof import Split
from pvq.solvers.base import Options
from pvq.solvers.bound import quantization, rows
from pvq.solvers.bound.batch import pruned
from pvq.solvers.layer import solve_layer
from pvq.solvers.registry import get_solver

N, ROWS = 10, 6
SETTINGS = {
    "quant": Setting("quant", 4),
    "channel": Setting("quant", 3, "int-asym", "channel"),
    "nf4": Setting("quant", grid="nf4", granularity="group:5"),
    "prune": Setting("prune", sparsity=0.6),
    "n:m": Setting("prune", nm=(1, 2)),
    "fixed": Setting("prune", sparsity=0.5, update=False),
    "joint": Setting("joint", 3, sparsity=0.5),
}
SOLVERS = ("auto", "bnb", "bound", "gptq", "sparsegpt")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 6, 4 or 2 inputs, so few nodes being allowed that rows would choose differently."""
    monkeypatch.setattr(quantization, "SIZES", (6, 4, 2))
    monkeypatch.setattr(quantization, "EASY", 12)


def stated(kind):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((40, N)) @ (np.eye(N) + 0.4 * rng.standard_normal((N, N)))
    return state_problem(rng.standard_normal((ROWS, N)), (x.T @ x / 40)[None], SETTINGS[kind])


def told(result):
    return result.lower, result.upper, result.x.tobytes(), result.status, result.bound_kind, result.nodes


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("kind", SETTINGS)
def test_order_and_jobs(name, kind):
    options = Options(time_limit=None, prove=True)
    problem, solver = stated(kind), get_solver(name)
    if solver.why_unsupported(problem.row(0)) is not None:
        pytest.skip("another kind of problem")
    expected = [told(row.result) for row in solve_layer(problem, solver, options).rows]
    assert [told(row.result) for row in solve_layer(stated(kind), solver, options, jobs=3).rows] == expected
    problem = stated(kind)
    backwards = [told(solver.solve(problem.row(i), options)) for i in reversed(range(ROWS))]
    assert backwards[::-1] == expected
    alone = [told(solver.solve(stated(kind).row(i), options)) for i in (1, 4)]
    assert alone == [expected[1], expected[4]]


def test_the_size_of_blocks_follows_from_the_matrix_and_the_kind_of_grid():
    problem = stated("channel")
    sizes = {len(quantization.layer_blocks(stated("channel").row(i)).inputs[0]) for i in range(ROWS)}
    assert len(sizes) == 1
    assert quantization.layer_blocks(problem.row(0)) is quantization.layer_blocks(problem.row(5))
    other = quantization.layer_blocks(stated("nf4").row(0))
    assert other.below.d.shape == (N,)


def test_long_rows_in_a_layer_and_alone(monkeypatch):
    """A diagonal that is fitted to rows is the layer's, or a row's own: not that of who came first."""
    monkeypatch.setattr(rows, "LONG", 4)
    monkeypatch.setattr(rows, "CHUNK", 4)
    options, solver = Options(time_limit=None), get_solver("bound")
    layers = [solve_layer(stated("prune"), solver, options, jobs=jobs) for jobs in (1, 3)]
    assert [told(row.result) for row in layers[0].rows] == [told(row.result) for row in layers[1].rows]
    forth, back = stated("prune"), stated("prune")
    first = [solver.solve(forth.row(i), options) for i in range(ROWS)]
    second = [solver.solve(back.row(i), options) for i in reversed(range(ROWS))][::-1]
    assert list(map(told, first)) == list(map(told, second))
    proofs = [result.proof for result in first]
    assert all(isinstance(proof, Split) for proof in proofs)
    assert len({proof.below.d.tobytes() for proof in proofs}) == ROWS
    fitted = [pruned.layer_of([forth.row(i)]) for i in range(ROWS)]  # what nobody has prepared for the layer
    assert len({layer.at.d.tobytes() for layer in fitted}) == ROWS
