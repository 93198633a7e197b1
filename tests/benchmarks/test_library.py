"""The instance library: its statements, its hashes, and which bounds it takes."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from pvq.benchmarks.library import build, decode, encode, instances_by_name, load, plan, updated, verified_lower
from pvq.benchmarks.problems import problem_of_instance, problem_sha256
from pvq.benchmarks.runner import Run
from pvq.benchmarks.tasks import INSTANCES, find_layer
from pvq.bounds.errors import ProblemError
from pvq.solvers.base import fallback_point


@pytest.fixture(scope="module")
def instances():
    return instances_by_name("*", (INSTANCES,))


def test_library_covers_what_it_should(instances):
    assert len(instances) >= 100
    assert len({i.name for i in instances}) == len({i.sha256 for i in instances}) == len(instances)
    settings = [(i.setting.method, i.setting, i.setting.inputs[1], i.layer.stem) for i in instances]
    for n in (16, 32, 48, 64, 80, 96, 112):
        mine = [s for method, s, size, _ in settings if size == n]
        assert {2, 3, 4} <= {s.bits for s in mine if s.method == "quant"}
        assert {0.5, 0.75, 0.875} <= {s.sparsity for s in mine if s.method == "prune"}
        assert (2, 4) in {s.nm for s in mine}
    assert any(method == "joint" for method, *_ in settings)
    assert any(size > 112 for *_, size, _ in settings)
    conditions = [words["condition"] for words in load()["instances"]]
    assert min(conditions) < 100
    assert max(conditions) > 1e6


def test_every_bound_of_the_library_can_be_checked_by_anybody(instances):
    """Hashes match the layer files, and each upper bound is the error of the x beside it."""
    words_of = {words["name"]: words for words in load()["instances"]}
    for instance in instances:
        problem, words = problem_of_instance(instance), words_of[instance.name]
        assert words["reference"] == pytest.approx(problem.reference, rel=1e-12)
        if words["upper"] is None:
            assert words["lower"] is None
            continue
        x = decode(problem, words["upper"]["x"])
        assert problem.is_feasible(x)
        assert problem.error(x) == pytest.approx(words["upper"]["value"], rel=1e-9, abs=1e-12 * problem.reference)
        if words["lower"] is not None:
            assert 0 <= words["lower"]["value"] <= words["upper"]["value"]
            assert "verified" in words["lower"]["by"] or "agree" in words["lower"]["by"]


def test_manifest_comes_out_of_its_command_again():
    again, shipped = build(load()), load()
    assert again["layers"] == shipped["layers"]
    for new, old in zip(again["instances"], shipped["instances"], strict=True):
        # sums and eigenvalues are rounded in the processor's own order; conditions are written to two digits
        assert new.pop("reference") == pytest.approx(old.pop("reference"), rel=1e-12)
        assert new.pop("condition") == pytest.approx(old.pop("condition"), rel=0.11)
        assert new == old


@pytest.mark.parametrize("name", [name for name, *_ in plan()][::7])
def test_points_survive_their_code(instances, name):
    problem = problem_of_instance(next(i for i in instances if i.name == name))
    x = fallback_point(problem)
    code = json.loads(json.dumps(encode(problem, x)))
    assert decode(problem, code) == pytest.approx(x, rel=1e-9, abs=1e-12)
    assert problem.is_feasible(decode(problem, code))


def run(instance, solver, lower, x, outcome="time_limit", **words):
    return Run(instance, solver, 0, outcome, x=tuple(x), lower=lower, name=solver, **words)


@pytest.fixture
def one(instances):
    """A manifest of one instance with nothing known, its problem, and a feasible point."""
    instance = next(i for i in instances if i.name == "b9-16-q4-r0")
    manifest = load()
    words = copy.deepcopy(next(w for w in manifest["instances"] if w["name"] == instance.name))
    words |= {"class": "open", "lower": None, "upper": None}
    problem = problem_of_instance(instance)
    x = fallback_point(problem)
    return {**manifest, "instances": [words]}, {instance.name: problem}, instance.name, x, problem.error(x)


def test_a_lower_bound_of_one_solver_is_not_taken_on_its_word(one):
    manifest, problems, name, x, error = one
    new, changes = updated(manifest, problems, [run(name, "bnb", 0.5 * error, x, upper=error)])
    assert new["instances"][0]["lower"] is None
    assert new["instances"][0]["upper"]["value"] == error
    assert len(changes) == 1
    assert manifest["instances"][0]["upper"] is None  # the old manifest is left as it was


def test_what_is_verified_is_taken_and_only_if_it_is_better(one):
    manifest, problems, name, x, error = one
    verified = run(name, "bnb", 0.5 * error, x, upper=error, verified=0.4 * error)
    new, _ = updated(manifest, problems, [verified])
    assert new["instances"][0]["lower"] == {"value": 0.4 * error, "by": "bnb, proof verified"}
    both = [run(name, "gurobi", 0.3 * error, x, upper=error), run(name, "scip", 0.6 * error, x, upper=error)]
    assert updated(new, problems, both) == (new, [])  # they agree on .3 only
    both[0] = replace(both[0], lower=0.55 * error)
    newer, _ = updated(new, problems, both)
    assert newer["instances"][0]["lower"] == {"value": 0.55 * error, "by": "gurobi and scip agree"}
    worse = np.full_like(x, problems[name].grid.levels[0, 0])
    assert updated(newer, problems, [run(name, "gptq", 0.0, worse, upper=problems[name].error(worse))])[1] == []


def test_two_solvers_of_one_maker_do_not_agree():
    x, error = [0.0], 1.0
    pair = [run("i", "gurobi", 0.5, x, upper=error), run("i", "gurobi-bigm", 0.5, x, upper=error)]
    assert verified_lower(pair) is None
    assert verified_lower([pair[0], run("i", "cvxpy", 0.5, x, upper=error)]) is None
    assert verified_lower([pair[0], run("i", "scip", 0.4, x, upper=error)])[0] == 0.4
    assert verified_lower([pair[0], run("i", "scip", 0.4, x, "wrong", upper=error)]) is None


def test_what_was_solved_is_classed_by_our_time_and_never_harder_than_before(one):
    manifest, problems, name, x, error = one
    solved = run(name, "bnb", error, x, "optimal", upper=error, verified=error, seconds=5.0)
    new, _ = updated(manifest, problems, [solved])
    assert new["instances"][0]["class"] == "medium"
    new, _ = updated(new, problems, [replace(solved, seconds=0.5)])
    assert new["instances"][0]["class"] == "easy"
    new, _ = updated(new, problems, [replace(solved, seconds=70.0)])
    assert new["instances"][0]["class"] == "easy"


def test_other_numbers_under_the_same_name_change_nothing(one):
    manifest, problems, name, x, error = one
    manifest["instances"][0]["sha256"] = "0" * 64
    assert updated(manifest, problems, [run(name, "bnb", 0.5, x, upper=error, verified=0.5)])[1] == []


def test_a_wrong_library_file_is_one_line(tmp_path):
    for text in (
        "[]",
        "{",
        '{"schema": "pvq.library/2"}',
        '{"schema": "pvq.library/1", "instances": [{"name": 1}]}',
    ):
        file = tmp_path / "library.json"
        file.write_text(text)
        with pytest.raises(ProblemError, match="library"):
            load(file)


def test_hash_depends_on_every_number_of_the_problem(instances):
    problem = problem_of_instance(instances[0])
    hashes = {problem_sha256(problem)}
    from pvq.bounds.gram import Gram
    from pvq.bounds.grid import Grid

    matrix = np.array(problem.hessian)
    matrix[0, 0] = np.nextafter(matrix[0, 0], np.inf)
    weight = np.array(problem.weight)
    weight[-1] = np.nextafter(weight[-1], np.inf)
    levels = np.array(problem.grid.levels)
    levels[0, -1] *= 1 + 1e-6
    hashes.add(problem_sha256(replace(problem, gram=Gram(matrix, 0.0, problem.n))))
    hashes.add(problem_sha256(replace(problem, weight=weight)))
    hashes.add(problem_sha256(replace(problem, grid=Grid(levels, problem.grid.group))))
    assert len(hashes) == 4


def test_a_layer_file_is_taken_from_the_first_folder_that_has_it(tmp_path):
    first, own = tmp_path / "first", tmp_path / "own"
    for folder in (first, own):
        folder.mkdir()
        (folder / "both.npz").touch()
    (own / "one.npz").touch()
    assert find_layer("both", (first, own)) == first / "both.npz"
    assert find_layer("one.npz", (first, own)) == own / "one.npz"
    assert find_layer("none", (first, own)) == own / "none.npz"  # what the message then names
