"""The approximate method: the nearest leaves from an index, all others estimated from a sample.

1. The index finds the nearest leaves of an image; their masses are exact (to float16). 2. The mass of all others is
estimated from every step-th leaf: a systematic sample in the order of the tree, in which each leaf stands for its
neighbours. 3. The estimate plus three standard errors is the share of `unread` mass, which bounds the error of every
probability as far as the index found the nearest leaves. An image is left to the exact method if this share or its
standard error is too large, or if a sampled leaf is as good as the best that the index found, which shows that the
index missed some.

Shape suffixes: b images, n leaves, h nearest leaves, j sampled leaves, f negative prompts, d vector dimensions.
"""

from __future__ import annotations

import numpy as np

from linnaea.search.cosine_blocks import multiply_blocks, read_rows
from linnaea.search.index import Index
from linnaea.search.rank_intervals import RankIntervals, largest_first
from linnaea.search.tree_softmax import TINY

N_NEAREST = 4096
N_SAMPLED = 32768
N_STANDARD_ERRORS = 3.0
# Shares of the total mass.
MAX_UNREAD = 0.5
MAX_STANDARD_ERROR = 0.01
# Ranks with at most this many taxa are summed completely, larger ranks only where a nearest leaf lies.
MAX_TAXA = 16384


class SampledSoftmax:
    """Approximate softmax over all leaves of a table."""

    def __init__(self, index: Index, vectors_nd: np.ndarray, ranks: list[RankIntervals], logit_scale: float):
        self.index, self.vectors_nd, self.ranks, self.logit_scale = index, vectors_nd, ranks, float(logit_scale)
        n = len(vectors_nd)
        self.step = max(1, n // N_SAMPLED)
        # The neighbours of a sampled leaf: one stratum of the tree's order.
        self.edges = np.append(np.arange(0, n, self.step), n)
        self.sampled_j = (self.edges[:-1] + self.edges[1:]) // 2
        self._sampled_jd = read_rows(vectors_nd, self.sampled_j)

    def score(self, vectors_bd: np.ndarray, negative_logit_bf: np.ndarray, k: int) -> list[SampledResult | None]:
        """The probabilities of each image, None if the exact method must compute them."""
        ids_bh, cosine_bh = self.index.search(vectors_bd, min(N_NEAREST, len(self.vectors_nd)))
        sampled_bj = multiply_blocks(self._sampled_jd, vectors_bd)
        results = []
        for image, ids_h in enumerate(ids_bh):
            found = np.flatnonzero(ids_h >= 0)
            order = found[np.argsort(ids_h[found])]
            known = (ids_h[order], cosine_bh[image, order], sampled_bj[image], negative_logit_bf[image])
            result = SampledResult(self, vectors_bd[image], *known)
            results.append(result if result.is_reliable(k) else None)
        return results

    def find_sampled(self, position_h: np.ndarray) -> np.ndarray:
        """Bool [j]: which sampled leaves are among the given leaves."""
        stratum_h = np.minimum(position_h // self.step, len(self.sampled_j) - 1)
        is_found_j = np.zeros(len(self.sampled_j), bool)
        is_found_j[stratum_h[self.sampled_j[stratum_h] == position_h]] = True
        return is_found_j


class SampledResult:
    """The masses of one image (see `scorer.QueryResult`); `unread` is the share of mass that was only estimated."""

    def __init__(
        self,
        softmax: SampledSoftmax,
        image_d: np.ndarray,
        position_h: np.ndarray,
        cosine_h: np.ndarray,
        sampled_cosine_j: np.ndarray,
        negative_logit_f: np.ndarray,
    ):
        self._softmax, self._image_d = softmax, image_d
        self._position_h, self._cosine_h, self._sampled_cosine_j = position_h, cosine_h, sampled_cosine_j
        scale, is_read_j = softmax.logit_scale, softmax.find_sampled(position_h)
        logit_h, logit_j = scale * cosine_h.astype(np.float64), scale * sampled_cosine_j.astype(np.float64)
        largest = max(float(array.max(initial=-np.inf)) for array in (logit_h, logit_j, negative_logit_f))
        mass_h, mass_j = np.exp(logit_h - largest), np.where(is_read_j, 0.0, np.exp(logit_j - largest))
        negative_mass_f = np.exp(negative_logit_f - largest)
        stratum_mass_j = mass_j * np.diff(softmax.edges)
        self._logit_h, self._best_unread = logit_h, float(logit_j[~is_read_j].max(initial=-np.inf))

        self.no_organism_mass = float(negative_mass_f.sum())
        leaf_mass = float(mass_h.sum() + stratum_mass_j.sum())
        self.total = leaf_mass + self.no_organism_mass
        self.log_leaf_mass = largest + float(np.log(max(leaf_mass, TINY)))
        # The mass of a stratum is that of one leaf times its size: the leaves are as good as independent.
        self._standard_error = float(np.sqrt(np.square(stratum_mass_j).sum())) / self.total
        self.unread = float(stratum_mass_j.sum()) / self.total + N_STANDARD_ERRORS * self._standard_error
        weighted = mass_h @ (logit_h - largest) + stratum_mass_j @ (logit_j - largest)
        weighted += negative_mass_f @ (negative_logit_f - largest)
        self.entropy = max(0.0, float(np.log(self.total) - weighted / self.total))
        best = largest_first(logit_h, 2)
        self.leaf_cosine = float(cosine_h[best[0]]) if len(best) else np.nan
        self.leaf_margin = float(logit_h[best[0]] - logit_h[best[1]]) if len(best) > 1 else np.inf
        self._before_h = np.concatenate([[0.0], np.cumsum(mass_h)])
        self._before_edge = np.concatenate([[0.0], np.cumsum(stratum_mass_j)])

    def is_reliable(self, k: int) -> bool:
        """Whether the k best leaves are known and little mass is unread."""
        if len(self._logit_h) < min(k, len(self._softmax.vectors_nd)):
            return False
        if self.unread > MAX_UNREAD or self._standard_error > MAX_STANDARD_ERROR:
            return False
        kth = np.partition(self._logit_h, -k)[-k] if len(self._logit_h) >= k else -np.inf
        return self._best_unread < kth

    def _mass_before(self, position: np.ndarray) -> np.ndarray:
        """The mass of all leaves before each position; the mass of a stratum is spread evenly over its leaves."""
        read = self._before_h[np.searchsorted(self._position_h, position)]
        return read + np.interp(position, self._softmax.edges, self._before_edge)

    def taxa(self, r: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nodes, masses, starts and ends of the taxa of rank r that can be among the k best."""
        rank = self._softmax.ranks[r]
        rows = np.arange(len(rank.node))
        if rank.like_leaves:
            rows = np.unique(np.searchsorted(rank.node, rank.node[self._position_h]))
            start, end = rank.start[rows], np.searchsorted(rank.node, rank.node[rows], side="right")
            return rank.node[rows], self._mass_before(end) - self._mass_before(start), start, end
        if len(rows) > MAX_TAXA:
            rows = np.unique(np.searchsorted(rank.end, self._position_h, side="right"))
            rows = rows[rows < len(rank.node)]
        start, end = rank.start[rows], rank.end[rows]
        return rank.node[rows], self._mass_before(end) - self._mass_before(start), start, end

    def largest_cosine(self, start: int, end: int) -> float:
        """The largest cosine of the leaves from `start` to `end`, of read and sampled leaves if there are any."""
        softmax, values = self._softmax, []
        for position, cosine in ((self._position_h, self._cosine_h), (softmax.sampled_j, self._sampled_cosine_j)):
            first, last = np.searchsorted(position, (start, end))
            values.append(float(cosine[first:last].max(initial=-np.inf)))
        if max(values) == -np.inf:
            return float((softmax.vectors_nd[start:end].astype(np.float32) @ self._image_d).max())
        return max(values)
