"""Text in sequences of one length: what reaches the model is the text, whatever the batches are."""

import json

import numpy as np
import pytest
import torch
from pvq.layers import LayerError, load_layer
from pvq.layers.calibration import open_calibration
from pvq.layers.documents import read_documents
from pvq.layers.extract import extract_layers
from pvq.layers.models import Model
from pvq.layers.text import Packing
from tiny_models import POSITIONS, build, save_tokenizer, transformers

LINES = ["the cat sat", "on a mat", "dog", "and the dog ran far away", "from it all", "the day", "a cat ran", "it"]
TOKENS = sum(len(line.split()) for line in LINES)


@pytest.fixture
def speaking(tmp_path):
    """A model of a family with a tokenizer that puts what is asked for around a text."""

    def make(family="llama", around=False, end=None):
        save_tokenizer(tmp_path / "tokenizer")
        path = tmp_path / "tokenizer" / "tokenizer.json"
        if around:
            import tokenizers

            base = tokenizers.Tokenizer.from_file(str(path))
            base.post_processor = tokenizers.processors.TemplateProcessing(
                single="[PAD] $A [EOS]", special_tokens=[("[PAD]", 0), ("[EOS]", 2)]
            )
            base.save(str(path))
        tokenizer = transformers().AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
        if end is not None:
            tokenizer.eos_token = end
        return Model("test:model", "model", build(family), tokenizer=lambda: tokenizer)

    (tmp_path / "text.txt").write_text("\n".join(LINES), encoding="utf-8")
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in LINES))
    return make


def sequences(path, model, **packing):
    data = open_calibration(path, model, 1, packing=Packing(**packing))
    found = [batch["input_ids"][0].tolist() for batch in data.batches()]
    assert len(found) == data.count
    return found


def test_sequences_are_filled_from_line_to_line(speaking, tmp_path):
    model = speaking()
    words = " ".join(LINES).split()
    found = sequences(tmp_path / "text.txt", model, sequence_length=7)
    assert [len(ids) for ids in found] == [7] * (TOKENS // 7) + [TOKENS % 7]
    assert model.tokenizer().convert_ids_to_tokens([i for ids in found for i in ids]) == words


def test_documents_end_where_the_tokenizer_has_a_token_for_it(speaking, tmp_path):
    ended = sequences(tmp_path / "text.jsonl", speaking(end="[EOS]"), sequence_length=9)
    assert sum(ids.count(2) for ids in ended) == len(LINES) - 1
    assert sum(map(len, ended)) == TOKENS + len(LINES) - 1
    # lines of plain text are one text
    assert all(2 not in ids for ids in sequences(tmp_path / "text.txt", speaking(end="[EOS]"), sequence_length=9))


def test_what_stands_around_a_text_stands_around_each_sequence(speaking, tmp_path):
    found = sequences(tmp_path / "text.txt", speaking(around=True), sequence_length=7)
    assert all((ids[0], ids[-1], ids.count(0), ids.count(2)) == (0, 2, 1, 1) for ids in found)
    assert [len(ids) for ids in found[:-1]] == [7] * (len(found) - 1)
    assert sum(len(ids) - 2 for ids in found) == TOKENS


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("length", [None, 5, 7, 20])
@pytest.mark.parametrize("tokens", [1, 3, 6, 14, 1000])
def test_no_more_tokens_than_asked_for(speaking, tmp_path, around, length, tokens):
    asked = {"sequence_length": length, "tokens": tokens}
    if around and tokens < 3 and length is not None:
        with pytest.raises(LayerError, match="has no room: the tokenizer needs 2 of them itself"):
            sequences(tmp_path / "text.txt", speaking(around=True), **asked)
        return
    if around and tokens < 3:
        return
    used = sum(map(len, sequences(tmp_path / "text.txt", speaking(around=around), **asked)))
    assert used <= tokens
    if length is not None:
        lost = 2 if around else 0  # a rest of so many tokens is no sequence
        assert used >= min(tokens, TOKENS) - lost


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "roberta", "t5", "mixtral"])
def test_the_batch_size_changes_nothing(speaking, tmp_path, family):
    model = speaking(family)
    found = []
    for size in (1, 2, 8):
        data = open_calibration(tmp_path / "text.txt", model, size, packing=Packing(sequence_length=6))
        found.append(extract_layers(model.module, "*", list(data.batches())))
    for other in found[1:]:
        assert list(other) == list(found[0])
        for name, layer in other.items():
            assert layer.samples == found[0][name].samples
            np.testing.assert_allclose(layer.grams, found[0][name].grams, rtol=1e-9, atol=1e-12)


def test_many_short_lines_are_few_passes(speaking, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(LINES * 20))
    model = speaking()
    by_line = open_calibration(tmp_path / "text.txt", model, 64)
    packed = open_calibration(tmp_path / "text.txt", model, 64, packing=Packing(sequence_length=POSITIONS))
    assert packed.count == 2 < by_line.count  # the rest is shorter


def test_against_the_model_run_by_hand(speaking, tmp_path):
    model = speaking()
    data = open_calibration(tmp_path / "text.txt", model, 4, packing=Packing(sequence_length=6))
    (layer,) = extract_layers(model.module, "*q_proj", list(data.batches())).values()
    ids = model.tokenizer()(" ".join(LINES))["input_ids"]
    seen = []
    handle = model.module.model.layers[0].self_attn.q_proj.register_forward_pre_hook(
        lambda _, args: seen.append(args[0][0])
    )
    with torch.no_grad():
        for first in range(0, len(ids), 6):
            model.module(torch.tensor([ids[first : first + 6]]))
    handle.remove()
    x = torch.cat(seen).double().numpy()
    assert layer.samples == len(ids)
    np.testing.assert_allclose(layer.grams[0], x.T @ x / len(x), rtol=1e-6)


def test_a_column_of_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "one\\ntwo", "other": "x"}\n\n{"text": " ", "other": "y\u2028z"}\n', encoding="utf-8"
    )
    assert read_documents(path) == ["one\ntwo"]
    assert read_documents(path, "other") == ["x", "y\u2028z"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"text": "a"}\n{"text": ', "line 2 is not JSON; expected a JSON object with a text 'text'"),
        ('["a"]', "line 1 has no 'text' (found list)"),
        ('{"body": "a", "id": 3}', "line 1 has no 'text' (found body, id)"),
        ('{"text": 3}', "line 1: 'text' is a int"),
        ("[" * 100000, "line 1 is not JSON"),
        ('{"text": ""}\n', "holds no text"),
    ],
)
def test_json_lines_without_their_text(tmp_path, text, said):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(LayerError) as caught:
        read_documents(tmp_path / "a.jsonl")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_asked_of_the_wrong_source(speaking, tmp_path):
    np.save(tmp_path / "ids.npy", np.ones((2, 3), dtype=np.int64))
    for source, packing, said in [
        ("text.txt", {"column": "text"}, "text_column is for .jsonl files"),
        ("ids.npy", {"tokens": 5}, "ids.npy: tokens is for text files"),
        ("ids.npy", {"tokens": 5, "sequence_length": 3}, "sequence_length and tokens is for text files"),
        ("text.txt", {"sequence_length": POSITIONS + 1}, f"takes at most {POSITIONS} tokens"),
    ]:
        with pytest.raises(LayerError) as caught:
            open_calibration(tmp_path / source, speaking(), packing=Packing(**packing))
        assert said in str(caught.value)
    with pytest.raises(LayerError, match="tokens is 0, expected at least 1"):
        Packing(tokens=0)


def test_too_little_text_is_said(speaking, tmp_path):
    data = open_calibration(tmp_path / "text.txt", speaking(), packing=Packing(sequence_length=8, tokens=500))
    assert data.note == f"{tmp_path / 'text.txt'} gives {TOKENS} of the 500 tokens that were asked for"
    assert open_calibration(tmp_path / "text.txt", speaking(), packing=Packing(8, TOKENS)).note is None


def test_from_the_command_line(cli, tmp_path):
    build("llama").save_pretrained(tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"body": line}) for line in LINES))
    words = (
        "--layer",
        "*_proj",
        "--calibration",
        tmp_path / "a.jsonl",
        "--text-column",
        "body",
        "-o",
        tmp_path / "o",
    )
    more = ("--sequence-length", "8", "--tokens", "16", "--name", "tiny one", "--quiet")
    ended = cli("extract", f"transformers:{tmp_path / 'model'}", *words, *more)
    assert ended.code == 0, ended.err
    files = sorted((tmp_path / "o").glob("*.npz"))
    assert files[0].name == "tiny_one.model.layers.0.mlp.down_proj.npz"
    assert {load_layer(file).samples for file in files} == {16}
    ended = cli("extract", f"transformers:{tmp_path / 'model'}", *words, "--tokens", "0")
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("pvq: ")
    assert "tokens is 0, expected at least 1" in ended.err
