"""
A model in a notebook
=====================

From a torch model to bounds, scores and verdicts of its layers. The model is a small
one that is made here; with one of yours the lines are the same.
"""

import tempfile
from pathlib import Path

import pvq
import torch

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(12, 24), torch.nn.ReLU(), torch.nn.Linear(24, 6)
)
batches = [torch.randn(64, 12) for _ in range(4)]

# %%
# One pass over the calibration batches collects what reaches each layer. ``modules``
# is a glob over module names.

layers = pvq.extract(model, batches, modules="*")
layers

# %%
# One layer at a time goes too, from arrays, lists or tensors.

X = torch.relu(model[0](torch.cat(batches)))
layer = pvq.Layer.from_linear(model[2], X, name="last")
same = pvq.Layer.from_activations(model[2].weight, X, name="last")
assert layer.sha256 == same.sha256

# %%
# ``Quant`` says which grid, who shares a scale and how it is chosen. All but layer
# and problem are named arguments.

result = pvq.bound(
    layer,
    pvq.Quant(bits=4, grid="int", granularity="group:12", range="mse"),
    rows=None,
    inputs=None,
    solver="auto",
    methods=("gptq",),
    time_limit=10.0,
    gap=1e-6,
    jobs=1,
    seed=0,
    certify=True,
)
result

# %%

print(result.lower, result.upper, result.gap, result.status, result.sqnr_db)
print(result.methods["gptq"].from_optimum_db)
result.to_frame()

# %%
# Weights of your own, here the layer's as bfloat16, which are on no 4-bit grid:

print(result.score(model[2].weight.bfloat16()))

# %%
# Results and proofs are files like those of the command line.

with tempfile.TemporaryDirectory() as folder:
    result.save(Path(folder) / "r.json")
    result.certificate().save(Path(folder) / "proof.npz")
    print(pvq.verify(Path(folder) / "proof.npz", layer))

# %%
# Pruning, both, and which is better at equal cost:

print(pvq.bound(layer, pvq.Prune(sparsity=0.75)))
print(pvq.bound(layer, pvq.Joint(pvq.Quant(bits=4), pvq.Prune(nm="2:4"))))
compared = pvq.compare(layers, bits=range(2, 5))
compared

# %%

print(compared.verdicts)
axes = compared.plot("2")

# %%
# Solvers that can be used here:

print(*pvq.installed_solvers())
