"""Open nodes of a best-first search: a binary heap over a growing pool of compact records."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.apart import inner

FREE, KEPT, PRUNED = 0, 1, 2


class Pool(NamedTuple):
    """Records of open nodes: slots heap[:size[0]] are open, a binary heap by key; free[:size[1]] are unused."""

    key: FloatArray
    """(capacity,) lower bound of the node."""
    state: np.ndarray
    """(capacity, units) int8 FREE, KEPT or PRUNED."""
    d: np.ndarray
    """(capacity, n) diagonal of D; as float32 it is shrunk by more than its rounding when it is used."""
    e: np.ndarray
    """(capacity, n) entry of D between an input and its partner."""
    partner: np.ndarray
    """(capacity, n) int16 the input it shares a 2 x 2 block with, -1 for none."""
    x: np.ndarray
    """(capacity, n) relaxation solution, a hint only."""
    heap: IntArray
    free: IntArray
    size: IntArray
    """(2,) open nodes, unused slots."""


def new_pool(capacity: int, units: int, n: int, real: type = np.float32) -> Pool:
    """An empty pool; `real` is the type of d, e and x."""
    return Pool(
        np.empty(capacity),
        np.empty((capacity, units), np.int8),
        np.empty((capacity, n), real),
        np.empty((capacity, n), real),
        np.empty((capacity, n), np.int16),
        np.empty((capacity, n), real),
        np.empty(capacity, np.int64),
        np.arange(capacity - 1, -1, -1, dtype=np.int64),
        np.array([0, capacity], dtype=np.int64),
    )


def grown(pool: Pool) -> Pool:
    """The same open nodes with twice the room."""
    old = len(pool.key)
    larger = new_pool(2 * old, pool.state.shape[1], pool.d.shape[1])
    for name in ("key", "state", "d", "e", "partner", "x", "heap"):
        getattr(larger, name)[:old] = getattr(pool, name)
    spare = int(pool.size[1])
    larger.free[:old] = np.arange(2 * old - 1, old - 1, -1)
    larger.free[old : old + spare] = pool.free[:spare]
    larger.size[:] = pool.size[0], old + spare
    return larger


def bytes_per_node(units: int, n: int) -> int:
    """Memory of one record."""
    return 24 + units + 14 * n


@inner()
def push(pool: Pool, key: float) -> int:
    """Open a node and return its slot, to be filled; there must be an unused one."""
    pool.size[1] -= 1
    slot = pool.free[pool.size[1]]
    pool.key[slot] = key
    place = pool.size[0]
    pool.size[0] += 1
    while place > 0:
        parent = (place - 1) // 2
        if pool.key[pool.heap[parent]] <= key:
            break
        pool.heap[place] = pool.heap[parent]
        place = parent
    pool.heap[place] = slot
    return slot


@inner()
def pop(pool: Pool) -> int:
    """Slot of the open node with the least key, which is no longer open; hand it back with `release`."""
    slot = pool.heap[0]
    pool.size[0] -= 1
    size = pool.size[0]
    moved = pool.heap[size]
    key = pool.key[moved]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and pool.key[pool.heap[child + 1]] < pool.key[pool.heap[child]]:
            child += 1
        if pool.key[pool.heap[child]] >= key:
            break
        pool.heap[place] = pool.heap[child]
        place = child
    pool.heap[place] = moved
    return slot


@inner()
def release(pool: Pool, slot: int) -> None:
    """Make a popped slot available again."""
    pool.free[pool.size[1]] = slot
    pool.size[1] += 1
