"""Linear maps that are no nn.Linear: e(x) is the mean squared change of what they put out."""

import numpy as np
import pytest
import torch
from pvq.layers import LayerError, load_layer
from pvq.layers.extract import choose_layers, extract_layers
from pvq.layers.models import Model, load_weights
from pvq.layers.parts import candidates, not_covered, unwrapped
from tiny_models import VOCABULARY, build
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel

from extracting import extract

IDS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 3]])


def assert_identity(layer, weight, x):
    """`weight` (out, in) and the samples `x` (samples, in) that a run by hand multiplies with it."""
    assert np.array_equal(layer.weight, weight.detach())
    assert layer.samples == len(x)
    torch.manual_seed(1)
    other = weight + 0.1 * torch.randn_like(weight)
    measured = ((x @ weight.T - x @ other.T) ** 2).mean(0).detach()
    u = (weight - other).detach().numpy()
    np.testing.assert_allclose(np.einsum("ri,ij,rj->r", u, layer.grams[0], u), measured, rtol=1e-9)


def inputs_of(model, modules, *args, **kwargs):
    """What reaches each module in a run."""
    seen = {}
    handles = [
        part.register_forward_pre_hook(lambda _, given, name=name: seen.setdefault(name, []).append(given))
        for name, part in modules.items()
    ]
    with torch.no_grad():
        model(*args, **kwargs)
    for handle in handles:
        handle.remove()
    return seen


def test_conv1d_of_gpt2():
    model = build("gpt2")
    layers = extract_layers(model, "*.c_*", [{"input_ids": IDS}])
    assert [name.rpartition("h.0.")[2] for name in layers] == [
        "attn.c_attn",
        "attn.c_proj",
        "mlp.c_fc",
        "mlp.c_proj",
    ]
    modules = {name: model.get_submodule(name) for name in layers}
    for name, ((x,),) in inputs_of(model, modules, input_ids=IDS).items():
        assert_identity(layers[name], modules[name].weight.T, x.reshape(-1, x.shape[-1]))
        assert layers[name].meta["transposed"]
        assert layers[name].meta["shape"] == list(modules[name].weight.T.shape)


@pytest.mark.parametrize("own_sizes", [False, True])
@pytest.mark.parametrize("inputs", ["self", "memory", "three"])
def test_the_three_matrices_of_attention(own_sizes, inputs):
    torch.manual_seed(0)
    more = {"kdim": 8, "vdim": 8, "bias": False} if own_sizes else {}
    attention = nn.MultiheadAttention(8, 2, batch_first=True, **more).double()
    if own_sizes:
        attention._qkv_same_embed_dim = False
        attention.in_proj_weight = None
        for letter in "qkv":
            setattr(attention, f"{letter}_proj_weight", nn.Parameter(torch.randn(8, 8).double()))
    a, b, c = torch.randn(3, 2, 5, 8).double()
    given = {"self": (a, a, a), "memory": (a, b, b), "three": (a, b, c)}[inputs]
    layers = extract_layers(attention, "in_proj*", [given])
    assert list(layers) == ["in_proj_q", "in_proj_k", "in_proj_v"]
    for k, (letter, x) in enumerate(zip("qkv", given, strict=True)):
        weight = getattr(attention, f"{letter}_proj_weight")
        weight = attention.in_proj_weight[8 * k : 8 * k + 8] if weight is None else weight
        layer = layers[f"in_proj_{letter}"]
        assert_identity(layer, weight, x.reshape(-1, 8))
        assert not layer.meta["transposed"]
        assert layer.meta["rows"] == (None if own_sizes else [8 * k, 8 * k + 8])


def test_a_vision_transformer_with_attention_of_torch():
    class Vision(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.patches = nn.Conv2d(3, 8, 4, stride=4)
            self.cls = nn.Parameter(torch.randn(1, 1, 8))
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            return self.head(self.block(torch.cat([self.cls.expand(len(x), -1, -1), x], 1))[:, 0])

    model = Vision().double().eval()
    images = torch.randn(2, 3, 8, 8).double()
    layers = extract_layers(model, "*", [images])
    assert len(layers) == 8
    with torch.no_grad():
        tokens = torch.cat([model.cls.expand(2, -1, -1), model.patches(images).flatten(2).transpose(1, 2)], 1)
    assert_identity(
        layers["block.self_attn.in_proj_v"], model.block.self_attn.in_proj_weight[16:], tokens.reshape(-1, 8)
    )
    assert not_covered(model) == (["cls"], pytest.approx(8 / (8 + 3 * 128 + 4 * 64 + 2 * 128 + 24)))


def test_experts_and_one_that_sees_no_token():
    model = build("mixtral")
    block = model.model.layers[0].mlp
    with torch.no_grad():
        block.gate.weight[1] = -block.gate.weight[0]
        block.gate.weight[2:] = 0  # the largest of v'h, -v'h and 0 is never the last
    said = []
    implementation = model.config._experts_implementation
    layers = extract_layers(model, "*mlp*", [{"input_ids": IDS}], say=said.append)
    assert model.config._experts_implementation == implementation
    prefix = "model.layers.0.mlp.experts."
    expected = [f"{prefix}{name}.{k}" for name in ("gate_up_proj", "down_proj") for k in (0, 1)]
    assert sorted(layers) == sorted([*expected, "model.layers.0.mlp.gate"])
    assert said[0].startswith("left out, no calibration sample reached them: 4 of 9 layers")
    assert all(f"{prefix}{name}.{k}" in said[0] for name in ("gate_up_proj", "down_proj") for k in (2, 3))
    model.set_experts_implementation("eager")
    ((x, index, _),) = inputs_of(model, {"e": block.experts}, input_ids=IDS)["e"]
    for k in (0, 1):
        routed = x[(index == k).any(-1)]
        assert_identity(layers[f"{prefix}gate_up_proj.{k}"], block.experts.gate_up_proj[k], routed)
        gate, up = (routed @ block.experts.gate_up_proj[k].T).chunk(2, -1)
        assert_identity(layers[f"{prefix}down_proj.{k}"], block.experts.down_proj[k], functional.silu(gate) * up)
    assert_identity(layers["model.layers.0.mlp.gate"], block.gate.weight, x)


@pytest.mark.parametrize("product", [torch.bmm, torch.matmul, lambda x, w: x @ w])
def test_stacked_experts_stored_the_other_way(product):
    class Stacked(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.up = nn.Parameter(torch.randn(3, 4, 6).double())

        def forward(self, x):
            return product(x, self.up)

    model = Stacked()
    x = torch.randn(3, 7, 4).double()
    layers = extract_layers(model, "*", [x])
    assert list(layers) == ["up.0", "up.1", "up.2"]
    for k in range(3):
        assert_identity(layers[f"up.{k}"], model.up[k].T, x[k])
        assert layers[f"up.{k}"].meta["transposed"]


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_encoder_and_decoder(family):
    model = build(family)
    ids = {"input_ids": IDS, "decoder_input_ids": IDS.flip(1)}
    layers = extract_layers(model, "*", [ids])
    modules = {name: model.get_submodule(name) for name in layers}
    assert len(modules) > 12
    for name, runs in inputs_of(model, modules, **ids).items():
        x = torch.cat([given[0].reshape(-1, given[0].shape[-1]) for given in runs])
        assert_identity(layers[name], modules[name].weight, x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_compiled_model_runs_as_it_is_written():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    whole = torch.compile(inner)
    part = nn.Sequential(torch.compile(nn.Linear(4, 4).double()), nn.Linear(4, 2).double())
    x = torch.randn(6, 4).double()
    layers = extract_layers(whole, "*", [x])
    assert list(layers) == ["0", "2"]
    assert_identity(layers["0"], inner[0].weight, x)
    assert_identity(layers["2"], inner[2].weight, inner[:2](x))
    layers = extract_layers(part, "*", [x])
    assert list(layers) == ["0", "1"]
    assert_identity(layers["0"], part[0]._orig_mod.weight, x)


def pruned(layer):
    prune.l1_unstructured(layer, "weight", amount=0.5)
    return layer


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "change",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.weight_norm,
        nn.utils.parametrizations.orthogonal,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.spectral_norm,
        pruned,
    ],
    ids=["weight norm", "old weight norm", "orthogonal", "spectral norm", "old spectral norm", "pruned"],
)
def test_the_weight_of_a_changed_layer_is_the_effective_one(change):
    torch.manual_seed(0)
    model = nn.Sequential(change(nn.Linear(4, 3).double())).eval()
    x = torch.randn(6, 4).double()
    model(x)
    assert_identity(extract_layers(model, "*", [x])["0"], model[0].weight, x)
    assert not_covered(model)[0] == []


@pytest.fixture
def one_process():
    """A group of this process alone, which DistributedDataParallel asks for."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize(
    "wrap",
    [
        torch.compile,
        nn.DataParallel,
        AveragedModel,
        lambda m: torch.compile(nn.DataParallel(m)),
        lambda m: nn.DataParallel(torch.compile(m)),
        DistributedDataParallel,
        lambda m: DistributedDataParallel(torch.compile(m)),
        lambda m: torch.compile(DistributedDataParallel(m)),
    ],
)
@pytest.mark.usefixtures("one_process")
def test_wrappers_are_taken_off(wrap, tmp_path):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    x = torch.randn(6, 4).double()
    wrapped = wrap(inner)
    layers = extract_layers(wrapped, "*", [x])
    assert list(layers) == ["0", "2"]
    assert_identity(layers["2"], inner[2].weight, inner[:2](x))
    np.save(tmp_path / "x.npy", x)
    extract(Model("a:net", "net", wrapped), "2", tmp_path / "x.npy", tmp_path)
    assert load_layer(tmp_path / "net.2.npz").sha256 == layers["2"].sha256
    own = unwrapped(wrapped)
    # what it saves is read by the plain model, and what that saves by it
    for saved, other in ((wrapped, own), (own, wrapped)):
        torch.save({"state_dict": saved.state_dict()}, tmp_path / "saved.pt")
        before = own[2].weight.detach().clone()
        with torch.no_grad():
            own[2].weight.zero_()
        load_weights(other, tmp_path / "saved.pt")
        assert torch.equal(own[2].weight, before)


def test_models_without_plain_values_are_refused_in_one_line():
    x = torch.randn(6, 4)
    lazy, meta = nn.Sequential(nn.LazyLinear(3)), nn.Sequential(nn.Linear(4, 3, device="meta"))
    sparse = nn.Sequential(nn.Linear(4, 3))
    sparse[0].weight = nn.Parameter(sparse[0].weight.detach().to_sparse())
    for model, says in (
        (lazy, r"0\.weight has no shape yet \(a lazy module\); run the model once"),
        (meta, r"0\.weight has no values \(meta device\); load the weights first"),
        (sparse, r"0\.weight is a sparse tensor; put parameter\.to_dense\(\) in its place"),
    ):
        with pytest.raises(LayerError, match=says) as caught:
            extract_layers(model, "*", [x])
        assert "\n" not in str(caught.value)
    lazy(x)
    assert list(extract_layers(lazy, "*", [x])) == ["0"]


def test_layers_without_samples_are_warned_of():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.used(x)

    with pytest.warns(UserWarning, match=r"no calibration sample reached them: 1 of 2 layers: idle"):
        assert list(extract_layers(Branch(), "*", [torch.randn(6, 4)])) == ["used"]


def test_a_shared_module_has_both_names():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first = nn.Linear(4, 4).double()
            self.second = self.first

        def forward(self, x):
            return self.second(self.first(x))

    model = Shared()
    x = torch.randn(6, 4).double()
    both = torch.cat([x, model.first(x)]).detach()
    assert choose_layers(model, "*") == ["first"]
    for name in ("first", "second"):
        layers = extract_layers(model, name, [x])
        assert list(layers) == [name]
        assert_identity(layers[name], model.first.weight, both)


def test_what_is_not_covered_is_said():
    model = build("gpt2")
    missed, share = not_covered(model)
    assert missed == ["transformer.wpe.weight"]  # the word embedding is the head too, which is a layer
    total = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert share == pytest.approx(24 * 8 / total)
    assert model.lm_head.weight.shape == (VOCABULARY, 8)
    assert "transformer.h.0.mlp.c_fc" in candidates(model)
    with pytest.raises(LayerError, match="has no Linear"):
        choose_layers(nn.Embedding(3, 3), "*")
