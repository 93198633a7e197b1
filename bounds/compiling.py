"""Functions that numba compiles when they are first called."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from numba import njit

try:
    from .shortcuts import compiling as compiling
except (ImportError, AttributeError):  # a numba that is another one inside compiles the same, more slowly
    compiling = nullcontext  # type: ignore[assignment]


def compiled(**options: Any) -> Callable[[Any], Any]:
    """The decorator of a function that Python calls: `numba.njit`, kept on disk, that compiles as above.

    What is divided by 0 is infinite, as numpy has it.
    """

    def decorate(function: Any) -> Any:
        made: Any = njit(**{"cache": True, "nogil": True, "error_model": "numpy", **options})(function)
        if not hasattr(made, "compile"):
            return made  # the function itself: NUMBA_DISABLE_JIT is set
        compile_once = made.compile

        def compile_for(types: Any) -> Any:
            with compiling():
                return compile_once(types)

        made.compile = compile_for
        return made

    return decorate
