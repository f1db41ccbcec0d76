"""Scores from all cosines at once: a softmax over a million leaves, without any shortcut. What the faster ways leave to it.

Shape suffixes: m candidate leaves, g taxa of all ranks, f refusal texts.
"""

from __future__ import annotations

import threading

import numpy as np

from linnaea.search.rank_intervals import RankIntervals
from linnaea.search.segments import LONGEST_RUN


class Dense:
    """The softmax of one image after another; threads may share it."""

    def __init__(self, ranks: list[RankIntervals], n_candidates: int, logit_scale: float, prior_m: np.ndarray | None):
        self._ranks, self._n_candidates = ranks, n_candidates
        self._logit_scale, self._prior_m = np.float32(logit_scale), prior_m
        gathered = [rank for rank in ranks if not rank.like_leaves]
        edges = [edge for rank in gathered for edge in (rank.start, rank.end)]
        self._bounds = np.unique(np.concatenate([*edges, np.arange(0, n_candidates, LONGEST_RUN)]))
        self._bounds = self._bounds[self._bounds < n_candidates]
        self._edges = [
            None if rank.like_leaves else np.searchsorted(self._bounds, (rank.start, rank.end)) for rank in ranks
        ]
        self._local = threading.local()

    def _buffers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scratch space of this thread: fresh memory for a million leaves costs more than the arithmetic."""
        if not hasattr(self._local, "buffers"):
            self._local.buffers = (
                np.empty(self._n_candidates, np.float32),
                np.empty(len(self._bounds), np.float32),
                np.zeros(len(self._bounds) + 1),
            )
        return self._local.buffers

    def score(self, cosine_m: np.ndarray, refusal_logit_f: np.ndarray, *, details: bool = True) -> DenseScores:
        """What the softmax says of one image, until this thread's next call."""
        return DenseScores(self, cosine_m, refusal_logit_f, details)


class DenseScores:
    """One image: `total` mass, `refusal_mass`, `leaf_cosine`, `leaf_margin`, `entropy`; taxa by rank from `taxa`."""

    def __init__(self, dense: Dense, cosine_m: np.ndarray, refusal_logit_f: np.ndarray, details: bool):
        self._dense, self._cosine_m = dense, cosine_m
        mass_m, run_mass, cumulative = dense._buffers()
        np.multiply(cosine_m, dense._logit_scale, out=mass_m)
        if dense._prior_m is not None:
            np.add(mass_m, dense._prior_m, out=mass_m)
        first = int(mass_m.argmax())
        logit = float(mass_m[first])
        largest = np.float32(max(logit, refusal_logit_f.max(initial=-np.inf)))
        self.leaf_margin = np.inf
        if dense._n_candidates > 1:
            mass_m[first] = -np.inf
            self.leaf_margin = logit - float(mass_m.max())
            mass_m[first] = logit
        np.subtract(mass_m, largest, out=mass_m)
        np.exp(mass_m, out=mass_m)
        # short runs between the taxa's bounds in float32, at the speed of memory; from run to run in float64
        np.add.reduceat(mass_m, dense._bounds, out=run_mass)
        np.cumsum(run_mass, dtype=np.float64, out=cumulative[1:])
        refusal_mass_f = np.exp(refusal_logit_f - float(largest))
        self.refusal_mass = float(refusal_mass_f.sum())
        self.total = float(cumulative[-1]) + self.refusal_mass
        self.leaf_cosine = float(cosine_m[first])
        self._most_similar = first if dense._prior_m is None else -1
        self.entropy = self._entropy(mass_m, float(largest), refusal_logit_f) if details else np.nan

    def _entropy(self, mass_m: np.ndarray, largest: float, refusal_logit_f: np.ndarray) -> float:
        """log Z - Σ p l, where l are the logits less the largest: two dot products instead of a million logarithms."""
        dense = self._dense
        leaf_mass = self.total - self.refusal_mass
        weighted = float(dense._logit_scale) * float(np.dot(mass_m, self._cosine_m)) - largest * leaf_mass
        if dense._prior_m is not None:
            weighted += float(np.dot(mass_m, dense._prior_m))
        relative_f = refusal_logit_f - largest
        weighted += float(np.exp(relative_f) @ relative_f)
        return max(0.0, float(np.log(self.total)) - weighted / self.total)

    def taxa(self, r: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nodes, masses, and intervals of candidates of the taxa of a rank; of the like-leaves rank of all leaves, once."""
        mass_m, _run_mass, cumulative = self._dense._buffers()
        rank, edges = self._dense._ranks[r], self._dense._edges[r]
        if edges is not None:
            return rank.node, cumulative[edges[1]] - cumulative[edges[0]], rank.start, rank.end
        np.add.at(mass_m, rank.first, mass_m[rank.later])
        mass_m[rank.later] = 0
        return rank.node, mass_m, rank.start, rank.end

    def largest_cosine(self, start: int, end: int) -> float:
        """The largest cosine of the candidates from `start` to `end`."""
        if start <= self._most_similar < end:
            return float(self._cosine_m[self._most_similar])
        return float(self._cosine_m[start:end].max())
