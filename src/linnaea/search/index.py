"""Nearest vectors: one contract for exact and approximate indexes.

Shape suffixes: b queries, n vectors of the index, d vector dimensions, k nearest vectors.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from linnaea.search.cosine_blocks import multiply_blocks
from linnaea.search.rank_intervals import largest_first

# Queries whose scores with all vectors are in memory together: 4 MB each for a million vectors.
MAX_BATCH = 32


class Index(Protocol):
    """Unit vectors that can be searched by their inner product."""

    def search(self, queries_bd: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 [b, k] and scores float32 [b, k] of the nearest vectors, nearest first.

        Ids are row numbers. Where fewer than k vectors are found, ids are -1 and scores -inf.
        """
        ...


class ExactIndex:
    """Compares every query with every vector. Equal scores are in the order of their ids."""

    def __init__(self, vectors_nd: np.ndarray):
        self.vectors_nd = vectors_nd

    def search(self, queries_bd: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.search`."""
        b, n_found = len(queries_bd), min(k, len(self.vectors_nd))
        ids_bk, scores_bk = np.full((b, k), -1, np.int64), np.full((b, k), -np.inf, np.float32)
        for start in range(0, b, MAX_BATCH):
            score_bn = multiply_blocks(self.vectors_nd, queries_bd[start : start + MAX_BATCH])
            for row, score_n in enumerate(score_bn, start):
                best = largest_first(score_n, n_found)
                ids_bk[row, :n_found], scores_bk[row, :n_found] = best, score_n[best]
        return ids_bk, scores_bk
