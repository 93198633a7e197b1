# numba has no types
# mypy: disable-error-code="attr-defined"
"""What numba does again and again while it compiles, put off or done once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.registry import cpu_target


@contextmanager
def compiling() -> Iterator[None]:
    """Python's collector off: it goes through all that numba keeps, time and again, a seventh of the seconds.

    And sizes of types looked up: numba has LLVM read a module for that of every variable, a twentieth.
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
        context.get_abi_sizeof = size_of
    try:
        yield
    finally:
        if not inside:
            vars(context).pop("get_abi_sizeof", None)  # another thread may have done it
        if was:
            gc.enable()
