"""Tiny transformers models and a tokenizer, made from scratch: nothing is downloaded."""

import json
import warnings

import torch

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "far", "away", "from", "it", "all", "day"]
SPECIAL = ["[PAD]", "[UNK]", "[EOS]"]
VOCABULARY = len(WORDS) + len(SPECIAL)
POSITIONS = 24
HEADS = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}


def transformers():
    """The package, without progress bars."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies deprecate each other's parts at import
        import transformers as package
    package.logging.set_verbosity_error()
    package.logging.disable_progress_bar()
    return package


def build(name):
    """A model of a family by name, in double precision."""
    package = transformers()
    torch.manual_seed(0)
    size = {"vocab_size": VOCABULARY}
    models = {
        "gpt2": lambda: package.GPT2LMHeadModel(
            package.GPT2Config(**size, n_positions=POSITIONS, n_embd=8, n_layer=1, n_head=2)
        ),
        "llama": lambda: package.LlamaForCausalLM(
            package.LlamaConfig(**size, **HEADS, max_position_embeddings=POSITIONS)
        ),
        "bert": lambda: package.BertModel(package.BertConfig(**size, **HEADS, max_position_embeddings=POSITIONS)),
        "roberta": lambda: package.RobertaModel(
            package.RobertaConfig(**size, **HEADS, max_position_embeddings=POSITIONS, pad_token_id=1)
        ),
        "t5": lambda: package.T5ForConditionalGeneration(
            package.T5Config(
                **size, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2, decoder_start_token_id=0
            )
        ),
        "bart": lambda: package.BartModel(
            package.BartConfig(
                **size,
                d_model=8,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=12,
                decoder_ffn_dim=12,
                max_position_embeddings=POSITIONS,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=2,
                forced_eos_token_id=2,
            )
        ),
        "mixtral": lambda: package.MixtralForCausalLM(
            package.MixtralConfig(
                **size,
                **HEADS,
                max_position_embeddings=POSITIONS,
                num_key_value_heads=2,
                num_local_experts=4,
                num_experts_per_tok=1,
            )
        ),
    }
    return models[name]().double().eval()


def save_tokenizer(folder, side="right", pad="[PAD]"):
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    base = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    base.pre_tokenizer = pre_tokenizers.Whitespace()
    more = {} if pad is None else {"pad_token": pad}
    fast = transformers().PreTrainedTokenizerFast(
        tokenizer_object=base, unk_token="[UNK]", padding_side=side, **more
    )
    fast.save_pretrained(folder)
    assert json.loads((folder / "tokenizer_config.json").read_text())["padding_side"] == side
