"""Weights packed in the GPTQ layout, one bit after the other: slow and plain, as its description says it."""

import numpy as np


def words(numbers, bits):
    """(rows, count) whole numbers as (rows, words) int32, the lowest bits first."""
    rows = []
    for row in numbers:
        stream = 0
        for k, number in enumerate(row):
            assert 0 <= number < 2**bits
            stream |= int(number) << (bits * k)
        count = -(-len(row) * bits // 32)
        rows.append([(stream >> (32 * k)) & 0xFFFFFFFF for k in range(count)])
    return np.array(rows, dtype=np.uint32).view(np.int32)


def gptq(weight, bits, group, *, version="v1", symmetric=True, order=None, kind=np.float16):
    """Round to nearest on min-max scales of groups; the arrays of the layout, and the weights they stand for.

    `order` are the inputs in the order of their groups, as activation order has them.
    """
    out, n = weight.shape
    order = np.arange(n) if order is None else order
    index = np.empty(n, dtype=np.int32)
    index[order] = np.arange(n) // group
    groups = int(index.max()) + 1
    scale, zero = np.empty((out, groups)), np.empty((out, groups), dtype=np.int64)
    for g in range(groups):
        part = weight[:, index == g]
        if symmetric:
            scale[:, g], zero[:, g] = np.abs(part).max(axis=1) / (2 ** (bits - 1) - 1), 2 ** (bits - 1)
        else:
            low, high = np.minimum(part.min(axis=1), 0), np.maximum(part.max(axis=1), 0)
            scale[:, g] = (high - low) / (2**bits - 1)
            zero[:, g] = np.clip(np.round(-low / scale[:, g]), 1, 2**bits - 1)
    scale = scale.astype(kind).astype(np.float64)
    each, middle = scale[:, index], zero[:, index]
    numbers = np.clip(np.round(weight / each) + middle, 0, 2**bits - 1).astype(np.int64)
    stored = zero - (1 if version == "v1" else 0)
    arrays = {
        "qweight": np.ascontiguousarray(words(numbers, bits).T),
        "qzeros": words(stored.T, bits),
        "scales": np.ascontiguousarray(scale.T.astype(kind)),
        "g_idx": index,
    }
    return arrays, each * (numbers - middle)
