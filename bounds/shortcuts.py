# numba has no types
# mypy: disable-error-code="attr-defined,method-assign,no-untyped-call"
"""What numba does again and again while it compiles, put off or done once."""

from __future__ import annotations

import gc
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.registry import cpu_target
from numba.core.targetconfig import ConfigStack
from numba.core.types.functions import BaseFunction
from numba.core.typing.templates import _OverloadFunctionTemplate as Overloaded

OPERATORS = frozenset([bool, *(value for value in vars(operator).values() if callable(value))])
"""What `a + b`, `a[i]` and so on call in Python."""

_typed: dict[tuple[int, Any], tuple[Any, Any]] = {}
"""Operators of numba with the types of what they took, and what numba has found for them."""

_type_of_call, _type_of_overload = BaseFunction.get_call_type, Overloaded.generic


def _known_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
    """`BaseFunction.get_call_type`, looked up where an operator has been given these types before.

    numba asks each of up to forty candidates, of which most compare compiler options, and writes down why it does
    not suit: for `a[i]` alone a twelfth of the seconds. An operator made of Python code is not looked up: that is
    compiled for the options of the caller.
    """
    if kws or self.typing_key not in OPERATORS or context is not cpu_target.typing_context:
        return _type_of_call(self, context, args, kws)
    key = id(self), args
    known = _typed.get(key)
    if known is not None:
        self._impl_keys[known[1].args] = self.typing_key  # as when it was found: another call may have changed it
        return known[1]
    found = _type_of_call(self, context, args, kws)
    if found is not None and self.get_impl_key(found) is self.typing_key:
        _typed[key] = self, found  # with the operator itself, whose id is another's once it is gone
    return found


def _same_for_all(self: Any, args: Any, kws: Any) -> Any:
    """`Overloaded.generic`, for callers that differ in what Python and C call and not in the code itself.

    numba compiles what allocates an array, or takes the larger of two numbers, anew for each kind of caller.
    """
    flags = ConfigStack.top_or_none()
    if flags is None:
        return _type_of_overload(self, args, kws)
    common = flags.copy()
    common.no_cpython_wrapper = common.no_cfunc_wrapper = common.release_gil = True
    with ConfigStack().enter(common):
        return _type_of_overload(self, args, kws)


def _nothing(*_: object) -> None:
    """What other languages would call: nobody does, and numba makes it even for what allocates an array."""


@contextmanager
def compiling() -> Iterator[None]:
    """Python's collector off: it goes through all that numba keeps, time and again, a seventh of the seconds.

    And sizes of types looked up: numba has LLVM read a module for that of every variable, a twentieth.
    And those of operators, a fifth. And nothing compiled twice, or for nobody, a twentieth.
    """
    context, was, sizes = cpu_target.target_context, gc.isenabled(), dict[str, int]()
    measure, inside = context.get_abi_sizeof, "get_abi_sizeof" in vars(context)

    def size_of(kind: Any) -> int:
        name = str(kind)
        if name not in sizes:
            sizes[name] = measure(kind)
        return sizes[name]

    gc.disable()
    if not inside:
        context.get_abi_sizeof, context.create_cfunc_wrapper = size_of, _nothing
        BaseFunction.get_call_type, Overloaded.generic = _known_type, _same_for_all
    try:
        yield
    finally:
        if not inside:
            BaseFunction.get_call_type, Overloaded.generic = _type_of_call, _type_of_overload
            for name in ("get_abi_sizeof", "create_cfunc_wrapper"):
                vars(context).pop(name, None)  # another thread may have done it
        if was:
            gc.enable()
