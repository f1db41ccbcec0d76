"""The exact scores of a single image from one pass over the first codes: nearly every leaf stands on its coarse logit, and those
whose rounding could be seen in an answer are read again, finer. With one image alone reading is what takes the time; more of them
share it (`sweep`, where it also stands how exact this is).

1. The cells tell a threshold; leaves above it (some hundreds or thousands, the likeliest always among them) are "hits". 2. All
leaves pass in blocks, on threads: products of whole numbers, logits, hits taken out, exp, sums between the bounds of taxa.
3. As many of the hits as it takes are read with both codes, the likeliest of them from the exact vectors (`scanned`); where these
are more than MOST_READ the image is left to the sweep.

What leaves share of the image's own rounding is computed and taken out, as seen from their cell, or where the cell weighs more than
PIECE_SHARE from their genus. Which leaves are the likeliest, and how likely, does not rest on chance: a leaf is a hit if its coarse
logit could reach the k-th best at the largest error there can be.

Shape suffixes: m candidate leaves, h hits, c cells, s stretches between bounds, d vector dimensions.
"""

from __future__ import annotations

import bisect
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from linnaea.search.coarse_quantizer import Cells, Look, normal_cdf
from linnaea.search.quantized_table import Queries
from linnaea.search.reranked import (
    LEAST_LOG_MASS,
    SIGMAS,
    SPARE,
    TOLERANCE,
    Precision,
    Scanned,
    dot,
    largest_squares,
    reference_of,
)
from linnaea.search.segments import Stretches, blocks, ranges, sums

# Beyond so many leaves to read again the sweep is the faster.
MOST_READ = 65536
MOST_HITS = 2 * MOST_READ
# Leaves that are read again at a time.
READ_BLOCK = 1024
# Leaves of a block: what it needs stays near a core.
BLOCK = 32768
# Cells whose leaves are read for the threshold.
FIRST_CELLS = 24
# Cells that hold so much of the mass, hits aside, are corrected genus by genus.
PIECE_SHARE = 2e-7
# Nats around the mass at which reading ends: what lies there is counted.
AROUND = 0.5
# The masses (shares of the total) that the threshold is chosen from.
MASSES = 10.0 ** np.arange(-9, -2.9, 0.25)
# A choice of leaves more scattered than one in so many is gathered; else all leaves of its span are passed over.
SPARSE = 4
# Of what float32 can hold.
MOST_LOG = np.float32(80.0)


@dataclass(frozen=True)
class _Pass:
    """What the blocks gather. Of all leaves but the hits: `mass_s`, sums of mass between the bounds; `weighted_c`, sums of mass
    times log mass by cell, where asked for; `square`, the sum of squared masses. Of the hits position and log mass as the codes
    have it. `largest_c`: the largest logit of each cell as the codes have it, priors aside, where it was asked for."""

    mass_s: np.ndarray
    weighted_c: np.ndarray | None
    square: float
    position_h: np.ndarray
    log_mass_h: np.ndarray
    largest_c: np.ndarray | None


@dataclass(frozen=True)
class _Chosen:
    """Before the likeliest leaves are read: `mass_s` and `weighted` are of all others, `read_h` and `stretch_h` theirs."""

    mass_s: np.ndarray
    weighted: float
    read_h: np.ndarray
    stretch_h: np.ndarray


class Scan:
    """Passes over the candidates of one scorer."""

    def __init__(self, look: Look, stretches: Stretches, pool: ThreadPoolExecutor):
        self.look, self.stretches, self._pool = look, stretches, pool
        candidates, coarse = look.candidates, look.coarse
        self._start_c = candidates.start_c
        self._size_c = np.diff(self._start_c).astype(np.float32)
        pieces = (
            coarse.piece_start_p
            if candidates.leaves is None
            else np.searchsorted(candidates.leaves, coarse.piece_start_p)
        )
        self._piece_s = np.searchsorted(pieces, stretches.bounds_s, side="right") - 1
        self._noise_c = np.add.reduceat(np.square(look.scale_m), self._start_c[:-1]) / self._size_c / 12
        self._local = threading.local()

    def score(
        self,
        queries: Queries,
        cells: Cells,
        refusal_logit_f: np.ndarray,
        k: int,
        *,
        details: bool = True,
        alternatives: bool = False,
    ) -> Scanned | None:
        """What was found of one image, the only one of its queries; None where the sweep must do it. The `k` likeliest leaves are
        always hits.

        Without `details` nothing is known of the entropy and of the cosines of unlikely taxa; with `alternatives` these are as good
        as those of the best.
        """
        k, look = k + SPARE, self.look
        largest, threshold = self._foresee(
            queries, cells, float(np.logaddexp.reduce(refusal_logit_f, initial=-np.inf)), k
        )
        if threshold == np.inf:
            return None
        reference = float(reference_of(np.array(largest)))
        passed = self._run(queries, reference, threshold, details, alternatives)
        chosen = None if passed is None else self._choose(passed, queries, cells, refusal_logit_f - reference, k)
        if chosen is None:
            return None
        parts = [chosen.read_h[first : first + READ_BLOCK] for first in range(0, len(chosen.read_h), READ_BLOCK)]
        largest_c = None if passed.largest_c is None else passed.largest_c + cells.missed_bc[0]
        scanned = Scanned(look, self.stretches, queries, 0, cells.logit_bc[0], largest_c, reference)
        cosine_h = np.concatenate(list(self._pool.map(lambda part: look.fine_cosines(scanned.fine_image, part), parts)))
        scanned.read(chosen.read_h, cosine_h, k, Precision(look.fine_error_bound, look.fine_deviation))
        scanned.add_up(chosen.mass_s, chosen.stretch_h, chosen.weighted if details else np.nan, refusal_logit_f)
        return scanned

    # --- the threshold

    def _foresee(self, queries: Queries, cells: Cells, log_refusals: float, k: int) -> tuple[float, float]:
        """The largest logit, nearly, and the one from which on leaves must be hits; inf where these would be too many."""
        look, log_mass_c = self.look, cells.log_mass(0)
        n_cells = min(max(FIRST_CELLS, k), len(log_mass_c))
        chosen_c = np.argpartition(-log_mass_c, n_cells - 1)[:n_cells]
        _position, logit = look.coarse_logits(queries.codes, queries.scale_b[0], chosen_c)
        reference = max(float(logit.max()), log_refusals)
        log_total = float(np.logaddexp(_log_sum(log_mass_c), reference))
        mass = self._least_mass(cells, log_total)
        # the k-th best is a hit even where the codes err most, there and here
        kth = float(np.partition(logit, len(logit) - k)[len(logit) - k]) if len(logit) >= k else -np.inf
        return reference, min(
            log_total + np.log(mass), kth - 2 * look.error_bound(queries)[0]
        ) if mass < np.inf else np.inf

    def _least_mass(self, cells: Cells, log_total: float) -> float:
        """The mass (a share of the total) from which on leaves must be hits, as the cells foresee it; inf: of too many."""
        mean_c, variance_c = cells.logit_bc[0] - np.float32(log_total), cells.variance_c
        if self.look.candidates.prior_m is not None:
            mean_c = mean_c + cells.log_weight_c - np.log(self._size_c)
        # half of the tolerance, since the cells foresee it no better than that: a hit too many costs little until it is read
        most_square = (TOLERANCE / 2 / SIGMAS) ** 2 / self.look.noise
        square_c = self._size_c * np.exp(np.minimum(2 * (mean_c + variance_c), MOST_LOG))
        near = np.flatnonzero(square_c > most_square / 100 / len(square_c))
        mean_c, variance_c, size_c, square_c = mean_c[near], variance_c[near], self._size_c[near], square_c[near]
        deviation_c = np.sqrt(variance_c) + np.float32(1e-6)

        def square_below(log_mass: float) -> float:
            return dot(square_c, normal_cdf((log_mass - mean_c - 2 * variance_c) / deviation_c))

        at = bisect.bisect_left(range(len(MASSES)), most_square, key=lambda i: square_below(float(np.log(MASSES[i]))))
        mass = float(MASSES[max(at - 1, 0)])
        n_above = dot(size_c, normal_cdf((mean_c - float(np.log(mass))) / deviation_c))
        return mass if n_above <= MOST_HITS else np.inf

    # --- the pass

    def _run(
        self, queries: Queries, reference: float, threshold: float, details: bool, alternatives: bool
    ) -> _Pass | None:
        start_c, prior_m = self._start_c, self.look.candidates.prior_m
        n_cells = len(self._size_c)
        # the largest cosine of a taxon is that of a hit, unless next to nothing speaks for the taxon, or a prior speaks against it
        largest_c = np.empty(n_cells, np.float32) if details and (alternatives or prior_m is not None) else None
        weighted_c = np.empty(n_cells, np.float32) if details else None
        mass_s, first_c = np.empty(len(self.stretches), np.float32), self.stretches.first_c
        scale = np.float32(queries.scale_b[0])

        def block(cells: slice) -> tuple:
            first, last = int(start_c[cells.start]), int(start_c[cells.stop])
            stretches = slice(int(first_c[cells.start]), int(first_c[cells.stop]))
            log_mass_m, mass_m = self._scratch(last - first)
            np.multiply(self._dots(queries, first, last), scale, out=log_mass_m, casting="unsafe", dtype=np.float32)
            log_mass_m *= self.look.scale_m[first:last]
            if largest_c is not None:
                largest_c[cells] = np.maximum.reduceat(log_mass_m, start_c[cells] - first)
            if prior_m is not None:
                log_mass_m += prior_m[first:last]
                np.maximum(log_mass_m, np.float32(LEAST_LOG_MASS), out=log_mass_m)
            hit = np.flatnonzero(log_mass_m > np.float32(threshold))
            if reference:
                log_mass_m -= np.float32(reference)
            log_mass_h = log_mass_m[hit]
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                np.exp(log_mass_m, out=mass_m)
                mass_m[hit] = 0
                mass_s[stretches] = sums(mass_m[:, None], self.stretches.bounds_s[stretches] - first)[:, 0]
                square = dot(mass_m, mass_m)
                if weighted_c is not None:
                    mass_m *= log_mass_m
                    weighted_c[cells] = np.add.reduceat(mass_m, start_c[cells] - first)
            return hit + first, log_mass_h, square

        *hits, squares = zip(*self._pool.map(block, blocks(start_c, BLOCK)), strict=True)
        position_h, log_mass_h = map(np.concatenate, hits)
        if len(position_h) > MOST_HITS:
            return None
        return _Pass(mass_s, weighted_c, sum(squares), position_h, log_mass_h, largest_c)

    def _scratch(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """This thread's scratch space for so many leaves: logits and masses."""
        if getattr(self._local, "size", 0) < n:
            self._local.size = n
            self._local.buffers = (np.empty(n, np.float32), np.empty(n, np.float32))
        return tuple(buffer[:n] for buffer in self._local.buffers)

    def _dots(self, queries: Queries, first: int, last: int) -> np.ndarray:
        """The products of the candidates from `first` to `last` with the codes of the image."""
        codes_nd, leaves = self.look.coarse.codes_nd, self.look.candidates.leaves
        if leaves is None:
            return queries.codes.dot(codes_nd[first:last])[:, 0]
        leaves = leaves[first:last]
        span = slice(int(leaves[0]), int(leaves[-1]) + 1)
        if span.stop - span.start > SPARSE * len(leaves):
            return queries.codes.dot(codes_nd[leaves])[:, 0]
        dots = queries.codes.dot(codes_nd[span])[:, 0]
        return dots if len(dots) == len(leaves) else dots[leaves - span.start]

    # --- what is read again

    def _choose(
        self, passed: _Pass, queries: Queries, cells: Cells, refusal_log_mass_f: np.ndarray, k: int
    ) -> _Chosen | None:
        """The hits to read again: as many as the k-th best could be, and as it takes. None: of too many."""
        position_h, log_mass_h, stretches = passed.position_h, passed.log_mass_h, self.stretches
        variance_c = self._noise_c + np.square(queries.error_b[0]) * cells.variance_c
        missed_c = cells.missed_bc[0]
        correction_c = np.exp(missed_c - variance_c / 2)
        mass_s = passed.mass_s * correction_c[stretches.cell_s]
        stretch_h = stretches.stretch_m[position_h]
        cell_h = stretches.cell_s[stretch_h]
        mass_h = np.exp(log_mass_h) * correction_c[cell_h]
        total = float(mass_s.sum(dtype=np.float64) + mass_h.sum(dtype=np.float64) + np.exp(refusal_log_mass_f).sum())
        most_square = (TOLERANCE * total / SIGMAS) ** 2 / float(variance_c.max()) - passed.square
        if not most_square > 0:
            return None
        read_h = largest_squares(mass_h, most_square)
        if len(log_mass_h) >= k:
            kth = np.partition(log_mass_h, len(log_mass_h) - k)[len(log_mass_h) - k]
            read_h |= log_mass_h >= kth - 2 * self.look.error_bound(queries)[0]
        else:
            read_h[:] = True
        if np.count_nonzero(read_h) > MOST_READ:
            return None
        left, weighted = ~read_h, 0.0
        mass_s = mass_s.astype(np.float64)
        if passed.weighted_c is not None:
            # a normal error e has the mean exp(e) = exp(variance / 2), and that of e exp(e) is the variance times as much
            raw_c = np.add.reduceat(passed.mass_s, stretches.first_c[:-1], dtype=np.float64)
            weighted = dot(correction_c, passed.weighted_c + (missed_c - variance_c) * raw_c)
            weighted += dot(mass_h[left], log_mass_h[left] + (missed_c - variance_c)[cell_h[left]])
        np.add.at(mass_s, stretch_h[left], mass_h[left])
        around = self._around(mass_h, read_h)
        np.add.at(mass_s, stretch_h[around], mass_h[around] * (float(variance_c.mean()) / 2 / AROUND))
        self._correct_pieces(mass_s, total, queries, missed_c)
        return _Chosen(mass_s, weighted, position_h[read_h], stretch_h[read_h])

    @staticmethod
    def _around(mass_h: np.ndarray, read_h: np.ndarray) -> np.ndarray:
        """The hits around the mass at which reading ends."""
        least = mass_h[read_h].min()
        return np.flatnonzero((mass_h > least * np.exp(-AROUND)) & (mass_h < least * np.exp(AROUND)))

    def _correct_pieces(self, mass_s: np.ndarray, total: float, queries: Queries, missed_c: np.ndarray) -> None:
        """Where much mass lies, what the codes miss of an image as seen from the genus, in the place of the cell."""
        look, first_c = self.look, self.stretches.first_c
        mass_c = np.add.reduceat(mass_s, first_c[:-1])
        heavy_c = np.flatnonzero(mass_c > PIECE_SHARE * total)
        if not len(heavy_c):
            return
        stretches = ranges(first_c[heavy_c], first_c[heavy_c + 1])
        piece_s = self._piece_s[stretches]
        new_s = np.diff(piece_s, prepend=-1) > 0
        pieces = piece_s[new_s]
        missed_p = queries.missed(0, np.take(look.coarse.piece_pd, pieces, axis=0))
        missed_p *= look.coarse.piece_scale_p[pieces] * np.float32(look.scale)
        mass_s[stretches] *= np.exp(missed_p[np.cumsum(new_s) - 1] - missed_c[self.stretches.cell_s[stretches]])


def _log_sum(log_c: np.ndarray) -> float:
    """The log of the summed exp."""
    largest = float(log_c.max())
    return largest + float(np.log(np.exp(log_c - largest, dtype=np.float64).sum())) if largest > -np.inf else largest
