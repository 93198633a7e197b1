"""A GPU of one warp, for tests: the kernel's own source as plain Python, its 32 lanes as threads.

Lanes meet at every operation that has a mask, as on the device; arithmetic is that of float32, rounded as named.
"""

import ctypes
import ctypes.util
import threading
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
from pvq.solvers.bnb.gpu.kernel import LANES, WARP, build

LIMIT = 60  # seconds until a lane that waits gives up: the kernel hangs
_libm = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
_libm.fmaf.restype, _libm.fmaf.argtypes = ctypes.c_float, [ctypes.c_float] * 3
_lane = threading.local()


def fma(a, b, c):
    return np.float32(_libm.fmaf(a, b, c))


def fma_down(a, b, c):
    """The largest float32 that is not above a b + c."""
    near = fma(a, b, c)
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    return near if Fraction(float(near)) <= exact else np.nextafter(near, np.float32(-np.inf))


def whole(kind):
    """A type that wraps around as the device's does."""
    info = np.iinfo(kind)
    size = int(info.max) - int(info.min) + 1
    return lambda value: kind((int(value) - int(info.min)) % size + int(info.min))


class Warp:
    """The meeting points of 32 lanes, and the memory they share."""

    def __init__(self, shared_bytes):
        self.bytes = np.zeros(-(-shared_bytes // 16) * 16, np.uint8)
        self.lock = threading.Lock()
        self.barriers, self.slots = {}, [None] * WARP

    def meet(self, mask):
        with self.lock:
            barrier = self.barriers.setdefault(int(mask), threading.Barrier(int(mask).bit_count()))
        barrier.wait(LIMIT)

    def all(self, mask, value):
        """What the lanes of a mask bring, by lane."""
        self.slots[_lane.number] = value
        self.meet(mask)
        seen = {lane: self.slots[lane] for lane in range(WARP) if int(mask) >> lane & 1}
        self.meet(mask)
        return seen

    def change(self, array, index, change):
        with self.lock:
            old = array[int(index)]
            array[int(index)] = change(old)
            return old


def device(warp):
    """The names that the kernel is built from."""
    full = (1 << WARP) - 1
    shuffle = lambda mask, value, source: warp.all(mask, value)[int(source)]  # noqa: E731
    atomic = SimpleNamespace(
        add=lambda array, i, value: warp.change(array, i, lambda old: old + value),
        min=lambda array, i, value: warp.change(array, i, lambda old: min(old, value)),
        exch=lambda array, i, value: warp.change(array, i, lambda old: value),
        cas=lambda array, i, old, new: warp.change(array, i, lambda now: new if now == old else now),
    )

    class Thread:
        x = property(lambda self: _lane.number)

    cuda = SimpleNamespace(
        threadIdx=Thread(),
        blockIdx=SimpleNamespace(x=0),
        blockDim=SimpleNamespace(x=WARP),
        gridDim=SimpleNamespace(x=1),
        atomic=atomic,
        syncthreads=lambda: warp.meet(full),
        syncthreads_or=lambda value: int(any(warp.all(full, value != 0).values())),
        syncwarp=warp.meet,
        shfl_sync=shuffle,
        shfl_xor_sync=lambda mask, value, other: shuffle(mask, value, _lane.number ^ int(other)),
        ballot_sync=lambda mask, value: sum(bool(v) << lane for lane, v in warp.all(mask, value).items()),
        all_sync=lambda mask, value: all(warp.all(mask, value).values()),
        threadfence=lambda: None,
        nanosleep=lambda time: None,
        shared=SimpleNamespace(
            array=lambda size, kind: warp.bytes.view(np.uint8 if kind is uint8 else np.float32)
        ),
        local=SimpleNamespace(array=lambda size, kind: np.zeros(size, np.float32)),
    )
    uint8 = whole(np.uint8)
    floats = warp.bytes.view(np.float32)
    read = lambda array, i: array[int(i)]  # noqa: E731
    return SimpleNamespace(
        cuda=cuda,
        float32=np.float32,
        int32=whole(np.int32),
        int64=whole(np.int64),
        uint8=uint8,
        uint32=whole(np.uint32),
        uint64=whole(np.uint64),
        fma=fma,
        fma_down=fma_down,
        saturate=lambda a: np.float32(min(max(a, np.float32(0)), np.float32(1))),
        least=min,
        most=max,
        root=lambda a: np.float32(np.sqrt(a)),
        as_float=lambda bits: np.array([bits], np.int32).view(np.float32)[0],
        as_int=lambda value: np.array([value], np.float32).view(np.int32)[0],
        peek=read,
        fresh=read,
        shared_address=lambda array, i: np.uint32(4 * int(i)),
        load_four=lambda address: [floats[int(address) // 4 + q] for q in range(4)],
        inlined=lambda function: function,
    )


def run(work, least=4, give=3, names=4, stop_after=None):
    """A launch of one warp; `stop_after`: records taken until it is told to stop."""
    groups = WARP // LANES
    arrays = {}
    for name, field in work.fields(groups, names).items():
        array = np.full(field.count, 0 if field.value is None else field.value, field.kind)
        if field.content is not None:
            array[len(array) - len(field.content) :] = field.content
        arrays[name] = array
    warp = Warp(work.shared_bytes(WARP))
    gpu = device(warp)
    if stop_after is not None:
        looks = [0]

        def peek(array, i):
            if array is arrays["stop"]:
                looks[0] += 1
                return int(looks[0] > stop_after)
            return array[int(i)]

        gpu.peek = peek
    kernel, errors = build(gpu, work.quads), []
    numbers = work.numbers(groups, least, give, names)
    scalars = [np.int32(v) for v in numbers[:8]] + [np.float32(v) for v in numbers[8:]]

    def lane(number):
        _lane.number = number
        try:
            with np.errstate(all="ignore"):
                kernel(*scalars, *arrays.values())
        except BaseException as error:
            errors.append(error)
            for barrier in list(warp.barriers.values()):
                barrier.abort()

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(WARP)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    assert not errors, "the lanes wait for each other"
    leaves = int(arrays["leaf_count"][0])
    kept = min(leaves, work.room)
    picks = arrays["leaf_pick"].reshape(work.room, work.width)[:kept]
    return work.found(arrays["root_left"], leaves, arrays["leaf_row"][:kept], picks, arrays["stats"])


class Engine:
    """An engine of one warp, in place of that of a GPU."""

    device = SimpleNamespace(name="one warp")

    def __init__(self, stop_after=None):
        self.launches, self.stop_after = [], stop_after

    def fits(self, work):
        return True

    def search(self, work, ended, least=4, give=3):
        found = run(work, least=2, give=give, stop_after=self.stop_after)
        self.launches.append(found)
        return found
