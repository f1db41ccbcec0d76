"""Probabilities of every taxon at every rank, for each image, from one pass over the leaves of a tree.

A softmax over all leaves and the refusal texts; its cumulative sum over the tree's depth-first order, kept at the bounds
of taxa; then the mass of any taxon is the difference of two of its entries.

Shape suffixes: b images, n leaves of the tree, m candidate leaves (n, or fewer under a restriction), r ranks, k the
best taxa of a rank, f refusal texts, d vector dimensions.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from linnaea.records import RANKS
from linnaea.taxonomy.tree import Tree

N_RANKS = len(RANKS)
# Each thread has its own scratch space, 35 MB for a million leaves.
MAX_THREADS = 8
# Above this many alternatives one partial sort is cheaper than a search for the largest each time.
MAX_ARGMAX = 16
# Images whose cosines with all leaves stand in memory together, 4.4 MB each for a million leaves.
MOST_AT_ONCE = 32
# Leaves added up in float32 before the sum goes on in float64: an error of at most 64 half-units in the last place.
LONGEST_RUN = 64


class Table(Protocol):
    """The name table as scoring sees it."""

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, m] of images with all leaves, or with a sorted subset of them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the softmax says of each image. Nodes are the tree's, -1 where no candidate has the rank.

    `node_br`, `probability_br`, `similarity_br`: the best taxon of each rank, the softmax mass below it (0..1) and the
    largest cosine of a leaf below it (NaN where there is no node). `second_br`: the mass of the second best taxon.
    `none_b`: the mass of the refusal texts; `none_similarity_b`: their largest cosine (NaN without refusals).
    `leaf_similarity_b`: the cosine of the likeliest leaf; `leaf_margin_b`: its lead over the second in nats (inf where
    it is alone); `entropy_b`: of leaves and refusals together, in nats. `top_*_brk`: the k best of each rank, best
    first, of which the arrays above are the first.
    """

    node_br: np.ndarray
    probability_br: np.ndarray
    second_br: np.ndarray
    similarity_br: np.ndarray
    none_b: np.ndarray
    none_similarity_b: np.ndarray
    leaf_similarity_b: np.ndarray
    leaf_margin_b: np.ndarray
    entropy_b: np.ndarray
    top_node_brk: np.ndarray
    top_probability_brk: np.ndarray
    top_similarity_brk: np.ndarray

    def __len__(self) -> int:
        return len(self.none_b)


@dataclass(frozen=True)
class _RankIntervals:
    """The taxa of one rank that have candidates, as half-open intervals of candidate positions.

    `like_leaves`: nearly every candidate is a taxon of this rank by itself. Then row i is candidate i, so that the leaves' own masses
    serve; where a taxon has several (a species under two identifiers), the masses of those at `later` go to those at `first`.
    """

    node: np.ndarray
    start: np.ndarray
    end: np.ndarray
    like_leaves: bool = False
    later: np.ndarray | None = None
    first: np.ndarray | None = None


class Scorer:
    """Scores batches of image vectors against the leaves of `tree`, with threads over the images.

    `leaves` int32 [m], sorted, are the candidates (None: all). `log_prior_n` [n] is added to the logits of the leaves.
    """

    def __init__(
        self,
        tree: Tree,
        table: Table,
        logit_scale: float,
        refusal_vectors: np.ndarray | None = None,
        leaves: np.ndarray | None = None,
        log_prior_n: np.ndarray | None = None,
        *,
        n_threads: int | None = None,
    ):
        if leaves is not None and not len(leaves):
            raise ValueError("no candidate taxon is left; widen --within or --among")
        self.tree, self.table, self.leaves = tree, table, leaves
        self.logit_scale = np.float32(logit_scale)
        self.n_candidates = tree.n_leaves if leaves is None else len(leaves)
        self._refusals_fd = None if refusal_vectors is None or not len(refusal_vectors) else refusal_vectors
        self._prior_m = None
        if log_prior_n is not None:
            prior_m = log_prior_n if leaves is None else log_prior_n[leaves]
            self._prior_m = np.ascontiguousarray(prior_m, np.float32)
        self._ranks = [self._intervals(rank) for rank in RANKS]
        gathered = [ranks for ranks in self._ranks if not ranks.like_leaves]
        starts = np.concatenate([ranks.start for ranks in gathered] or [np.zeros(0, np.int64)])
        ends = np.concatenate([ranks.end for ranks in gathered] or [np.zeros(0, np.int64)])
        self._bounds = np.unique(np.concatenate([starts, ends, np.arange(0, self.n_candidates, LONGEST_RUN)]))
        self._bounds = self._bounds[self._bounds < self.n_candidates]
        self._start_g, self._end_g = np.searchsorted(self._bounds, starts), np.searchsorted(self._bounds, ends)
        self._local = threading.local()
        n_threads = n_threads or min(MAX_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="score")

    def _intervals(self, rank: str) -> _RankIntervals:
        node = self.tree.nodes_at(rank)
        start, end = self.tree.start_k[node].astype(np.int64), self.tree.end_k[node].astype(np.int64)
        if self.leaves is not None:
            start, end = np.searchsorted(self.leaves, start), np.searchsorted(self.leaves, end)
            present = end > start
            node, start, end = node[present], start[present], end[present]
        size = end - start
        if size.sum() != self.n_candidates or len(node) < 0.99 * self.n_candidates:
            return _RankIntervals(node, start, end)
        row = np.repeat(np.arange(len(node)), size)
        position = np.arange(self.n_candidates)
        later = np.flatnonzero(position != start[row])
        return _RankIntervals(node[row], position, end[row], True, later, start[row][later])

    def score(self, image_vectors_bd: np.ndarray, *, top: int = 1) -> Scores:
        """The scores of unit vectors; `top` best taxa are kept at each rank."""
        b = len(image_vectors_bd)
        k = max(2, top)
        out = Scores(
            node_br=np.full((b, N_RANKS), -1, np.int32),
            probability_br=np.zeros((b, N_RANKS)),
            second_br=np.zeros((b, N_RANKS)),
            similarity_br=np.full((b, N_RANKS), np.nan, np.float32),
            none_b=np.zeros(b),
            none_similarity_b=np.full(b, np.nan, np.float32),
            leaf_similarity_b=np.zeros(b, np.float32),
            leaf_margin_b=np.full(b, np.inf),
            entropy_b=np.zeros(b),
            top_node_brk=np.full((b, N_RANKS, k), -1, np.int32),
            top_probability_brk=np.zeros((b, N_RANKS, k)),
            top_similarity_brk=np.full((b, N_RANKS, k), np.nan, np.float32),
        )
        if not b:
            return out
        vectors_bd = np.ascontiguousarray(image_vectors_bd, np.float32)
        if self._refusals_fd is None:
            refusal_bf = np.zeros((b, 0), np.float32)
        else:
            refusal_bf = vectors_bd @ self._refusals_fd.T
            out.none_similarity_b[:] = refusal_bf.max(1)

        def score_part(start: int) -> None:
            cosine_bm = self.table.similarities(vectors_bd[start : start + MOST_AT_ONCE], self.leaves)
            rows = range(start, start + len(cosine_bm))
            list(self._pool.map(lambda i: self._score_row(i, cosine_bm[i - start], refusal_bf[i], out, top), rows))

        for start in range(0, b, MOST_AT_ONCE):
            score_part(start)
        out.node_br[:] = out.top_node_brk[:, :, 0]
        out.probability_br[:] = out.top_probability_brk[:, :, 0]
        out.second_br[:] = out.top_probability_brk[:, :, 1]
        out.similarity_br[:] = out.top_similarity_brk[:, :, 0]
        return out

    def _buffers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scratch space of this thread: fresh memory for a million leaves costs more than the arithmetic."""
        if not hasattr(self._local, "buffers"):
            self._local.buffers = (
                np.empty(self.n_candidates, np.float32),
                np.empty(len(self._bounds), np.float32),
                np.zeros(len(self._bounds) + 1),
            )
        return self._local.buffers

    def _score_row(self, i: int, cosine_m: np.ndarray, refusal_f: np.ndarray, out: Scores, top: int) -> None:
        mass_m, run_mass, cumulative = self._buffers()
        np.multiply(cosine_m, self.logit_scale, out=mass_m)
        if self._prior_m is not None:
            np.add(mass_m, self._prior_m, out=mass_m)
        first = int(mass_m.argmax())
        logit = float(mass_m[first])
        refusal_logits = refusal_f.astype(np.float64) * float(self.logit_scale)
        largest = np.float32(max(logit, refusal_logits.max(initial=-np.inf)))
        if self.n_candidates > 1:
            mass_m[first] = -np.inf
            out.leaf_margin_b[i] = logit - float(mass_m.max())
            mass_m[first] = logit
        np.subtract(mass_m, largest, out=mass_m)
        np.exp(mass_m, out=mass_m)
        # short runs between the taxa's bounds in float32, at the speed of memory; from run to run in float64
        np.add.reduceat(mass_m, self._bounds, out=run_mass)
        np.cumsum(run_mass, dtype=np.float64, out=cumulative[1:])
        refusal_mass = np.exp(refusal_logits - float(largest))
        total = float(cumulative[-1] + refusal_mass.sum())

        out.none_b[i] = refusal_mass.sum() / total
        out.leaf_similarity_b[i] = cosine_m[first]
        out.entropy_b[i] = self._entropy(mass_m, cosine_m, cumulative[-1], refusal_mass, refusal_logits, largest, total)
        most_similar = first if self._prior_m is None else -1
        mass_g = cumulative[self._end_g] - cumulative[self._start_g]
        offset = 0
        for r, ranks in enumerate(self._ranks):
            if ranks.like_leaves:
                np.add.at(mass_m, ranks.first, mass_m[ranks.later])
                mass_m[ranks.later] = 0
                self._keep_best(i, r, ranks, mass_m, cosine_m, most_similar, total, out, top)
            else:
                part = mass_g[offset : offset + len(ranks.node)]
                self._keep_best(i, r, ranks, part, cosine_m, most_similar, total, out, top)
                offset += len(ranks.node)

    def _entropy(self, mass_m, cosine_m, leaf_total, refusal_mass, refusal_logits, largest, total) -> float:
        """log Z - Σ p l, where l are the logits less the largest: two dot products instead of a million logarithms."""
        weighted = float(self.logit_scale) * float(np.dot(mass_m, cosine_m)) - float(largest) * float(leaf_total)
        if self._prior_m is not None:
            weighted += float(np.dot(mass_m, self._prior_m))
        weighted += float(refusal_mass @ (refusal_logits - float(largest)))
        return max(0.0, float(np.log(total)) - weighted / total)

    @staticmethod
    def _keep_best(
        i: int,
        r: int,
        ranks: _RankIntervals,
        mass: np.ndarray,
        cosine_m: np.ndarray,
        most_similar: int,
        total: float,
        out: Scores,
        top: int,
    ) -> None:
        best = largest_first(mass, out.top_node_brk.shape[2])
        out.top_node_brk[i, r, : len(best)] = ranks.node[best]
        out.top_probability_brk[i, r, : len(best)] = np.minimum(mass[best] / total, 1.0)
        for k, position in enumerate(best[:top]):
            start, end = ranks.start[position], ranks.end[position]
            out.top_similarity_brk[i, r, k] = (
                cosine_m[most_similar] if start <= most_similar < end else cosine_m[start:end].max()
            )


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
