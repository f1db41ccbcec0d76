"""What a pass over all leaves says of one image, once the likeliest have been read again.

Shape suffixes: h leaves read, c cells, s stretches between bounds, f refusal texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from linnaea.embed.coarse import ExactVectors, FineVectors
from linnaea.identify.intervals import taxa_of_leaves

if TYPE_CHECKING:
    from linnaea.identify.scan import Scan

# Leaves are read from the exact vectors until what both codes leave of the others adds up to so much, at so many deviations.
FINE_TOLERANCE = 1e-6
SIGMAS = 5.0
# Between two leaves of which either may be the nearer one: some standard deviations of a coarse logit; and so many cells at most.
ROUNDING = 0.25
MOST_NEAR = 16


class Scanned:
    """One image. Masses are exp(logit - `reference`). `total` mass, `refusal_mass`, `leaf_cosine`, `leaf_margin` and `entropy` as
    in `Scores`."""

    def __init__(self, scan: Scan, image: FineVectors, logit_c: np.ndarray, largest_c: np.ndarray | None, reference: float):
        self._scan, self._image, self._logit_c, self._largest_c, self._reference = scan, image, logit_c, largest_c, reference

    def read(self, exact: ExactVectors, position_h: np.ndarray, cosine_h: np.ndarray, k: int) -> None:
        """Takes leaves with their cosines as both codes have them, and reads the likeliest, k at least, from the exact vectors."""
        look = self._scan.look
        prior_h = look.candidates.prior(position_h)
        logit_h = look.scale * cosine_h.astype(np.float64) + prior_h
        best_h = sharpest(logit_h, look.fine_error_bound, look.fine_deviation, k)
        cosine_h[best_h] = look.exact_cosines(exact, position_h[best_h])
        self._position_h, self._cosine_h = position_h, cosine_h
        self._logit_h = look.scale * cosine_h.astype(np.float64) + prior_h
        self._mass_h = np.exp(self._logit_h - self._reference)

    def add_up(self, mass_s: np.ndarray, stretch_h: np.ndarray, weighted: float, refusal_logit_f: np.ndarray) -> None:
        """What is said of the image as a whole, from the masses of the stretches and Σ mass (logit - reference) without the leaves
        that were read."""
        np.add.at(mass_s, stretch_h, self._mass_h)
        self._cumulative = np.empty(len(mass_s) + 1)
        self._cumulative[0] = 0
        np.cumsum(mass_s, out=self._cumulative[1:])
        refusal_mass_f = np.exp(refusal_logit_f - self._reference)
        self.refusal_mass = float(refusal_mass_f.sum())
        self.total = float(self._cumulative[-1]) + self.refusal_mass
        weighted += dot(self._mass_h, self._logit_h - self._reference)
        weighted += dot(refusal_mass_f, refusal_logit_f - self._reference)
        # of a lone likely leaf the difference is all rounding
        self.entropy = np.maximum(0.0, np.log(self.total) - weighted / self.total)
        first = int(self._logit_h.argmax())
        self.leaf_cosine = float(self._cosine_h[first])
        others = np.delete(self._logit_h, first)
        self.leaf_margin = float(self._logit_h[first] - others.max()) if len(others) else np.inf

    def ranks(self, k: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """For each rank (nodes, masses, starts, ends) of its taxa; of the like-leaves rank of the likeliest."""
        cumulative = self._cumulative
        for rank, edges in zip(self._scan.ranks, self._scan.edges, strict=True):
            if edges is None:
                yield taxa_of_leaves(rank, self._position_h, self._mass_h, k, self._masses)
            else:
                yield rank.node, cumulative[edges[1]] - cumulative[edges[0]], rank.start, rank.end

    def _masses(self, position: np.ndarray) -> np.ndarray:
        look = self._scan.look
        logit = look.scale * look.fine_cosines(self._image, position).astype(np.float64) + look.candidates.prior(position)
        return np.exp(logit - self._reference)

    def largest_cosine(self, start: int, end: int) -> float:
        """The largest cosine of the candidates from `start` to `end`."""
        first, last = np.searchsorted(self._position_h, (start, end))
        known = float(self._cosine_h[first:last].max()) if last > first else -np.inf
        if last > first and self._scan.look.candidates.prior_m is None:
            return known
        if self._largest_c is None:
            return max(known, self._scan.look.largest_cosine(self._image, self._logit_c, start, end))
        return max(known, self._largest_of_cells(start, end))

    def _largest_of_cells(self, start: int, end: int) -> float:
        """The largest cosine from `start` to `end`: of the cells whose largest may be it, and of those that are cut."""
        look, start_c = self._scan.look, self._scan.look.candidates.start_c
        first = int(np.searchsorted(start_c, start))
        last = int(np.searchsorted(start_c, end, side="right")) - 1
        if last <= first:
            return float(look.fine_cosines(self._image, np.arange(start, end)).max())
        largest_c = self._largest_c[first:last]
        near = first + np.flatnonzero(largest_c >= largest_c.max() - ROUNDING)
        pieces = [(int(start_c[cell]), int(start_c[cell + 1])) for cell in near[:MOST_NEAR]]
        pieces += [(start, int(start_c[first])), (int(start_c[last]), end)]
        return max(float(look.fine_cosines(self._image, np.arange(*piece)).max()) for piece in pieces if piece[1] > piece[0])


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """The inner product, on this thread: for longer vectors BLAS wakes threads of its own, under the pool's."""
    return float(np.einsum("i,i->", a, b, dtype=np.float64))


def largest_squares(mass_h: np.ndarray, most_square: float) -> np.ndarray:
    """bool [h], the largest masses, as many as it takes until the squares of the others sum up to no more than `most_square`."""
    order = np.argsort(mass_h)
    n_left = int(np.searchsorted(np.cumsum(np.square(mass_h[order], dtype=np.float64)), most_square, side="right"))
    read_h = np.zeros(len(mass_h), bool)
    read_h[order[n_left:]] = True
    return read_h


def sharpest(logit_h: np.ndarray, bound: float, deviation: float, k: int) -> np.ndarray:
    """bool [h], of leaves whose logits are off by `bound` at most and usually by `deviation`: those that could be among the k
    likeliest, and those whose errors could be seen in a sum of probabilities, even if there were no others."""
    mass_h = np.exp(logit_h - logit_h.max(initial=-np.inf))
    best_h = largest_squares(mass_h, (FINE_TOLERANCE * float(mass_h.sum()) / SIGMAS / deviation) ** 2)
    if len(logit_h) <= k:
        return np.ones(len(logit_h), bool)
    kth = np.partition(logit_h, len(logit_h) - k)[len(logit_h) - k]
    return best_h | (logit_h >= kth - 2 * bound)
