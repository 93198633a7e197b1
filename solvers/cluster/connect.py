"""From the words of `--cluster` to a connection: processes of this machine, or a scheduler that is there."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from threading import Event, Thread

import dask
from distributed import Client, LocalCluster
from pvq.bounds.errors import ProblemError
from pvq.bounds.stages import part

from ..watch import leave, watched

ANSWER = 10.0
"""Seconds that a scheduler has to answer."""
SOON, LATEST = 0.6, 10.0
"""Seconds that a connection has to be closed in: after Ctrl-C, and else."""
SPOKEN = ("tcp", "tls", "ws", "wss")
"""Protocols that dask has without further packages."""
OURS = {
    "distributed.nanny.pre-spawn-environ": {
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
    },
    "distributed.worker.profile.enabled": False,
}
"""Of worker processes of this machine. Dask's own MALLOC_TRIM_THRESHOLD_ is not among them: with it the C library
gives every array back to the system, which took 457 s of 1489 in 50 layers."""


class _Client(Client):  # type: ignore[misc]  # dask has no types
    """One that waits for nobody when it could not be made: what is there is closed by `Connection`."""

    def __del__(self) -> None:
        """Dask's asks the scheduler that did not answer, for 20 s, and complains."""


@dataclass(frozen=True)
class Connection:
    """A client, and the processes behind it where they are ours."""

    client: Client
    ours: LocalCluster | None
    where: str

    def close(self, first: Callable[[], object] = lambda: None, soon: bool = False) -> None:
        """Leave the cluster after a last word; processes of ours end with this one at the latest."""

        def work() -> None:
            with suppress(Exception):
                first()
            with suppress(Exception):
                self.client.close(timeout=SOON)
            if self.ours is not None:
                with suppress(Exception):
                    self.ours.close()  # waits for the end of what they are at

        thread = Thread(target=work, daemon=True, name="closing")
        thread.start()
        thread.join(SOON if soon else LATEST)
        if thread.is_alive():
            leave(thread)


def connect(words: str, stop: Event) -> Connection | None:
    """Connect to a cluster; None where `stop` was set before.

    Parameters
    ----------
    words : local, local:N, the address of a scheduler, or the path of a scheduler file.

    Raises
    ------
    ProblemError
        Words that are none of these, or no scheduler answers.
    """
    found = re.fullmatch(r"local(?::(\d{1,4}))?", words)
    count = 0 if found is None else int(found[1] or os.cpu_count() or 1)
    if found is not None and count < 1:
        raise ProblemError("`cluster` local:N needs a worker or more")
    address = words if found is not None else _address(words)
    part(f"starting {count} worker processes" if found is not None else f"connecting to {address}")
    connection = watched(lambda: _local(count) if found is not None else _joined(address), stop)
    if connection is not None and stop.is_set():
        connection.close(soon=True)
        return None
    return connection


def _address(words: str) -> str:
    if "://" in words:
        return words
    if not os.path.isfile(words):
        raise ProblemError(
            f"`cluster` is local, local:N, the address of a scheduler as tcp://host:8786, or a scheduler file; "
            f"there is no file '{words[:200]}'"
        )
    try:
        with open(words, encoding="utf-8") as file:
            address = json.loads(file.read(1 << 20))["address"]
    except (OSError, ValueError, KeyError, TypeError):
        address = None
    if not isinstance(address, str) or "://" not in address:
        raise ProblemError(f"{words} is no scheduler file: dask's have the address of a scheduler")
    return address


def _quiet() -> None:
    """What dask's parts tell each other is not for users."""
    parts = ("distributed", "tornado", "asyncio")
    for name in {*parts, *logging.root.manager.loggerDict}:  # dask gives some of them levels of their own
        if name.split(".")[0] in parts:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def _said(words: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each of dask's transports has faults of its own
        why = str(error).splitlines()[0].replace("`", "'") if str(error) else type(error).__name__
        raise ProblemError(f"{words} ({why})") from None


def _ours() -> None:
    """Let processes of this thread be none of those that Ctrl-C in a terminal ends: the run tells them.

    A blocked signal is inherited by threads and processes. multiprocessing's tracker, which would complain of what
    a process that ended at once has left, is told not to.
    """
    sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the tracker's start unblocks it


def _local(count: int) -> Connection:
    _quiet()
    _ours()
    with dask.config.set(OURS), _said(f"{count} worker processes cannot be started"):
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL + 1,
        )
        return Connection(_Client(cluster, set_as_default=False), cluster, f"local:{count}")


def _joined(address: str) -> Connection:
    _quiet()
    scheme = address.split("://")[0]
    more = "" if scheme in SPOKEN else f"; every dask speaks tcp://, and {scheme}:// only what has more installed"
    with _said(f"no scheduler answers at {address}{more}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # versions are compared where they matter
        client = _Client(address, timeout=ANSWER, set_as_default=False, name="pvq")
    return Connection(client, None, address)
