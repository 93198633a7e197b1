"""
Bring your own quantizer
========================

You have weights from a method of your own. Are they on the grid, what is their error,
and how far could anybody get? Nothing has to be installed or registered for that:
hand over the weights.
"""

from importlib.resources import files

import numpy as np
import pvq

folder = files("pvq.benchmarks") / "instances"
layer = pvq.load_layer(folder / "efficientnet_lite0.blocks.4.expand.npz")
result = pvq.bound(layer, pvq.Quant(bits=4), rows=(0, 16))

# %%
# The method: round to nearest, then move single weights by one level as long as that
# lowers the error. It takes the grid from ``result.problem``, so that both speak of
# the same levels.


def improve(row):
    """Best single step after best single step, from the nearest level."""
    levels = row.grid.levels[row.grid.group]  # (inputs, levels)
    place = np.abs(levels - row.weight[:, None]).argmin(axis=1)
    every = np.arange(row.n)
    while True:
        x = levels[every, place]
        best, least = None, row.error(x)
        for i in every:
            for step in (-1, 1):
                if 0 <= place[i] + step < levels.shape[1]:
                    other = x.copy()
                    other[i] = levels[i, place[i] + step]
                    if row.error(other) < least:
                        best, least = (i, step), row.error(other)
        if best is None:
            return x
        place[best[0]] += best[1]


mine = np.array([improve(result.problem.row(row)) for row in range(16)])
score = result.score(mine)
print(score)
assert score.feasible

# %%
# ``from_optimum_db`` is an interval: at least and at most so many dB above the least
# error. The methods that come with the package are scored in the same way.

for name, other in {"mine": score, **result.methods}.items():
    far = other.from_optimum_db.max
    print(f"{name:5} {other.sqnr_db:.2f} dB, at most {far:.2f} dB from the optimum")

# %%
# Weights that are not on the grid are no answer to this problem, however small their
# error is; the score says which constraint they break first.

print(result.score(mine * 1.01).reason)

# %%
# Scales of your own
# ------------------
#
# Your checkpoint may have other scales. ``scales`` takes quantized weights, recovers
# scale and zero point from their values, and bounds the error at these: given your
# scales, how far are you from the best possible weights?

step = np.abs(layer.weight).max(axis=1, keepdims=True) / 7
checkpoint = (step * np.clip(np.rint(layer.weight / step), -8, 7)).astype(np.float32)
at_mine = pvq.bound(
    layer,
    pvq.Quant(bits=4, granularity="channel"),
    rows=(0, 16),
    scales=checkpoint,
    methods=(),
)
print(at_mine)
print(at_mine.score(checkpoint))
