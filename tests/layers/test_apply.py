"""Weights back into models: at the place they are of, nothing else changes, and the error is the certified one."""

import copy
import json

import numpy as np
import pytest
import torch
from pvq.layers import LayerError
from pvq.layers.apply import apply_solutions
from pvq.layers.extract import extract_layers
from pvq.layers.solutions import Solution, load_solution, save_solution
from tiny_models import build
from torch import nn
from torch.nn.utils import parametrizations

IDS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 3]])


def error_of(layer, weight, rows):
    """Sum over the rows of (w - x)'H(w - x)."""
    moved = layer.weight - weight
    return sum(float(moved[i] @ layer.grams[layer.gram_of_row(i)] @ moved[i]) for i in rows)


def solution(layer, seed=0, rows=None):
    """Other weights for rows of a layer, and their true error."""
    rows = range(layer.out) if rows is None else rows
    weight = layer.weight.copy()
    rng = np.random.default_rng(seed)
    weight[list(rows)] = np.round(8 * weight[list(rows)] + rng.normal(size=(len(rows), layer.inputs))) / 8
    found = Solution.of(layer, weight[list(rows)], rows, range(layer.inputs), error_of(layer, weight, rows))
    return found, weight


def changed(before, after):
    """Names of the tensors that are not what they were."""
    old, new = before.state_dict(), after.state_dict()
    return {name for name in old if not torch.equal(old[name], new[name])}


class Several(nn.Module):
    """Every kind of torch's own: grouped, depthwise, dilated, one dimension, both attentions, used twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=(2, 1), dilation=(2, 1), groups=8)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.line = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.apart = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
        self.twice = nn.Linear(8, 8)
        self.again = self.twice

    def forward(self, x):
        x = self.grouped(torch.relu(self.depthwise(self.stem(x)))).flatten(2)
        x = self.line(x).transpose(1, 2)
        x = self.attention(x, x + 1, x - 1)[0]
        x = self.apart(x, x[..., :6], x[..., 4:])[0]
        return self.again(torch.relu(self.twice(x)))


class Experts(nn.Module):
    """Matrices in a stack, stored (in, out), some of them square."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.Parameter(torch.randn(3, 6, 4))
        self.down = nn.Parameter(torch.randn(3, 4, 4))

    def forward(self, x):
        return torch.relu(x.expand(3, *x.shape) @ self.up) @ self.down


CASES = {
    "several": (Several, torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))),
    "experts": (Experts, torch.randn(20, 6, generator=torch.Generator().manual_seed(0))),
    "gpt2": (lambda: build("gpt2"), {"input_ids": IDS}),
    "mixtral": (lambda: build("mixtral"), {"input_ids": IDS, "attention_mask": torch.ones_like(IDS).triu(-3)}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:left out")
def test_every_kind_of_layer_gets_its_weights_and_their_error(case):
    make, batch = CASES[case]
    model = make().double().eval()
    batch = batch.double() if isinstance(batch, torch.Tensor) else batch
    layers = extract_layers(model, "*", [batch])
    assert len(layers) >= 5
    before = copy.deepcopy(model)
    made = {name: solution(layer, seed) for seed, (name, layer) in enumerate(layers.items())}
    told = []
    words = {"progress": lambda done, total: told.append((done, total))}
    applied = apply_solutions(model, [found for found, _ in made.values()], [batch], **words)
    assert told == [(1, 1)]
    assert [each.module for each in applied] == list(layers)
    for each in applied:
        assert each.measured == pytest.approx(made[each.module][0].error, rel=1e-9)
        assert each.certified > 0
        assert each.agrees
    # extraction, which is tested against runs by hand, finds the new weights where it found the old ones
    again = extract_layers(model, list(layers), [batch])
    for name, (_, weight) in made.items():
        if name in again:  # experts may get no token any more
            assert np.array_equal(again[name].weight, weight), name
    assert len(again) >= 5
    owners = {name.rpartition(".")[0] for name in changed(before, model)}
    touched = {name.rpartition(".")[0] if "in_proj" in name else name for name in layers}
    assert len(changed(before, model)) > 0
    if case == "several":
        assert owners == touched | {"again"}


@pytest.mark.parametrize(
    ("case", "name"),
    [
        *(("several", name) for name in ("stem", "depthwise", "grouped", "line", "attention.out_proj")),
        *(("gpt2", f"transformer.h.0.{name}") for name in ("attn.c_attn", "mlp.c_fc", "mlp.c_proj")),
        *(("experts", f"down.{k}") for k in range(3)),
    ],
)
def test_the_certified_error_is_how_far_the_output_of_the_module_moves(case, name):
    """Seen from outside, by what the module puts out before and after: nothing of ours unfolds or multiplies."""
    make, batch = CASES[case]
    model = make().double().eval()
    batch = batch.double() if isinstance(batch, torch.Tensor) else batch
    layer = extract_layers(model, name, [batch])[name]
    expert = int(name[-1]) if case == "experts" else None
    outputs = []

    def keep(module, args, out):
        out = (out[0] if isinstance(out, tuple) else out).detach()
        outputs.append(
            out[expert] if expert is not None else out.movedim(1, -1) if len(args[0].shape) == 4 else out
        )

    place = model if expert is not None else model.get_submodule(name.removesuffix(".out_proj"))
    handle = place.register_forward_hook(keep)

    def run():
        with torch.no_grad():
            model(**batch) if isinstance(batch, dict) else model(batch)

    run()
    (applied,) = apply_solutions(model, [solution(layer)[0]], [batch])
    outputs.pop()  # of the measurement
    run()
    handle.remove()
    before, after = outputs
    if isinstance(place, nn.Conv1d):
        before, after = before.transpose(1, 2), after.transpose(1, 2)
    moved = (before - after).reshape(-1, before.shape[-1])
    assert float(moved.square().sum(1).mean()) == pytest.approx(applied.certified, rel=1e-9)


@pytest.mark.parametrize("name", ["stem", "depthwise", "grouped", "attention.in_proj_k"])
def test_one_layer_and_nothing_else(name):
    model = Several().double().eval()
    batch = CASES["several"][1].double()
    layer = extract_layers(model, name, [batch])[name]
    before = copy.deepcopy(model)
    rows = [1, 2, 5]
    found, weight = solution(layer, rows=rows)
    (applied,) = apply_solutions(model, [found], [batch])
    assert applied.agrees
    assert applied.rows == 3
    tensor = "attention.in_proj_weight" if "proj" in name else f"{name}.weight"
    assert changed(before, model) == {tensor}
    new = model.state_dict()[tensor].numpy()
    new = new[8:16] if "proj" in name else new.reshape(layer.weight.shape)
    assert np.array_equal(new, weight)
    if "proj" in name:
        old = before.state_dict()[tensor]
        assert torch.equal(model.attention.in_proj_weight[:8], old[:8])
        assert torch.equal(model.attention.in_proj_weight[16:], old[16:])


def test_a_square_matrix_that_is_stored_transposed():
    """GPT-2 keeps (in, out): where both are equal only the meta data tells."""
    model = build("gpt2")
    name = "transformer.h.0.attn.c_proj"
    layer = extract_layers(model, name, [{"input_ids": IDS}])[name]
    assert layer.out == layer.inputs
    found, weight = solution(layer)
    (applied,) = apply_solutions(model, [found], [{"input_ids": IDS}])
    assert applied.agrees
    assert np.array_equal(model.transformer.h[0].attn.c_proj.weight.detach().numpy(), weight.T)


def test_a_model_in_float32_gets_rounded_weights():
    model = Several().eval()
    batch = CASES["several"][1]
    layer = extract_layers(model, "stem", [batch])["stem"]
    found, weight = solution(layer)
    thirds = Solution.of(layer, weight / 3, range(layer.out), range(layer.inputs),
                         error_of(layer, weight / 3, range(layer.out)))  # fmt: skip
    (applied,) = apply_solutions(model, [thirds], [batch])
    assert applied.agrees
    assert applied.measured == pytest.approx(thirds.error, rel=1e-6)
    assert applied.allowed < 1e-4 * thirds.error
    assert model.stem.weight.dtype == torch.float32
    assert found.error != thirds.error


def test_a_false_error_and_other_data_do_not_agree():
    batch = CASES["several"][1].double()
    layer = extract_layers(Several().double().eval(), "stem", [batch])["stem"]
    found, _ = solution(layer)
    false = Solution(found.weight, found.rows, found.inputs, {**found.meta, "error": found.error * (1 + 1e-5)})
    for given, data in ((false, batch), (found, batch + 0.01)):
        (applied,) = apply_solutions(Several().double().eval(), [given], [data])
        assert applied.agrees is False
    (applied,) = apply_solutions(Several().double().eval(), [found])
    assert applied.agrees is None


def test_a_head_that_shares_its_weight_is_named():
    model = build("gpt2")
    layer = extract_layers(model, "lm_head", [{"input_ids": IDS}])["lm_head"]
    (applied,) = apply_solutions(model, [solution(layer)[0]], [{"input_ids": IDS}])
    assert applied.also == ("transformer.wte.weight",)
    assert applied.agrees


def test_what_does_not_fit_changes_nothing():
    model = Several().double().eval()
    batch = CASES["several"][1].double()
    layers = extract_layers(model, ["stem", "line", "twice"], [batch])
    good, stem, line = (solution(layers[name])[0] for name in ("twice", "stem", "line"))
    part = Solution(stem.weight[:, 2:9], stem.rows, (2, 9), stem.meta)
    wrong = {
        "no layer tail": Solution(stem.weight, stem.rows, stem.inputs, {**stem.meta, "module": "tail"}),
        "the result is of shape 8 x 27, the layer of 8 x 12": Solution(
            stem.weight, stem.rows, stem.inputs, {**stem.meta, "module": "line"}
        ),
        "of other weights than the model has": Solution(
            line.weight, line.rows, line.inputs, {**line.meta, "weight_sha256": stem.meta["weight_sha256"]}
        ),
        "of inputs 2:9 only": part,
        "two results for twice": good,
        "again are one tensor": Solution(good.weight, good.rows, good.inputs, {**good.meta, "module": "again"}),
    }
    before = copy.deepcopy(model)
    for words, bad in wrong.items():
        with pytest.raises(LayerError, match=words):
            apply_solutions(model, [good, bad])
        assert changed(before, model) == set()
    parametrizations.weight_norm(model.twice)
    with pytest.raises(LayerError, match="its weight is computed from other tensors"):
        apply_solutions(model, [good])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("rows", [range(2, 6), (0, 3, 4)])
def test_a_solution_is_read_as_it_was_written(tmp_path, suffix, rows):
    batch = CASES["several"][1].double()
    layer = extract_layers(Several().double().eval(), "stem", [batch])["stem"]
    found, _ = solution(layer, rows=rows)
    path = tmp_path / f"s{suffix}"
    save_solution(path, found)
    again = load_solution(path)
    assert np.array_equal(again.weight, found.weight)
    assert (again.rows, again.inputs, again.meta) == (tuple(rows), (0, 27), found.meta)


def test_files_that_are_no_solutions_are_one_line(tmp_path):
    layer_like = tmp_path / "a.npz"
    np.savez(layer_like, weight=np.ones((2, 2)))
    with pytest.raises(LayerError, match="does not say which layer"):
        load_solution(layer_like)
    batch = CASES["several"][1].double()
    layer = extract_layers(Several().double().eval(), "stem", [batch])["stem"]
    found, _ = solution(layer)
    for change, words in (
        ({"schema": "pvq.layer/1"}, "not pvq.solution/1"),
        ({"shape": [8]}, "shape of the layer"),
        ({"shape": [7, 27]}, "rows are no ranges of the layer"),
        ({"error": -1.0}, "does not say an error"),
        ({"module": 3}, "which layer it is of"),
        ({"bits": "four"}, "technique or bits are none"),
        ({"technique": ["quant"]}, "technique or bits are none"),
    ):
        save_solution(layer_like, Solution(found.weight, found.rows, found.inputs, {**found.meta, **change}))
        with pytest.raises(LayerError, match=words) as error:
            load_solution(layer_like)
        assert len(str(error.value).splitlines()) == 1
    size, meta = len(found.weight), np.array(json.dumps(dict(found.meta)))
    for rows, inputs, words in (
        (np.array(3), np.array([0, 27]), "rows are no ranges"),
        (np.array([[0, 0], [0, size]]), np.array([0, 27]), "one after the other"),
        (np.array([[0, 2], [1, size - 1]]), np.array([0, 27]), "one after the other"),
        (np.array([[0, 2**63]] * 2, dtype=np.uint64), np.array([0, 27]), "one after the other"),
        (np.array([0, size]), np.array(27), "inputs are no ranges"),
    ):
        np.savez(layer_like, weight=found.weight, rows=rows, inputs=inputs, meta=meta)
        with pytest.raises(LayerError, match=words):
            load_solution(layer_like)
    save_solution(layer_like, Solution(found.weight[1:], found.rows, found.inputs, found.meta))
    with pytest.raises(LayerError, match="do not fit each other"):
        load_solution(layer_like)
    save_solution(layer_like, Solution(found.weight * np.nan, found.rows, found.inputs, found.meta))
    with pytest.raises(LayerError, match="no matrix of finite numbers"):
        load_solution(layer_like)
