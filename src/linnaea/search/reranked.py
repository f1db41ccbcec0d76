"""What a pass over all leaves (`sweep`, `scan`) says of one image, once the likeliest have been read again.

Shape suffixes: h leaves read, c cells, s stretches between bounds, f refusal texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linnaea.search.coarse_quantizer import Look
from linnaea.search.quantized_table import FineVectors, Queries
from linnaea.search.rank_intervals import taxa_of_leaves
from linnaea.search.segments import Stretches

# What the errors of a sum of probabilities may add up to: of leaves as both their codes have them, and of leaves with first codes
# only; and how many standard deviations out that lies.
FINE_TOLERANCE, TOLERANCE = 4e-6, 9e-6
SIGMAS = 6.0
# More of the likeliest leaves than are asked for: two of them may be one species.
SPARE = 4
# Largest logits between which masses, and their squares, are float32 numbers as they are, and none of the slow ones near zero;
# others are moved to the last of these.
LEAST_REFERENCE, MOST_REFERENCE = -20.0, 43.0
# Nothing, and no slow number either.
LEAST_LOG_MASS = -80.0
# Between two leaves of which either may be the nearer one: some standard deviations of a coarse logit; and so many cells at most.
ROUNDING = 0.25
MOST_NEAR = 16


@dataclass(frozen=True)
class Precision:
    """By how much logits may be off at most (`bound`) and usually (`deviation`)."""

    bound: float
    deviation: float


class Scanned:
    """One image. Masses are exp(logit - `reference`). `total` mass, `refusal_mass`, `leaf_cosine`, `leaf_margin` and `entropy` as
    in `Scores`."""

    def __init__(
        self,
        look: Look,
        stretches: Stretches,
        queries: Queries,
        image: int,
        logit_c: np.ndarray,
        largest_c: np.ndarray | None,
        reference: float,
    ):
        self._look, self._stretches, self._queries, self._row = look, stretches, queries, image
        self._logit_c, self._largest_c, self._reference = logit_c, largest_c, reference

    @cached_property
    def fine_image(self) -> FineVectors:
        """The image for products with both codes of rows."""
        return self._queries.fine(slice(self._row, self._row + 1))

    def read(self, position_h: np.ndarray, cosine_h: np.ndarray, k: int, precision: Precision) -> None:
        """Takes leaves with their cosines as both codes have them, and reads the likeliest, k at least, from the exact vectors."""
        look = self._look
        prior_h = look.candidates.prior(position_h)
        logit_h = look.scale * cosine_h.astype(np.float64) + prior_h
        best_h = sharpest(logit_h, precision, k)
        cosine_h[best_h] = look.exact_cosines(self._queries.exact(self._row), position_h[best_h])
        self._position_h, self._cosine_h = position_h, cosine_h
        self._logit_h = look.scale * cosine_h.astype(np.float64) + prior_h
        self._mass_h = np.exp(self._logit_h - self._reference)

    def add_up(self, mass_s: np.ndarray, stretch_h: np.ndarray, weighted: float, refusal_logit_f: np.ndarray) -> None:
        """What is said of the image as a whole, from the masses of the stretches and Σ mass (logit - reference) without the leaves
        that were read."""
        np.add.at(mass_s, stretch_h, self._mass_h)
        self._mass_s = mass_s
        refusal_mass_f = np.exp(refusal_logit_f - self._reference)
        self.refusal_mass = float(refusal_mass_f.sum())
        self.total = float(mass_s.sum()) + self.refusal_mass
        weighted += dot(self._mass_h, self._logit_h - self._reference)
        weighted += dot(refusal_mass_f, refusal_logit_f - self._reference)
        # of a lone likely leaf the difference is all rounding
        self.entropy = np.maximum(0.0, np.log(self.total) - weighted / self.total)
        first = int(self._logit_h.argmax())
        self.leaf_cosine = float(self._cosine_h[first])
        others = np.delete(self._logit_h, first)
        self.leaf_margin = float(self._logit_h[first] - others.max()) if len(others) else np.inf

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(self._mass_s)])

    def taxa(self, r: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nodes, masses, starts and ends of the taxa of a rank that was asked for; of the like-leaves rank of the likeliest."""
        rank = self._stretches.ranks[r]
        if rank.like_leaves:
            return taxa_of_leaves(rank, self._position_h, self._mass_h, k, self._masses)
        first, last = self._stretches.edges[r]
        return rank.node, self._cumulative[last] - self._cumulative[first], rank.start, rank.end

    def _masses(self, position: np.ndarray) -> np.ndarray:
        look = self._look
        logit = look.scale * look.fine_cosines(self.fine_image, position).astype(np.float64) + look.candidates.prior(
            position
        )
        return np.exp(logit - self._reference)

    def largest_cosine(self, start: int, end: int) -> float:
        """The largest cosine of the candidates from `start` to `end`."""
        first, last = np.searchsorted(self._position_h, (start, end))
        known = float(self._cosine_h[first:last].max()) if last > first else -np.inf
        if last > first and self._look.candidates.prior_m is None:
            return known
        if self._largest_c is None:
            return max(known, self._look.largest_cosine(self.fine_image, self._logit_c, start, end))
        return max(known, self._largest_of_cells(start, end))

    def _largest_of_cells(self, start: int, end: int) -> float:
        """The largest cosine from `start` to `end`: of the cells whose largest may be it, and of those that are cut."""
        look, start_c = self._look, self._look.candidates.start_c
        first = int(np.searchsorted(start_c, start))
        last = int(np.searchsorted(start_c, end, side="right")) - 1
        if last <= first:
            return float(look.fine_cosines(self.fine_image, np.arange(start, end)).max())
        largest_c = self._largest_c[first:last]
        near = first + np.flatnonzero(largest_c >= largest_c.max() - ROUNDING)
        pieces = [(int(start_c[cell]), int(start_c[cell + 1])) for cell in near[:MOST_NEAR]]
        pieces += [(start, int(start_c[first])), (int(start_c[last]), end)]
        return max(
            float(look.fine_cosines(self.fine_image, np.arange(*piece)).max())
            for piece in pieces
            if piece[1] > piece[0]
        )


def reference_of(largest_b: np.ndarray) -> np.ndarray:
    """What is taken from logits before exp, given the largest of them: 0 wherever that will do."""
    return np.where((largest_b < LEAST_REFERENCE) | (largest_b > MOST_REFERENCE), largest_b - MOST_REFERENCE, 0).astype(
        np.float32
    )


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


def sharpest(logit_h: np.ndarray, precision: Precision, k: int) -> np.ndarray:
    """bool [h], of leaves whose logits are not quite known: those that could be among the k likeliest, and those whose errors could be
    seen in a sum of probabilities, even if there were no others."""
    mass_h = np.exp(logit_h - logit_h.max(initial=-np.inf))
    best_h = largest_squares(mass_h, (FINE_TOLERANCE * float(mass_h.sum()) / SIGMAS / precision.deviation) ** 2)
    if len(logit_h) <= k:
        return np.ones(len(logit_h), bool)
    kth = np.partition(logit_h, len(logit_h) - k)[len(logit_h) - k]
    return best_h | (logit_h >= kth - 2 * precision.bound)
