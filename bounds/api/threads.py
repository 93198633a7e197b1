"""One BLAS thread while rows are solved side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_users: list[object] = []
_limits: list[Any] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Rows are small: one BLAS thread each is fastest. The limit ends with the last of its users."""
    from threadpoolctl import threadpool_limits

    me = object()
    with _lock:
        if not _users:
            _limits.append(threadpool_limits(1, user_api="blas"))
        _users.append(me)
    try:
        yield
    finally:
        with _lock:
            _users.remove(me)
            if not _users:
                _limits.pop().restore_original_limits()
