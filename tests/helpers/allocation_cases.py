"""Made records `pvq.compare/1`: any intervals, costs and holes."""

from __future__ import annotations

import numpy as np
from pvq.bounds.sqnr import sqnr_db
from pvq.solvers.compare.verdict import SKIPPED, Interval, verdict


def side(lower, upper, reference, bits, kind="rigorous"):
    """A side of a pair."""
    return {
        "lower": lower,
        "upper": upper,
        "reference": reference,
        "bound_kind": kind if lower > 0 else "none",
        "sqnr_min_db": sqnr_db(reference, upper),
        "sqnr_max_db": sqnr_db(reference, lower),
        "rows_bounded": 0,
        "rows_optimal": 0,
        "storage_bits": bits,
        "macs": 1.0,
        "empirical": {},
        "failed_rows": [],
    }


def pair(bits, quant, prune, reference=1.0, sparsity=None, kind="rigorous", prune_bits=None):
    """A pair from two intervals."""
    found = verdict(Interval(*quant), Interval(*prune))
    return {
        "bits": bits,
        "sparsity": 1 - bits / 16 if sparsity is None else sparsity,
        "verdict": found,
        "margin_db": None,
        "words": "",
        "status": "done",
        "full": True,
        "time_limit": None,
        "seconds": 0.0,
        "quant": side(*quant, reference, bits, kind),
        "prune": side(*prune, reference, bits if prune_bits is None else prune_bits, kind),
    }


def skipped(bits):
    """A pair that there is not."""
    return {"bits": bits, "verdict": SKIPPED, "reason": "none of 8 weights"}


def layer(name, pairs, out=4, inputs=8, why=None):
    """A layer with its pairs."""
    about = {"name": name, "file": f"{name}.npz", "sha256": "0", "out": out, "in": inputs}
    return {**about, "skipped": why, "pairs": pairs}


def record(layers, base=16):
    """A record of layers."""
    bits = sorted({pair["bits"] for layer in layers for pair in layer["pairs"]})
    document = {"schema": "pvq.compare/1", "settings": {"base": base}, "bits": bits, "layers": layers}
    return {**document, "summary": [], "environment": {}}


def random_record(seed):
    """1 to 4 layers of up to 3 widths: intervals closed or open, ties, a layer without a pair."""
    rng = np.random.default_rng(seed)
    layers = []
    for number in range(rng.integers(1, 5)):
        out, inputs = int(rng.integers(1, 9)), int(rng.integers(2, 17))
        if number and rng.random() < 0.15:
            layers.append(layer(f"l{number}", [skipped(4)], out, inputs))
            continue
        scale = float(10.0 ** rng.integers(-3, 4))
        pairs = []
        for bits in sorted(rng.choice(np.arange(2, 9), size=rng.integers(1, 4), replace=False)):
            ends = [np.sort(scale * 4.0**-bits * rng.random(2)) for _ in range(2)]
            if seed % 3 == 1:  # closed, and equal more often than not
                ends = [np.full(2, scale * float(rng.integers(0, 3))) for _ in range(2)]
            if seed % 3 == 2:
                ends[rng.integers(2)][0] = 0.0  # nothing proven
            quant, prune = ([float(end) for end in both] for both in ends)
            kept = int(inputs * bits / 16)
            share = kept / inputs
            reference = scale * 2
            pairs.append(pair(int(bits), quant, prune, reference, 1 - share, prune_bits=16 * share))
        layers.append(layer(f"l{number}", pairs, out, inputs))
    return record(layers)
