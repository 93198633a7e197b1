"""`pvq apply` from the command line: what it writes, and when it writes nothing."""

import itertools
import json
import sys
from dataclasses import replace

import numpy as np
import pvq
import pytest
import torch
from allocation_cases import layer as made_layer
from allocation_cases import pair
from allocation_cases import record as made_record
from pvq.layers.solutions import Solution, load_solution, save_solution, solution_name
from safetensors.torch import load_file
from tiny_models import build, save_tokenizer, transformers

MODEL = """
import torch
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)).double()
def first(module):
    return module[0].weight[0, 0]
"""


@pytest.fixture
def made(cli, tmp_path, monkeypatch):
    """A model, its calibration data, its layer files, and a function that runs pvq."""
    (tmp_path / "applied_here.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "applied_here", raising=False)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((50, 6)))
    np.save(tmp_path / "y.npy", np.random.default_rng(1).standard_normal((50, 6)))
    data = ("--calibration", tmp_path / "x.npy", "--quiet")
    ended = cli("extract", "applied_here:model", "--layer", "*", *data, "-o", tmp_path / "layers")
    assert ended.code == 0, ended.err
    return ended.out.split()


def test_from_a_model_to_its_best_weights_and_back(cli, tmp_path, made):
    found = tmp_path / "found"
    apply = ("apply", "applied_here:model", "--results", found)
    words = ("--bits", "4", "--save-solutions", found, "--json", tmp_path / "run.json", "--quiet")
    assert cli("compare", *made, *words).code == 0
    assert len(list(found.iterdir())) == 4
    out = tmp_path / "out.safetensors"
    data = ("--calibration", tmp_path / "x.npy", "--quiet")
    ended = cli(*apply, *data, "-o", out)
    assert ended.code == 2
    assert "two results for" in ended.err
    assert not out.exists()
    for technique in ("quant", "prune"):
        ended = cli(
            "apply", "applied_here:model", "--results", found, "--take", f"{technique}:4", *data, "-o", out
        )
        assert ended.code == 0, ended.err
        state = load_file(out)
        sides = [pair[technique] for layer in json.loads((tmp_path / "run.json").read_text())["layers"]
                 for pair in layer["pairs"]]  # fmt: skip
        solutions = [load_solution(path) for path in found.iterdir() if f".{technique}4" in path.name]
        assert sorted(s.error for s in solutions) == sorted(side["upper"] for side in sides)
        for each in solutions:
            assert np.array_equal(state[f"{each.module}.weight"].numpy(), each.weight)
    record = ("apply", "applied_here:model", "--results", tmp_path / "run.json", "--take", "prune", *data)
    ended = cli(*record, "-o", tmp_path / "again.safetensors")
    assert ended.code == 0, ended.err
    assert (tmp_path / "again.safetensors").read_bytes() == out.read_bytes()
    before = out.read_bytes()
    for place, said in ((out, "which is read"), (tmp_path / "new", "of other weights than the model has")):
        again = cli(*apply, "--weights", out, "--take", "quant:4", "-o", place)
        assert again.code == 2
        assert said in again.err
    assert out.read_bytes() == before


def test_an_error_that_is_not_the_certified_one_ends_with_1_and_writes_nothing(cli, tmp_path, made):
    found, out = tmp_path / "s.safetensors", tmp_path / "out"
    ended = cli("bound", made[0], "--method", "quant", "--bits", "3", "--solver", "rtn", "--solution", found)
    assert ended.code == 0, ended.err
    words = ("apply", "applied_here:model", "--results", found, "-o", out, "--quiet")
    ended = cli(*words, "--calibration", tmp_path / "y.npy")
    assert ended.code == 1
    assert "nothing is written" in ended.err
    assert not out.exists()
    assert cli(*words, "--calibration", tmp_path / "x.npy").code == 0
    given = ("--method", "quant", "--bits", "3", "--ridge", "0.5", "--json", "-")
    ended = cli("bound", made[0], *given, "--solution", found)
    upper = json.loads(ended.out)["total"]["upper"]
    assert load_solution(found).error < 0.99 * upper  # the ridge is not in the outputs
    ended = cli(*words[:-2], tmp_path / "ridged.safetensors", "--quiet", "--calibration", tmp_path / "x.npy")
    assert ended.code == 0, ended.err
    assert [file.name for file in out.iterdir()] == ["model.safetensors"]
    ended = cli(*words)
    assert ended.code == 2
    assert "is there already" in ended.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_the_weights_of_a_run(cli, tmp_path, made):
    """Rows of one layer are in files of several searches; of each row the best ones are taken."""
    run, out = tmp_path / "night", tmp_path / "out.safetensors"
    data = ("--calibration", tmp_path / "x.npy", "--quiet")
    apply = ("apply", "applied_here:model", "--results", run, *data, "-o")
    words = ("--method", "quant", "--bits", "3", "--granularity", "channel")
    assert cli("run", "init", run, "--layers", tmp_path / "layers", *words).code == 0
    go = ("run", "go", run, "--quiet", "--time-limit")
    assert cli(*go, "5", "--solver", "bound").code == 0
    ended = cli(*apply, out)
    assert (ended.code, "the run has kept no weights" in ended.err) == (2, True)
    assert cli(*go, "0", "--solver", "bnb", "--weights").code == 0
    ended = cli(*apply, out)
    assert ended.code == 0, ended.err
    state = load_file(out)
    for path in made:
        best = pvq.bound(pvq.load_layer(path), pvq.Quant(3, granularity="channel"), solver="bnb", time_limit=0)
        assert np.array_equal(state[f"{best.layer.meta['module']}.weight"].numpy(), best.weights)
    file = next((run / "weights").rglob("*.npz"))
    file.write_bytes(b"no weights")
    ended = cli(*apply, tmp_path / "other.safetensors")
    assert (ended.code, "the weights of its rows cannot be read" in ended.err) == (2, True)
    assert not (tmp_path / "other.safetensors").exists()


def test_one_option_of_a_run_of_several(cli, tmp_path, made):
    """By sparsity where there are no bits, by the bits of the pair where both sides are in the run."""
    out = tmp_path / "out.safetensors"
    go = ("--quiet", "--time-limit", "0", "--solver", "bnb", "--weights")
    runs = {"pruned": ("prune", "--sparsity", "0.5:0.75:0.25"), "paired": ("both", "--bits", "4:6")}
    for name, words in runs.items():
        init = ("run", "init", tmp_path / name, "--layers", tmp_path / "layers", "--method", *words)
        assert cli(*init).code == 0
        assert cli("run", "go", tmp_path / name, *go).code == 0
    shares = {}
    for name, take in (
        ("pruned", "prune:0.5"),
        ("pruned", "prune:0.75"),
        ("paired", "prune:6"),
        ("paired", "quant:6"),
    ):
        words = ("--results", tmp_path / name, "--take", take, "--calibration", tmp_path / "x.npy", "--quiet")
        ended = cli("apply", "applied_here:model", *words, "-o", out)
        assert ended.code == 0, ended.err
        shares[take] = [
            float((weight == 0).double().mean()) for key, weight in load_file(out).items() if "w" in key
        ]
    assert shares.pop("quant:6") != shares["prune:6"]
    # k = floor(n (1 - s)) of 6 and of 4 inputs in each row; 6 bits pay for a share of 6/16
    assert shares == {"prune:0.5": [0.5, 0.5], "prune:0.75": [5 / 6, 0.75], "prune:6": [4 / 6, 0.75]}
    before = out.read_bytes()
    words = ("--take", "quant", "--quiet")
    ended = cli("apply", "applied_here:model", "--results", tmp_path / "paired", *words, "-o", out)
    assert "(quant:4 and quant:5); take one of them" in ended.err
    for words, says in (
        (("pruned",), "(prune:0.5 and prune:0.75); take one of them"),
        (("pruned", "--take", "prune:4"), "they have prune:0.5, prune:0.75"),
        (
            ("paired", "--take", "prune:0.5"),
            "they have prune:4:0.75, prune:5:0.6875, prune:6:0.625, quant:4, quant:5, quant:6",
        ),
    ):
        ended = cli("apply", "applied_here:model", "--results", tmp_path / words[0], *words[1:], "-o", out)
        assert (ended.code, says in ended.err) == (2, True), ended.err
    assert out.read_bytes() == before
    # an allocation of the record of a run takes its weights too
    record = tmp_path / "paired.json"
    assert cli("run", "export", tmp_path / "paired", "-o", record).code == 0
    words = (
        "--apply",
        "applied_here:model",
        "--results",
        tmp_path / "paired",
        "-o",
        out,
        "--json",
        tmp_path / "a.json",
    )
    ended = cli("allocate", record, "--bits", "5", *words)
    assert ended.code == 0, ended.err
    assert out.read_bytes() != before


def test_a_hugging_face_model_becomes_a_folder_of_its_kind(cli, tmp_path):
    model, source, out = build("llama"), tmp_path / "model", tmp_path / "out"
    model.save_pretrained(source)
    save_tokenizer(source)
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(3, 9, size=(4, 7)))
    name = "model.layers.0.mlp.up_proj"
    data = ("--calibration", tmp_path / "ids.npy", "--quiet")
    ended = cli("extract", f"transformers:{source}", "--layer", name, *data, "-o", tmp_path / "layers")
    assert ended.code == 0, ended.err
    words = ("--method", "quant", "--bits", "3", "--solver", "rtn", "--solution", tmp_path / "s.npz")
    assert cli("bound", ended.out.strip(), *words).code == 0
    ended = cli("apply", f"transformers:{source}", "--results", tmp_path / "s.npz", *data, "-o", out)
    assert ended.code == 0, ended.err
    again = transformers().LlamaForCausalLM.from_pretrained(out)
    weight = again.get_submodule(name).weight.double()
    stored = torch.tensor(load_solution(tmp_path / "s.npz").weight)
    assert torch.allclose(weight, stored, rtol=1e-6, atol=0)
    assert not torch.equal(weight, model.get_submodule(name).weight)
    assert (out / "tokenizer_config.json").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--results", "{tmp}/none"), "no such file or folder"),
        (("--results", "{tmp}/x.npy"), "must end in .npz or .safetensors"),
        (("--results", "{tmp}/layers"), "its meta is not pvq.solution/1"),
        (("--results", "{tmp}/s.npz", "--take", "both"), "--take must be a technique"),
        (("--results", "{tmp}/s.npz", "--take", "prune"), "they have quant:3"),
        (("--results", "{tmp}/s.npz", "--take", "quant:nan"), "--take must be a technique"),
        (("--results", "{tmp}/s.npz", "--take", "quant:5"), "they have quant:3"),
        (("--results", "{tmp}/s.npz", "--batch-size", "0"), "at least 1"),
    ],
)
def test_bad_input_is_one_line(cli, tmp_path, made, words, says):
    found = tmp_path / "s.npz"
    cli("bound", made[0], "--method", "quant", "--bits", "3", "--solver", "rtn", "--solution", found)
    given = [word.format(tmp=tmp_path) for word in words]
    ended = cli("apply", "applied_here:model", *given, "-o", tmp_path / "out")
    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def recorded(tmp_path, made):
    """A record of two widths, `run.json`, with made weights in `found`, which are returned by layer and option."""
    found = tmp_path / "found"
    found.mkdir()
    layers, sides, solutions = [pvq.load_layer(path) for path in made], {}, {}
    for layer in layers:
        for technique, bits in itertools.product(("quant", "prune"), (3, 4)):
            x = np.round(layer.weight * bits) / bits if technique == "quant" else layer.weight * (1 - bits / 9)
            error = layer.error(x)
            sides[layer.name, technique, bits] = 0.5 * error, error
            about = {"technique": technique, "bits": bits, "sparsity": None}
            each = Solution.of(layer, x, range(layer.out), range(layer.inputs), error, **about)
            solutions[layer.name, technique, bits] = each
            save_solution(found / solution_name(layer.name, technique, bits), each)
    lines = []
    for layer in layers:
        pairs = [pair(b, *(sides[layer.name, t, b] for t in ("quant", "prune"))) for b in (3, 4)]
        lines.append(made_layer(layer.name, pairs, layer.out, layer.inputs))
    (tmp_path / "run.json").write_text(json.dumps(made_record(lines)))
    return solutions


def test_the_network_of_an_allocation(cli, tmp_path, made):
    found, record, out = tmp_path / "found", tmp_path / "run.json", tmp_path / "out.safetensors"
    solutions = recorded(tmp_path, made)
    applied = ("--apply", "applied_here:model", "--results", found, "-o", out)
    ended = cli("allocate", record, "--bits", "3.5", "--json", tmp_path / "a.json", *applied)
    assert ended.code == 0, ended.err
    assert f"written: {out}" in ended.out
    state, taken = load_file(out), json.loads((tmp_path / "a.json").read_text())["layers"]
    assert len(taken) == 2
    keys = [(each["name"], each["technique"], each["bits"]) for each in taken]
    for key in keys:
        assert np.array_equal(state[f"{solutions[key].module}.weight"].numpy(), solutions[key].weight)
    out.unlink()
    # weights of another run, none, and half of the options: one line, and nothing is written
    first = found / solution_name(*keys[0])
    known = solutions[keys[0]]
    save_solution(first, replace(known, meta={**known.meta, "error": 2 * taken[0]["upper"]}))
    ended = cli("allocate", record, "--bits", "3.5", *applied)
    assert (ended.code, "they are of another run" in ended.err) == (2, True)
    save_solution(first, replace(known, weight=known.weight[:2], rows=known.rows[:2]))
    ended = cli("allocate", record, "--bits", "3.5", *applied)
    assert (ended.code, "have a part of" in ended.err) == (2, True)
    first.unlink()
    ended = cli("allocate", record, "--bits", "3.5", *applied)
    assert (ended.code, f"--results have no {keys[0][1]}:{keys[0][2]}" in ended.err) == (2, True)
    for words, says in (
        (applied[:2], "go together"),
        (applied[2:4], "are for them"),
        (("--data", tmp_path / "x.npy"), "are for them"),
        ((*applied[:2], *applied[4:]), "names no weights"),
    ):
        ended = cli("allocate", record, "--bits", "3.5", *words)
        assert (ended.code, says in ended.err) == (2, True), ended.err
    assert not out.exists()


def test_the_network_of_an_allocation_beside_the_uniform_ones(cli, tmp_path, made):
    solutions, found = recorded(tmp_path, made), tmp_path / "found"
    x = np.random.default_rng(2).standard_normal((40, 6))
    model = sys.modules["applied_here"].model()
    places = {each.module: key[0] for key, each in solutions.items()}

    def outputs(options):
        """By hand: two layers and a ReLU between them."""
        y = x
        for place in ("0", "2"):
            layer = model.get_submodule(place)
            weight = layer.weight.detach().numpy() if options is None else solutions[options[place]].weight
            y = (y if place == "0" else np.maximum(y, 0)) @ weight.T + layer.bias.detach().numpy()
        return y

    before = outputs(None)
    labels = np.where(
        np.arange(40) % 5, before.argmax(1), (before.argmax(1) + 1) % 3
    )  # every fifth is another one
    np.savez(tmp_path / "data.npz", x=x, y=labels)
    words = (
        "allocate",
        tmp_path / "run.json",
        "--bits",
        "3.5",
        "--apply",
        "applied_here:model",
        "--results",
        found,
    )
    ended = cli(*words, "-o", tmp_path / "alone.safetensors")
    assert ended.code == 0, ended.err
    more = ("--data", tmp_path / "data.npz", "-o", tmp_path / "out.safetensors", "--json", tmp_path / "a.json")
    ended = cli(*words, *more)
    assert ended.code == 0, ended.err
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    assert "batch 5 of 15" in ended.err
    assert "batch 15 of 15" in ended.err
    document = json.loads((tmp_path / "a.json").read_text())
    taken = {each["name"]: (each["name"], each["technique"], each["bits"]) for each in document["layers"]}
    assert len({key[1:] for key in taken.values()}) == 2  # not a uniform one
    networks = document["evaluation"]["networks"]
    assert list(networks) == ["allocation", "quant:3", "prune:3", "original"]
    options = {
        "allocation": {place: taken[name] for place, name in places.items()},
        "quant:3": {place: (name, "quant", 3) for place, name in places.items()},
        "prune:3": {place: (name, "prune", 3) for place, name in places.items()},
        "original": None,
    }
    for key, option in options.items():
        y, measures = outputs(option), networks[key]
        assert measures["accuracy"] == (y.argmax(1) == labels).mean()
        if option is not None:
            assert measures["agreement"] == (y.argmax(1) == before.argmax(1)).mean()
            noise = 10 * np.log10((before**2).sum() / ((y - before) ** 2).sum())
            assert measures["sqnr_db"] == pytest.approx(noise, rel=1e-9)
    assert networks["original"]["accuracy"] == 0.8
    assert "sqnr_db" not in networks["original"]
    lines = ended.out.splitlines()
    starts = ("this allocation", "uniform quantization, 3 bits", "uniform pruning that costs 3 bits", "original")
    for start, measures in zip(starts, networks.values(), strict=True):
        line = next(line for line in reversed(lines) if start in line)
        assert f"{100 * measures['accuracy']:.2f}%" in line
    assert "40 outputs of data.npz, 40 of them with a label." in ended.out
    # the same from Python, in memory, and by a function of the user's own
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    allocation = pvq.allocate(tmp_path / "run.json", bits=3.5)
    batches = [(torch.tensor(x[at : at + 8]), torch.tensor(labels[at : at + 8])) for at in range(0, 40, 8)]
    for name, measures in allocation.evaluate(model, found, batches).items():
        assert measures.measures == networks[name]
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(pvq.ProblemError, match="a generator ends with the first network"):
        allocation.evaluate(model, found, iter(batches))
    more = ("--data", "applied_here:first", "-o", tmp_path / "again.safetensors", "--json", "-", "--quiet")
    ended = cli(*words, *more)
    assert ended.code == 0, ended.err
    networks = json.loads(ended.out)["evaluation"]["networks"]
    for key in ("allocation", "quant:3", "prune:3"):
        assert networks[key]["first"] == solutions[options[key]["0"]].weight[0, 0]
    assert networks["original"]["first"] == model[0].weight.detach()[0, 0]
    # an allocation whose weights are there, without those of a uniform one
    assert (places["2"], "prune", 3) not in taken.values()
    (found / solution_name(places["2"], "prune", 3)).unlink()
    ended = cli(*words, *more[:2], "-o", tmp_path / "none.safetensors")
    assert (ended.code, "--results have no prune:3" in ended.err) == (2, True), ended.err
    assert not (tmp_path / "none.safetensors").exists()
