# numba and llvmlite have no types for what builds code
# mypy: disable-error-code="no-untyped-call,no-untyped-def,misc,attr-defined,call-overload"
"""Compiled functions that stay apart from those that call them: compiled once, when first called, and not before.

numba copies what a function calls into its module, where LLVM optimises it and makes machine code of it again: a
factorisation below six levels of callers was compiled seven times. A function apart is called by its address,
which costs some ten nanoseconds, and which every caller asks for when it first needs it.
"""

from __future__ import annotations

import _thread
import ctypes
import traceback
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
from llvmlite import ir
from numba import njit
from numba.core import cgutils, sigutils, types
from numba.core.options import DefaultOptions
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import lower_builtin, typeof_impl
from pvq.bounds.compiling import compiled, compiling

VECTOR, MATRIX = types.float64[::1], types.float64[:, ::1]
NUMBERS, FLAGS = types.int64[::1], types.boolean[::1]
REAL, WHOLE, TRUTH = types.float64, types.int64, types.boolean
"""Types of arguments and results: contiguous arrays of floats, of integers and of truths, and one of each."""

several: Any = types.Tuple
"""Type of a tuple of these."""


def named(kinds: Sequence[Any], name: type) -> Any:
    """The same of a named one, which numba has another type for where all are alike."""
    if all(kind == kinds[0] for kind in kinds):
        return types.NamedUniTuple(kinds[0], len(kinds), name)
    return types.NamedTuple(kinds, name)


MODEL = {"error_model": "numpy"}
"""What is divided by 0 is infinite, as numpy has it. A test for that is code; and what allocates arrays, or takes
the larger of two numbers, is compiled anew for functions that test."""

BORROWS: dict[str, Any] = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}
"""Option of a function that allocates nothing and returns no array: it does not count references to what it is
given, which its caller holds. numba counts them at every call and every field of a tuple, with an atomic
instruction each: in the relaxation of a node of 75 inputs that took a third of the time."""

ADDRESS = ir.IntType(8).as_pointer()

_kept: list[Any] = []
"""What compiled code points to, kept alive as long as the process."""


def entry(**options: Any) -> Callable[[Any], Any]:
    """The decorator of a function that Python calls: `numba.njit` without what other languages would call."""
    return compiled(no_cfunc_wrapper=True, **(MODEL | options))


def apart(result: Any, *arguments: Any, python: bool = False, **options: Any) -> Callable[[Any], Any]:
    """The decorator of a function that is compiled and called apart, with these types.

    Parameters
    ----------
    result : None for nothing.
    python : whether Python calls it as well. A function without that has no code that reads Python's objects, as
        long as the function itself where it takes many arrays; tests that call it have it compiled once more.
    options : of `numba.njit`.
    """
    result = types.void if result is None else result
    return lambda function: Apart(function, result, arguments, python, MODEL | options)


class Apart:
    """A function apart, called from Python like any other."""

    def __init__(
        self, function: Any, result: Any, arguments: tuple[Any, ...], python: bool, options: dict[str, Any]
    ) -> None:
        self.py_func, self.python, self.options = function, python, options
        self.compiled = entry(no_cpython_wrapper=not python, **options)(function)
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        arguments, result = sigutils.normalize_signature(result(*arguments))
        symbol = f"{function.__module__}.{self.__name__}"
        find = ctypes.CFUNCTYPE(ctypes.c_void_p)(lambda: _found(self.compiled, arguments))
        _kept.append(find)
        llvm.add_symbol(symbol, ctypes.cast(find, ctypes.c_void_p).value)

        class Typed(ConcreteTemplate):
            key = self
            cases = [result(*arguments)]  # noqa: RUF012 - as numba has it

        infer_global(self, types.Function(Typed))
        lower_builtin(self, *arguments)(_call(symbol))

    @cached_property
    def _from_python(self) -> Any:
        return self.compiled if self.python else njit(nogil=True, **self.options)(self.py_func)

    def __call__(self, *arguments: Any) -> Any:
        return self._from_python(*arguments)


class Inner:
    """A small function, compiled with those that call it; where Python calls it, it is not compiled."""

    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        self.py_func = function
        self.compiled = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        return self.py_func(*arguments)


@typeof_impl.register(Inner)
def _as_compiled(value, context):
    return types.Dispatcher(value.compiled)


def inner(**options: Any) -> Callable[[Any], Any]:
    """The decorator of an `Inner` function, with options of `numba.njit`."""
    return lambda function: Inner(function, MODEL | options)


def _found(compiled: Any, arguments: tuple[Any, ...]) -> int:
    """The same, 0 where it cannot be compiled: compiled code hears no exception, and raises one of its own."""
    try:
        return _address(compiled, arguments)
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, KeyboardInterrupt):
            _thread.interrupt_main()
        return 0


def _address(compiled: Any, arguments: tuple[Any, ...]) -> int:
    """Of the compiled function."""
    with compiling():
        compiled.compile(arguments)
    made = compiled.overloads[arguments]
    return int(made.library.get_pointer_to_function(made.fndesc.llvm_func_name))


def _call(symbol: str) -> Callable[..., Any]:
    """What emits a call of the function whose address `symbol` finds."""

    def emit(context, builder, signature, arguments):
        convention = context.call_conv
        known = ir.GlobalVariable(builder.module, ADDRESS, builder.module.get_unique_name("address"))
        known.linkage, known.initializer = "internal", ir.Constant(ADDRESS, None)
        with builder.if_then(builder.icmp_unsigned("==", builder.load(known), known.initializer), likely=False):
            kind = ir.FunctionType(ADDRESS, [])
            find = builder.module.globals.get(symbol) or ir.Function(builder.module, kind, symbol)
            found = builder.call(find, [])
            with builder.if_then(builder.icmp_unsigned("==", found, known.initializer), likely=False):
                convention.return_user_exc(builder, RuntimeError, (f"{symbol} was not compiled",))
            builder.store(found, known)
        result, kinds = signature.return_type, signature.args
        kind = convention.get_function_type(result, kinds).as_pointer()
        function = builder.bitcast(builder.load(known), kind)
        status, value = convention.call_function(builder, function, result, kinds, arguments)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return value

    return emit
