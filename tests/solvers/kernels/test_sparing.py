"""What is not compiled twice: read off the source, since compiled code is cached."""

import ast
from pathlib import Path

import numpy as np
import pvq.solvers
import pytest
from pvq.solvers.kernels.sparing import assign, assign_matrix

ROOT = Path(pvq.solvers.__file__).parent


def compiled_functions():
    """(file, function) of all that numba compiles."""
    marks = ("njit", "entry", "apart", "inner")
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(
                mark in ast.unparse(d) for d in node.decorator_list for mark in marks
            ):
                yield file.relative_to(ROOT), node


FUNCTIONS = list(compiled_functions())
NAMES = {function.name for _, function in FUNCTIONS}


def slices_assigned(function):
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for each in target.elts if isinstance(target, ast.Tuple) else [target]:
                    if isinstance(each, ast.Subscript) and any(
                        isinstance(n, ast.Slice) for n in ast.walk(each.slice)
                    ):
                        yield node


def test_arrays_are_not_assigned_to_slices():
    """The message of numba's check of shapes is string code in every caller; see `sparing`."""
    assert len(FUNCTIONS) > 100
    found = [
        f"{file}:{node.lineno} {ast.unparse(node)}"
        for file, function in FUNCTIONS
        for node in slices_assigned(function)
        if not isinstance(node.value, ast.Constant)
    ]
    assert not found


def test_compiled_functions_are_not_called_with_literals():
    found = [
        f"{file}:{call.lineno} {ast.unparse(call)}"
        for file, function in FUNCTIONS
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in NAMES
        if any(isinstance(a, ast.Constant) and type(a.value) is int for a in call.args)
    ]
    assert not found


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int8, np.bool_])
def test_assign_is_numpys(kind):
    values = np.array([[3, 0, 2], [1, 1, 0]]).astype(kind)
    for view in (values, np.asfortranarray(values), values[:, :2]):
        out, expected = np.full((3, 4), 7).astype(kind), np.full((3, 4), 7).astype(kind)
        assign_matrix(out, view)
        expected[: view.shape[0], : view.shape[1]] = view
        assert (out == expected).all()
        assign(out[2, 1:], view[:, 1])
        expected[2, 1:3] = view[:, 1]
        assert (out == expected).all()
