"""`pvq.bound` and what it returns."""

import json
import math
import pickle
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pvq
import pytest


def brute(layer, grid_of_row):
    """Sum over the rows of the least error over all points of a grid, by looking at each."""
    total = 0.0
    for w, gram, levels in grid_of_row:
        points = np.array(list(product(levels, repeat=len(w)))) - w
        total += np.einsum("pi,ij,pj->p", points, gram, points).min()
    return total


def test_the_interval_holds_the_optimum_that_enumeration_finds(layer):
    result = pvq.bound(layer, pvq.Quant(bits=2), inputs=(0, 5), rows=(0, 3), methods="all")
    levels = result.problem.row(0).grid.levels[0]
    gram = layer.grams[0][:5, :5]
    least = brute(layer, [(layer.weight[r, :5], gram, levels) for r in range(3)])
    assert result.lower <= least * (1 + 1e-12)
    assert result.upper == pytest.approx(least, rel=1e-9)
    assert result.is_optimal
    assert result.gap <= 1e-6
    assert len(result.methods) >= 5
    for score in result.methods.values():
        assert score.feasible
        assert 0 <= score.from_optimum_db.min <= score.from_optimum_db.max
        assert score.error >= least * (1 - 1e-9)


def test_the_fields_say_one_thing(layer, quantized):
    x = quantized.weights
    errors = np.einsum("ri,ij,rj->r", layer.weight - x, layer.grams[0], layer.weight - x)
    assert quantized.upper == pytest.approx(errors.sum())
    assert quantized.reference == pytest.approx(np.einsum("ri,ij,rj", layer.weight, layer.grams[0], layer.weight))
    assert quantized.sqnr_db.min == pytest.approx(10 * math.log10(quantized.reference / quantized.upper))
    assert quantized.sqnr_db.min <= quantized.sqnr_db.max
    assert sum(row.upper for row in quantized.rows) == pytest.approx(quantized.upper)
    assert [row.methods["gptq"] for row in quantized.rows] == pytest.approx(
        [row.empirical["gptq"] for row in quantized.solved.rows]
    )
    assert quantized.status == "optimal"
    assert quantized.bound_kind == "rigorous"


@pytest.mark.parametrize(
    ("problem", "method"),
    [
        (pvq.Quant(bits=3), "gptq"),
        (pvq.Prune(sparsity=0.5), "sparsegpt"),
        (pvq.Prune(nm="2:4", update=False), "wanda"),
        (pvq.Joint(pvq.Quant(bits=3), pvq.Prune(sparsity=0.5)), "sparsegpt"),
    ],
)
def test_the_usual_method_is_scored(layer, problem, method):
    result = pvq.bound(layer, problem, rows=(0, 2))
    assert list(result.methods) == [method]
    assert result.is_optimal


def test_scope_layer_shares_the_budget(layer):
    by_row = pvq.bound(layer, pvq.Prune(sparsity=0.5), methods=())
    by_layer = pvq.bound(layer, pvq.Prune(sparsity=0.5, scope="layer"), methods=())
    assert by_layer.upper <= by_row.upper * (1 + 1e-9)
    assert {row.lower for row in by_layer.rows} == {None}
    assert by_row.score(by_row.weights).feasible
    assert not by_row.score(by_layer.weights).feasible
    assert by_layer.score(by_layer.weights).feasible
    dense = np.ones_like(by_layer.weights)
    assert "units are kept" in by_layer.score(dense).reason


def test_the_document_is_that_of_the_command_line(cli, tmp_path, layer, quantized):
    quantized.save(tmp_path / "ours.json")
    pvq.save_layer(tmp_path / "layer.npz", layer)
    words = ("--method", "quant", "--bits", 3, "--compare", "gptq", "--certificate", tmp_path / "proof.npz")
    assert cli("bound", tmp_path / "layer.npz", *words, "--json", tmp_path / "theirs.json", "--quiet").code == 0
    ours, theirs = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("ours", "theirs"))
    for document in (ours, theirs):
        for part in (document["environment"], *document["rows"], *(row["info"] for row in document["rows"])):
            for name in ("seconds", "prepare_seconds", "verify_seconds"):
                part.pop(name, None)
    assert ours["total"]["model"]["lower"] == quantized.model.lower > 0
    assert ours == theirs
    assert pvq.verify(tmp_path / "proof.npz", tmp_path / "layer.npz") == pvq.verify(quantized.certificate(), layer)


def test_certificates_are_proven_and_false_ones_are_not(layer, quantized, tmp_path):
    certificate = quantized.certificate()
    proven = pvq.verify(certificate, layer)
    assert certificate.lower <= proven.min <= proven.max <= certificate.upper
    certificate.save(tmp_path / "proof.npz")
    assert pvq.verify(tmp_path / "proof.npz", layer) == proven
    other = pvq.Layer.from_gram(layer.weight, layer.grams * (1 + 1e-9), layer.name)
    with pytest.raises(pvq.NotProven, match="another layer"):
        pvq.verify(certificate, other)
    object.__setattr__(certificate, "lower", certificate.upper)
    with pytest.raises(pvq.NotProven, match="as is claimed"):
        pvq.verify(certificate, layer)
    with pytest.raises(pvq.CertificateError, match=r"must end in \.npz"):
        certificate.save(tmp_path / "proof")
    free = pvq.bound(layer, pvq.Quant(bits=2, range="optimal"), rows=(0, 1), inputs=(0, 4))
    assert free.bound_kind == "rigorous"
    proven = pvq.verify(free.certificate(), layer)
    assert free.lower <= proven.min <= proven.max <= free.certificate().upper


def test_results_pickle(layer, quantized):
    for result in (quantized, pvq.bound(layer, pvq.Prune(sparsity=0.5, scope="layer"), rows=(0, 2))):
        copy = pickle.loads(pickle.dumps(result))
        assert copy.document == result.document
        assert np.array_equal(copy.weights, result.weights)
        assert copy.score(copy.weights) == result.score(result.weights)
        assert pvq.verify(copy.certificate(), copy.layer) == pvq.verify(result.certificate(), result.layer)


def test_representations(quantized):
    assert len(repr(quantized).splitlines()) == 1
    assert "optimal" in repr(quantized)
    assert "array" not in repr(quantized.layer) + repr(quantized.certificate())
    html = quantized._repr_html_()
    assert "fc&lt;1&gt;" in html
    assert "fc<1>" not in html
    assert html.count("<tr>") == 1 + 4  # heads; lower, optimum, gptq, and what the volume model says


def test_figure(quantized):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert quantized.plot(ax) is ax
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["best possible", "gptq"]
    assert ax.get_title().startswith("fc<1>")


def test_without_pandas_a_frame_is_one_line(quantized, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas") as error:
        quantized.to_frame()
    assert "\n" not in str(error.value)


def test_a_frame_has_a_line_for_each_row(quantized, monkeypatch):
    """The records that pandas gets; pandas itself is not needed for that."""

    class DataFrame(list):
        from_records = classmethod(lambda cls, records: cls(records))
        set_index = lambda self, index: (index, list(self))  # noqa: E731

    monkeypatch.setitem(sys.modules, "pandas", type(sys)("pandas"))
    sys.modules["pandas"].DataFrame = DataFrame
    index, records = quantized.to_frame()
    assert index == "row"
    assert [record["row"] for record in records] == list(range(6))
    assert [record["gptq"] for record in records] == [row.methods["gptq"] for row in quantized.rows]


@pytest.mark.parametrize("interrupt", ["signal", "exception"])
def test_ctrl_c_returns_what_is_proven(layer, interrupt):
    seen = []

    def progress(row):
        seen.append(row)
        if interrupt == "exception":
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    result = pvq.bound(layer, pvq.Quant(bits=3), progress=lambda row: progress(row) if not seen else None)
    assert signal.getsignal(signal.SIGINT) is before
    assert result.status == "interrupted"
    assert [row.status for row in result.rows] == ["optimal"] + ["interrupted"] * 5
    assert seen == [result.rows[0]]
    assert 0 < result.rows[0].lower <= result.lower <= result.upper
    assert [row.lower for row in result.rows[1:]] == [0.0] * 5
    assert math.isfinite(result.sqnr_db.min)


def test_threads_get_the_numbers_of_one(layer):
    problems = [pvq.Quant(bits=3), pvq.Prune(sparsity=0.5), pvq.Quant(bits=2, granularity="group:4")]
    problems.append(pvq.Joint(pvq.Quant(bits=3), pvq.Prune(nm="2:4")))

    def ends(problem):
        found = pvq.bound(layer, problem)
        return [(row.lower, row.upper, row.nodes, row.methods) for row in found.rows]

    one = [ends(problem) for problem in problems]
    gate = threading.Barrier(4)

    def together(problem):
        gate.wait()
        return ends(problem)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(together, problems)) == one


def test_the_limit_of_blas_threads_ends_with_its_last_user():
    from pvq.threads import one_blas_thread
    from threadpoolctl import threadpool_info, threadpool_limits

    def counts():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        before = counts()  # one of several libraries may not take two threads
        assert 2 in before
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        assert counts() == {1}
        first.__exit__(None, None, None)  # not the order of a stack, as threads do
        assert counts() == {1}
        second.__exit__(None, None, None)
        assert counts() == before


def test_progress_sees_every_row_and_jobs_change_nothing(layer, quantized):
    rows = []
    result = pvq.bound(layer, pvq.Quant(bits=3), jobs=2, progress=rows.append)
    assert sorted(row.row for row in rows) == list(range(6))
    assert [row.upper for row in result.rows] == [row.upper for row in quantized.rows]


def test_installed_solvers_are_those_that_can_be_used():
    solvers = pvq.installed_solvers()
    assert {"auto", "bnb", "gptq"} <= set(solvers)
    assert "cplex" not in solvers or __import__("cplex")
    assert all("\n" not in summary for summary in solvers.values())


@pytest.mark.parametrize(("rows", "jobs", "threads"), [((0, 1), 4, 8), ((0, 2), 4, 4), (None, 2, 4)])
def test_cores_that_no_row_takes_are_those_of_the_others(layer, monkeypatch, rows, jobs, threads):
    from pvq.solvers.bnb import enumeration

    asked, solve = [], enumeration.solve_grid
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr(
        enumeration,
        "solve_grid",
        lambda problem, options, start: asked.append(options.threads) or solve(problem, options, start),
    )
    pvq.bound(layer, pvq.Quant(bits=3), solver="bnb", rows=rows, jobs=jobs)
    assert set(asked) - {1} == {threads}  # 1: rows of three inputs that only compile
