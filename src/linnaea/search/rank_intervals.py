"""The taxa of each rank as intervals of candidate leaves.

Shape suffixes: n leaves of the tree, m candidate leaves (n, or fewer under a restriction), g taxa of a rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaea.records import RANKS
from linnaea.taxonomy.tree import Tree

# Above this many alternatives one partial sort is cheaper than a search for the largest each time.
MAX_ARGMAX = 16


@dataclass(frozen=True)
class RankIntervals:
    """The taxa of one rank that have candidates, as half-open intervals of candidate positions.

    `like_leaves`: nearly every candidate is a taxon of this rank by itself. Then row i is candidate i, so that the leaves' own
    masses serve; where a taxon has several (a species under two identifiers), the masses of those at `later` go to those at
    `first`.
    """

    node: np.ndarray
    start: np.ndarray
    end: np.ndarray
    like_leaves: bool = False
    later: np.ndarray | None = None
    first: np.ndarray | None = None


def rank_intervals(tree: Tree, leaves: np.ndarray | None = None) -> list[RankIntervals]:
    """The taxa of every rank, in the order of `RANKS`; `leaves` are the candidates, sorted (None: all)."""
    return [_intervals(tree, rank, leaves) for rank in RANKS]


def _intervals(tree: Tree, rank: str, leaves: np.ndarray | None) -> RankIntervals:
    node = tree.nodes_at(rank)
    n_candidates = tree.n_leaves if leaves is None else len(leaves)
    if leaves is None:
        start, end = tree.start_k[node].astype(np.int64), tree.end_k[node].astype(np.int64)
    else:
        # only the nodes that reach into the span of the candidates: a clade costs what it holds, not what the tree holds
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


def taxa_of_leaves(
    rank: RankIntervals, position_h: np.ndarray, mass_h: np.ndarray, k: int, read_mass
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nodes, masses, starts and ends of the taxa of a like-leaves rank that could be among the k best, from its likeliest leaves.

    `read_mass(positions)` gives the masses of leaves that are not among them but belong to the same taxon as one that is.
    """
    most = 4 * k
    if len(mass_h) > most:
        chosen = np.sort(np.argpartition(-mass_h, most)[:most])
        position_h, mass_h = position_h[chosen], mass_h[chosen]
    node, row, n_known = np.unique(rank.node[position_h], return_inverse=True, return_counts=True)
    mass = np.bincount(row, weights=mass_h, minlength=len(node))
    start, end = np.searchsorted(rank.node, node, side="left"), np.searchsorted(rank.node, node, side="right")
    for i in np.flatnonzero(end - start > n_known):
        mass[i] = read_mass(np.arange(start[i], end[i])).sum()
    return node, mass, start, end


def largest_first(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest values (all, where there are fewer), largest first, ties by position.

    `values` is changed on the way and restored.
    """
    k = min(k, len(values))
    if k > MAX_ARGMAX:
        # Every value that ties with the k-th is kept until the order by position has decided.
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
