"""What `evaluate` says, against numbers worked out by hand, and what it refuses."""

import copy
import math

import numpy as np
import pytest
import torch
from PIL import Image
from pvq.layers import LayerError
from pvq.layers.evaluate import evaluate, measures_of
from pvq.layers.evaluation_data import open_evaluation
from pvq.layers.images import Preprocess
from pvq.layers.models import Model
from tiny_models import build, save_tokenizer
from torch import nn

TINY = Preprocess(8, 8, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))


class Rows(nn.Module):
    """Its outputs are rows of numbers that it is given."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows, dtype=torch.float64))

    def forward(self, index):
        return self.rows[index]


BEFORE = [[math.log(0.5), math.log(0.25), math.log(0.25)], [math.log(0.1), math.log(0.8), math.log(0.1)]]
AFTER = [[math.log(0.2), math.log(0.6), math.log(0.2)], [math.log(0.1), math.log(0.8), math.log(0.1)]]


def test_every_measure_by_hand():
    batches = [(torch.tensor([0]), torch.tensor([1])), (torch.tensor([1]), torch.tensor([0]))]
    found = evaluate(Rows(AFTER), batches, Rows(BEFORE), is_text=True)
    kl = 0.5 * math.log(0.5 / 0.2) + 0.25 * math.log(0.25 / 0.6) + 0.25 * math.log(0.25 / 0.2)
    loss = -(math.log(0.6) + math.log(0.1)) / 2
    noise = sum((a - b) ** 2 for a, b in zip(AFTER[0], BEFORE[0], strict=True))
    signal = sum(x * x for row in BEFORE for x in row)
    assert (found.samples, found.labelled, found.accuracy, found.agreement) == (2, 2, 0.5, 0.5)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert found.perplexity == pytest.approx(math.exp(loss), rel=1e-12)
    assert found.kl == pytest.approx(kl / 2, rel=1e-12)
    assert found.sqnr_db == pytest.approx(10 * math.log10(signal / noise), rel=1e-12)
    alone = evaluate(Rows(AFTER), batches)
    assert (alone.loss, alone.perplexity, alone.kl) == (found.loss, None, None)


def test_the_same_model_has_no_noise():
    model = Rows(BEFORE)
    found = evaluate(model, [(torch.tensor([0, 1]), None)], copy.deepcopy(model))
    assert (found.agreement, found.kl, found.sqnr_db, found.accuracy) == (1.0, 0.0, math.inf, None)


def test_labels_that_do_not_count_and_logits_of_images():
    torch.manual_seed(0)
    model = nn.Conv2d(3, 4, 1).double()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    labels = model(x).argmax(1)
    labels[0] = -100
    found = evaluate(model, [(x, labels)])
    assert (found.samples, found.labelled, found.accuracy) == (60, 30, 1.0)


def test_the_model_is_left_in_training_mode():
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.9)).double().train()
    x = torch.randn(4, 3, dtype=torch.float64)
    first, second = (evaluate(model, [(x, torch.zeros(4, dtype=torch.long))]) for _ in range(2))
    assert first == second
    assert model.training
    assert model[1].training


@pytest.mark.parametrize(
    ("model", "batch", "says"),
    [
        (Rows(BEFORE), (torch.tensor([0]), torch.tensor([3])), "labels go from 3 to 3; there are 3 classes"),
        (Rows(BEFORE), (torch.tensor([0]), torch.tensor([0, 1])), "expected a label for each row"),
        (Rows([[math.nan, 1.0]]), (torch.tensor([0]), None), "not finite"),
        (Rows(BEFORE), (torch.tensor([7]), None), "the model fails on a batch"),
        (nn.Flatten(0), (torch.zeros(3, 2), None), "gives no tensor of outputs"),
    ],
)
def test_what_does_not_fit_is_refused(model, batch, says):
    with pytest.raises(LayerError, match=says):
        evaluate(model, [batch])


def test_models_of_two_shapes_and_no_data():
    with pytest.raises(LayerError, match="have shapes"):
        evaluate(Rows(BEFORE), [(torch.tensor([0]), None)], Rows([[1.0, 2.0]]))
    with pytest.raises(LayerError, match="no batch has a sample"):
        evaluate(Rows(BEFORE), [])


def test_functions_of_the_users_own():
    assert measures_of(lambda m: 3, Rows(BEFORE)) == {"<lambda>": 3.0}
    model = Rows(BEFORE).train()
    assert measures_of(lambda m: {"mAP": torch.tensor(0.5), "mode": int(m.training)}, model) == {
        "mAP": 0.5,
        "mode": 0,
    }
    assert model.training
    for wrong in ("text", None, True):
        with pytest.raises(LayerError, match="expected a number"):
            measures_of(lambda m, wrong=wrong: wrong, Rows(BEFORE))


def test_perplexity_of_a_language_model_is_that_of_its_own_loss(tmp_path):
    module = build("llama")
    save_tokenizer(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on a mat\nthe dog ran far away\nit sat\n")
    from tiny_models import transformers

    model = Model("test", "test", module, tokenizer=lambda: transformers().AutoTokenizer.from_pretrained(tmp_path))
    data = open_evaluation(text, model, 2)
    found = evaluate(module, data.batches(), is_text=data.is_text)
    total, count = 0.0, 0
    for batch, _ in data.batches():
        ids = batch["input_ids"]
        loss = module(**batch, labels=ids).loss.item()  # mean over the tokens after the first
        total, count = total + loss * ids[:, 1:].numel(), count + ids[:, 1:].numel()
    assert found.labelled == count == 5 + 4 + 1
    assert found.perplexity == pytest.approx(math.exp(total / count), rel=1e-6)  # its loss is of float32


def save_images(folder, names):
    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (9, 9), (80 * k, 10 * i, 0)).save(folder / name / f"{i}.png")


@pytest.mark.parametrize(
    ("names", "labels"), [(["b", "a", "c"], [0, 0, 0, 1, 1, 1, 2, 2, 2]), (["7", "10"], [10, 10, 10, 7, 7, 7])]
)
def test_folders_of_classes(tmp_path, names, labels):
    save_images(tmp_path, names)
    model = Model("test", "test", nn.Identity(), TINY)
    data = open_evaluation(tmp_path, model, 2)
    assert [int(label) for _, some in data.batches() for label in some] == labels
    assert data.count == sum(1 for _ in data.batches())
    few = open_evaluation(tmp_path, model, 2, limit=len(names))
    assert sorted(int(label) for _, some in few.batches() for label in some) == sorted(set(labels))
    (tmp_path / names[0] / "0.png").rename(tmp_path / "loose.png")
    with pytest.raises(LayerError, match=r"loose\.png is in no folder of a class"):
        open_evaluation(tmp_path, model)


def test_one_folder_is_no_classes(tmp_path):
    save_images(tmp_path, ["a"])
    with pytest.raises(LayerError, match="expected one for each class"):
        open_evaluation(tmp_path, Model("test", "test", nn.Identity(), TINY))


def test_arrays_with_labels(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.eye(5, dtype=np.float32), y=np.arange(5))
    model = Model("test", "test", nn.Linear(5, 5, bias=False))
    with torch.no_grad():
        model.module.weight.copy_(torch.eye(5))
    data = open_evaluation(tmp_path / "d.npz", model, 2, limit=3)
    assert evaluate(model.module, data.batches()).accuracy == 1.0
    assert [len(y) for _, y in data.batches()] == [2, 1]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.eye(3)}, "no array is called y or labels"),
        ({"y": np.arange(3)}, "no array is called x or inputs"),
        ({"x": np.eye(3), "y": np.arange(2)}, "is not 3 labels"),
        ({"x": np.eye(3), "y": np.ones(3)}, "is not 3 labels"),
        ({"x": np.array(["a"]), "y": np.arange(1)}, "cannot be given to a model"),
    ],
)
def test_arrays_that_are_none(tmp_path, arrays, says):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(LayerError, match=says):
        open_evaluation(tmp_path / "d.npz", Model("test", "test", nn.Identity()))
