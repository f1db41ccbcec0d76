"""The exact method: a softmax over all candidates and its sums over the taxa of every rank.

Leaves are in depth-first order of the tree, so the leaves of a taxon are one interval, and its probability is the
difference of two cumulative sums.

Shape suffixes: m candidate leaves, s segments of leaves, f negative prompts, g taxa of a rank.
"""

from __future__ import annotations

import numpy as np

from linnaea.search.rank_intervals import RankIntervals, largest_first

# Leaves that are summed in float32 before the sum continues in float64: a relative error of at most 4e-6, usually 5e-7.
MAX_SEGMENT = 64
# Stands for a mass that underflows to zero.
TINY = 1e-300


class TreeSoftmax:
    """Softmax of one image after another; threads may share it."""

    def __init__(self, ranks: list[RankIntervals], n_candidates: int, logit_scale: float, prior_m: np.ndarray | None):
        self.ranks, self.logit_scale, self.prior_m = ranks, np.float32(logit_scale), prior_m
        # Segments end where a taxon starts or ends, so that every taxon is a run of whole segments.
        edges = [edge for rank in ranks if not rank.like_leaves for edge in (rank.start, rank.end)]
        starts = np.unique(np.concatenate([*edges, np.arange(0, n_candidates, MAX_SEGMENT)]))
        self.start_s = starts[starts < n_candidates]
        self.edges = [
            None if rank.like_leaves else np.searchsorted(self.start_s, (rank.start, rank.end)) for rank in ranks
        ]

    def score(self, cosine_m: np.ndarray, negative_logit_f: np.ndarray, *, details: bool = True) -> ExactResult:
        """The probabilities of one image from its cosines with all candidates."""
        return ExactResult(self, cosine_m, negative_logit_f, details)


class ExactResult:
    """The masses of one image; a probability is a mass divided by `total` (see `scorer.QueryResult`)."""

    def __init__(self, softmax: TreeSoftmax, cosine_m: np.ndarray, negative_logit_f: np.ndarray, details: bool):
        self._softmax, self._cosine_m = softmax, cosine_m
        logit_m = cosine_m * softmax.logit_scale
        if softmax.prior_m is not None:
            logit_m += softmax.prior_m
        first, *second = largest_first(logit_m, 2)
        largest = max(float(logit_m[first]), float(negative_logit_f.max(initial=-np.inf)))
        self.leaf_cosine = float(cosine_m[first])
        self.leaf_margin = float(logit_m[first] - logit_m[second[0]]) if second else np.inf

        logit_m -= np.float32(largest)
        mass_m = np.exp(logit_m, out=logit_m)
        segment_mass = np.add.reduceat(mass_m, softmax.start_s)
        self._mass_m = mass_m
        self._cumulative = np.concatenate([[0.0], np.cumsum(segment_mass, dtype=np.float64)])
        self.log_leaf_mass = largest + float(np.log(max(self._cumulative[-1], TINY)))
        negative_mass_f = np.exp(negative_logit_f - largest)
        self.no_organism_mass = float(negative_mass_f.sum())
        self.total = float(self._cumulative[-1]) + self.no_organism_mass
        self.entropy = self._compute_entropy(negative_logit_f, largest) if details else np.nan

    def _compute_entropy(self, negative_logit_f: np.ndarray, largest: float) -> float:
        """Entropy in nats: log Z - Σ p · logit, with logits relative to the largest. No logarithm for each leaf."""
        softmax, leaf_mass = self._softmax, self.total - self.no_organism_mass
        weighted = float(softmax.logit_scale) * float(self._mass_m @ self._cosine_m) - largest * leaf_mass
        if softmax.prior_m is not None:
            weighted += float(self._mass_m @ softmax.prior_m)
        relative_f = negative_logit_f - largest
        weighted += float(np.exp(relative_f) @ relative_f)
        return max(0.0, float(np.log(self.total)) - weighted / self.total)

    def taxa(self, r: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nodes, masses, starts and ends of all taxa of rank r. Call it once for each rank."""
        rank, edges = self._softmax.ranks[r], self._softmax.edges[r]
        if edges is not None:
            return rank.node, self._cumulative[edges[1]] - self._cumulative[edges[0]], rank.start, rank.end
        mass_m = self._mass_m
        np.add.at(mass_m, rank.first, mass_m[rank.later])
        mass_m[rank.later] = 0
        return rank.node, mass_m, rank.start, rank.end

    def largest_cosine(self, start: int, end: int) -> float:
        """The largest cosine of the candidates from `start` to `end`."""
        return float(self._cosine_m[start:end].max())
