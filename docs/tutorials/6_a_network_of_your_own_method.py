"""
A network quantized by a method of your own
===========================================

You have a quantized network, by whatever program. How far is each of its layers from
the best possible, on its own grid, and how much does the network still do what it did?
The network is a small one that is made here; with one of yours the lines are the same.
"""

import copy

import pvq
import torch

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(16, 24), torch.nn.ReLU(), torch.nn.Linear(24, 10)
)
batches = [torch.randn(64, 16) for _ in range(4)]

# %%
# The method: a scale for each row, and rounding with the error of one weight carried
# on to the next. ``pvq`` does not have to know anything of it.


def quantized(weight, bits=3):
    """Rounded row by row, errors carried along."""
    scale = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    found = torch.empty_like(weight)
    carried = torch.zeros(len(weight), 1)
    for i in range(weight.shape[1]):
        wanted = weight[:, i : i + 1] + 0.5 * carried
        found[:, i : i + 1] = scale * torch.round(wanted / scale)
        carried = wanted - found[:, i : i + 1]
    return found.clamp(-4 * scale, 3 * scale)


mine = copy.deepcopy(model)
with torch.no_grad():
    for layer in (mine[0], mine[2]):
        layer.weight.copy_(quantized(layer.weight))

# %%
# The layers of the network as it was, with what reaches them on calibration data; then
# the score. The grid is recognised from the weights. ``from_optimum_db`` is at least
# and at most so many dB above the least error of any weights on that grid.

layers = pvq.extract(model, batches)
score = pvq.score_model(layers, mine)
score

# %%

for layer in score.document["layers"]:
    least, most = score.scores[layer["name"]].from_optimum_db
    print(f"{layer['words']}: {least:.2f} to {most:.2f} dB from the best")
    assert score.scores[layer["name"]].feasible
score.plot()

# %%
# The score has the weights that are better, too: put them into the network, and ask
# both what they do on data that nobody has seen.

best = copy.deepcopy(model)
pvq.apply(best, score.results.values())
data = [(torch.randn(256, 16), None) for _ in range(2)]
for name, network in {"mine": mine, "best found": best}.items():
    found = pvq.evaluate(network, data, original=model)
    print(
        f"{name}: {found.sqnr_db:.1f} dB, same answer in {100 * found.agreement:.0f} %"
    )
