"""Case lists as people write them: what is wrong is named by its key."""

import pytest
from pvq.benchmarks.cases import parse
from pvq.bounds.errors import ProblemError

CASE = {"name": "a", "layer": "l", "rows": "0:1", "method": "prune", "sparsity": 0.5, "solvers": ["bnb"]}


def read(tmp_path, case=None, **document):
    return parse({"schema": "pvq.cases/1", "cases": [{**CASE, **(case or {})}], **document}, "list", [tmp_path])


def test_a_case_is_read(tmp_path):
    tasks = read(tmp_path, {"rows": [0, 3], "solvers": ["bnb", {"solver": "bound", "node_limit": 1}]}).tasks
    assert [task.instance.row for task in tasks] == [0, 0, 3, 3]
    assert [task.entry.label for task in tasks[:2]] == ["bnb", "bound, 1 nodes"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"name": 3}, "name must be a text, not 3"),
        ({"layer": None}, "layer must be a text, not None"),
        ({"rows": 3}, "rows must be a text or a list, not 3"),
        ({"solvers": "bnb"}, "solvers must be a list, not bnb"),
        ({"solvers": [3]}, "a solver must be an object, not 3"),
        ({"solvers": [{"label": "x"}]}, "needs the key solver"),
        ({"solvers": [{"solver": "bnb", "node_limit": 1.5}]}, "node_limit must be a whole number, not 1.5"),
        ({"time_limit": "x"}, "time_limit must be a whole number or a number, not x"),
        ({"threads": True}, "threads must be a whole number, not True"),
        ({"sparsity": "0.5"}, "sparsity must be a whole number or a number, not 0.5"),
        ({"update": 1}, "update must be true or false, not 1"),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_named(tmp_path, case, said):
    with pytest.raises(ProblemError, match=said):
        read(tmp_path, case)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"about": 3}, "about must be a text"),
        ({"defaults": 3}, "defaults must be an object"),
        ({"cases": {"a": 1}}, "cases must be a list"),
        ({"cases": [3]}, "case 1 must be an object"),
        ({"targets": 3}, "targets must be a list"),
    ],
    ids=str,
)
def test_a_list_of_another_kind_is_named(tmp_path, document, said):
    with pytest.raises(ProblemError, match=said):
        read(tmp_path, **document)
