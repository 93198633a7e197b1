"""What is compiled, or read from the cache of compiled code, before the clock of the first row runs."""

import subprocess
import sys

PROGRAM = """
import gc
import numpy as np
import pvq
from numba.core.dispatcher import Dispatcher

def compiled():
    ours = [d for d in gc.get_objects() if isinstance(d, Dispatcher) and d.__module__.startswith("pvq.")]
    return {(d.__module__, d.__name__, str(s)) for d in ours for s in d.signatures}

rng = np.random.default_rng(0)
layer = pvq.Layer.from_activations(rng.standard_normal((2, 12)), rng.standard_normal((40, 12)))
quant, prune = pvq.Quant(bits=4), pvq.Prune(nm="2:4")
problems = (quant, pvq.Quant(grid="nf4"), pvq.Prune(sparsity=0.5), pvq.Joint(quant, prune))
for problem in problems:
    before = {}
    result = pvq.bound(layer, problem, stage=lambda name: before.setdefault(name, compiled()))
    assert result.is_optimal, result
    after = before.get("volume model", compiled())
    print(len(before["rows"]), *sorted(after - before["rows"]))
"""


def test_nothing_is_compiled_within_the_limit_of_a_row():
    """A fresh interpreter, so that no other test has compiled anything; each line: how much before, what after."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    lines = ended.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.isdigit() and int(line) > 5 for line in lines), lines
