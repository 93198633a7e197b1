"""What is looked up while numba compiles is what numba finds."""

import gc
import operator
import pickle
import subprocess
import sys
from contextlib import suppress

import numba
import numpy as np
import pytest
from numba.core import event, types
from numba.core.types.functions import BaseFunction
from numba.extending import models, overload, register_model
from pvq.bounds.compiling import compiled
from pvq.bounds.shortcuts import Overloaded, compiling


@overload(operator.mod)
def _ratio_of_pairs(one, other):
    """An operator made of Python code, which is compiled for the options of the function that uses it."""
    if isinstance(one, types.UniTuple) and isinstance(other, types.UniTuple):
        return lambda one, other: one[0] / other[0]
    return None


def ratio(a, b):
    return (a, a) % (b, b)


def test_an_operator_made_of_python_code_keeps_the_options_of_each_caller():
    with compiling():
        unchecked, checked = numba.njit(error_model="numpy")(ratio), numba.njit()(ratio)
        assert unchecked(1.0, 0.0) == np.inf
        with pytest.raises(ZeroDivisionError):
            checked(1.0, 0.0)
        assert numba.njit(error_model="numpy")(ratio)(1.0, 0.0) == np.inf


def _quotient(a, b):
    """Told apart by the options of who calls it, as `ratio` is."""


@overload(_quotient)
def _of_numbers(a, b):
    return lambda a, b: a / b


def quotient(a, b):
    return _quotient(a, b)


def test_what_differs_in_what_python_calls_shares_what_it_calls():
    began = []

    class Heard(event.Listener):
        def on_start(self, heard):
            began.append(heard.data["dispatcher"].py_func)

        def on_end(self, heard):
            pass

    wrapped = {"no_cpython_wrapper": True}, {"no_cfunc_wrapper": True}, {"nogil": True}, {}
    kind, division = (types.float64, types.float64), {"error_model": "numpy"}
    with event.install_listener("numba:compile", Heard()), compiling():
        for options in wrapped:
            numba.njit(**options, **division)(quotient).compile(kind)
        assert sum(function is not quotient for function in began) == 1
        checked = numba.njit()(quotient)  # another kind of division is other code
        with pytest.raises(ZeroDivisionError):
            checked(1.0, 0.0)
        assert sum(function is not quotient for function in began) == 2
        fast = numba.njit(fastmath=True, **division)(quotient)
        fast.compile(kind)
        assert sum(function is not quotient for function in began) == 3


def arithmetic(a, i, b):
    a[i] += b
    return a[i] // b, a[i] / b, a[i] > b, -a[i], bool(a[i]), a[i:].sum()


CASES = (
    (np.array([3.0, 4.0]), 1, 2.5),
    (np.array([3.0, 4.0], dtype=np.float32), 1, 2.5),
    (np.array([3, 4]), 1, 2),
    (np.array([3, 4], dtype=np.int8), np.uint64(1), 2),
    (np.array([True, False]), 1, True),
    (np.array([3.0, 4.0])[::-1], -1, 2),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].dtype}-{type(case[2]).__name__}")
def test_types_are_those_that_numba_finds_alone(case):
    if case[0].dtype == bool:

        def function(a, i, b):
            return a[i] & b, a[i] == b, a[i] | b
    else:
        function = arithmetic
    alone, twice = numba.njit()(function), [numba.njit()(function), numba.njit()(function)]
    kind = tuple(numba.typeof(value) for value in case)
    alone.compile(kind)
    for other in twice:
        with compiling():
            other.compile(kind)
        assert other.nopython_signatures[0] == alone.nopython_signatures[0]
        array = case[0].copy()
        assert other(array, *case[1:]) == alone(case[0].copy(), *case[1:])


def test_an_operator_that_is_new_is_found_after_one_that_failed():
    class Left(types.Type):
        def __init__(self):
            super().__init__(name="LeftOfTest")

    register_model(Left)(models.OpaqueModel)
    left = Left()

    def power(a, b):
        return a**b

    with compiling():
        with pytest.raises(numba.TypingError):
            numba.njit()(power).compile((left, types.int64))

        @overload(operator.pow)
        def of_left(a, b):
            return (lambda a, b: 7) if isinstance(a, Left) else None

        numba.njit()(power).compile((types.float64, types.int64))
        context = numba.core.registry.cpu_target.typing_context
        context.refresh()
        found = context.resolve_function_type(operator.pow, (left, types.int64), {})
        assert found.return_type in (types.int64, types.literal(7))


def test_all_is_as_before_afterwards():
    was, context = BaseFunction.get_call_type, numba.core.registry.cpu_target.target_context
    generic, names = Overloaded.generic, set(vars(context))
    assert gc.isenabled()
    with compiling():
        assert not gc.isenabled()
        with compiling():
            assert BaseFunction.get_call_type is not was
        assert BaseFunction.get_call_type is not was
    assert gc.isenabled()
    with suppress(ValueError), compiling():
        raise ValueError
    assert BaseFunction.get_call_type is was
    assert Overloaded.generic is generic
    assert set(vars(context)) == names
    assert gc.isenabled()


def test_a_compiled_function_compiles_that_way_and_can_be_sent():
    seen = []

    @compiled(cache=False)
    def double(x):
        return 2 * x

    inner = double.py_func
    assert inner(3) == 6
    original = numba.core.typing.Context.resolve_function_type

    def watched(self, *rest):
        seen.append(gc.isenabled())
        return original(self, *rest)

    numba.core.typing.Context.resolve_function_type = watched
    try:
        assert double(3) == 6
    finally:
        numba.core.typing.Context.resolve_function_type = original
    assert seen
    assert not any(seen)
    assert pickle.loads(pickle.dumps(double))(4) == 8


def test_without_shortcuts_functions_are_compiled_all_the_same():
    code = """import sys
sys.modules["pvq.bounds.shortcuts"] = None  # what an import of it fails by
from pvq.bounds.compiling import compiled
double = compiled(cache=False)(lambda x: 2 * x)
assert double(3) == 6
print(double.nopython_signatures)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "int64" in done.stdout
