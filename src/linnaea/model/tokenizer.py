"""Texts to token ids and back, for any tokenizer in the `tokenizers` JSON format.

Shape suffixes: n texts, t tokens.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

END = "<end>"


class Tokenizer:
    """Token ids of texts, each closed by the end-of-text token; a text longer than the context loses its tail, not its end."""

    def __init__(self, path: Path, context: int):
        from tokenizers import Tokenizer as Backend

        self._backend = Backend.from_file(str(path))
        self._end = self._backend.token_to_id(END)
        self._context = context
        if self._end is None:
            raise ValueError(f"{path} has no {END} token; it was made for another model")

    def ids(self, texts: list[str], *, end: bool = True) -> list[list[int]]:
        """The ids of each text; `end` closes each with the end-of-text token."""
        room = self._context - end
        tail = [self._end] if end else []
        return [encoding.ids[:room] + tail for encoding in self._backend.encode_batch_fast(texts)]

    def padded(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 [n, t] padded with zeros, and lengths int64 [n] with the end-of-text token counted."""
        return pad(self.ids(texts))


def pad(ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of ids as int64 [n, t] padded with zeros, and their lengths int64 [n]."""
    lengths = np.array([len(row) for row in ids], np.int64)
    tokens = np.zeros((len(ids), max(1, lengths.max(initial=0))), np.int64)
    tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = [token for row in ids for token in row]
    return tokens, lengths


def fit_tokenizer(texts, n_tokens: int, path: Path) -> None:
    """Fits a lower-casing byte-level BPE of `n_tokens` tokens to an iterator of texts and writes it as JSON.

    Words are split at blanks first and carry their blank, so that a text's tokens begin with those of any prefix that ends at
    a word: that is what lets names share their lineage's computation.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.save(str(path))
