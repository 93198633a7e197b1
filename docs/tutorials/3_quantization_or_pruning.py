"""
Quantization or pruning
=======================

At the cost of b bits a weight one may quantize to b bits, or keep b/16 of the 16-bit
weights. Which is better for a layer? Comparing two methods says which method is
better. Comparing the two optima says which technique is: if the error that one
reaches is below what the other can reach at best, that is a proof.
"""

from importlib.resources import files

import pvq

folder = files("pvq.benchmarks") / "instances"
stem = pvq.load_layer(folder / "efficientnet_lite0.conv_stem.npz")
expand = pvq.load_layer(folder / "efficientnet_lite0.blocks.4.expand.npz")

compared = pvq.compare({"stem": stem, "expand": expand}, bits=range(3, 6))
compared

# %%
# A verdict needs no optimum, only two intervals that do not overlap. ``to_frame`` has
# the ends of both.

compared.to_frame()[["verdict", "margin_db", "quant_sqnr_min_db", "prune_sqnr_max_db"]]

# %%

axes = compared.plot("expand")

# %%
# Pruning alone
# -------------
#
# ``Prune`` states a sparsity for each row, N of every M inputs, blocks, or one budget
# for the layer. Kept weights are re-optimised unless ``update=False``.

for problem in (
    pvq.Prune(sparsity=0.75),
    pvq.Prune(nm="2:4"),
    pvq.Prune(nm="2:4", update=False),
    pvq.Prune(0.5, block=4),
):
    print(problem, pvq.bound(expand, problem, rows=(0, 8)), sep="\n    ")

# %%
# Both at once
# ------------
#
# Half of the weights, each on a 4-bit grid: as much to store as 2 bits for every
# weight, masks and scales aside.

both = pvq.Joint(pvq.Quant(bits=4), pvq.Prune(sparsity=0.5))
for problem in (both, pvq.Quant(bits=2), pvq.Prune(sparsity=0.875)):
    print(pvq.bound(expand, problem, rows=(0, 4), inputs=(0, 24), methods=()))

# %%
# ``inputs`` states a sub-problem on some of the inputs. Sums of such errors do not
# bound the layer, because parts of the error cancel across the inputs, so they are
# never added up.
