"""The exact scores of a batch from one pass over the 8-bit table: nearly every leaf stands on its coarse logit, and those whose
rounding could be seen in an answer are read from the exact vectors.

1. The cells tell a threshold; leaves above it (some hundreds or thousands, the likeliest always among them) are "hits". 2. All
leaves pass in blocks, on threads: products of whole numbers, logits, hits taken out, exp, sums between the bounds of taxa.
3. As many of the hits as it takes are read from the exact vectors; their masses join the sums.

How exact it is. A coarse logit is off by s·Σ x_j e_j over the d rounding errors e_j of a row, which spread evenly over a step of
its scale and know nothing of the image: a normal error with the variance s²·step²/12, about .03² nats² at s = 100. What leaves
share of the image's own rounding, as seen from their cell, is computed and taken out, and so is the mean of exp(error). The sum
over leaves that are no hits is then off by √Σp²·σ at random. So many hits are read that SIGMAS times
that is within TOLERANCE; where these are more than MOST_READ the image is left to the dense pass. Which leaves are the likeliest, and how likely, does not rest on
it: a leaf is a hit if its coarse logit could reach the k-th best at the largest error there can be.

Shape suffixes: b images, m candidate leaves, h hits, c cells, s stretches between bounds, d vector dimensions.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from linnaea.embed.coarse import ExactVectors, Queries
from linnaea.identify.intervals import RankIntervals, taxa_of_leaves
from linnaea.identify.look import Cells, Look

# The error of a sum of probabilities, and how many standard deviations out it lies.
TOLERANCE = 1e-5
SIGMAS = 5.0
# Reading a leaf costs some hundred times as much as passing it: beyond so many the dense pass is the faster.
MOST_READ = 65536
MOST_HITS = 2 * MOST_READ
# Leaves of a block, times images: what a block needs stays in a core's own cache.
BLOCK_VALUES = 1 << 17
LEAST_BLOCK = 4096
# Cells whose leaves are read for the threshold.
FIRST_CELLS = 24
# More of the likeliest leaves than are asked for: two of them may be one species.
SPARE = 4
# The masses (shares of the total) that the threshold is chosen from.
MASSES = 10.0 ** np.arange(-9, -2.9, 0.25)
# A choice of leaves more scattered than one in so many is gathered; else all leaves of its span are passed over.
SPARSE = 4
# Nothing: a million such masses are 1e-13. Squares of smaller ones leave float32's range, where arithmetic is slow.
LEAST_LOG_MASS = -43.0
# Between two leaves of which either may be the nearer one: some standard deviations of a coarse logit; and so many cells at most.
ROUNDING = 0.25
MOST_NEAR = 16
# Leaves added up in float32 before the sum goes on in float64: an error of at most 64 half-units in the last place.
LONGEST_RUN = 64


@dataclass(frozen=True)
class _Pass:
    """What the blocks gather. Of all leaves but the hits: `mass_bs`, sums of mass between the bounds; `weighted_bc`, sums of mass
    times log mass by cell; `square_b`, sums of squared masses. Of the hits: position, image, and log mass as the codes have it.
    `largest_bc`: the largest logit of each cell as the codes have it, priors aside, where it was asked for."""

    mass_bs: np.ndarray
    weighted_bc: np.ndarray
    square_b: np.ndarray
    position_h: np.ndarray
    image_h: np.ndarray
    log_mass_h: np.ndarray
    failed_b: np.ndarray
    largest_bc: np.ndarray | None


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
        self._n_stretches_c = np.diff(self._stretch_c)
        scale_n = look.coarse.scale_n
        self._scale_m = np.float32(look.scale) * (scale_n if candidates.leaves is None else scale_n[candidates.leaves])
        self._size_c = np.diff(self._start_c)
        self._noise_c = np.add.reduceat(np.square(self._scale_m), self._start_c[:-1]) / self._size_c / 12
        self.ranks = ranks
        self.edges = [
            None if rank.like_leaves else (np.searchsorted(self.bounds_s, rank.start), np.searchsorted(self.bounds_s, rank.end))
            for rank in ranks
        ]
        self._local = threading.local()

    def score(
        self, queries: Queries, cells: Cells, refusal_logit_bf: np.ndarray, k: int, *, alternatives: bool = False
    ) -> list[Scanned | None]:
        """What was found of each image; None where the dense pass must do it. The `k` likeliest leaves are always hits.

        With `alternatives` the largest cosines of unlikely taxa are as good as those of the best.
        """
        b = len(queries)
        log_refusals_b = np.logaddexp.reduce(refusal_logit_bf, axis=1, initial=-np.inf)
        first = self._pool.map(lambda i: self._first_leaves(queries, i, cells, k + SPARE), range(b))
        largest_b, kth_b = np.array(list(first)).reshape(b, 2).T
        reference_b = np.maximum(largest_b, log_refusals_b)
        log_total_b = [np.logaddexp(_log_sum(cells.log_mass(i)), reference_b[i]) for i in range(b)]
        mass_b = np.array(list(self._pool.map(lambda i: self._least_mass(i, cells, log_total_b[i]), range(b))))
        # the k-th best is a hit even where the codes err most
        least_b = kth_b - self.look.error_bound(queries)
        threshold_b = np.minimum(log_total_b + np.log(mass_b), least_b)
        images = np.flatnonzero(np.isfinite(mass_b))
        if not len(images):
            return [None] * b
        passed = self._run(queries.take(images), reference_b[images].astype(np.float32), threshold_b[images], alternatives)
        found: list[Scanned | None] = [None] * b

        def finish(row: int) -> None:
            image = int(images[row])
            reference = float(np.float32(reference_b[image]))
            found[image] = self._finish(
                passed, row, image, queries, cells, least_b[image] - reference, reference, refusal_logit_bf[image]
            )

        list(self._pool.map(finish, range(len(images))))
        return found

    # --- the threshold

    def _first_leaves(self, queries: Queries, image: int, cells: Cells, k: int) -> tuple[float, float]:
        """The largest logit and the k-th largest among leaves of the likeliest cells, which are no more than those of all leaves."""
        look = self.look
        log_mass_c = cells.log_mass(image)
        n_cells = min(FIRST_CELLS, len(log_mass_c))
        chosen_c = np.argpartition(-log_mass_c, n_cells - 1)[:n_cells]
        position, logit = look.coarse_logits(queries.one(image), queries.scale_b[image], chosen_c)
        n_best = min(k, len(logit))
        position = np.sort(position[np.argpartition(-logit, n_best - 1)[:n_best]])
        cosine = look.exact_cosines(queries.exact(image), position)
        exact = look.scale * cosine.astype(np.float64) + look.candidates.prior(position)
        return float(exact.max()), float(exact.min()) if n_best == k else -np.inf

    def _least_mass(self, image: int, cells: Cells, log_total: float) -> float:
        """The mass (a share of the total) from which on leaves must be hits, as the cells foresee it; inf: of too many."""
        mean_c, variance_c = cells.logit_bc[image] - np.float32(log_total), cells.variance_c
        if self.look.candidates.prior_m is not None:
            mean_c = mean_c + cells.log_weight_c - np.log(self._size_c)
        deviation_c = np.sqrt(variance_c)
        near = np.flatnonzero(mean_c + 4 * deviation_c > np.log(MASSES[0]))
        mean_c, variance_c, size_c = mean_c[near], variance_c[near], self._size_c[near]
        deviation_c = deviation_c[near] + 1e-6
        # a quarter of the tolerance, since the cells foresee it no better than that: a hit too many costs little until it is read
        most_square = (TOLERANCE / 4 / SIGMAS) ** 2 / float(self._noise_c.mean())
        square_c = size_c * np.exp(2 * (mean_c + variance_c))

        def square_below(log_mass: float) -> float:
            return _dot(square_c, _normal_cdf((log_mass - mean_c - 2 * variance_c) / deviation_c))

        at = bisect.bisect_left(range(len(MASSES)), most_square, key=lambda i: square_below(np.log(MASSES[i])))
        mass = float(MASSES[max(at - 1, 0)])
        n_above = _dot(size_c, _normal_cdf((mean_c - np.log(mass)) / deviation_c))
        return mass if n_above <= MOST_HITS else np.inf

    # --- the pass

    def _run(self, queries: Queries, reference_b: np.ndarray, threshold_b: np.ndarray, alternatives: bool) -> _Pass:
        b, prior_m = len(queries), self.look.candidates.prior_m
        # the largest cosine of a taxon is that of a hit, unless next to nothing speaks for the taxon, or a prior speaks against it
        largest_bc = np.empty((b, len(self._size_c)), np.float32) if alternatives or prior_m is not None else None
        leaves_of_block = max(LEAST_BLOCK, BLOCK_VALUES // b)
        begins = np.unique(np.searchsorted(self._start_c, np.arange(0, len(self.look.candidates), leaves_of_block)))
        mass_bs = np.empty((b, len(self.bounds_s)), np.float32)
        weighted_bc = np.empty((b, len(self._size_c)), np.float32)
        threshold_b = threshold_b.astype(np.float32)
        failed_b = np.zeros(b, bool)

        def block(cells: slice) -> tuple[np.ndarray, ...]:
            first, last = int(self._start_c[cells.start]), int(self._start_c[cells.stop])
            stretches = slice(int(self._stretch_c[cells.start]), int(self._stretch_c[cells.stop]))
            log_mass_mb = self._coarse_logits(queries, first, last)
            if largest_bc is not None:
                largest_bc[:, cells] = np.maximum.reduceat(log_mass_mb, self._start_c[cells] - first, axis=0).T
            if prior_m is not None:
                log_mass_mb += prior_m[first:last, None]
            hit = np.flatnonzero(log_mass_mb > threshold_b)
            image_h = hit % b
            too_many_b = np.bincount(image_h, minlength=b) > MOST_HITS
            if too_many_b.any():
                failed_b[too_many_b] = True
                threshold_b[too_many_b] = np.inf
            log_mass_mb -= reference_b
            log_mass_h = log_mass_mb.reshape(-1)[hit]
            log_mass_mb.reshape(-1)[hit] = LEAST_LOG_MASS
            np.maximum(log_mass_mb, LEAST_LOG_MASS, out=log_mass_mb)
            with np.errstate(over="ignore", invalid="ignore"):
                mass_mb = np.exp(log_mass_mb)
                mass_bs[:, stretches] = np.add.reduceat(mass_mb, self.bounds_s[stretches] - first, axis=0).T
                square_b = np.einsum("mb,mb->b", mass_mb, mass_mb)
                mass_mb *= log_mass_mb
                weighted_bc[:, cells] = np.add.reduceat(mass_mb, self._start_c[cells] - first, axis=0).T
            return hit // b + first, image_h, log_mass_h, square_b

        blocks = [slice(*pair) for pair in zip(begins.tolist(), [*begins[1:].tolist(), len(self._size_c)], strict=True)]
        *hits, square_b = zip(*self._pool.map(block, blocks), strict=True)
        return _Pass(mass_bs, weighted_bc, np.sum(square_b, axis=0), *map(np.concatenate, hits), failed_b, largest_bc)

    def _coarse_logits(self, queries: Queries, first: int, last: int) -> np.ndarray:
        """Coarse logits float32 [m, b], without priors, of the candidates from `first` to `last`, in this thread's scratch space."""
        codes_nd, candidates = self.look.coarse.codes_nd, self.look.candidates
        shape = (last - first, len(queries))
        if getattr(self._local, "size", 0) < shape[0] * shape[1]:
            self._local.size = shape[0] * shape[1]
            self._local.buffer = np.empty(self._local.size, np.float32)
        logit_mb = self._local.buffer[: shape[0] * shape[1]].reshape(shape)
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
        np.copyto(logit_mb, dots_mb, casting="unsafe")
        logit_mb *= self._scale_m[first:last, None]
        logit_mb *= queries.scale_b
        return logit_mb

    # --- one image

    def _finish(
        self, passed: _Pass, row: int, image: int, queries: Queries, cells: Cells, least_log_mass: float, reference: float,
        refusal_logit_f: np.ndarray,
    ) -> Scanned | None:  # fmt: skip
        mine = np.flatnonzero(passed.image_h == row)
        if passed.failed_b[row] or len(mine) > MOST_HITS:
            return None
        variance_c = self._noise_c + np.square(queries.error_b[image]) * cells.variance_c
        missed_c = cells.missed_bc[image]
        correction_c = np.exp(missed_c - variance_c / 2)
        raw_s = passed.mass_bs[row]
        raw_c = np.add.reduceat(raw_s, self._stretch_c[:-1], dtype=np.float64)
        # a normal error e has the mean exp(e) = exp(variance / 2), and that of e exp(e) is the variance times as much
        weighted = _dot(correction_c, passed.weighted_bc[row] + (missed_c - variance_c) * raw_c)
        mass_s = (raw_s * np.repeat(correction_c, self._n_stretches_c)).astype(np.float64)

        position_h, log_mass_h = passed.position_h[mine], passed.log_mass_h[mine]
        cell_h = np.searchsorted(self._start_c, position_h, side="right") - 1
        mass_h = np.exp(log_mass_h) * correction_c[cell_h]
        total = mass_s.sum() + mass_h.sum() + np.exp(refusal_logit_f - reference).sum()
        most_square = (TOLERANCE * total / SIGMAS) ** 2 / float(variance_c.max())
        read_h = self._which_to_read(log_mass_h, mass_h, least_log_mass, most_square - float(passed.square_b[row]))
        if read_h is None:
            return None
        left = ~read_h
        stretch_h = np.searchsorted(self.bounds_s, position_h, side="right") - 1
        mass_s += np.bincount(stretch_h[left], weights=mass_h[left], minlength=len(mass_s))
        weighted += _dot(mass_h[left], log_mass_h[left] + (missed_c - variance_c)[cell_h[left]])
        largest_c = None if passed.largest_bc is None else passed.largest_bc[row] + missed_c
        found = Scanned(self, queries.exact(image), cells.logit_bc[image], largest_c, reference, position_h[read_h])
        found.add_up(mass_s, stretch_h[read_h], weighted, refusal_logit_f)
        return found

    @staticmethod
    def _which_to_read(log_mass_h, mass_h, least_log_mass: float, most_square: float) -> np.ndarray | None:
        """The hits to read from the exact vectors: those from `least_log_mass` on, and the largest of the others until the squares
        of what is left sum up to no more than `most_square`. None where that cannot be, or too many are to be read."""
        if not most_square > 0:
            return None
        order = np.argsort(mass_h)
        n_left = int(np.searchsorted(np.cumsum(np.square(mass_h[order], dtype=np.float64)), most_square, side="right"))
        read_h = log_mass_h >= least_log_mass
        read_h[order[n_left:]] = True
        return read_h if np.count_nonzero(read_h) <= MOST_READ else None


class Scanned:
    """One image. Masses are exp(logit - `reference`). `total` mass, `refusal_mass`, `leaf_cosine`, `leaf_margin` and `entropy` as
    in `Scores`."""

    def __init__(
        self, scan: Scan, image: ExactVectors, logit_c: np.ndarray, largest_c: np.ndarray | None, reference: float,
        position_h: np.ndarray,
    ):  # fmt: skip
        self._scan, self._image, self._logit_c, self._largest_c, self._reference = scan, image, logit_c, largest_c, reference
        self._position_h = position_h
        self._cosine_h, self._logit_h, self._mass_h = self._read(position_h)

    def _read(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cosines, logits and masses of leaves from the exact vectors."""
        look = self._scan.look
        cosine = look.exact_cosines(self._image, position)
        logit = look.scale * cosine.astype(np.float64) + look.candidates.prior(position)
        return cosine, logit, np.exp(logit - self._reference)

    def add_up(self, mass_s: np.ndarray, stretch_h: np.ndarray, weighted: float, refusal_logit_f: np.ndarray) -> None:
        """What is said of the image as a whole, from the masses of the stretches and Σ mass (logit - reference) without the leaves
        that were read."""
        mass_s += np.bincount(stretch_h, weights=self._mass_h, minlength=len(mass_s))
        self._cumulative = np.concatenate([[0.0], np.cumsum(mass_s)])
        refusal_mass_f = np.exp(refusal_logit_f - self._reference)
        self.refusal_mass = float(refusal_mass_f.sum())
        self.total = float(self._cumulative[-1]) + self.refusal_mass
        weighted += _dot(self._mass_h, self._logit_h - self._reference)
        weighted += _dot(refusal_mass_f, refusal_logit_f - self._reference)
        self.entropy = max(0.0, float(np.log(self.total)) - weighted / self.total)
        first = int(self._logit_h.argmax())
        self.leaf_cosine = float(self._cosine_h[first])
        others = np.delete(self._logit_h, first)
        self.leaf_margin = float(self._logit_h[first] - others.max()) if len(others) else np.inf

    def ranks(self, k: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """For each rank (nodes, masses, starts, ends) of its taxa; of the like-leaves rank of the likeliest."""
        cumulative = self._cumulative
        for rank, edges in zip(self._scan.ranks, self._scan.edges, strict=True):
            if edges is None:
                yield taxa_of_leaves(rank, self._position_h, self._mass_h, k, lambda position: self._read(position)[2])
            else:
                yield rank.node, cumulative[edges[1]] - cumulative[edges[0]], rank.start, rank.end

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
        """The largest exact cosine from `start` to `end`: of the cells whose largest may be it, and of those that are cut."""
        look, start_c = self._scan.look, self._scan.look.candidates.start_c
        first = int(np.searchsorted(start_c, start))
        last = int(np.searchsorted(start_c, end, side="right")) - 1
        if last <= first:
            return float(look.exact_cosines(self._image, np.arange(start, end)).max())
        largest_c = self._largest_c[first:last]
        near = first + np.flatnonzero(largest_c >= largest_c.max() - ROUNDING)
        pieces = [(int(start_c[cell]), int(start_c[cell + 1])) for cell in near[:MOST_NEAR]]
        pieces += [(start, int(start_c[first])), (int(start_c[last]), end)]
        return max(float(look.exact_cosines(self._image, np.arange(*piece)).max()) for piece in pieces if piece[1] > piece[0])


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """The inner product, on this thread: for longer vectors BLAS wakes threads of its own, under the pool's."""
    return float(np.einsum("i,i->", a, b, dtype=np.float64))


def _log_sum(log_c: np.ndarray) -> float:
    """The log of the summed exp."""
    largest = float(log_c.max())
    return largest + float(np.log(np.exp(log_c - largest, dtype=np.float64).sum())) if largest > -np.inf else largest


def _normal_cdf(z: np.ndarray) -> np.ndarray:
    """The chance of a normal variable below z, within .0002 (Page 1977)."""
    z = np.clip(z, -6, 6)
    return 1 / (1 + np.exp(z * (-1.5976 - 0.070566 * z * z)))
