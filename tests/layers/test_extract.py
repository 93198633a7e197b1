"""Choosing layers, one pass over the data, and what models do inside their forward."""

import numpy as np
import pytest
import torch
from pvq.layers import LayerError
from pvq.layers.extract import choose_layers, extract_layers
from pvq.layers.extraction import file_names
from torch import nn


def gram_of(x):
    x = x.detach().double().reshape(-1, x.shape[-1]).numpy()
    return x.T @ x / len(x)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 5)
        self.blocks = nn.ModuleList(nn.Linear(5, 5) for _ in range(3))
        self.unused = nn.Linear(5, 5)
        self.drop = nn.Dropout(0.9)

    def forward(self, x):
        x = self.drop(torch.relu(self.first(x)))
        for block in self.blocks:
            x = torch.relu(block(x))
        return x


def test_all_layers_in_one_pass_in_evaluation_mode():
    model = Small().double()
    model.drop.eval()
    passes, seen = [], []

    def batches():
        passes.append(1)
        yield torch.ones(2, 6).double()
        yield torch.full((3, 6), 2.0).double()

    layers = extract_layers(
        model, ["*", "!unused"], batches(), progress=lambda done, total: seen.append((done, total))
    )
    assert list(layers) == ["first", "blocks.0", "blocks.1", "blocks.2"]
    assert passes == [1]
    assert seen == [(1, None), (2, None)]
    assert {layer.samples for layer in layers.values()} == {5}
    np.testing.assert_allclose(layers["first"].grams[0], np.full((6, 6), (2 * 1 + 3 * 4) / 5))
    assert model.training
    assert not model.drop.training
    assert not model.first._forward_hooks
    assert not model.first._forward_pre_hooks


def test_globs():
    model = Small()
    assert choose_layers(model, "blocks.*") == ["blocks.0", "blocks.1", "blocks.2"]
    assert choose_layers(model, ["first", "blocks.[12]"]) == ["first", "blocks.1", "blocks.2"]
    with pytest.raises(LayerError, match=r"no layer matches 'nothing'; layers are: first, blocks\.0, .*unused"):
        choose_layers(model, "nothing")
    long = nn.Sequential(*(nn.Linear(1, 1) for _ in range(100)))
    with pytest.raises(LayerError, match=r"39, \.\.\. \(60 more\)$"):
        choose_layers(long, "x")
    with pytest.raises(LayerError, match="has no Linear, Conv1d or Conv2d"):
        choose_layers(nn.ReLU(), "*")


def test_a_layer_that_is_never_called():
    said = []
    layers = extract_layers(Small(), "*", [torch.ones(1, 6)], say=said.append)
    assert list(layers) == ["first", "blocks.0", "blocks.1", "blocks.2"]
    assert said == ["left out, no calibration sample reached them: 1 of 5 layers: unused"]


def test_no_data_at_all():
    with pytest.raises(LayerError, match="no calibration sample reached first"):
        extract_layers(Small(), "first", [])


def test_a_batch_the_model_does_not_take():
    with pytest.raises(LayerError, match=r"fails on a batch of shape \[\(2, 3\)\]: ") as caught:
        extract_layers(Small(), "first", [torch.ones(2, 3)])
    assert "\n" not in str(caught.value)


def test_activations_that_are_not_finite():
    with pytest.raises(LayerError, match="first: NaN or infinite activations"):
        extract_layers(Small(), "first", [torch.full((2, 6), float("nan"))])


def test_a_module_that_is_used_twice_adds_up():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Linear(4, 4, bias=False)

        def forward(self, x):
            return self.shared(self.shared(x))

    model = Twice().double()
    x = torch.randn(6, 4).double()
    layer = extract_layers(model, "shared", [x])["shared"]
    assert layer.samples == 12
    np.testing.assert_allclose(layer.grams[0], gram_of(torch.cat([x, model.shared(x)])), rtol=1e-12)


def test_modules_that_share_a_weight_are_told_apart():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    model[2].weight = model[0].weight
    x = torch.randn(6, 4).double()
    for name, reaching in (("0", x), ("2", model[:2](x))):
        layer = extract_layers(model, name, [x])[name]
        assert layer.samples == 6
        np.testing.assert_allclose(layer.grams[0], gram_of(reaching), rtol=1e-12)


def test_a_weight_that_is_computed_in_forward_is_the_one_stored():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return nn.functional.conv2d(x, self.weight - self.weight.mean(), self.bias, self.stride)

    model = nn.Sequential(
        Standardised(3, 4, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3))
    ).double()
    layers = extract_layers(model, "*", [torch.randn(2, 3, 8, 8).double()] * 2)
    effective = (model[0].weight - model[0].weight.mean()).detach().reshape(4, -1)
    np.testing.assert_allclose(layers["0"].weight, effective, rtol=1e-12)
    np.testing.assert_allclose(layers["1"].weight, model[1].weight.detach().reshape(4, -1), rtol=1e-12)


def test_a_weight_that_changes_from_call_to_call():
    class Noisy(nn.Linear):
        def forward(self, x):
            return nn.functional.linear(x, self.weight + torch.rand(()), self.bias)

    with pytest.raises(LayerError, match="another weight from call to call"):
        extract_layers(Noisy(3, 3), "*", [torch.ones(1, 3)] * 2)


def test_functions_however_they_are_reached():
    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 3, 3)
            self.b = nn.Linear(3, 2)

        def forward(self, x):
            x = torch.conv2d(input=x, weight=self.a.weight, padding=1)
            return torch.nn.functional.linear(weight=self.b.weight, input=x.mean((2, 3)))

    layers = extract_layers(Direct(), "*", [torch.randn(2, 3, 5, 5)])
    assert layers["a"].meta["padding"] == [[1, 1], [1, 1]]
    assert layers["b"].samples == 2


@pytest.mark.parametrize("norm_first", [False, True])
def test_attention_layers_of_torch(norm_first):
    """Their fused fast path would hide the linear layers, and out_proj is never called as a module."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first).double().eval()
    x = torch.randn(2, 5, 8).double()
    layers = extract_layers(model, "*", [x])
    in_proj = [f"self_attn.in_proj_{letter}" for letter in "kqv"]
    assert sorted(layers) == ["linear1", "linear2", *in_proj, "self_attn.out_proj"]
    assert {layer.samples for layer in layers.values()} == {10}
    attended = model.self_attn(*([model.norm1(x) if norm_first else x] * 3), need_weights=False)[0]
    value = (attended - model.self_attn.out_proj.bias) @ torch.linalg.inv(model.self_attn.out_proj.weight).T
    np.testing.assert_allclose(layers["self_attn.out_proj"].grams[0], gram_of(value), rtol=1e-8)
    assert torch.backends.mha.get_fastpath_enabled()


class Tokens(nn.Module):
    def __init__(self, flatten=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(10, 6)
        self.linear = nn.Linear(6, 6)
        self.conv = nn.Conv1d(6, 6, 3, padding=1)
        self.pool = nn.Linear(6, 2)
        self.flatten = flatten

    def forward(self, input_ids, attention_mask=None):
        x = self.embed(input_ids)
        x = self.linear(x.reshape(-1, 6)).reshape(x.shape) if self.flatten else self.linear(x)
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return self.pool(x[:, 0])


@pytest.mark.parametrize("flatten", [False, True])
def test_padding_tokens_do_not_count(flatten):
    model = Tokens(flatten).double()
    ids = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 7, 8]])
    mask = (ids > 0).long()
    layers = extract_layers(model, "*", [{"input_ids": ids, "attention_mask": mask}])
    assert [layers[name].samples for name in ("linear", "conv", "pool")] == [8, 8, 3]
    np.testing.assert_allclose(layers["linear"].grams[0], gram_of(model.embed(ids)[mask == 1]), rtol=1e-12)
    unmasked = extract_layers(model, "*", [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}])
    assert unmasked["linear"].samples == 12
    assert unmasked["linear"].sha256 == extract_layers(model, "*", [ids])["linear"].sha256


def test_padding_that_cannot_be_placed_is_refused():
    class Cut(Tokens):
        def forward(self, input_ids, attention_mask):
            return self.linear(self.embed(input_ids)[:, 1:])

    ids = torch.tensor([[1, 2, 3], [4, 0, 0]])
    with pytest.raises(LayerError, match=r"linear: its samples of shape \(2, 2\) cannot be matched"):
        extract_layers(Cut(), "linear", [{"input_ids": ids, "attention_mask": (ids > 0).long()}])


@pytest.mark.parametrize("groups", [1, 2])
def test_keeping_the_first_activations(groups):
    model = nn.Conv1d(4, 4, 1, groups=groups).double()
    x = torch.randn(3, 4, 5).double()
    layer = extract_layers(model, "*", list(x.split(1)), keep_activations=7)[""]
    columns = x.transpose(1, 2).reshape(15, groups, 4 // groups).transpose(0, 1)[:, :7]
    assert np.array_equal(layer.activations, columns[0] if groups == 1 else columns)
    assert layer.samples == 15
    everything = extract_layers(model, "*", [x], keep_activations=100)[""]
    assert everything.activations.shape[-2] == 15
    with pytest.raises(LayerError, match="keep_activations is -1"):
        extract_layers(model, "*", [x], keep_activations=-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_precisions_accumulate_in_float64(dtype):
    model = nn.Linear(6, 3).to(dtype)
    x = torch.randn(40, 6).to(dtype)
    layer = extract_layers(model, "*", [x])[""]
    assert np.array_equal(layer.weight, model.weight.detach().double())
    np.testing.assert_allclose(layer.grams[0], gram_of(x), rtol=1e-12, atol=1e-15)


def test_file_names():
    layers = [
        "_conv_stem",
        "_blocks.3._depthwise_conv",
        "head.conv",
        "a.expand",
        "a._expand_conv",
        "A",
        "a",
        "x/y",
    ]
    assert file_names("efficientnet-lite0", layers) == {
        "_conv_stem": "efficientnet_lite0.conv_stem",
        "_blocks.3._depthwise_conv": "efficientnet_lite0.blocks.3.depthwise",
        "head.conv": "efficientnet_lite0.head.conv",
        "a.expand": "efficientnet_lite0.a.expand",
        "a._expand_conv": "efficientnet_lite0.a._expand_conv",
        "A": "efficientnet_lite0.A",
        "a": "efficientnet_lite0.a",
        "x/y": "efficientnet_lite0.x_y",
    }
    assert file_names("m", [""]) == {"": "m"}
