"""The GPU as a searcher: it takes `Work`, launches the kernel once, and watches it until it ends or is told to."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from pvq.bounds.cuda.driver import (
    Device,
    Function,
    GpuError,
    Memory,
    Stream,
    device,
    download,
    fill,
    flat,
    upload,
)
from pvq.bounds.cuda.image import kernel_image, missing
from pvq.bounds.problem import Problem

from ...base import SolverUnavailable
from ...options import Options
from .compiled import kernel
from .kernel import LANES, NUMBERS, WARP
from .numbers import LONGEST
from .work import Field, Found, Work

LARGE, SMALL = 768, 256
"""Most threads of a block for one plan, and for many, of which a multiprocessor then holds several."""

LEAST, GIVE = 64, 3
"""Nodes of a group between two gifts, and nodes that it gives at once."""

ALIGNED = 256

FAST, SLOW = 0.003, 0.0005
"""Seconds in which the end of a launch is looked for all the time, and between two looks after that."""


class Engine:
    """One GPU. Launches wait for each other: each takes all of its multiprocessors."""

    def __init__(self) -> None:
        why = missing()
        if why is not None:
            raise GpuError(why)
        self.device: Device = device()
        self._lock = threading.Lock()
        self._work, self._other = Stream(), Stream()
        self._stop = Memory(ALIGNED)
        self._memory = self._stop
        self._functions: dict[int, Function] = {}
        self._failed = ""

    def prepare(self, quads: int) -> Function:
        """The kernel for rows of at most 32 `quads` inputs; the GPU is the calling thread's from now on."""
        if self._failed:
            raise GpuError(self._failed)
        self.device.enter()
        if quads not in self._functions:
            self._functions[quads] = Function(*kernel_image(kernel(quads), self.device.capability))
        return self._functions[quads]

    def fits(self, work: Work) -> bool:
        """Whether a block of one warp has the memory that it takes."""
        return work.shared_bytes(WARP) <= self.device.shared

    def search(self, work: Work, ended: Callable[[], object], least: int = LEAST, give: int = GIVE) -> Found:
        """Search below all roots.

        Parameters
        ----------
        ended : asked every half millisecond; true: stop, with what is finished.
        least, give : see LEAST, GIVE.

        Raises
        ------
        GpuError
            The device has failed.
        """
        with self._lock, self._noting_failure():
            function = self.prepare(work.quads)
            threads = LARGE if len(work.plans) == 1 else SMALL
            while work.shared_bytes(threads) > self.device.shared:
                threads -= WARP
            shared = work.shared_bytes(threads)
            blocks = function.blocks(threads, shared) * self.device.multiprocessors
            groups = blocks * (threads // LANES)
            names = 1 << (groups - 1).bit_length()
            fields = work.fields(groups, names)
            places = self._place(fields)
            numbers = work.numbers(groups, least, give, names)
            arguments: list[ctypes._SimpleCData[int] | ctypes._SimpleCData[float]] = [
                *(ctypes.c_int32(int(value)) for value in numbers[:8]),
                *(ctypes.c_float(value) for value in numbers[8:]),
            ]
            for name, field in fields.items():
                empty = np.empty(0, field.kind)
                arguments += flat(field.count, empty.itemsize, places[name])
            self._work.wait()
            function.launch(blocks, threads, shared, self._work, arguments)
            self._watch(places["stop"], ended)
            return self._read(work, fields, places)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """After an error the context of the process is lost: later launches are refused with the first error."""
        try:
            yield
        except GpuError as error:
            self._failed = str(error)
            raise

    def _place(self, fields: dict[str, Field]) -> dict[str, int]:
        """Addresses of the arrays, written as they begin."""
        offsets, size = {}, 0
        for name, field in fields.items():
            offsets[name] = size
            size += -(-max(field.nbytes, 1) // ALIGNED) * ALIGNED
        if size > self._memory.size:
            self._memory = self._stop  # frees the old one first
            self._memory = Memory(size)
        places = {name: self._memory.address + offset for name, offset in offsets.items()}
        for name, field in fields.items():
            if field.value is not None:
                fill(places[name], field.value, field.nbytes // 4, self._work)
            if field.content is not None:
                upload(places[name] + field.nbytes - field.content.nbytes, field.content, self._work)
        return places

    def _watch(self, stop: int, ended: Callable[[], object]) -> None:
        """Until the launch has ended; it is told to stop once `ended`."""
        begin, told = time.perf_counter(), False
        order = np.ones(1, np.int32)
        while not self._work.idle():
            if not told and ended():
                upload(stop, order, self._other)
                self._other.wait()
                told = True
            if time.perf_counter() - begin > FAST:
                time.sleep(SLOW)

    def _read(self, work: Work, fields: dict[str, Field], places: dict[str, int]) -> Found:
        left = np.empty(fields["root_left"].count, np.int32)
        count, counts = np.empty(1, np.int32), np.empty(NUMBERS, np.int64)
        for name, array in (("root_left", left), ("leaf_count", count), ("stats", counts)):
            download(places[name], array, self._work)
        self._work.wait()
        kept = min(int(count[0]), work.room)
        rows, picks = np.empty(kept, np.int32), np.empty((kept, work.width), np.uint8)
        if kept:
            download(places["leaf_row"], rows, self._work)
            download(places["leaf_pick"], picks, self._work)
            self._work.wait()
        return work.found(left, int(count[0]), rows, picks, counts)


@cache
def _only() -> Engine:
    return Engine()


_opening = threading.Lock()


def engine() -> Engine:
    """The engine of this process.

    Raises
    ------
    GpuError
        There is no GPU that can be used.
    """
    with _opening:
        return _only()


def wanted(problem: Problem, options: Options) -> Engine | None:
    """The engine that options ask for, with its kernel for this row compiled; None: the CPU.

    Raises
    ------
    SolverUnavailable
        Device "gpu", and there is none.
    """
    if problem.sparsity is not None or problem.n > LONGEST:
        return None
    return ready(problem.n, options.device)


def ready(inputs: int, name: str) -> Engine | None:
    """The engine for rows of so many inputs that the device of this name is, compiled; None: the CPU.

    Raises
    ------
    SolverUnavailable
        Device "gpu", and there is none.
    """
    if name == "cpu":
        return None
    try:
        gpu = engine()
        gpu.prepare(-(-inputs // 32))
    except GpuError as why:
        if name == "auto":
            return None
        raise SolverUnavailable(f"no GPU can be used: {why}") from None
    return gpu
