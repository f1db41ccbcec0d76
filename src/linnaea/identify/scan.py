"""The exact scores of a batch from one pass over the 8-bit table: nearly every leaf stands on its coarse logit, and those whose
rounding could be seen in an answer are read again, finer.

1. The cells tell a threshold; leaves above it (some hundreds or thousands, the likeliest always among them) are "hits". 2. All
leaves pass in blocks, on threads: products of whole numbers, logits, hits taken out, exp, sums between the bounds of taxa.
3. As many of the hits as it takes are read with both codes, the likeliest of them from the exact vectors (`scanned`).

How exact it is. A coarse logit is off by s·Σ x_j e_j over the d rounding errors e_j of a row, which spread evenly over a step of
its scale and know nothing of the image: a normal error with the variance s²·step²/12, about .03² nats² at s = 100. What leaves
share of the image's own rounding is computed and taken out, as seen from their cell, or where the cell weighs more than PIECE_SHARE
from their genus; and so is the mean of exp(error). Leaves that err upwards are read sooner: where reading ends, at a mass of T, what
is left lacks σ² times the mass per nat around T, which is added. The sum over leaves that are not read is then off by √Σp²·σ at random. So many hits are read that SIGMAS times that is within TOLERANCE;
where these are more than MOST_READ the image is left to the dense pass. Which leaves are the likeliest, and how likely, does not
rest on it: a leaf is a hit if its coarse logit could reach the k-th best at the largest error there can be.

Shape suffixes: b images, m candidate leaves, h hits, c cells, s stretches between bounds, d vector dimensions.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from linnaea.embed.coarse import Queries
from linnaea.identify.intervals import RankIntervals
from linnaea.identify.look import Cells, Look, normal_cdf
from linnaea.identify.scanned import Scanned, dot, largest_squares

# The error of a sum of probabilities, and how many standard deviations out it lies.
TOLERANCE = 1e-5
SIGMAS = 5.0
# Beyond so many leaves to read again the dense pass is the faster.
MOST_READ = 65536
MOST_HITS = 2 * MOST_READ
# Leaves that are read again at a time.
READ_BLOCK = 1024
# Leaves of a block, times images: what a block needs stays near a core.
BLOCK_VALUES = 1 << 18
LEAST_BLOCK, MOST_BLOCK = 8192, 32768
# Cells whose leaves are read for the threshold.
FIRST_CELLS = 24
# Cells that hold so much of the mass, hits aside, are corrected genus by genus.
PIECE_SHARE = 5e-6
# Nats around the mass at which reading ends: what lies there is counted.
AROUND = 0.5
# More of the likeliest leaves than are asked for: two of them may be one species.
SPARE = 4
# The masses (shares of the total) that the threshold is chosen from.
MASSES = 10.0 ** np.arange(-9, -2.9, 0.25)
# A choice of leaves more scattered than one in so many is gathered; else all leaves of its span are passed over.
SPARSE = 4
# Largest logits between which masses, and their squares, are float32 numbers as they are, and none of the slow ones near zero;
# others are moved to the last of these.
LEAST_REFERENCE, MOST_REFERENCE = -20.0, 43.0
# Of what float32 can hold.
MOST_LOG = np.float32(80.0)
# Nothing, and no slow number either.
LEAST_LOG_MASS = -80.0
# Leaves added up in float32 before the sum goes on in float64: an error of at most 64 half-units in the last place.
LONGEST_RUN = 64


@dataclass(frozen=True)
class _Pass:
    """What the blocks gather. Of all leaves but the hits: `mass_bs`, sums of mass between the bounds; `weighted_bc`, sums of mass
    times log mass by cell, where asked for; `square_b`, sums of squared masses. Of the hits, by image, those of the i-th from
    `first_b[i]` to `first_b[i + 1]`: position and log mass as the codes have it. `largest_bc`: the largest logit of each cell as
    the codes have it, priors aside, where it was asked for."""

    mass_bs: np.ndarray
    weighted_bc: np.ndarray | None
    square_b: np.ndarray
    position_h: np.ndarray
    log_mass_h: np.ndarray
    first_b: np.ndarray
    failed_b: np.ndarray
    largest_bc: np.ndarray | None


@dataclass(frozen=True)
class _Chosen:
    """One image before its likeliest leaves are read: `mass_s` and `weighted` are of all others, `read_h` and `stretch_h` theirs."""

    mass_s: np.ndarray
    weighted: float
    read_h: np.ndarray
    stretch_h: np.ndarray


class Scan:
    """Passes over the candidates of one scorer."""

    def __init__(self, look: Look, ranks: list[RankIntervals], pool: ThreadPoolExecutor):
        self.look, self._pool = look, pool
        candidates = look.candidates
        m, self._start_c = len(candidates), candidates.start_c
        edges = [edge for rank in ranks if not rank.like_leaves for edge in (rank.start, rank.end)]
        bounds = np.unique(np.concatenate([*edges, np.arange(0, m, LONGEST_RUN), self._start_c]))
        self.bounds_s = bounds[bounds < m]
        # the first stretch of each cell, and of what follows the last
        self._stretch_c = np.append(np.searchsorted(self.bounds_s, self._start_c[:-1]), len(self.bounds_s))
        self._size_c = np.diff(self._start_c).astype(np.float32)
        self._cell_s = np.repeat(np.arange(len(self._size_c), dtype=np.int32), np.diff(self._stretch_c))
        pieces = look.coarse.piece_start_p if candidates.leaves is None else np.searchsorted(candidates.leaves, look.coarse.piece_start_p)
        self._piece_s = np.searchsorted(pieces, self.bounds_s, side="right") - 1
        self._stretch_m = np.repeat(np.arange(len(self.bounds_s), dtype=np.int32), np.diff(self.bounds_s, append=m))
        scale_n = look.coarse.scale_n
        self._scale_m = np.float32(look.scale) * (scale_n if candidates.leaves is None else scale_n[candidates.leaves])
        self._noise_c = np.add.reduceat(np.square(self._scale_m), self._start_c[:-1]) / self._size_c / 12
        self.ranks = ranks
        self.edges = [
            None if rank.like_leaves else (np.searchsorted(self.bounds_s, rank.start), np.searchsorted(self.bounds_s, rank.end))
            for rank in ranks
        ]
        self._local = threading.local()

    def score(
        self, queries: Queries, cells: Cells, refusal_logit_bf: np.ndarray, k: int, *, details: bool = True, alternatives: bool = False
    ) -> list[Scanned | None]:
        """What was found of each image; None where the dense pass must do it. The `k` likeliest leaves are always hits.

        Without `details` nothing is known of entropies and of the cosines of unlikely taxa; with `alternatives` these are as good
        as those of the best.
        """
        b, k = len(queries), k + SPARE
        log_refusals_b = np.logaddexp.reduce(refusal_logit_bf, axis=1, initial=-np.inf)
        foreseen = self._each(lambda i: self._foresee(queries, i, cells, log_refusals_b[i], k), range(b))
        reference_b, threshold_b = np.array(foreseen).reshape(b, 2).T
        images = np.flatnonzero(np.isfinite(threshold_b))
        found: list[Scanned | None] = [None] * b
        if not len(images):
            return found
        outside_b = (reference_b < LEAST_REFERENCE) | (reference_b > MOST_REFERENCE)
        reference_b = np.where(outside_b, reference_b - MOST_REFERENCE, 0).astype(np.float32)
        passed = self._run(queries.take(images), reference_b[images], threshold_b[images], details, alternatives)

        def choose(row: int) -> _Chosen | None:
            image = images[row]
            return self._choose(passed, row, image, queries, cells, refusal_logit_bf[image] - reference_b[image], k)

        chosen = dict(enumerate(self._each(choose, range(len(images)))))
        chosen = {row: one for row, one in chosen.items() if one is not None}
        fine = {row: queries.fine(slice(images[row], images[row] + 1)) for row in chosen}
        parts = [(row, first) for row, one in chosen.items() for first in range(0, len(one.read_h), READ_BLOCK)]
        cosines = self._each(lambda x: self.look.fine_cosines(fine[x[0]], chosen[x[0]].read_h[x[1] : x[1] + READ_BLOCK]), parts)
        cosines_of: dict[int, list] = {row: [] for row in chosen}
        for (row, _), part in zip(parts, cosines, strict=True):
            cosines_of[row].append(part)

        def finish(row: int) -> None:
            image, one = int(images[row]), chosen[row]
            largest_c = None if passed.largest_bc is None else passed.largest_bc[row] + cells.missed_bc[image]
            scanned = Scanned(self, fine[row], cells.logit_bc[image], largest_c, float(reference_b[image]))
            scanned.read(queries.exact(image), one.read_h, np.concatenate(cosines_of[row]), k)
            scanned.add_up(one.mass_s, one.stretch_h, one.weighted if details else np.nan, refusal_logit_bf[image])
            found[image] = scanned

        self._each(finish, chosen)
        return found

    def _each(self, one: Callable, items) -> list:
        """What a function gives for each item, on threads where there are several."""
        return list(map(one, items) if len(items) == 1 else self._pool.map(one, items))

    # --- the threshold

    def _foresee(self, queries: Queries, image: int, cells: Cells, log_refusals: float, k: int) -> tuple[float, float]:
        """The largest logit, nearly, and the one from which on leaves must be hits; inf where these would be too many."""
        look, log_mass_c = self.look, cells.log_mass(image)
        n_cells = min(max(FIRST_CELLS, k), len(log_mass_c))
        chosen_c = np.argpartition(-log_mass_c, n_cells - 1)[:n_cells]
        _position, logit = look.coarse_logits(queries.one(image), queries.scale_b[image], chosen_c)
        reference = max(float(logit.max()), log_refusals)
        log_total = float(np.logaddexp(_log_sum(log_mass_c), reference))
        mass = self._least_mass(image, cells, log_total)
        # the k-th best is a hit even where the codes err most, there and here
        kth = float(np.partition(logit, len(logit) - k)[len(logit) - k]) if len(logit) >= k else -np.inf
        return reference, min(log_total + np.log(mass), kth - 2 * look.error_bound(queries)[image]) if mass < np.inf else np.inf

    def _least_mass(self, image: int, cells: Cells, log_total: float) -> float:
        """The mass (a share of the total) from which on leaves must be hits, as the cells foresee it; inf: of too many."""
        mean_c, variance_c = cells.logit_bc[image] - np.float32(log_total), cells.variance_c
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

    def _run(self, queries: Queries, reference_b: np.ndarray, threshold_b: np.ndarray, details: bool, alternatives: bool) -> _Pass:
        b, prior_m = len(queries), self.look.candidates.prior_m
        n_cells = len(self._size_c)
        # the largest cosine of a taxon is that of a hit, unless next to nothing speaks for the taxon, or a prior speaks against it
        largest_bc = np.empty((b, n_cells), np.float32) if details and (alternatives or prior_m is not None) else None
        weighted_bc = np.empty((b, n_cells), np.float32) if details else None
        leaves_of_block = min(max(LEAST_BLOCK, BLOCK_VALUES // b), MOST_BLOCK)
        begins = np.unique(np.searchsorted(self._start_c, np.arange(0, len(self.look.candidates), leaves_of_block)))
        ends = np.append(begins[1:], n_cells)
        longest = int((self._start_c[ends] - self._start_c[begins]).max())
        mass_bs = np.empty((b, len(self.bounds_s)), np.float32)
        # of the shape of a block: twice as fast as to broadcast along so few images
        scale_mb, threshold_mb = (np.tile(row_b.astype(np.float32), (longest, 1)) for row_b in (queries.scale_b, threshold_b))
        reference_mb = np.tile(reference_b, (longest, 1)) if reference_b.any() else None
        failed_b = np.zeros(b, bool)

        def block(cells: slice) -> tuple[np.ndarray, ...]:
            first, last = int(self._start_c[cells.start]), int(self._start_c[cells.stop])
            stretches = slice(int(self._stretch_c[cells.start]), int(self._stretch_c[cells.stop]))
            n = last - first
            log_mass_mb, mass_mb, hit_mb = self._scratch(n, b)
            self._coarse_logits(queries, first, last, log_mass_mb)
            log_mass_mb *= scale_mb[:n]
            if largest_bc is not None:
                largest_bc[:, cells] = np.maximum.reduceat(log_mass_mb, self._start_c[cells] - first, axis=0).T
            if prior_m is not None:
                log_mass_mb += prior_m[first:last, None]
                np.maximum(log_mass_mb, LEAST_LOG_MASS, out=log_mass_mb)
            hit = np.flatnonzero(np.greater(log_mass_mb, threshold_mb[:n], out=hit_mb))
            position_h, image_h = np.divmod(hit, b)
            too_many_b = np.bincount(image_h, minlength=b) > MOST_HITS
            if too_many_b.any():
                failed_b[too_many_b] = True
                threshold_mb[:, too_many_b] = np.inf
            if reference_mb is not None:
                log_mass_mb -= reference_mb[:n]
            log_mass_h = log_mass_mb.reshape(-1)[hit]
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                np.exp(log_mass_mb, out=mass_mb)
                mass_mb.reshape(-1)[hit] = 0
                mass_bs[:, stretches] = _sums(mass_mb, self.bounds_s[stretches] - first).T
                square_b = np.einsum("mb,mb->b", mass_mb, mass_mb) if b > 1 else np.array([dot(mass_mb[:, 0], mass_mb[:, 0])])
                if weighted_bc is not None:
                    mass_mb *= log_mass_mb
                    weighted_bc[:, cells] = _sums(mass_mb, self._start_c[cells] - first).T
            return position_h + first, image_h, log_mass_h, square_b

        blocks = [slice(*pair) for pair in zip(begins.tolist(), ends.tolist(), strict=True)]
        *hits, square_b = zip(*self._pool.map(block, blocks), strict=True)
        position_h, image_h, log_mass_h = map(np.concatenate, hits)
        by_image = np.argsort(image_h.astype(np.uint16), kind="stable")
        first_b = np.concatenate([[0], np.cumsum(np.bincount(image_h, minlength=b))])
        square_b = np.sum(square_b, axis=0, dtype=np.float64)
        return _Pass(
            mass_bs, weighted_bc, square_b, position_h[by_image], log_mass_h[by_image], first_b, failed_b, largest_bc
        )  # fmt: skip

    def _scratch(self, n: int, b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """This thread's scratch space for so many leaves and images: blocks of logits, masses and hits."""
        if getattr(self._local, "size", 0) < n * b:
            self._local.size = n * b
            self._local.buffers = (np.empty(n * b, np.float32), np.empty(n * b, np.float32), np.empty(n * b, bool))
        return tuple(buffer[: n * b].reshape(n, b) for buffer in self._local.buffers)

    def _coarse_logits(self, queries: Queries, first: int, last: int, out_mb: np.ndarray) -> None:
        """Coarse logits float32 [m, b] of the candidates from `first` to `last`, without priors and the scales of the images."""
        codes_nd, candidates = self.look.coarse.codes_nd, self.look.candidates
        if candidates.leaves is None:
            dots_mb = queries.codes.dot(codes_nd[first:last])
        else:
            leaves = candidates.leaves[first:last]
            span = slice(int(leaves[0]), int(leaves[-1]) + 1)
            if span.stop - span.start > SPARSE * len(leaves):
                dots_mb = queries.codes.dot(codes_nd[leaves])
            else:
                dots_mb = queries.codes.dot(codes_nd[span])
                dots_mb = dots_mb if len(dots_mb) == len(leaves) else dots_mb[leaves - span.start]
        np.copyto(out_mb, dots_mb, casting="unsafe")
        out_mb *= self._scale_m[first:last, None]

    # --- one image

    def _choose(
        self, passed: _Pass, row: int, image: int, queries: Queries, cells: Cells, refusal_log_mass_f: np.ndarray, k: int
    ) -> _Chosen | None:
        """The hits to read again: as many as the k-th best could be, and as it takes. None: of too many."""
        mine = slice(passed.first_b[row], passed.first_b[row + 1])
        position_h, log_mass_h = passed.position_h[mine], passed.log_mass_h[mine]
        if passed.failed_b[row] or len(position_h) > MOST_HITS:
            return None
        variance_c = self._noise_c + np.square(queries.error_b[image]) * cells.variance_c
        missed_c = cells.missed_bc[image]
        correction_c = np.exp(missed_c - variance_c / 2)
        mass_s = passed.mass_bs[row] * correction_c[self._cell_s]
        stretch_h = self._stretch_m[position_h]
        cell_h = self._cell_s[stretch_h]
        mass_h = np.exp(log_mass_h) * correction_c[cell_h]
        total = float(mass_s.sum(dtype=np.float64) + mass_h.sum(dtype=np.float64) + np.exp(refusal_log_mass_f).sum())
        most_square = (TOLERANCE * total / SIGMAS) ** 2 / float(variance_c.max()) - float(passed.square_b[row])
        if not most_square > 0:
            return None
        read_h = largest_squares(mass_h, most_square)
        if len(log_mass_h) >= k:
            kth = np.partition(log_mass_h, len(log_mass_h) - k)[len(log_mass_h) - k]
            read_h |= log_mass_h >= kth - 2 * self.look.error_bound(queries)[image]
        else:
            read_h[:] = True
        if np.count_nonzero(read_h) > MOST_READ:
            return None
        left, weighted = ~read_h, 0.0
        mass_s = mass_s.astype(np.float64)
        if passed.weighted_bc is not None:
            # a normal error e has the mean exp(e) = exp(variance / 2), and that of e exp(e) is the variance times as much
            raw_c = np.add.reduceat(passed.mass_bs[row], self._stretch_c[:-1], dtype=np.float64)
            weighted = dot(correction_c, passed.weighted_bc[row] + (missed_c - variance_c) * raw_c)
            weighted += dot(mass_h[left], log_mass_h[left] + (missed_c - variance_c)[cell_h[left]])
        np.add.at(mass_s, stretch_h[left], mass_h[left])
        around = self._around(mass_h, read_h)
        np.add.at(mass_s, stretch_h[around], mass_h[around] * (float(variance_c.mean()) / 2 / AROUND))
        self._correct_pieces(mass_s, total, queries, image, missed_c)
        return _Chosen(mass_s, weighted, position_h[read_h], stretch_h[read_h])


    @staticmethod
    def _around(mass_h: np.ndarray, read_h: np.ndarray) -> np.ndarray:
        """The hits around the mass at which reading ends."""
        least = mass_h[read_h].min()
        return np.flatnonzero((mass_h > least * np.exp(-AROUND)) & (mass_h < least * np.exp(AROUND)))

    def _correct_pieces(self, mass_s: np.ndarray, total: float, queries: Queries, image: int, missed_c: np.ndarray) -> None:
        """Where much mass lies, what the codes miss of an image as seen from the genus, in the place of the cell."""
        look = self.look
        mass_c = np.add.reduceat(mass_s, self._stretch_c[:-1])
        heavy_c = np.flatnonzero(mass_c > PIECE_SHARE * total)
        if not len(heavy_c):
            return
        first, size = self._stretch_c[heavy_c], self._stretch_c[heavy_c + 1] - self._stretch_c[heavy_c]
        stretches = np.repeat(first - np.cumsum(size) + size, size) + np.arange(size.sum())
        piece_s = self._piece_s[stretches]
        new_s = np.diff(piece_s, prepend=-1) > 0
        pieces = piece_s[new_s]
        missed_p = queries.missed(image, np.take(look.coarse.piece_pd, pieces, axis=0))
        missed_p *= look.coarse.piece_scale_p[pieces] * np.float32(look.scale)
        mass_s[stretches] *= np.exp(missed_p[np.cumsum(new_s) - 1] - missed_c[self._cell_s[stretches]])


def _sums(values_mb: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums [s, b] from each start to the next; of a single column without a loop for every row."""
    if values_mb.shape[1] == 1:
        return np.add.reduceat(values_mb[:, 0], starts)[:, None]
    return np.add.reduceat(values_mb, starts, axis=0)


def _log_sum(log_c: np.ndarray) -> float:
    """The log of the summed exp."""
    largest = float(log_c.max())
    return largest + float(np.log(np.exp(log_c - largest, dtype=np.float64).sum())) if largest > -np.inf else largest
