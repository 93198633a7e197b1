"""e(x) = (w - x)' H (w - x) is the mean squared difference of what the two layers really put out."""

import copy
from itertools import product

import pytest
import torch
from pvq.layers import gram
from pvq.layers.extract import extract_layers
from torch import nn

TOLERANCE = 1e-9


def assert_identity(module, runs, layer):
    """`runs`: the arguments of every call of `module` during extraction."""
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.weight.add_(torch.randn_like(other.weight) * 0.1)
        total, count = 0, 0
        for x in runs:
            difference = module(x) - other(x)
            if not isinstance(module, nn.Linear):
                difference = difference.movedim(1, -1)
            difference = difference.reshape(-1, difference.shape[-1])
            total, count = total + (difference**2).sum(0), count + len(difference)
    assert layer.samples == count
    weights = other.weight.detach().double().reshape(len(other.weight), -1).numpy()
    for row, measured in enumerate((total / count).tolist()):
        u = layer.weight[row] - weights[row]
        predicted = u @ layer.grams[layer.gram_of_row(row)] @ u
        assert predicted == pytest.approx(measured, rel=TOLERANCE)
        assert measured > 0


def check(module, *inputs):
    torch.manual_seed(1)
    module = module.double()
    layers = extract_layers(module, "*", list(inputs))
    assert_identity(module, inputs, layers[""])
    return layers[""]


def images(channels=4, count=3):
    torch.manual_seed(0)
    return torch.randn(count, channels, 12, 10, dtype=torch.float64)


SETTINGS = list(product((1, 3, 5), (1, 2), (False, True), (1, 2), (1, 2, 4)))


@pytest.mark.parametrize(("kernel", "stride", "padded", "dilation", "groups"), SETTINGS)
def test_conv2d(kernel, stride, padded, dilation, groups):
    padding = dilation * (kernel // 2) or 1
    module = nn.Conv2d(
        4, 8, kernel, stride=stride, padding=padding if padded else 0, dilation=dilation, groups=groups
    )
    layer = check(module, images(), images(count=2) + 1)
    assert layer.groups == groups
    assert layer.meta["kind"] == "conv2d"
    assert layer.meta["padding"] == [[padding * padded] * 2] * 2


@pytest.mark.parametrize(("kernel", "stride", "padded", "dilation", "groups"), SETTINGS)
def test_conv1d(kernel, stride, padded, dilation, groups):
    module = nn.Conv1d(4, 4, kernel, stride, padding=2 if padded else 0, dilation=dilation, groups=groups)
    assert check(module, images().flatten(2)).groups == groups


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(0, 3), dilation=(2, 1)),
        nn.Conv2d(4, 6, 3, padding="same", dilation=2),
        nn.Conv2d(4, 6, 3, padding="valid"),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", bias=False),
        nn.Conv2d(4, 6, 3, padding=(2, 1), padding_mode="circular"),
        nn.Conv2d(4, 6, 3, padding="same", padding_mode="replicate"),
    ],
    ids=str,
)
def test_paddings(module):
    check(module, images())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("module", [nn.Conv2d(4, 6, (4, 2), padding="same"), nn.Conv1d(4, 6, 4, padding="same")])
def test_same_padding_of_an_even_kernel_is_not_symmetric(module):
    x = images()
    layer = check(module, x if isinstance(module, nn.Conv2d) else x.flatten(2))
    assert layer.meta["padding"][0] == [1, 2]


def test_conv_without_a_batch_axis():
    module = nn.Conv2d(4, 6, 3).double()
    x = images()
    alone = extract_layers(module, "*", list(x))[""]
    together = extract_layers(module, "*", [x])[""]
    assert alone.samples == together.samples
    torch.testing.assert_close(torch.tensor(alone.grams), torch.tensor(together.grams), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(7,), (20, 7), (3, 5, 7), (2, 3, 4, 7)])
def test_linear(shape):
    torch.manual_seed(0)
    layer = check(nn.Linear(7, 5), torch.randn(shape, dtype=torch.float64))
    assert layer.meta["kind"] == "linear"
    assert "stride" not in layer.meta


def test_lite0_pads_inside_forward(lite0):
    """Its modules say padding 0 and pad, asymmetrically, themselves."""
    names = ["_conv_stem", "_blocks.0._depthwise_conv", "_blocks.3._depthwise_conv", "_blocks.4._expand_conv"]
    torch.manual_seed(0)
    x = torch.rand(2, 3, 224, 224, dtype=torch.float64) * 2 - 1
    reached = {}
    modules = dict(lite0.module.named_modules())
    handles = [
        modules[name].register_forward_pre_hook(
            lambda _, args, name=name: reached.update({name: args[0].detach()})
        )
        for name in names
    ]
    layers = extract_layers(lite0.module, names, [x])
    for handle in handles:
        handle.remove()
    assert list(layers) == names
    for name in names:
        # channels that never fire cannot be measured: keep away from 0 what reaches the module
        first = torch.rand_like(reached[name]) + reached[name]
        alone = extract_layers(modules[name], "*", [first])[""]
        assert_identity(modules[name], [first], alone)
        assert alone.samples == layers[name].samples
        again = extract_layers(modules[name], "*", [reached[name]])[""]
        assert again.sha256 == layers[name].sha256
    assert layers["_conv_stem"].samples == 2 * 112 * 112


@pytest.mark.parametrize("groups", [1, 2])
def test_unfolding_in_pieces_changes_nothing(groups):
    x = images(count=4)
    for module, batch in (
        (nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=groups), x),
        (nn.Conv1d(4, 4, 3, dilation=2, groups=groups), x.flatten(2)),
        (nn.Linear(10, 2), x),
    ):
        calls = []
        weight = module.double().weight
        if isinstance(module, nn.Linear):
            call = gram.Call(batch, weight)
        else:
            both = tuple((p, p) for p in module.padding)
            call = gram.Call(batch, weight, module.stride, both, module.dilation, groups)
        for chunk in (None, 10_000, 1):
            pieces = list(gram.columns(call, chunk_bytes=chunk))
            used = gram.GramAccumulator(call.groups, pieces[0].shape[1])
            for piece in pieces:
                used.add(piece)
            calls.append((len(pieces), used.samples, used.gram()))
        assert calls[0][0] == 1 < calls[1][0] < calls[2][0]
        for _, samples, matrix in calls:
            assert samples == calls[0][1]
            torch.testing.assert_close(torch.tensor(matrix), torch.tensor(calls[0][2]), rtol=1e-12, atol=1e-14)
