"""Probabilities of every taxon at every rank, for each image, from one pass over the leaves of a tree.

A softmax over all leaves and the refusal texts; its sums over the tree's depth-first order, kept at the bounds of taxa; then
the mass of any taxon is the difference of two cumulative sums. There are four ways to the masses, one answer: `sweep` passes over an
8-bit copy of the table with a batch, `scan` with a single image, and both read the vectors that matter; `probe`, on request, reads the
likeliest cells only; `dense` takes all cosines of a small table or a small choice from a large one.

Shape suffixes: b images, n leaves of the tree, m candidate leaves (n, or fewer under a restriction), r ranks, k the
best taxa of a rank, f refusal texts, d vector dimensions.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from linnaea.records import RANKS
from linnaea.search.batch_query import Sweep
from linnaea.search.coarse_quantizer import Candidates, Look
from linnaea.search.dense import Dense
from linnaea.search.ivf import Probe
from linnaea.search.quantized_table import CoarseTable, Queries, exact_cosines
from linnaea.search.rank_intervals import largest_first, rank_intervals
from linnaea.search.segments import Stretches
from linnaea.search.single_query import Scan
from linnaea.taxonomy.tree import Tree

N_RANKS = len(RANKS)
SCORING = ("exact", "fast")
METHODS = ("fast", "scan", "sweep", "dense")
# Each thread has its own scratch space, 35 MB for a million leaves.
MAX_THREADS = 8
# Images whose cosines with all leaves stand in memory together, 4.4 MB each for a million leaves.
MOST_AT_ONCE = 32
# With so few candidates all exact vectors are read sooner than a first look would tell which ones to leave.
FEW_CANDIDATES = 16384


class NameTable(Protocol):
    """The name table as scoring sees it. One that has an 8-bit copy gives it as `coarse(tree)`."""

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, m] of images with all leaves, or with a sorted subset of them."""
        ...


class QueryResult(Protocol):
    """What one of the ways says of one image. Masses are relative: `total` is the sum of all, refusals included."""

    total: float
    refusal_mass: float
    leaf_cosine: float
    leaf_margin: float
    entropy: float

    def taxa(self, r: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nodes, masses, starts and ends of those taxa of a rank that could be among the k best."""
        ...

    def largest_cosine(self, start: int, end: int) -> float:
        """The largest cosine of the candidates from `start` to `end`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the softmax says of each image. Nodes are the tree's, -1 where no candidate has the rank.

    `node_br`, `probability_br`, `similarity_br`: the best taxon of each rank, the softmax mass below it (0..1) and the
    largest cosine of a leaf below it (NaN where there is no node). `second_br`: the mass of the second best taxon.
    `no_organism_b`: the mass of the refusal texts; `no_organism_similarity_b`: their largest cosine (NaN without refusals).
    `leaf_similarity_b`: the cosine of the likeliest leaf; `leaf_margin_b`: its lead over the second in nats (inf where
    it is alone); `entropy_b`: of leaves and refusals together, in nats. `top_*_brk`: the k best of each rank, best
    first, of which the arrays above are the first.
    """

    node_br: np.ndarray
    probability_br: np.ndarray
    second_br: np.ndarray
    similarity_br: np.ndarray
    no_organism_b: np.ndarray
    no_organism_similarity_b: np.ndarray
    leaf_similarity_b: np.ndarray
    leaf_margin_b: np.ndarray
    entropy_b: np.ndarray
    top_node_brk: np.ndarray
    top_probability_brk: np.ndarray
    top_similarity_brk: np.ndarray

    def __len__(self) -> int:
        return len(self.no_organism_b)

    @classmethod
    def empty(cls, b: int, k: int) -> Scores:
        """Room for b images and the k best."""
        return cls(
            node_br=np.full((b, N_RANKS), -1, np.int32),
            probability_br=np.zeros((b, N_RANKS)),
            second_br=np.zeros((b, N_RANKS)),
            similarity_br=np.full((b, N_RANKS), np.nan, np.float32),
            no_organism_b=np.zeros(b),
            no_organism_similarity_b=np.full(b, np.nan, np.float32),
            leaf_similarity_b=np.zeros(b, np.float32),
            leaf_margin_b=np.full(b, np.inf),
            entropy_b=np.zeros(b),
            top_node_brk=np.full((b, N_RANKS, k), -1, np.int32),
            top_probability_brk=np.zeros((b, N_RANKS, k)),
            top_similarity_brk=np.full((b, N_RANKS, k), np.nan, np.float32),
        )


class QueryOptions(NamedTuple):
    """What a caller asks for: so many best taxa of these ranks, and whether their cosines and the entropy."""

    top: int
    details: bool
    ranks: tuple[int, ...]


class Scorer:
    """Scores batches of image vectors against the leaves of `tree`, with threads over the images.

    `leaves` int32 [m], sorted, are the candidates (None: all). `log_prior_n` [n] is added to the logits of the leaves.
    With the 8-bit copy that a large table has, `scoring` is "exact" (sums of probabilities within 1e-5) or "fast" (see
    `probe`); without it every leaf's cosine comes from the table. `summary` says how many images went which way.
    """

    def __init__(
        self,
        tree: Tree,
        table: NameTable,
        logit_scale: float,
        refusal_vectors: np.ndarray | None = None,
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
        coarse_of = getattr(table, "coarse", None)
        self._coarse: CoarseTable | None = None if coarse_of is None else coarse_of(tree)
        self.logit_scale, self.scoring = np.float32(logit_scale), scoring
        self.n_candidates = tree.n_leaves if leaves is None else len(leaves)
        self._refusals_fd = None if refusal_vectors is None or not len(refusal_vectors) else refusal_vectors
        self._prior_m = None
        if log_prior_n is not None:
            prior_m = log_prior_n if leaves is None else log_prior_n[leaves]
            self._prior_m = np.ascontiguousarray(prior_m, np.float32)
        self._ranks = rank_intervals(tree, leaves)
        n_threads = n_threads or min(MAX_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="score")
        self._look = None
        if self._coarse is not None and self.n_candidates > FEW_CANDIDATES:
            candidates = Candidates.of(self._coarse, leaves, self._prior_m)
            self._look = Look(self._coarse, candidates, logit_scale, self._pool)
        self._made: dict[tuple[int, ...], tuple[Scan, Sweep]] = {}
        self.counts: Counter = Counter()
        self.largest_unread = 0.0

    @cached_property
    def _dense(self) -> Dense:
        return Dense(self._ranks, self.n_candidates, self.logit_scale, self._prior_m)

    @cached_property
    def _even_mass_m(self) -> np.ndarray:
        """Masses of the candidates before each, float64 [m + 1], for an image that is equally like all of them."""
        mass_m = np.ones(self.n_candidates) if self._prior_m is None else np.exp(self._prior_m, dtype=np.float64)
        return np.concatenate([[0.0], np.cumsum(mass_m)])

    def _passes(self, asked: tuple[int, ...]) -> tuple[Scan, Sweep]:
        """What passes over the table for some ranks."""
        if asked not in self._made:
            stretches = Stretches(self._look, self._ranks, asked)
            self._made[asked] = Scan(self._look, stretches, self._pool), Sweep(self._look, stretches, self._pool)
        return self._made[asked]

    @cached_property
    def _probe(self) -> Probe:
        return Probe(self._look, self._ranks)

    def summary(self) -> dict[str, int | float]:
        """How many images went each way since the scorer was made, or `take_summary` called, and the largest share of mass that the
        fast way did not read."""
        return {way: self.counts[way] for way in METHODS} | {"largest_unread": round(self.largest_unread, 6)}

    def take_summary(self) -> dict[str, int | float]:
        """The summary, which begins anew."""
        taken = self.summary()
        self.counts, self.largest_unread = Counter(), 0.0
        return taken

    def uniform_mass(self, node_br: np.ndarray) -> np.ndarray:
        """The mass (0..1, float64 [b, r]) that each taxon would have for an image that is equally like every name; 0 for node -1.

        It is the taxon's share of the candidates, refusals among them, each counted by its prior where there is one.
        """
        total = self._even_mass_m[-1] + (0 if self._refusals_fd is None else len(self._refusals_fd))
        start_br, end_br = self.tree.start_k[node_br], self.tree.end_k[node_br]
        if self.leaves is not None:
            start_br, end_br = np.searchsorted(self.leaves, start_br), np.searchsorted(self.leaves, end_br)
        return np.where(node_br >= 0, (self._even_mass_m[end_br] - self._even_mass_m[start_br]) / total, 0.0)

    def score(
        self, image_vectors_bd: np.ndarray, *, top: int = 1, details: bool = True, ranks: Iterable[str] = RANKS
    ) -> Scores:
        """The scores of unit vectors; `top` best taxa are kept at each of `ranks`, no node at others. Without `details`, which cost time
        in a large table, the cosines of taxa and the entropies are NaN."""
        asked = tuple(sorted(RANKS.index(rank) for rank in ranks))
        b = len(image_vectors_bd)
        out = Scores.empty(b, max(2, top))
        if not b:
            return out
        vectors_bd = np.ascontiguousarray(image_vectors_bd, np.float32)
        if self._refusals_fd is None:
            refusal_bf = np.zeros((b, 0), np.float32)
        else:
            refusal_bf = vectors_bd @ self._refusals_fd.T
            out.no_organism_similarity_b[:] = refusal_bf.max(1)
        refusal_bf = refusal_bf.astype(np.float64) * float(self.logit_scale)
        for start in range(0, b, MOST_AT_ONCE):
            images = np.arange(start, min(start + MOST_AT_ONCE, b))
            self._score_part(images, vectors_bd, refusal_bf, out, QueryOptions(top, details, asked))
        out.node_br[:] = out.top_node_brk[:, :, 0]
        out.probability_br[:] = out.top_probability_brk[:, :, 0]
        out.second_br[:] = out.top_probability_brk[:, :, 1]
        out.similarity_br[:] = out.top_similarity_brk[:, :, 0]
        return out

    def _score_part(
        self, images: np.ndarray, vectors_bd: np.ndarray, refusal_bf: np.ndarray, out: Scores, wanted: QueryOptions
    ) -> None:
        """One batch: each image by the quickest way that can answer for it."""
        if self._look is not None:
            queries = Queries(vectors_bd[images])
            cells = self._look.cells(queries)
            if self.scoring == "fast":
                left = self._each(
                    lambda i: self._try_fast(queries, cells, i, images[i], refusal_bf, out, wanted), range(len(images))
                )
                left = np.flatnonzero(left)
                if not len(left):
                    return self._look.forget()
                images, queries, cells = images[left], queries.take(left), cells.take(left)
            if len(images) == 1 and self._try_scan(images[0], queries, cells, refusal_bf, out, wanted):
                images = images[1:]
            if len(images):
                self._sweep_part(images, queries, cells, refusal_bf, out, wanted)
            self._look.forget()
        else:
            self._dense_part(images, vectors_bd, refusal_bf, out, wanted)

    def _each(self, one: Callable, items) -> list:
        """What a function gives for each item, on threads where there are several."""
        return list(map(one, items) if len(items) == 1 else self._pool.map(one, items))

    def _try_fast(self, queries, cells, row: int, image: int, refusal_bf, out: Scores, wanted: QueryOptions) -> bool:
        """Whether the image is left to another way."""
        found = self._probe.score(queries, cells, row, refusal_bf[image], max(2, wanted.top))
        if found is not None:
            _write(found, image, out, wanted)
            self.counts["fast"] += 1
            self.largest_unread = max(self.largest_unread, found.unread)
        return found is None

    def _try_scan(self, image: int, queries, cells, refusal_bf, out: Scores, wanted: QueryOptions) -> bool:
        """Whether the image, alone in its batch, is done."""
        found = self._passes(wanted.ranks)[0].score(
            queries, cells, refusal_bf[image], max(2, wanted.top), details=wanted.details, alternatives=wanted.top > 1
        )
        if found is not None:
            _write(found, image, out, wanted)
            self.counts["scan"] += 1
        return found is not None

    def _sweep_part(self, images: np.ndarray, queries, cells, refusal_bf, out: Scores, wanted: QueryOptions) -> None:
        found = self._passes(wanted.ranks)[1].score(
            queries, cells, refusal_bf[images], max(2, wanted.top), details=wanted.details, alternatives=wanted.top > 1
        )
        self._each(lambda row: _write(found[row], images[row], out, wanted), range(len(images)))
        self.counts["sweep"] += len(images)

    def _dense_part(
        self, images: np.ndarray, vectors_bd: np.ndarray, refusal_bf, out: Scores, wanted: QueryOptions
    ) -> None:
        vectors_bd = vectors_bd[images]
        if self._coarse is None:
            cosine_bm = self.table.similarities(vectors_bd, self.leaves)
        else:
            cosine_bm = exact_cosines(self._coarse.vectors_nd, vectors_bd, self.leaves, self._pool)

        def one(row: int) -> None:
            _write(
                self._dense.score(cosine_bm[row], refusal_bf[images[row]], details=wanted.details),
                images[row],
                out,
                wanted,
            )

        self._each(one, range(len(images)))
        self.counts["dense"] += len(images)


def merge_summaries(summaries: Iterable[Mapping[str, int | float]]) -> dict[str, int | float]:
    """One summary of several."""
    every = list(summaries)
    counts = {way: sum(one[way] for one in every) for way in METHODS}
    return counts | {"largest_unread": max((one["largest_unread"] for one in every), default=0.0)}


def _write(found: QueryResult, image: int, out: Scores, wanted: QueryOptions) -> None:
    """Puts one image's scores into their places."""
    k = out.top_node_brk.shape[2]
    out.no_organism_b[image] = found.refusal_mass / found.total
    out.leaf_similarity_b[image] = found.leaf_cosine
    out.leaf_margin_b[image] = found.leaf_margin
    out.entropy_b[image] = found.entropy
    for r in wanted.ranks:
        node, mass, start, end = found.taxa(r, k)
        best = largest_first(mass, k)
        out.top_node_brk[image, r, : len(best)] = node[best]
        out.top_probability_brk[image, r, : len(best)] = np.minimum(mass[best] / found.total, 1.0)
        if wanted.details:
            for j, position in enumerate(best[: wanted.top].tolist()):
                out.top_similarity_brk[image, r, j] = found.largest_cosine(int(start[position]), int(end[position]))
