"""The taxa of each rank as intervals of candidate leaves.

Shape suffixes: n leaves of the tree, m candidate leaves (n, or fewer under a restriction), g taxa of a rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaea.records import RANKS
from linnaea.taxonomy.tree import Tree

# For more values, one partial sort is faster than repeated searches for the largest.
MAX_ARGMAX = 16


@dataclass(frozen=True)
class RankIntervals:
    """The taxa of one rank that have candidates, as half-open intervals of candidate positions.

    `like_leaves`: nearly every candidate is a taxon of this rank (species). Row i is then candidate i, and the mass of
    a taxon is the mass of its leaf, without a sum. Where a taxon has several leaves (a species with two identifiers),
    the masses at the positions `later` belong to those at `first`.
    """

    node: np.ndarray
    start: np.ndarray
    end: np.ndarray
    like_leaves: bool = False
    later: np.ndarray | None = None
    first: np.ndarray | None = None


def rank_intervals(tree: Tree, leaves: np.ndarray | None = None) -> list[RankIntervals]:
    """The taxa of every rank, in the order of `RANKS`. `leaves` are the sorted candidates (None: all)."""
    return [_intervals(tree, rank, leaves) for rank in RANKS]


def _intervals(tree: Tree, rank: str, leaves: np.ndarray | None) -> RankIntervals:
    node = tree.nodes_at(rank)
    n_candidates = tree.n_leaves if leaves is None else len(leaves)
    if leaves is None:
        start, end = tree.start_k[node].astype(np.int64), tree.end_k[node].astype(np.int64)
    else:
        # Only nodes that overlap the span of the candidates: the cost is that of the clade, not of the whole tree.
        first = np.searchsorted(tree.end_k[node], leaves[0], side="right")
        node = node[first : np.searchsorted(tree.start_k[node], leaves[-1], side="right")]
        start, end = np.searchsorted(leaves, tree.start_k[node]), np.searchsorted(leaves, tree.end_k[node])
        present = end > start
        node, start, end = node[present], start[present], end[present]
    size = end - start
    if size.sum() != n_candidates or len(node) < 0.99 * n_candidates:
        return RankIntervals(node, start, end)
    row = np.repeat(np.arange(len(node)), size)
    position = np.arange(n_candidates)
    later = np.flatnonzero(position != start[row])
    return RankIntervals(node[row], position, end[row], True, later, start[row][later])


def largest_first(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest values (all if there are fewer), largest first, ties by position.

    `values` is modified during the search and restored.
    """
    k = min(k, len(values))
    if k > MAX_ARGMAX:
        # Keep all values that tie with the k-th until the order by position decides.
        threshold = np.partition(values, len(values) - k)[len(values) - k]
        chosen = np.flatnonzero(values >= threshold)
        return chosen[np.argsort(-values[chosen], kind="stable")][:k]
    best = np.empty(k, np.int64)
    kept = np.empty(k, values.dtype)
    for j in range(k):
        best[j] = values.argmax()
        kept[j] = values[best[j]]
        values[best[j]] = -np.inf
    values[best] = kept
    return best
