"""Encodes many texts with a causal text encoder and computes each common prefix once: tokens as a trie, packed in rows.

The encoder is causal and pools at the last token. The state of a token depends only on the tokens before it, so texts
with a common beginning share its states. Sorted texts give the nodes of the trie in depth-first order, where the
descendants of a node are one interval. Token t attends to token s if s <= t < end[s]; the position of a token is its
depth. The vectors are exactly those of the whole texts. This module knows nothing about taxa, ranks or templates.

Shape suffixes: n rows of a batch, t tokens of a row, e texts that end in a row, r texts, l tokens of a text, k tokens
of all rows, d vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Longer rows repeat fewer shared tokens; shorter rows spend less time on attention.
ROW_TOKENS = 160
# Tokens per batch: enough for fast products, few enough to keep the activations in the caches.
BATCH_TOKENS = 1024

Run = Callable[[dict[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """A trie cut into rows.

    `tokens`, `depth` and `end` are [k], with `end` relative to the row. `start` [n + 1] are the bounds of the rows'
    tokens, `first` [n + 1] those of their texts. `read` [r] is the last token of each text, relative to the row.
    """

    tokens: np.ndarray
    depth: np.ndarray
    end: np.ndarray
    start: np.ndarray
    first: np.ndarray
    read: np.ndarray


def _build_trie(ids: Sequence[Sequence[int]]) -> _Rows:
    """The trie of token lists. Neighbouring lists share their common beginning."""
    length_r = np.fromiter(map(len, ids), np.int64, len(ids))
    column = np.arange(length_r.max())
    tokens_rl = np.full((len(ids), len(column)), -1, np.int64)
    tokens_rl[column < length_r[:, None]] = np.concatenate([np.asarray(row, np.int64) for row in ids])
    same_rl = np.logical_and.accumulate(tokens_rl[1:] == tokens_rl[:-1], axis=1)
    # the last token is never shared, so equal texts and texts that continue another need no special case
    shared_r = np.minimum(np.concatenate([[0], same_rl.sum(1)]), length_r - 1)
    first = _cut_rows(length_r, length_r - shared_r)
    shared_r[first[:-1]] = 0
    new_rl = (column >= shared_r[:, None]) & (column < length_r[:, None])
    begin_r = np.concatenate([[0], np.cumsum(length_r - shared_r)])
    # a node ends at the next text with another token, or with none, in its column
    after_rl = np.where(column >= shared_r[:, None], begin_r[:-1, None], begin_r[-1])
    end_rl = np.minimum.accumulate(after_rl[::-1])[::-1]
    end_rl = np.concatenate([end_rl[1:], np.full((1, len(column)), begin_r[-1])])
    row_r = np.repeat(np.arange(len(first) - 1), np.diff(first))
    origin_r = begin_r[first[:-1]][row_r]
    return _Rows(
        tokens=tokens_rl[new_rl],
        depth=np.broadcast_to(column, new_rl.shape)[new_rl],
        end=(end_rl - origin_r[:, None])[new_rl],
        start=begin_r[first],
        first=first,
        read=begin_r[1:] - 1 - origin_r,
    )


def _cut_rows(length_r: np.ndarray, new_r: np.ndarray) -> np.ndarray:
    """The first text of each row, then the number of texts. A row has up to ROW_TOKENS tokens and at least one text."""
    total_r = np.concatenate([[0], np.cumsum(new_r)])
    first = [0]
    while first[-1] < len(length_r):
        text = first[-1]
        room = ROW_TOKENS - length_r[text] + total_r[text + 1]
        first.append(max(text + 1, int(np.searchsorted(total_r, room, side="right")) - 1))
    return np.array(first)


def _make_batches(rows: _Rows) -> Iterator[tuple[slice, dict[str, np.ndarray], np.ndarray]]:
    """For each batch: its texts, the inputs of the encoder, and which of the outputs [n, e] belong to texts."""
    n_rows = len(rows.first) - 1
    per_batch = max(1, BATCH_TOKENS // max(ROW_TOKENS, int(np.diff(rows.start).max())))
    for low in range(0, n_rows, per_batch):
        high = min(low + per_batch, n_rows)
        part, texts = slice(rows.start[low], rows.start[high]), slice(rows.first[low], rows.first[high])
        length_n, n_texts_n = np.diff(rows.start[low : high + 1]), np.diff(rows.first[low : high + 1])
        column_t, column_e = np.arange(length_n.max()), np.arange(n_texts_n.max())
        inside_nt, wanted_ne = column_t < length_n[:, None], column_e < n_texts_n[:, None]
        feeds = {name: np.zeros(inside_nt.shape, np.int64) for name in ("tokens", "depth", "end")}
        # padding attends to itself: a softmax over nothing would be NaN
        feeds["end"][:] = column_t + 1
        for name, value_nt in feeds.items():
            value_nt[inside_nt] = getattr(rows, name)[part]
        feeds["read"] = np.zeros(wanted_ne.shape, np.int64)
        feeds["read"][wanted_ne] = rows.read[texts]
        yield texts, feeds, wanted_ne


def encode_lists(run: Run, ids: Sequence[Sequence[int]], dim: int) -> np.ndarray:
    """Vectors float32 [r, d] of token lists, in the given order. Sorted lists share the most.

    `run` is the encoder: from the inputs of `linnaea.model.graphs.trie_transformer` to vectors [n, e, d].
    """
    out_rd = np.empty((len(ids), dim), np.float32)
    if len(ids):
        for texts, feeds, wanted_ne in _make_batches(_build_trie(ids)):
            out_rd[texts] = run(feeds)[wanted_ne]
    return out_rd


def encode_texts(run: Run, tokenizer, texts: Sequence[str], dim: int) -> np.ndarray:
    """Vectors float32 [r, d] of texts, in their order."""
    # texts with common first characters have nearly all common first tokens, and sorting texts is much faster
    order = sorted(range(len(texts)), key=texts.__getitem__)
    out_rd = np.empty((len(texts), dim), np.float32)
    out_rd[order] = encode_lists(run, tokenizer.ids([texts[i] for i in order]), dim)
    return out_rd
