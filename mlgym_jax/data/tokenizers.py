"""Tokenizers: text as numbers and back. Bytes as they are, words of a list, or byte pairs as `tokenizers` merges them.

Synopsis:

    >>> tokens = Bytes().encode("né")
    >>> tokens.tolist(), Bytes().decode(tokens), Bytes().vocabulary_size
    ([110, 195, 169], 'né', 259)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from mlgym_jax.errors import ConfigError, MlgymError, in_words

PAD, MASK, END = SPECIAL = ("[PAD]", "[MASK]", "[END]")
_OF_BYTES = 256


class Tokenizer(Protocol):
    """What makes numbers of text.

    Attributes:
        vocabulary_size: tokens are 0 … vocabulary_size - 1.
        pad_token, mask_token, end_token: the numbers of [PAD], which fills sequences up, [MASK], which hides a token,
            and [END], which follows a whole text. No text is encoded as one of them.
    """

    vocabulary_size: int
    pad_token: int
    mask_token: int
    end_token: int

    def encode(self, text: str | bytes) -> np.ndarray:
        """Return the tokens of a text, int32[n]."""
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of some tokens; [PAD], [MASK] and [END] are left out."""
        ...

    def to_json(self) -> str:
        """Return it as JSON, which `from_json` reads."""
        ...


class Bytes:
    """The bytes of the text in UTF-8, 0 … 255, and behind them the special tokens."""

    vocabulary_size = _OF_BYTES + len(SPECIAL)
    pad_token, mask_token, end_token = range(_OF_BYTES, vocabulary_size)

    def encode(self, text: str | bytes) -> np.ndarray:
        data = text.encode() if isinstance(text, str) else text
        return np.frombuffer(data, np.uint8).astype(np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        return bytes(token for token in map(int, tokens) if token < _OF_BYTES).decode(errors="replace")

    def to_json(self) -> str:
        return json.dumps({"type": "bytes"})


class Words:
    """Words between blanks, by a vocabulary; those that it does not have are [UNK]."""

    pad_token, mask_token, end_token, unknown_token = range(4)

    def __init__(self, vocabulary: Sequence[str]):
        self.vocabulary = tuple(vocabulary)
        self.vocabulary_size = 4 + len(self.vocabulary)
        self._numbers = {word: number for number, word in enumerate(self.vocabulary, 4)}

    def encode(self, text: str | bytes) -> np.ndarray:
        return self.of_words(_decoded(text).split())

    def of_words(self, words: Iterable[str]) -> np.ndarray:
        """Return the tokens of words that are told apart already, int32[n]."""
        return np.array([self._numbers.get(word, self.unknown_token) for word in words], np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        names = ("", "", "", "[UNK]", *self.vocabulary)
        return " ".join(filter(None, (names[int(token)] for token in tokens)))

    def to_json(self) -> str:
        return json.dumps({"type": "words", "vocabulary": self.vocabulary}, ensure_ascii=False)


class BytePairs:
    """A byte-level BPE: every text can be encoded, and decoded to itself."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # "[MASK]" in a text is no mask
        self.vocabulary_size: int = tokenizer.get_vocab_size()
        self.pad_token, self.mask_token, self.end_token = map(tokenizer.token_to_id, SPECIAL)

    def encode(self, text: str | bytes) -> np.ndarray:
        return np.array(self._tokenizer.encode(_decoded(text)).ids, np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        return self._tokenizer.decode([*map(int, tokens)])

    def to_json(self) -> str:
        return self._tokenizer.to_str()


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode()


def train_byte_pairs(texts: Sequence[str | bytes], vocabulary_size: int) -> BytePairs:
    """Train a byte-level BPE (Sennrich et al., 2016, on bytes as in GPT-2) on some texts; the same texts, the same one.

    Args:
        vocabulary_size: tokens at most, the 256 bytes and three special ones among them; little text has fewer.

    Raises:
        ConfigError: at `dataset`: the package is missing, too small a vocabulary, or bytes that are no UTF-8.
    """
    tokenizers = _library()
    least = _OF_BYTES + len(SPECIAL)
    if isinstance(vocabulary_size, bool) or not least <= vocabulary_size < 2**24:
        raise ConfigError(
            "dataset.vocabulary_size",
            f"found {vocabulary_size}; at least {least} are expected, the bytes and {', '.join(SPECIAL)}",
        )
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[*SPECIAL],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(_decoded, texts), trainer)
    return BytePairs(tokenizer)


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise ConfigError(
            "dataset.tokenizer", "'byte_pairs' needs the package tokenizers; type: pip install \"mlgym-jax[text]\""
        ) from None
    return tokenizers


def from_json(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a tokenizer that a run has kept.

    Raises:
        MlgymError: the file is missing or damaged, or the package is missing.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        found = json.loads(text)
        if found.get("type") == "bytes":
            return Bytes()
        if found.get("type") == "words":
            return Words(found["vocabulary"])
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise MlgymError(f"{os.fspath(path)}: the tokenizer cannot be read: {in_words(error)}") from error
    library = _library()
    try:
        return BytePairs(library.Tokenizer.from_str(text))
    except Exception as error:  # the library raises Exception itself
        raise MlgymError(f"{os.fspath(path)}: it is no tokenizer: {in_words(error)}") from error
