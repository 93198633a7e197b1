"""A GGUF file as the source of a model."""

import numpy as np
import pytest
from pvq.layers import LayerError, load_layer, models
from tiny_models import VOCABULARY, build

from extracting import extract

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.0.attn_norm": "model.layers.0.input_layernorm",
    "blk.0.ffn_norm": "model.layers.0.post_attention_layernorm",
    "blk.0.attn_q": "model.layers.0.self_attn.q_proj",
    "blk.0.attn_k": "model.layers.0.self_attn.k_proj",
    "blk.0.attn_v": "model.layers.0.self_attn.v_proj",
    "blk.0.attn_output": "model.layers.0.self_attn.o_proj",
    "blk.0.ffn_gate": "model.layers.0.mlp.gate_proj",
    "blk.0.ffn_up": "model.layers.0.mlp.up_proj",
    "blk.0.ffn_down": "model.layers.0.mlp.down_proj",
}
"""Of a llama, there and here."""


@pytest.fixture
def stored(tmp_path):
    """A tiny llama as a GGUF file, and its tensors."""
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    tensors = {name: tensor.float().numpy() for name, tensor in build("llama").state_dict().items()}
    writer = gguf.GGUFWriter(str(tmp_path / "tiny.v1.gguf"), "llama")
    writer.add_context_length(24)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(12)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCABULARY)
    for there, here in NAMES.items():
        writer.add_tensor(f"{there}.weight", tensors[f"{here}.weight"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "tiny.v1.gguf", tensors


def test_its_layers_have_the_weights_of_the_file(stored, tmp_path):
    file, tensors = stored
    np.save(tmp_path / "ids.npy", np.arange(12).reshape(2, 6) % VOCABULARY)
    paths = extract(f"transformers:{file}", "*_proj", tmp_path / "ids.npy", tmp_path / "out")
    found = {path.stem: load_layer(path) for path in paths}
    # the rows of q and k are in another order there, which transformers undoes
    for name in ("self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
        layer = found[f"tiny_v1.model.layers.0.{name}"]
        assert np.array_equal(layer.weight, tensors[f"model.layers.0.{name}.weight"])
        assert layer.samples == 12
        assert "GGUF" in layer.meta["weights"]


def test_without_the_packages_it_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(LayerError, match=r"needs gguf and accelerate: pip install 'pvq-bound\[gguf\]'"):
        models.load_model(f"transformers:{tmp_path / 'a.gguf'}")


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(LayerError, match="no such file"):
        models.load_model(f"transformers:{tmp_path / 'b.gguf'}")
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(LayerError, match="cannot be loaded") as caught:
        models.load_model(f"transformers:{tmp_path / 'a.gguf'}")
    assert "\n" not in str(caught.value)
