"""A GPU for tests of the verifier's kernel: its own source, by 32 lanes that take turns, or compiled for one lane.

Lanes are greenlets that stop at every operation of all of them, as on the device; a lane that does not come, or
is at another operation, ends the test.
"""

from functools import cache
from types import SimpleNamespace

import greenlet
import numpy as np
from numba import float64, int32, int64, njit, uint8, uint64
from pvq.bounds.verify.gpu.device import ARRAYS, back_of, sizes
from pvq.bounds.verify.gpu.kernel import build

LANES = 32


def whole(kind):
    """A type that does not wrap around: nothing may come near its ends."""
    info = np.iinfo(kind)

    def number(value):
        assert info.min <= int(value) <= info.max
        return int(value)

    return number


class Warp:
    """Lanes that meet."""

    def __init__(self, number):
        self.number, self.lane = number, 0

    def device(self):
        """The names that the kernel is built from."""

        def at(what, value=None):
            return greenlet.getcurrent().parent.switch((what, value))

        def take(counter):
            counter[0] += 1
            return counter[0] - 1

        return SimpleNamespace(
            float64=np.float64,
            int32=whole(np.int32),
            int64=whole(np.int64),
            uint8=whole(np.uint8),
            uint64=whole(np.uint64),
            least=min,
            most=max,
            size=abs,
            root=np.sqrt,
            floor=np.floor,
            ceiling=np.ceil,
            lane=lambda: self.lane,
            warp=lambda: self.number,
            meet=lambda: at("meet"),
            across=lambda value, other: at("across", value)[self.lane ^ other],
            of_first=lambda value: at("of_first", value)[0],
            take=take,
            inlined=lambda function: function,
        )

    def steps(self, arguments):
        """Run all lanes from one meeting to the next, in one order and then in the other."""
        kernel = build(self.device(), LANES)
        lanes = [greenlet.greenlet(lambda: kernel(*arguments)) for _ in range(LANES)]
        given, turn, said = None, range(LANES), [None] * LANES
        while True:
            for self.lane in turn:
                said[self.lane] = lanes[self.lane].switch(*([] if given is None else [given]))
            turn = turn[::-1]
            whats = {None if one.dead else what[0] for one, what in zip(lanes, said, strict=True)}
            assert len(whats) == 1, f"lanes are apart: {whats}"
            if whats == {None}:
                return
            given = [value for _, value in said]
            yield


@cache
def one_lane():
    """The kernel for warps of one lane, one warp after the other, compiled for the CPU."""
    inlined = njit(inline="never")

    @njit
    def take(counter):
        counter[0] += 1
        return counter[0] - 1

    gpu = SimpleNamespace(
        float64=float64,
        int32=int32,
        int64=int64,
        uint8=uint8,
        uint64=uint64,
        least=njit(lambda a, b: min(a, b)),
        most=njit(lambda a, b: max(a, b)),
        size=njit(lambda a: abs(a)),
        root=njit(lambda a: np.sqrt(a)),
        floor=njit(lambda a: np.floor(a)),
        ceiling=njit(lambda a: np.ceil(a)),
        lane=njit(lambda: 0),
        warp=njit(lambda: 0),
        meet=njit(lambda: None),
        across=njit(lambda value, other: value),
        of_first=njit(lambda value: value),
        take=take,
        inlined=inlined,
    )
    return njit(build(gpu, 1))


OF_WARPS = ("rows", "partial", "low", "many", "path", "nodes", "done", "least")


def run_one_lane(scalars, arrays, warps):
    """A launch by `one_lane`: each warp has its part of what is theirs."""
    for warp in range(warps):
        own = {
            name: array.reshape(warps, -1)[warp] if name in OF_WARPS else array for name, array in arrays.items()
        }
        one_lane()(*scalars, *own.values())


class Launcher:
    """In place of a GPU's: so many warps, which visit so many nodes a launch, or as many as they are told."""

    name = "a simulation"

    def __init__(self, warps, lanes=LANES, spend=None):
        self.warps, self.lanes, self.spend = warps, lanes, spend
        self.launches, self.given = 0, 0

    def begin(self, numbers, most):
        self.numbers, self.most = numbers, most
        return self.warps

    def run(self, items, threshold, spend):
        self.launches += 1
        assert len(items.level) <= self.most
        n = len(self.numbers.start)
        given = {**self.numbers._asdict(), **items._asdict()}
        arrays = {}
        lengths = sizes(n, len(items.level), self.warps)
        for name, kind in ARRAYS.items():
            size = lengths[name]
            # what nobody has written is no number, or a wrong one
            empty = np.full(size, np.nan if kind is np.float64 else 77, kind)
            arrays[name] = np.array(given[name], kind).ravel() if name in given else empty
            assert len(arrays[name]) == size
        arrays["drawn"][0] = 0
        spend = spend if self.spend is None else self.spend
        scalars = n, len(items.level), spend, np.float64(self.numbers.top), np.float64(threshold)
        with np.errstate(all="ignore"):
            self._run(scalars, arrays)
        back = back_of(arrays, self.warps)
        self.given += int((back.many > 0).sum())
        return back

    def _run(self, scalars, arrays):
        if self.lanes == 1:
            run_one_lane(scalars, arrays, self.warps)
            return
        running = [Warp(number).steps((*scalars, *arrays.values())) for number in range(self.warps)]
        while running:  # a step of each in turn
            running = [one for one in running if next(one, self) is not self]
