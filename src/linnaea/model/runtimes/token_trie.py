"""Many texts through a causal text tower, each distinct prefix once: their tokens as a trie, packed into rows.

The tower is causal and pools at the last token, so a token's state depends on the tokens before it and on nothing else: texts
that begin alike share the states of what they share. Sorted texts in a row give the trie's nodes in depth-first order, where the
descendants of a node are one interval; attention from token t to token s is allowed where s <= t < end[s], the position is the
depth, and the vectors are exactly those of the whole texts. It knows nothing of taxa, ranks or templates.

Shape suffixes: n rows of a batch, t tokens of a row, e texts that end in a row, r texts, l tokens of a text, k tokens of all
rows, d vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Longer rows repeat fewer of the tokens above their first text; shorter ones spend less on attention.
ROW_TOKENS = 160
# Tokens that the tower sees at once: enough for fast products, few enough for its activations to stay in the caches.
BATCH_TOKENS = 1024

Run = Callable[[dict[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """A trie cut into rows. `tokens`, `depth`, `end` [k], `end` counted within the row; `start` [n + 1] bounds the rows' tokens,
    `first` [n + 1] their texts; `read` [r] is each text's last token, counted within the row."""

    tokens: np.ndarray
    depth: np.ndarray
    end: np.ndarray
    start: np.ndarray
    first: np.ndarray
    read: np.ndarray


def _build(ids: Sequence[Sequence[int]]) -> _Rows:
    """The trie of token lists, of which neighbours that begin alike share what they can."""
    length_r = np.fromiter(map(len, ids), np.int64, len(ids))
    column = np.arange(length_r.max())
    tokens_rl = np.full((len(ids), len(column)), -1, np.int64)
    tokens_rl[column < length_r[:, None]] = np.concatenate([np.asarray(row, np.int64) for row in ids])
    same_rl = np.logical_and.accumulate(tokens_rl[1:] == tokens_rl[:-1], axis=1)
    # the last token is each text's own, so that equal texts, and one that another begins with, need no thought
    shared_r = np.minimum(np.concatenate([[0], same_rl.sum(1)]), length_r - 1)
    first = _cut(length_r, length_r - shared_r)
    shared_r[first[:-1]] = 0
    new_rl = (column >= shared_r[:, None]) & (column < length_r[:, None])
    begin_r = np.concatenate([[0], np.cumsum(length_r - shared_r)])
    # a node ends where the next text that has another token in its column, or none, begins
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


def _cut(length_r: np.ndarray, new_r: np.ndarray) -> np.ndarray:
    """The first text of each row, and the number of texts: as many texts to a row as ROW_TOKENS hold, one at least."""
    total_r = np.concatenate([[0], np.cumsum(new_r)])
    first = [0]
    while first[-1] < len(length_r):
        text = first[-1]
        room = ROW_TOKENS - length_r[text] + total_r[text + 1]
        first.append(max(text + 1, int(np.searchsorted(total_r, room, side="right")) - 1))
    return np.array(first)


def _batches(rows: _Rows) -> Iterator[tuple[slice, dict[str, np.ndarray], np.ndarray]]:
    """The texts of some rows, what the tower is fed, and which of its outputs [n, e] are theirs."""
    n_rows = len(rows.first) - 1
    per_batch = max(1, BATCH_TOKENS // max(ROW_TOKENS, int(np.diff(rows.start).max())))
    for low in range(0, n_rows, per_batch):
        high = min(low + per_batch, n_rows)
        part, texts = slice(rows.start[low], rows.start[high]), slice(rows.first[low], rows.first[high])
        length_n, n_texts_n = np.diff(rows.start[low : high + 1]), np.diff(rows.first[low : high + 1])
        column_t, column_e = np.arange(length_n.max()), np.arange(n_texts_n.max())
        inside_nt, wanted_ne = column_t < length_n[:, None], column_e < n_texts_n[:, None]
        feeds = {name: np.zeros(inside_nt.shape, np.int64) for name in ("tokens", "depth", "end")}
        # padding sees itself alone: a row of scores without any would be no numbers
        feeds["end"][:] = column_t + 1
        for name, value_nt in feeds.items():
            value_nt[inside_nt] = getattr(rows, name)[part]
        feeds["read"] = np.zeros(wanted_ne.shape, np.int64)
        feeds["read"][wanted_ne] = rows.read[texts]
        yield texts, feeds, wanted_ne


def encode_lists(run: Run, ids: Sequence[Sequence[int]], dim: int) -> np.ndarray:
    """Vectors float32 [r, d] of token lists in the order given, which shares most where like beginnings are neighbours.

    `run` is the tower: from the inputs of `linnaea.model.graphs.trie_transformer` to vectors [n, e, d].
    """
    out_rd = np.empty((len(ids), dim), np.float32)
    if len(ids):
        for texts, feeds, wanted_ne in _batches(_build(ids)):
            out_rd[texts] = run(feeds)[wanted_ne]
    return out_rd


def encode_texts(run: Run, tokenizer, texts: Sequence[str], dim: int) -> np.ndarray:
    """Vectors float32 [r, d] of texts, in their order."""
    # beginnings that are shared as characters are nearly all that are shared as tokens, and sort far faster
    order = sorted(range(len(texts)), key=texts.__getitem__)
    out_rd = np.empty((len(texts), dim), np.float32)
    out_rd[order] = encode_lists(run, tokenizer.ids([texts[i] for i in order]), dim)
    return out_rd
