"""Runs a causal text encoder: texts to vectors, and beginnings of texts to keys and values for other texts.

Shape suffixes: n texts, d vector dimensions, l layers, m prefixes, h heads, p prefix tokens, e head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaea.model.core.contract import ModelCard
from linnaea.model.core.tokenizer import pad
from linnaea.model.graphs.text_transformer import TextConfig

TEXT_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class TextPrefix:
    """Keys and values of common beginnings of texts: `k`, `v` [l, m, h, p, e], and their numbers of tokens, [m]."""

    k: np.ndarray
    v: np.ndarray
    length_m: np.ndarray


class TextEncoderMixin:
    """The text half of a model.

    A subclass has `card`, `text_config`, `tokenizer` and `_text_session`, an onnxruntime session on a graph of
    `linnaea.model.graphs.text_transformer`.
    """

    card: ModelCard
    text_config: TextConfig

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts as given."""
        vectors_nd = np.empty((len(texts), self.card.dim), np.float32)
        ids = self.tokenizer.ids(list(texts))
        order = np.argsort([len(row) for row in ids], kind="stable")
        for start in range(0, len(order), TEXT_BATCH):
            rows = order[start : start + TEXT_BATCH]
            vectors_nd[rows] = self.encode_tokens([ids[row] for row in rows])
        return vectors_nd

    def make_empty_prefix(self) -> TextPrefix:
        """The empty prefix."""
        c = self.text_config
        empty = np.zeros((c.n_layers, 1, c.n_heads, 1, c.width // c.n_heads), np.float32)
        return TextPrefix(k=empty, v=empty, length_m=np.zeros(1, np.int64))

    def encode_tokens(
        self, ids: list[list[int]], prefix: TextPrefix | None = None, prefix_row: np.ndarray | None = None
    ) -> np.ndarray:
        """Unit vectors [n, d] of token lists that continue their prefixes and end with the end-of-text token."""
        return self._run_text(["vectors"], ids, prefix, prefix_row)[0]

    def extend_prefix(
        self, ids: list[list[int]], prefix: TextPrefix | None = None, prefix_row: np.ndarray | None = None
    ) -> TextPrefix:
        """The prefixes continued by these tokens, which have no end-of-text token."""
        prefix = prefix or self.make_empty_prefix()
        prefix_row = np.zeros(len(ids), np.int64) if prefix_row is None else prefix_row
        k, v = self._run_text(["k", "v"], ids, prefix, prefix_row)
        old = prefix.length_m[prefix_row]
        new = np.array([len(row) for row in ids], np.int64)
        column = np.arange((old + new).max(initial=1))
        # columns of a row: its old tokens, then its new ones, which start after the padded width of the old
        width = prefix.k.shape[3]
        source = np.where(
            column < old[:, None], column, np.minimum(column - old[:, None] + width, width + k.shape[3] - 1)
        )
        joined = []
        for before, after in ((prefix.k, k), (prefix.v, v)):
            both = np.concatenate([before[:, prefix_row], after], axis=3)
            joined.append(np.take_along_axis(both, source[None, :, None, :, None], axis=3))
        return TextPrefix(k=joined[0], v=joined[1], length_m=old + new)

    def _run_text(self, outputs, ids, prefix, prefix_row):
        prefix = prefix or self.make_empty_prefix()
        tokens, length = pad(ids)
        feeds = {
            "tokens": tokens,
            "length": length,
            "prefix_row": np.zeros(len(ids), np.int64) if prefix_row is None else prefix_row,
            "prefix_k": prefix.k,
            "prefix_v": prefix.v,
            "prefix_length": prefix.length_m,
        }
        return self._text_session.run(outputs, feeds)
