"""Scores from all cosines at once: a softmax over a million leaves, without any shortcut. What the faster ways leave to it.

Cosines may be as both codes of a table have them: then those that matter are read from the exact vectors (`Sharpen`).

Shape suffixes: m candidate leaves, g taxa of all ranks, f refusal texts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from linnaea.identify.intervals import RankIntervals, largest_first
from linnaea.identify.scan import LONGEST_RUN
from linnaea.identify.scanned import sharpest

# Of leaves with a smaller share the rounding is not seen: √Σp² of any number of them is at most the root of this.
LEAST_LIKELY = 1e-5


@dataclass(frozen=True)
class Sharpen:
    """How the cosines of one image are made exact where it matters: `read(positions)` gives them, logits are off by `bound` at
    most and usually by `deviation`, and the `k` likeliest must be right."""

    read: Callable[[np.ndarray], np.ndarray]
    bound: float
    deviation: float
    k: int


class Dense:
    """The softmax of one image after another; threads may share it."""

    def __init__(self, ranks: list[RankIntervals], n_candidates: int, logit_scale: float, prior_m: np.ndarray | None):
        self._ranks, self._n_candidates = ranks, n_candidates
        self._logit_scale, self._prior_m = np.float32(logit_scale), prior_m
        gathered = [rank for rank in ranks if not rank.like_leaves]
        starts = np.concatenate([rank.start for rank in gathered] or [np.zeros(0, np.int64)])
        ends = np.concatenate([rank.end for rank in gathered] or [np.zeros(0, np.int64)])
        self._bounds = np.unique(np.concatenate([starts, ends, np.arange(0, n_candidates, LONGEST_RUN)]))
        self._bounds = self._bounds[self._bounds < n_candidates]
        self._start_g, self._end_g = np.searchsorted(self._bounds, starts), np.searchsorted(self._bounds, ends)
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

    def score(
        self, cosine_m: np.ndarray, refusal_logit_f: np.ndarray, sharpen: Sharpen | None = None, *, details: bool = True
    ) -> DenseScores:
        """What the softmax says of one image, until this thread's next call; `cosine_m` is changed where it is sharpened."""
        return DenseScores(self, cosine_m, refusal_logit_f, sharpen, details)


class DenseScores:
    """One image: `total` mass, `refusal_mass`, `leaf_cosine`, `leaf_margin`, `entropy`; taxa by rank from `ranks`."""

    def __init__(self, dense: Dense, cosine_m: np.ndarray, refusal_logit_f: np.ndarray, sharpen: Sharpen | None, details: bool):
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
        if sharpen is not None:
            first = self._sharpen(sharpen, mass_m, float(largest))
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

    def _sharpen(self, sharpen: Sharpen, mass_m: np.ndarray, largest: float) -> int:
        """Reads the likeliest leaves again; the position of the first of them."""
        scale, prior_m = float(self._dense._logit_scale), self._dense._prior_m
        kth = mass_m[largest_first(mass_m, sharpen.k)[-1]]
        least = min(LEAST_LIKELY * float(mass_m.sum(dtype=np.float64)), float(kth) * np.exp(-2 * sharpen.bound))
        likely = np.flatnonzero(mass_m >= least)

        def logits() -> np.ndarray:
            return scale * self._cosine_m[likely].astype(np.float64) + (0.0 if prior_m is None else prior_m[likely])

        best = likely[sharpest(logits(), sharpen.bound, sharpen.deviation, sharpen.k)]
        self._cosine_m[best] = sharpen.read(best)
        logit_h = logits()
        mass_m[likely] = np.exp(logit_h - largest)
        first = int(logit_h.argmax())
        others = np.delete(logit_h, first)
        self.leaf_margin = float(logit_h[first] - others.max()) if len(others) else np.inf
        return int(likely[first])

    def ranks(self, k: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """For each rank the nodes, masses, and intervals of candidates of its taxa; of the like-leaves rank of all leaves."""
        mass_m, _run_mass, cumulative = self._dense._buffers()
        mass_g = cumulative[self._dense._end_g] - cumulative[self._dense._start_g]
        offset = 0
        for rank in self._dense._ranks:
            if rank.like_leaves:
                np.add.at(mass_m, rank.first, mass_m[rank.later])
                mass_m[rank.later] = 0
                yield rank.node, mass_m, rank.start, rank.end
            else:
                yield rank.node, mass_g[offset : offset + len(rank.node)], rank.start, rank.end
                offset += len(rank.node)

    def largest_cosine(self, start: int, end: int) -> float:
        """The largest cosine of the candidates from `start` to `end`."""
        if start <= self._most_similar < end:
            return float(self._cosine_m[self._most_similar])
        return float(self._cosine_m[start:end].max())
