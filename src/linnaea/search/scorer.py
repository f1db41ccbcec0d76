"""Probabilities of every taxon at every rank, for each image.

A softmax over all leaves of the tree and the negative prompts, summed over the leaves of each taxon. There are two
methods with one result: `tree_softmax` computes every cosine (exact), `sampled_softmax` reads the nearest leaves of an
index and estimates the others (approximate, on request). `reference` defines the result in float64.

Shape suffixes: b images, n leaves of the tree, m candidate leaves (n, or fewer under a restriction), r ranks, k the
best taxa of a rank, f negative prompts, d vector dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from linnaea.records import RANKS
from linnaea.search.cosine_blocks import count_threads, one_blas_thread
from linnaea.search.index import MAX_BATCH, Index
from linnaea.search.rank_intervals import largest_first, rank_intervals
from linnaea.search.sampled_softmax import SampledSoftmax
from linnaea.search.tree_softmax import TreeSoftmax
from linnaea.taxonomy.tree import Tree

N_RANKS = len(RANKS)
SCORING = ("exact", "fast")
# Keys of a summary: images scored by the approximate and by the exact method.
METHODS = ("fast", "dense")
# Exact methods of earlier versions, in journals of runs that are resumed.
FORMER_EXACT_METHODS = ("scan", "sweep")
# With at most this many candidates the exact method is as fast.
FEW_CANDIDATES = 16384


class NameTable(Protocol):
    """A table of name vectors. A large one also has `vectors_nd` and `open_index()` for the approximate method."""

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, m] of images with all leaves, or with the sorted `leaves`."""
        ...


class QueryResult(Protocol):
    """The result of one method for one image. A probability is a mass divided by `total`."""

    total: float
    no_organism_mass: float
    leaf_cosine: float
    leaf_margin: float
    log_leaf_mass: float
    entropy: float

    def taxa(self, r: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nodes, masses, starts and ends (candidate positions) of the taxa of rank r that can be among the k best."""
        ...

    def largest_cosine(self, start: int, end: int) -> float:
        """The largest cosine of the candidates from `start` to `end`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of b images. Nodes are those of the tree, -1 where no candidate has the rank.

    `node_br`, `probability_br`, `similarity_br`: the best taxon of each rank, its probability (0 to 1) and the largest
    cosine of a leaf below it (NaN without a node). `second_br`: the probability of the second best taxon.
    `no_organism_b`: the probability of the negative prompts; `no_organism_similarity_b`: their largest cosine (NaN
    without negative prompts). `leaf_similarity_b`: the cosine of the most probable leaf; `leaf_margin_b`: its lead over
    the second in nats (inf for a single leaf); `log_leaf_mass_b`: the logarithm of the leaves' summed exp(logit);
    `entropy_b`: over leaves and negative prompts, in nats. `top_*_brk`: the k best taxa of each rank, best first; the
    arrays above are the first of these.
    """

    node_br: np.ndarray
    probability_br: np.ndarray
    second_br: np.ndarray
    similarity_br: np.ndarray
    no_organism_b: np.ndarray
    no_organism_similarity_b: np.ndarray
    leaf_similarity_b: np.ndarray
    leaf_margin_b: np.ndarray
    log_leaf_mass_b: np.ndarray
    entropy_b: np.ndarray
    top_node_brk: np.ndarray
    top_probability_brk: np.ndarray
    top_similarity_brk: np.ndarray

    def __len__(self) -> int:
        """The number of images."""
        return len(self.no_organism_b)

    @classmethod
    def empty(cls, b: int, k: int) -> Scores:
        """Scores of b images and the k best taxa, to be filled."""
        return cls(
            node_br=np.full((b, N_RANKS), -1, np.int32),
            probability_br=np.zeros((b, N_RANKS)),
            second_br=np.zeros((b, N_RANKS)),
            similarity_br=np.full((b, N_RANKS), np.nan, np.float32),
            no_organism_b=np.zeros(b),
            no_organism_similarity_b=np.full(b, np.nan, np.float32),
            leaf_similarity_b=np.zeros(b, np.float32),
            leaf_margin_b=np.full(b, np.inf),
            log_leaf_mass_b=np.zeros(b),
            entropy_b=np.zeros(b),
            top_node_brk=np.full((b, N_RANKS, k), -1, np.int32),
            top_probability_brk=np.zeros((b, N_RANKS, k)),
            top_similarity_brk=np.full((b, N_RANKS, k), np.nan, np.float32),
        )


class QueryOptions(NamedTuple):
    """What the caller asks for: the number of best taxa, cosines of taxa and entropies, and the ranks."""

    top: int
    details: bool
    ranks: tuple[int, ...]


class Scorer:
    """Scores batches of image vectors against the leaves of `tree`.

    `leaves` int32 [m], sorted, are the candidates (None: all). `log_prior_n` [n] is added to the logits of the leaves.
    With `scoring` "exact", probabilities are within 1e-5 of `reference`. With "fast", images are scored by
    `sampled_softmax` where it is reliable; a table without an index, a restriction and a prior are scored exactly.
    """

    def __init__(
        self,
        tree: Tree,
        table: NameTable,
        logit_scale: float,
        negative_vectors_fd: np.ndarray | None = None,
        leaves: np.ndarray | None = None,
        log_prior_n: np.ndarray | None = None,
        *,
        scoring: str = "exact",
        n_threads: int | None = None,
    ):
        if leaves is not None and not len(leaves):
            raise ValueError("no candidate taxon is left; widen --within or --among")
        if scoring not in SCORING:
            raise ValueError(f"unknown scoring {scoring!r}; choose one of {', '.join(SCORING)}")
        self.tree, self.table, self.leaves = tree, table, leaves
        self.logit_scale, self.scoring = np.float32(logit_scale), scoring
        self.n_candidates = tree.n_leaves if leaves is None else len(leaves)
        has_negatives = negative_vectors_fd is not None and len(negative_vectors_fd)
        self._negative_fd = negative_vectors_fd if has_negatives else None
        self._prior_m = None
        if log_prior_n is not None:
            prior_m = log_prior_n if leaves is None else log_prior_n[leaves]
            self._prior_m = np.ascontiguousarray(prior_m, np.float32)
        self._ranks = rank_intervals(tree, leaves)
        self._pool = ThreadPoolExecutor(n_threads or count_threads(), thread_name_prefix="score")
        self._sampled = self._make_sampled() if scoring == "fast" else None
        self.counts: Counter = Counter()
        self.largest_unread = 0.0

    def _make_sampled(self) -> SampledSoftmax | None:
        """The approximate method, or None where the exact one is needed or is as fast."""
        all_equal = self.leaves is None and self._prior_m is None
        if not all_equal or self.n_candidates <= FEW_CANDIDATES or not hasattr(self.table, "open_index"):
            return None
        index: Index = self.table.open_index()
        return SampledSoftmax(index, self.table.vectors_nd, self._ranks, self.logit_scale)

    @cached_property
    def _softmax(self) -> TreeSoftmax:
        return TreeSoftmax(self._ranks, self.n_candidates, self.logit_scale, self._prior_m)

    @cached_property
    def _uniform_cumulative(self) -> np.ndarray:
        """Mass before each candidate, float64 [m + 1], for an image that is equally similar to all of them."""
        mass_m = np.ones(self.n_candidates) if self._prior_m is None else np.exp(self._prior_m, dtype=np.float64)
        return np.concatenate([[0.0], np.cumsum(mass_m)])

    def summary(self) -> dict[str, int | float]:
        """Images scored by each method since the last `take_summary`, and the largest share of mass that was not read.

        Only the approximate method leaves mass unread.
        """
        return {method: self.counts[method] for method in METHODS} | {"largest_unread": round(self.largest_unread, 6)}

    def take_summary(self) -> dict[str, int | float]:
        """The summary, which starts again from zero."""
        summary = self.summary()
        self.counts, self.largest_unread = Counter(), 0.0
        return summary

    def uniform_mass(self, node_br: np.ndarray) -> np.ndarray:
        """The probability float64 [b, r] of each taxon for an image equally similar to every name; 0 for node -1.

        It is the taxon's share of the candidates and negative prompts, weighted by the prior if there is one.
        """
        total = self._uniform_cumulative[-1] + (0 if self._negative_fd is None else len(self._negative_fd))
        start_br, end_br = self.tree.start_k[node_br], self.tree.end_k[node_br]
        if self.leaves is not None:
            start_br, end_br = np.searchsorted(self.leaves, start_br), np.searchsorted(self.leaves, end_br)
        mass_br = self._uniform_cumulative[end_br] - self._uniform_cumulative[start_br]
        return np.where(node_br >= 0, mass_br / total, 0.0)

    def score(
        self, image_vectors_bd: np.ndarray, *, top: int = 1, details: bool = True, ranks: Iterable[str] = RANKS
    ) -> Scores:
        """The scores of unit vectors, with the `top` best taxa at each of `ranks` and no node at other ranks.

        Without `details` the cosines of taxa and the entropies are NaN, which saves time.
        """
        b = len(image_vectors_bd)
        out = Scores.empty(b, max(2, top))
        if not b:
            return out
        options = QueryOptions(top, details, tuple(sorted(RANKS.index(rank) for rank in ranks)))
        with one_blas_thread():
            self._score_into(out, np.ascontiguousarray(image_vectors_bd, np.float32), options)
        out.node_br[:] = out.top_node_brk[:, :, 0]
        out.probability_br[:] = out.top_probability_brk[:, :, 0]
        out.second_br[:] = out.top_probability_brk[:, :, 1]
        out.similarity_br[:] = out.top_similarity_brk[:, :, 0]
        return out

    def _score_into(self, out: Scores, vectors_bd: np.ndarray, options: QueryOptions) -> None:
        """Score each image by the approximate method, if it is asked for and reliable, else by the exact method."""
        b = len(vectors_bd)
        negative_bf = np.zeros((b, 0), np.float32)
        if self._negative_fd is not None:
            negative_bf = vectors_bd @ self._negative_fd.T
            out.no_organism_similarity_b[:] = negative_bf.max(1)
        negative_bf = negative_bf.astype(np.float64) * float(self.logit_scale)
        images = np.arange(b)
        if self._sampled is not None:
            images = self._score_sampled(vectors_bd, negative_bf, out, options)
        for start in range(0, len(images), MAX_BATCH):
            self._score_exact(images[start : start + MAX_BATCH], vectors_bd, negative_bf, out, options)

    def _score_sampled(
        self, vectors_bd: np.ndarray, negative_bf: np.ndarray, out: Scores, options: QueryOptions
    ) -> np.ndarray:
        """Score images approximately; return those that the exact method must score."""
        results = self._sampled.score(vectors_bd, negative_bf, max(2, options.top))
        for image, result in enumerate(results):
            if result is not None:
                _write(result, image, out, options)
                self.counts["fast"] += 1
                self.largest_unread = max(self.largest_unread, result.unread)
        return np.array([image for image, result in enumerate(results) if result is None], np.int64)

    def _score_exact(
        self, images: np.ndarray, vectors_bd: np.ndarray, negative_bf: np.ndarray, out: Scores, options: QueryOptions
    ) -> None:
        cosine_bm = self.table.similarities(vectors_bd[images], self.leaves)

        def score_one(row: int) -> None:
            result = self._softmax.score(cosine_bm[row], negative_bf[images[row]], details=options.details)
            _write(result, images[row], out, options)

        list(self._pool.map(score_one, range(len(images))))
        self.counts["dense"] += len(images)


def merge_summaries(summaries: Iterable[Mapping[str, int | float]]) -> dict[str, int | float]:
    """One summary of several."""
    all_summaries = list(summaries)
    counts = {method: sum(one[method] for one in all_summaries) for method in METHODS}
    counts["dense"] += sum(one.get(method, 0) for one in all_summaries for method in FORMER_EXACT_METHODS)
    return counts | {"largest_unread": max((one["largest_unread"] for one in all_summaries), default=0.0)}


def _write(result: QueryResult, image: int, out: Scores, options: QueryOptions) -> None:
    """Write the result of one image into the scores of all."""
    k = out.top_node_brk.shape[2]
    out.no_organism_b[image] = result.no_organism_mass / result.total
    out.leaf_similarity_b[image] = result.leaf_cosine
    out.leaf_margin_b[image] = result.leaf_margin
    out.log_leaf_mass_b[image] = result.log_leaf_mass
    out.entropy_b[image] = result.entropy if options.details else np.nan
    for r in options.ranks:
        node, mass, start, end = result.taxa(r, k)
        best = largest_first(mass, k)
        out.top_node_brk[image, r, : len(best)] = node[best]
        out.top_probability_brk[image, r, : len(best)] = np.minimum(mass[best] / result.total, 1.0)
        if options.details:
            for j, position in enumerate(best[: options.top].tolist()):
                out.top_similarity_brk[image, r, j] = result.largest_cosine(int(start[position]), int(end[position]))
