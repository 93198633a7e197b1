"""Lines of text as batches of token ids for a language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path

import torch
from torch import nn

from .batches import grouped
from .foreign import foreign, one_line
from .format import LayerError
from .models import NO_TOKENIZER, Model

TOKENS = 512
"""Longest sequence of tokens; longer lines are cut, earlier where the model takes fewer."""


def read_text(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises
    ------
    LayerError
        It is not UTF-8 text, or blank.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise LayerError(
            f"{path}: not a UTF-8 text file ({one_line(error)}); expected one sequence per line"
        ) from None
    if not lines:
        raise LayerError(f"{path}: holds no text; expected one sequence per line")
    return lines


def token_batches(
    path: Path, lines: list[str], model: Model, batch_size: int
) -> tuple[int, Callable[[], Iterator[dict[str, torch.Tensor]]]]:
    """Number of batches, and what starts a pass over them: keyword arguments of the model.

    Only lines of as many tokens share a batch. Padding would shift the positions of some models, reach the experts
    of others, and needs a token that not every tokenizer has.

    Raises
    ------
    LayerError
        The tokenizer cannot be opened or fails, or no line gives a token.
    """
    assert model.tokenizer is not None
    tokenizer = model.tokenizer()
    longest = min(TOKENS, tokenizer.model_max_length, most_positions(model.module))
    with foreign(f"{path}: the tokenizer of {model.source} fails"):
        sequences = [dict(tokenizer(line, truncation=True, max_length=longest)) for line in lines]
    sequences = [sequence for sequence in sequences if len(sequence["input_ids"])]
    if not sequences:
        raise LayerError(f"{path}: the tokenizer of {model.source} makes no tokens of it; give other text")
    special = set(tokenizer.all_special_ids)
    if all(special.issuperset(sequence["input_ids"]) for sequence in sequences):
        # without its files a tokenizer may open all the same, with an empty vocabulary
        raise LayerError(f"{path}: the tokenizer of {model.source} knows not one word of it; {NO_TOKENIZER}")

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for batch in grouped(sequences, batch_size, lambda sequence: len(sequence["input_ids"])):
            ids = {key: torch.tensor([sequence[key] for sequence in batch]) for key in batch[0]}
            yield _arguments(model.module, ids)

    return sum(1 for _ in grouped(sequences, batch_size, lambda sequence: len(sequence["input_ids"]))), batches


def most_positions(module: nn.Module) -> int:
    """Most tokens that a transformers model has positions for; `TOKENS` where it does not say."""
    config = getattr(module, "config", None)
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return TOKENS
    # RoBERTa and its kin start counting behind the index of padding
    padding = [
        part.padding_idx
        for name, part in module.named_modules()
        if isinstance(part, nn.Embedding) and name.endswith("position_embeddings") and part.padding_idx is not None
    ]
    return most - max(padding) - 1 if padding else most


def _arguments(module: nn.Module, ids: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a model's forward takes of a tokenizer's output; a decoder beside an encoder gets the same text."""
    known = signature(module.forward).parameters
    used = {key: value for key, value in ids.items() if key in known}
    if "decoder_input_ids" in known:
        config = getattr(module, "config", None)
        start = getattr(config, "decoder_start_token_id", None)
        start = getattr(config, "pad_token_id", None) if start is None else start
        shifted = ids["input_ids"].roll(1, dims=1)
        shifted[:, 0] = 0 if start is None else start
        used["decoder_input_ids"] = shifted
    return used
