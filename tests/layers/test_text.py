"""Text calibration: what a model sees of a line depends on that line only."""

import numpy as np
import pytest
import torch
from pvq.layers import LayerError, load_layer
from pvq.layers.calibration import open_calibration
from pvq.layers.models import load_model
from pvq.layers.text import most_positions
from tiny_models import POSITIONS, build, save_tokenizer, transformers

from extracting import extract

LINES = ["the cat sat", "on a mat", "dog", "and the dog ran far away", "from it all", "the day", "a cat ran", "it"]


@pytest.fixture
def saved(tmp_path):
    """Save a model with a tokenizer; returns its source."""

    def save(family, **tokenizer):
        build(family).save_pretrained(tmp_path / family)
        save_tokenizer(tmp_path / family, **tokenizer)
        return f"transformers:{tmp_path / family}"

    (tmp_path / "text.txt").write_text("\n".join(LINES), encoding="utf-8")
    return save


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "roberta", "t5", "bart", "mixtral"])
def test_the_batch_size_changes_nothing(saved, tmp_path, family, side):
    source = saved(family, side=side)
    found = []
    for size in (1, 4, 7):
        paths = extract(source, "*", tmp_path / "text.txt", tmp_path / str(size), batch_size=size)
        found.append({path.name: load_layer(path) for path in paths})
    tokens = sum(len(line.split()) for line in LINES)
    assert max(layer.samples for layer in found[0].values()) == tokens
    for other in found[1:]:
        assert list(other) == list(found[0])
        for name, layer in other.items():
            assert layer.samples == found[0][name].samples
            np.testing.assert_allclose(layer.grams, found[0][name].grams, rtol=1e-9, atol=1e-12)


def test_the_lines_are_what_reaches_the_first_layer(saved, tmp_path):
    """Against the model run by hand, line by line."""
    (path,) = extract(saved("llama"), "*q_proj", tmp_path / "text.txt", tmp_path / "out", batch_size=4)
    module = transformers().LlamaForCausalLM.from_pretrained(tmp_path / "llama")
    tokenizer = transformers().AutoTokenizer.from_pretrained(tmp_path / "llama")
    seen = []
    module.model.layers[0].self_attn.q_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    with torch.no_grad():
        for line in LINES:
            module(torch.tensor([tokenizer(line)["input_ids"]]))
    x = torch.cat(seen).double().numpy()
    np.testing.assert_allclose(load_layer(path).grams[0], x.T @ x / len(x), rtol=1e-6)


def test_a_decoder_gets_the_text_of_the_encoder_one_place_later(saved, tmp_path):
    model = load_model(saved("t5"))
    ids = next(iter(open_calibration(tmp_path / "text.txt", model, 4).batches()))
    text, shifted = ids["input_ids"], ids["decoder_input_ids"]
    assert text.shape[1] > 1
    assert torch.equal(shifted[:, 1:], text[:, :-1])
    assert set(shifted[:, 0].tolist()) == {model.module.config.decoder_start_token_id or 0}


@pytest.mark.parametrize("family", ["gpt2", "roberta"])
def test_long_text_is_cut_at_what_the_model_takes(saved, tmp_path, family):
    (tmp_path / "text.txt").write_text("cat " * 100)
    paths = extract(saved(family), "*", tmp_path / "text.txt", tmp_path / "out")
    most = POSITIONS - 2 if family == "roberta" else POSITIONS
    assert most_positions(build(family)) == most
    assert max(load_layer(path).samples for path in paths) == most


def test_no_padding_token_is_needed(saved, tmp_path):
    assert extract(saved("llama", pad=None), "*", tmp_path / "text.txt", tmp_path / "out", batch_size=4)


def refused(message, *words):
    with pytest.raises(LayerError, match=message) as caught:
        extract(*words)
    assert "\n" not in str(caught.value)


def test_what_a_language_model_cannot_take(saved, tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("L", (20, 20)).save(tmp_path / "images" / "a.png")
    source = saved("bert")
    refused("takes no images; expected a text file", source, "*", tmp_path / "images", tmp_path / "out")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bert" / name).unlink()
    refused("knows not one word of it; add its files", source, "*", tmp_path / "text.txt", tmp_path / "out")
    source = saved("llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "llama" / name).unlink()
    refused("no tokenizer can be opened, add its files", source, "*", tmp_path / "text.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_of_another_model(saved, tmp_path):
    """Its ids are beyond the vocabulary: the model's own IndexError names the step."""
    source = saved("llama")
    np.save(tmp_path / "ids.npy", np.full((2, 3), 1000))
    refused(r"the model fails on a batch of shape \[\(2, 3\)\]", source, "*", tmp_path / "ids.npy", tmp_path / "o")
