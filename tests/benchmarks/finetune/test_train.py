"""One cell: its grid and sparsity, its schedule, its determinism, and going on from a checkpoint."""

import dataclasses

import numpy as np
import pytest
import small_task
import torch
from pvq.benchmarks.finetune import train as training
from pvq.benchmarks.finetune.compress import places, quantize
from pvq.benchmarks.finetune.train import Cell, cosine, train
from pvq.bounds.codebooks import codebook
from pvq.bounds.ranges import fit_grid
from torch import nn


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantized_weights_are_on_the_grid_of_the_learned_step(bits):
    task = small_task.task()
    module, known = train(task, Cell("quant", bits, 0, 0.05, 3))
    assert set(known["steps"]) == {"0", "3", "7"}  # the first and the last layer too
    starts = {name: p.parametrization.start for name, p in quantize(task.model, bits).items()}
    for name, step in known["steps"].items():
        assert step != starts[name]
        weight = module.get_submodule(name).weight.detach().numpy()
        units = np.round(weight.astype(np.float64) / step).astype(np.float32)
        assert units.min() >= -(2 ** (bits - 1))
        assert units.max() <= 2 ** (bits - 1) - 1
        assert np.array_equal(units * np.float32(step), weight)


def test_steps_start_at_the_range_of_least_squared_error():
    module = small_task.network()
    weights = {name: place.weight.double().numpy() for name, place in places(module).items()}
    for name, place in quantize(module, 3).items():
        expected = fit_grid(weights[name].reshape(len(weights[name]), -1), codebook("int", 3)).scale[0, 0]
        assert place.parametrization.start == np.float32(expected)


@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("epochs", [1, 4])
def test_every_tensor_has_exactly_the_sparsity_that_costs_as_much(bits, epochs):
    module, known = train(small_task.task(), Cell("prune", bits, 0, 0.05, epochs))
    for name, of in known["weights"].items():
        assert of["kept"] == int(torch.count_nonzero(module.get_submodule(name).weight))
        assert of["kept"] == of["size"] * bits // 16


def test_masks_are_fixed_in_the_last_quarter(monkeypatch):
    asked = []
    choose = training.compress.to_sparsity
    monkeypatch.setattr(
        training.compress,
        "to_sparsity",
        lambda found, bits, step, last: (asked.append((step, last)), choose(found, bits, step, last)),
    )
    train(small_task.task(), Cell("prune", 4, 0, 0.05, 4))
    assert asked == [(step, 18) for step in range(19)]  # of 24 steps


def test_rate_falls_along_a_cosine_to_a_hundredth():
    assert cosine(0, 50) == 1.0
    assert cosine(49, 50) == pytest.approx(0.01, rel=1e-12)
    assert cosine(0, 1) == 1.0
    assert [cosine(t, 50) for t in range(50)] == sorted((cosine(t, 50) for t in range(50)), reverse=True)
    assert cosine(7, 15) == pytest.approx(0.505, rel=1e-12)


@pytest.mark.parametrize("method", ["quant", "prune", "original"])
def test_the_same_seed_gives_the_same_numbers_and_another_one_others(method):
    task = small_task.task()
    before = state(task.model)
    first, second, other = (train(task, Cell(method, 4, seed, 0.05, 2))[0] for seed in (0, 0, 1))
    assert equal(state(first), state(second))
    assert not equal(state(first), state(other))
    assert equal(state(task.model), before)


@pytest.mark.parametrize("method", ["quant", "prune"])
@pytest.mark.parametrize("done", [1, 3])
def test_going_on_from_a_checkpoint_gives_the_same_numbers(method, done, tmp_path):
    cell, file = Cell(method, 3, 1, 0.05, 4), tmp_path / "cell"
    whole, known = train(small_task.task(), cell)

    class Stopped(Exception):
        pass

    def stop(epoch):
        if epoch == done:
            raise Stopped

    with pytest.raises(Stopped):
        train(small_task.task(), cell, checkpoint=file, epoch_done=stop)
    seen = []
    gone_on, again = train(small_task.task(), cell, checkpoint=file, epoch_done=seen.append)
    assert seen == list(range(done + 1, 5))
    assert again == known
    assert equal(state(gone_on), state(whole))


def test_a_checkpoint_of_another_cell_is_not_taken(tmp_path):
    file = tmp_path / "cell"
    train(small_task.task(), Cell("quant", 3, 1, 0.05, 2), checkpoint=file)
    seen = []
    train(small_task.task(), Cell("quant", 3, 2, 0.05, 2), checkpoint=file, epoch_done=seen.append)
    assert seen == [1, 2]


def test_statistics_of_batch_norm_are_those_of_the_compressed_network():
    task = small_task.task()
    task = dataclasses.replace(task, train=torch.utils.data.DataLoader(task.train.dataset, 96))  # one batch: exact
    module, _ = train(task, Cell("quant", 2, 0, 0.05, 1))
    images = task.train.dataset.tensors[0]
    reached = module[0](images)
    assert module[1].running_mean.tolist() == pytest.approx(reached.mean((0, 2, 3)).tolist(), abs=1e-6)
    assert module[1].running_var.tolist() == pytest.approx(reached.var((0, 2, 3)).tolist(), rel=1e-5)
    assert module[1].momentum == 0.1


def test_tied_weights_are_left_alone():
    embedding, head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
    head.weight = embedding.weight
    assert list(places(nn.Sequential(embedding, nn.Linear(4, 4), head))) == ["1"]


def test_attention_is_compressed_where_its_weights_are_stored():
    module = nn.TransformerEncoderLayer(8, 2, 16)
    assert set(places(module)) == {
        "self_attn.in_proj_weight",
        "self_attn.out_proj",
        "linear1",
        "linear2",
    }
