"""Layers that a seed makes, of any size: what linear layers of language models look like, without their files.

The layer "made:2048x64:7" has 2048 inputs, 64 rows and seed 7, as the `layer` of a case list. Inputs are sums of
n / 4 directions whose strength falls by a power law, and of noise; their scales are log-normal, and some channels
are outliers, 20 times as large. Weights are Student's with 5 degrees of freedom.

"gaussian:64x32:7" is what a first try in a notebook makes: inputs randn @ randn, of condition 1e4 to 1e9 at 64
inputs, and the weights of a new linear layer, uniform in +-1 / sqrt(n).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from pvq.bounds.errors import ProblemError
from pvq.layers.format import Layer

NAME = re.compile(r"(made|gaussian):(\d+)x(\d+):(\d+)")

DECAY, NOISE = 0.4, 0.15
"""Power of the law by which directions fall, and size of the noise beside them."""

SCALES, OUTLIERS, LARGER = 0.5, 6, 20.0
"""Standard deviation of a channel's log scale; how many channels are outliers, and by how much."""

FREEDOM, STEP = 5.0, 0.02
"""Degrees of freedom and unit of the weights."""

SAMPLES, AT_ONCE = 4, 1024
"""Samples for each input, and how many of them are in memory at a time."""

ROOM = 16
"""Samples for each input of a gaussian layer."""

LARGEST = 16_384
"""Inputs, and rows, of the largest layer that is made."""


def is_made(name: str | Path) -> bool:
    """Whether this is the name of a made layer."""
    return str(name).startswith(("made:", "gaussian:"))


def made_layer(name: str | Path) -> Layer:
    """The layer of a name, the same at each call.

    Raises
    ------
    ProblemError
        The name is not "made:INPUTSxROWS:SEED", or "gaussian:" with the same.
    """
    words = NAME.fullmatch(str(name))
    n, rows, seed = (0, 0, 0) if words is None else map(int, words.groups()[1:])
    if not (4 <= n <= LARGEST and 1 <= rows <= LARGEST):
        raise ProblemError(
            f"a made layer is called made:INPUTSxROWS:SEED or gaussian:INPUTSxROWS:SEED, of 4 to {LARGEST} inputs "
            f"and at most {LARGEST} rows, "
            f"not '{name}'"
        )
    rng = np.random.default_rng(seed)
    if str(name).startswith("gaussian:"):
        weight = rng.uniform(-1, 1, (rows, n)) / np.sqrt(n)
        x = rng.standard_normal((ROOM * n, n)) @ rng.standard_normal((n, n))
        return Layer(str(name), weight, x.T @ x / len(x), samples=len(x), meta={"kind": "made", "seed": seed})
    scale = np.exp(rng.normal(0.0, SCALES, n))
    scale[rng.choice(n, min(OUTLIERS, n // 4), replace=False)] *= LARGER
    directions = n // 4
    strength = np.arange(1, directions + 1) ** -DECAY / np.sqrt(directions)
    mixed = strength[:, None] * rng.standard_normal((directions, n))
    gram, samples = np.zeros((n, n)), SAMPLES * n
    for first in range(0, samples, AT_ONCE):
        some = min(AT_ONCE, samples - first)
        x = rng.standard_normal((some, directions)) @ mixed + NOISE * rng.standard_normal((some, n))
        x *= scale
        gram += x.T @ x
    weight = STEP * rng.standard_t(FREEDOM, (rows, n))
    about = {"kind": "made", "seed": seed}
    return Layer(str(name), weight, gram / samples, samples=samples, meta=about)
