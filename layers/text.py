"""Texts as batches of token ids for a language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .batches import grouped
from .foreign import foreign
from .format import LayerError
from .models import NO_TOKENIZER, Model

TOKENS = 512
"""Longest sequence of tokens of a text by itself; longer texts are cut, earlier where the model takes fewer."""
PROBE = 200
"""Characters of a text that are enough to see what a tokenizer puts around it."""


@dataclass(frozen=True)
class Packing:
    """How texts become sequences of tokens.

    Parameters
    ----------
    sequence_length : tokens of a sequence, filled from text to text; None: each text is a sequence, cut where it
        is too long.
    tokens : most tokens in all.
    column : of the objects of a `.jsonl` file, see `read_documents`.
    """

    sequence_length: int | None = None
    tokens: int | None = None
    column: str | None = None

    def __post_init__(self) -> None:
        for what, value in (("sequence_length", self.sequence_length), ("tokens", self.tokens)):
            if value is not None and value < 1:
                raise LayerError(f"{what} is {value}, expected at least 1")

    @property
    def given(self) -> list[str]:
        """What is not left as it is."""
        values = {"sequence_length": self.sequence_length, "tokens": self.tokens, "text_column": self.column}
        return [name for name, value in values.items() if value is not None]


@dataclass(frozen=True)
class Tokens:
    """Sequences for a model."""

    count: int
    """Batches."""
    batches: Callable[[], Iterator[dict[str, torch.Tensor]]]
    """Starts a pass over them; each is keyword arguments of the model."""
    total: int
    """Tokens of all sequences."""


def token_batches(path: Path, texts: list[str], model: Model, batch_size: int, packing: Packing) -> Tokens:
    """Texts as sequences of token ids.

    Only sequences of as many tokens share a batch. Padding would shift the positions of some models, reach the
    experts of others, and needs a token that not every tokenizer has.

    Raises
    ------
    LayerError
        The tokenizer cannot be opened or fails, no text gives a token, or the model takes no sequences so long.
    """
    assert model.tokenizer is not None
    tokenizer = model.tokenizer()
    most = min(tokenizer.model_max_length, most_positions(model.module) or TOKENS)
    length = packing.sequence_length
    if length is not None and length > min(tokenizer.model_max_length, most_positions(model.module) or length):
        raise LayerError(f"sequence_length is {length}, but {model.source} takes at most {most} tokens")
    with foreign(f"{path}: the tokenizer of {model.source} fails"):
        if length is None:
            sequences = _one_each(tokenizer, texts, min(TOKENS, most), packing.tokens)
        else:
            whole = texts if path.suffix == ".jsonl" else ["\n".join(texts)]
            sequences = _filled(tokenizer, whole, length, packing.tokens)
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

    return Tokens(
        sum(1 for _ in grouped(sequences, batch_size, lambda sequence: len(sequence["input_ids"]))),
        batches,
        sum(len(sequence["input_ids"]) for sequence in sequences),
    )


Sequence = dict[str, list[int]]


def _one_each(tokenizer: Any, texts: list[str], longest: int, tokens: int | None) -> list[Sequence]:
    """A sequence of each text, as long as all of them together have no more tokens than asked for."""
    left = math.inf if tokens is None else tokens
    longest = min(longest, longest if tokens is None else tokens)
    sequences = []
    for text in texts:
        sequence = dict(tokenizer(text, truncation=True, max_length=longest))
        left -= len(sequence["input_ids"])
        if left < 0:
            break
        if len(sequence["input_ids"]):
            sequences.append(sequence)
    return sequences


def _filled(tokenizer: Any, texts: list[str], length: int, tokens: int | None) -> list[Sequence]:
    """Sequences of so many tokens, the last one shorter: text after text, with what ends a text between them.

    What the tokenizer puts around a text stands around each sequence.
    """
    length = length if tokens is None else min(length, tokens)
    before, after, keys = _around(tokenizer, texts)
    around = len(before) + len(after)
    room = length - around
    if room < 1:
        raise LayerError(f"a sequence of {length} tokens has no room: the tokenizer needs {around} of them itself")
    most = None if tokens is None else tokens // length * room + max(0, tokens % length - around)
    between = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    stream: list[int] = []
    for text in texts:
        stream += between if stream else []
        stream += tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if most is not None and len(stream) >= most:
            break
    sequences = []
    stream = stream[:most]
    for first in range(0, len(stream), room):
        ids = [*before, *stream[first : first + room], *after]
        # as tokenizers say it: one text, and nothing of it is padding
        known = {"input_ids": ids, "token_type_ids": [0] * len(ids), "attention_mask": [1] * len(ids)}
        sequences.append({key: known[key] for key in known if key in keys})
    return sequences


def _around(tokenizer: Any, texts: list[str]) -> tuple[list[int], list[int], set[str]]:
    """The tokens that a tokenizer puts before and after a text, and the names of all that it gives."""
    for text in texts:
        inside = tokenizer(text[:PROBE], add_special_tokens=False, verbose=False)["input_ids"]
        given = dict(tokenizer(text[:PROBE], verbose=False))
        whole = given["input_ids"]
        for first in range(len(whole) - len(inside) + 1):
            if inside and whole[first : first + len(inside)] == inside:
                return whole[:first], whole[first + len(inside) :], set(given)
    return [], [], {"input_ids"}


def most_positions(module: nn.Module) -> int | None:
    """Most tokens that a transformers model has positions for; None where it does not say."""
    config = getattr(module, "config", None)
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return None
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
