"""
A first bound
=============

How far are GPTQ's 4-bit weights from the best there are? We ask it for some rows of a
real layer: an expansion of EfficientNet-Lite0, 240 rows of 40 inputs, with the Gram
matrix of photographs.
"""

from importlib.resources import files

import pvq

folder = files("pvq.benchmarks") / "instances"
layer = pvq.load_layer(folder / "efficientnet_lite0.blocks.4.expand.npz")
layer

# %%
# A layer is its weights W and H = X X' / N of the inputs X that reach it. From
# arrays, lists or torch tensors: ``pvq.Layer.from_activations(W, X)`` or
# ``pvq.Layer.from_gram(W, H)``; from a model: ``pvq.extract``.
#
# The problem is what the weights may be. Here: 16 evenly spaced levels with one scale
# for the whole tensor, chosen so that the weights change least. Rows of 40 inputs are
# solved to the optimum.

result = pvq.bound(
    layer, pvq.Quant(bits=4), rows=(0, 16), methods=("gptq", "rtn"), certify=True
)
result

# %%
# ``lower`` and ``upper`` enclose the least error (w - x)'H(w - x) that any 4-bit
# weights x of these rows can have, summed over the rows. ``weights`` reach the upper
# end.

print(result)
print(result.lower, result.upper, result.gap, result.bound_kind)
assert result.is_optimal
assert result.weights.shape == (16, layer.inputs)

# %%
# What GPTQ leaves on the table is the distance of its error from this interval, at
# least and at most, in dB.

for name, score in result.methods.items():
    least, most = score.from_optimum_db
    print(f"{name:5} error {score.error:.5f}, {least:.6f} to {most:.6f} dB too much")

# %%

axes = result.plot()

# %%
# Every row has an interval of its own.

result.to_frame().head()

# %%
# The lower ends are not to be believed but to be checked. A certificate holds a proof
# for each row, and the verifier, which shares no code with the solvers, checks them
# against the layer. It raises ``pvq.NotProven`` where a claim does not hold.

certificate = result.certificate()
proven = pvq.verify(certificate, layer)
print(proven)

# %%
# Proofs are about one layer. Of another they prove nothing, even if it differs in one
# weight by the last bit.

weight = layer.weight.copy()
weight[0, 0] *= 1 + 2**-52
try:
    pvq.verify(certificate, pvq.Layer.from_gram(weight, layer.grams))
except pvq.NotProven as why:
    print(why)
else:
    raise AssertionError("another layer was accepted")
