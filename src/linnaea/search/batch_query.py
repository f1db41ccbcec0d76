"""The exact scores of a batch from one pass over the table, in blocks that stay near a core, all images at once.

1. Of a sample of leaves and those of the likeliest cells it is foreseen from which logit on a leaf's rounding matters to an image.
2. Every block: products of the first codes with the images in two parts, logits; rows that matter to any image are multiplied with
their second codes, too; exp, sums between the bounds of taxa. 3. Of leaves with a share of HIT_SHARE or more the masses are kept
one by one; the likeliest of them are read from the exact vectors (`scanned`).

How exact it is. First codes leave of a logit s·Σ x_j e_j over the d rounding errors e_j of a row, which spread evenly over a step of
its scale and know nothing of the image: a normal error with the variance s²·step²/12, about .03² nats² at s = 100. The sum over rows
that have no more than these is off by √Σp²·.03 at random, and SIGMAS times that must be within TOLERANCE, or the image passes again with
both codes of every row, whose errors are a hundred times smaller. Rows whose errors raise them are read sooner: what is left lacks the
variance times the mass per nat around the logit at which reading begins, which is added; the mean of exp(error) is taken out.
What two parts leave of an image is taken out as seen from the cells. Which leaves are the likeliest does not rest on chance: a
leaf is kept if it could be the k-th best at the largest error there can be.

Shape suffixes: b images, m candidate leaves, u of them, h hits (a leaf and an image), c cells, s stretches, d vector dimensions.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np

from linnaea.search.coarse_quantizer import Cells, Look
from linnaea.search.quantized_table import FINER, PackedCodes, Queries, take_rows
from linnaea.search.reranked import LEAST_LOG_MASS, SIGMAS, SPARE, TOLERANCE, Precision, Scanned, reference_of
from linnaea.search.segments import Stretches, blocks, ranges, sums

# Leaves of a block times images: small, so that what it needs stays near a core; not smaller, for threads pass the interpreter's
# lock from one to the other at every step.
BLOCK_VALUES = 1 << 18
MOST_BLOCK = 65536
# Leaves that are looked at before, from all over the table, so many at a time, and those of each image's
# nearest pieces in so many of its likeliest cells.
SAMPLE = 8192
MOST_LOOKED = 2048
FIRST_CELLS = 96
FIRST_PIECES = 8
# The sample foresees it no better than that.
CAUTION = 0.5
# Where so many rows of a block matter, the others are read with them.
MANY_ROWS = 0.6
# Nats below the logit at which reading begins: what lies there is counted.
AROUND = 0.25
# One row of so many tells how large the squares of masses are.
EVERY = 4
# Leaves with a larger share of the mass are kept one by one.
HIT_SHARE = 1e-5
# Beyond so many of them among the values of a block they may be chosen more narrowly.
MANY_HITS = 1 / 16
# Where second codes matter to so many of the values of a block, reading them for all images is the quicker.
MANY_FINE = 1 / 8
# Bytes of a line of the cache.
LINE = 64


@dataclass(frozen=True)
class _Limits:
    """What is foreseen of each image [b]: the logits from which on the second codes are read, and leaves are kept one by one (at
    most `most_hit_b`, however many leaves these are), and the largest logit, nearly."""

    fine_b: np.ndarray
    hit_b: np.ndarray
    most_hit_b: np.ndarray
    largest_b: np.ndarray

    @property
    def everything(self) -> bool:
        """Whether the second codes of all rows are read."""
        return not np.isfinite(self.fine_b).all()


@dataclass(frozen=True)
class _Batch:
    """What is the same for all blocks: the images' codes, both parts and the first, and rows of values as often as a block has leaves
    (broadcasting along so few images takes twice as long). `near_mb` is None where the second codes of all rows are read. `k`
    leaves are kept at least; two logits that differ by `margin` may be the other way round. Masses are exp(logit - reference +
    `lift`): as much as the mean of exp(error) is above 1 for rows with first codes only."""

    limits: _Limits
    both: PackedCodes
    first: PackedCodes
    scale_mb: np.ndarray
    hit_mb: np.ndarray
    near_mb: np.ndarray | None
    reference_mb: np.ndarray | None
    third_cb: np.ndarray
    lift: float
    k: int
    margin: float
    row_b: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Passed:
    """What the blocks gather, of all leaves but the hits: `mass_bs`, sums of mass; `weighted_b`, of mass times log mass; `square_b`, of
    squared masses of rows whose second codes were not read. Of the hits position, image and log mass. `largest_bc`: the largest
    logit of each cell, priors aside, where it was asked for."""

    mass_bs: np.ndarray
    weighted_b: np.ndarray
    square_b: np.ndarray
    position_h: np.ndarray
    image_h: np.ndarray
    logit_h: np.ndarray
    largest_bc: np.ndarray | None


class Sweep:
    """Passes over the candidates of one scorer."""

    def __init__(self, look: Look, stretches: Stretches, pool: ThreadPoolExecutor):
        self.look, self.stretches, self._pool = look, stretches, pool
        candidates, start_p = look.candidates, look.coarse.piece_start_p
        self._piece_p = start_p if candidates.leaves is None else np.searchsorted(candidates.leaves, start_p)
        self._step = max(1, len(candidates) // SAMPLE)
        self._local = threading.local()

    def score(
        self,
        queries: Queries,
        cells: Cells,
        refusal_logit_bf: np.ndarray,
        k: int,
        *,
        details: bool = True,
        alternatives: bool = False,
        log_total_b: np.ndarray | None = None,
    ) -> list[Scanned]:
        """What was found of each image. The `k` likeliest leaves are always hits.

        Without `details` nothing is known of entropies and of the cosines of unlikely taxa; with `alternatives` these are as good
        as those of the best. With `log_total_b`, the log of their masses, the second codes of all rows are read.
        """
        b, look = len(queries), self.look
        limits = self._limits(queries, cells, refusal_logit_bf, k + SPARE, log_total_b)
        reference_b = reference_of(limits.largest_b)
        passed = self._run(queries, cells, limits, reference_b, k + SPARE, details, alternatives)
        reference_b = reference_b - self._lift(limits)
        order_h = np.argsort(passed.image_h.astype(np.uint16), kind="stable")
        first_b = np.concatenate([[0], np.cumsum(np.bincount(passed.image_h, minlength=b))])
        found: list = [None] * b

        def finish(image: int) -> None:
            mine = order_h[first_b[image] : first_b[image + 1]]
            position_h, mass_s = passed.position_h[mine], passed.mass_bs[image].astype(np.float64)
            stretch_h = self.stretches.stretch_m[position_h]
            logit_h = passed.logit_h[mine] + cells.third_bc[image][self.stretches.cell_s[stretch_h]]
            largest_c = None if passed.largest_bc is None else passed.largest_bc[image]
            scanned = Scanned(
                look, self.stretches, queries, image, cells.logit_bc[image], largest_c, float(reference_b[image])
            )
            error = float(queries.error_b[image])
            precision = Precision(self._margin(error), look.noise**0.5 * float(np.hypot(1 / FINER, error)))
            scanned.read(position_h, (logit_h - look.candidates.prior(position_h)) / look.scale, k + SPARE, precision)
            scanned.add_up(mass_s, stretch_h, float(passed.weighted_b[image]), refusal_logit_bf[image])
            found[image] = scanned

        list(map(finish, range(b)) if b == 1 else self._pool.map(finish, range(b)))
        if log_total_b is None:
            log_total_b = np.array([np.log(one.total) for one in found]) + reference_b
            missed_b = SIGMAS**2 * look.noise * passed.square_b > np.square(
                TOLERANCE * np.array([one.total for one in found])
            )
            again = np.flatnonzero(missed_b | (limits.most_hit_b > log_total_b + np.log(2 * HIT_SHARE)))
            if len(again):
                options = {"details": details, "alternatives": alternatives, "log_total_b": log_total_b[again]}
                better = self.score(queries.take(again), cells.take(again), refusal_logit_bf[again], k, **options)
                for image, one in zip(again.tolist(), better, strict=True):
                    found[image] = one
        return found

    def _margin(self, error: float) -> float:
        """The most that a logit is off as both codes of a row and both parts of an image with that error have it."""
        return self.look.fine_error_bound + self.look.scale * error * (self.look.coarse.row_error + 1 / FINER)

    def _lift(self, limits: _Limits) -> float:
        """The log of the mean of exp(error), where there are rows with first codes only."""
        return 0.0 if limits.everything else self.look.noise / 2

    # --- the limits

    def _limits(
        self, queries: Queries, cells: Cells, refusal_logit_bf: np.ndarray, k: int, log_total_b: np.ndarray | None
    ) -> _Limits:
        b, look = len(queries), self.look
        log_mass_bc = cells.logit_bc + (cells.log_weight_c + cells.variance_c / 2)
        position = np.union1d(np.arange(0, len(look.candidates), self._step), self._likely(queries, log_mass_bc, k))
        logit_bu = self._logits_of(
            queries, look.coarse.codes_nd, look.candidates.rows(position), look.scale_m[position]
        )
        if look.candidates.prior_m is not None:
            logit_bu += look.candidates.prior_m[position]
        log_refusals_b = np.logaddexp.reduce(refusal_logit_bf, axis=1, initial=-np.inf)
        largest_b = np.maximum(logit_bu.max(axis=1), log_refusals_b)
        fine_b = np.full(b, -np.inf)
        if log_total_b is None:
            top_b = log_mass_bc.max(axis=1)
            log_total_b = top_b + np.log(np.exp(log_mass_bc - top_b[:, None]).sum(axis=1, dtype=np.float64))
            log_total_b = np.logaddexp(log_total_b, largest_b)
            fine_b = self._least_fine(logit_bu[:, position % self._step == 0], log_total_b)
        n = logit_bu.shape[1]
        kth_b = np.partition(logit_bu, n - k, axis=1)[:, n - k] if n >= k else np.full(b, -np.inf)
        most_hit_b = log_total_b + np.log(HIT_SHARE)
        # whatever is truly among the k best, as wrong as the codes may be about it and about the k-th of these
        slack, margin = look.scale * look.coarse.row_error, self._margin(float(queries.error_b.max()))
        hit_b = np.minimum(most_hit_b, kth_b - slack - 2 * margin)
        return _Limits(np.minimum(fine_b, hit_b - slack), hit_b, most_hit_b, largest_b)

    def _likely(self, queries: Queries, log_mass_bc: np.ndarray, k: int) -> np.ndarray:
        """Positions of candidates among which the likeliest are: those of each image's nearest pieces in its likeliest cells."""
        coarse, start_c = self.look.coarse, self.look.candidates.start_c
        n_cells = min(FIRST_CELLS, log_mass_bc.shape[1])
        cell_c = np.unique(np.argpartition(log_mass_bc, -n_cells, axis=1)[:, -n_cells:])
        pieces = ranges(*np.searchsorted(self._piece_p, (start_c[cell_c], start_c[cell_c + 1])))
        logit_bp = self._logits_of(queries, coarse.piece_pd, pieces, coarse.piece_scale_p[pieces])
        n_pieces = min(max(FIRST_PIECES, k), len(pieces))
        pieces = pieces[np.unique(np.argpartition(logit_bp, -n_pieces, axis=1)[:, -n_pieces:])]
        return ranges(self._piece_p[pieces], self._piece_p[pieces + 1])

    def _logits_of(self, queries: Queries, codes_nd: np.ndarray, rows: np.ndarray, scale_u: np.ndarray) -> np.ndarray:
        """Values float32 [b, u] of some rows of codes."""
        b, both, value_bu = len(queries), queries.parts(0, 1), np.empty((len(queries), len(rows)), np.float32)

        def part(first: int) -> None:
            chosen = slice(first, min(first + MOST_LOOKED, len(rows)))
            dot_u2b, _, value_ub, _, _ = self._scratch(chosen.stop - first, b)
            both.dot(np.take(codes_nd, rows[chosen], axis=0), dot_u2b)
            _join(dot_u2b, scale_u[chosen], value_ub)
            np.multiply(value_ub.T, queries.scale_b[:, None], out=value_bu[:, chosen])

        list(self._pool.map(part, range(0, len(rows), MOST_LOOKED)))
        return value_bu

    def _least_fine(self, sample_bu: np.ndarray, log_total_b: np.ndarray) -> np.ndarray:
        """The logit of each image [b] under which the rounding of all leaves together does not matter, as a sample of them foresees it."""
        most_square = CAUTION * (TOLERANCE / SIGMAS) ** 2 / self.look.noise / self._step
        # in one go: so little work for each image is sooner done than handed to threads
        sample_bu = np.sort(sample_bu, axis=1)
        square_bu = np.exp(2 * np.minimum(sample_bu - log_total_b.astype(np.float32)[:, None], 0))
        n_left_b = (np.cumsum(square_bu, axis=1, out=square_bu) <= most_square).sum(axis=1)
        least_b = sample_bu[np.arange(len(n_left_b)), np.minimum(n_left_b, sample_bu.shape[1] - 1)].astype(np.float64)
        return np.where(n_left_b > 0, least_b, -np.inf)

    # --- the pass

    def _run(
        self,
        queries: Queries,
        cells: Cells,
        limits: _Limits,
        reference_b: np.ndarray,
        k: int,
        details: bool,
        alternatives: bool,
    ) -> _Passed:
        b, start_c = len(queries), self.look.candidates.start_c
        n_cells = len(start_c) - 1
        parts = blocks(start_c, min(BLOCK_VALUES // b, MOST_BLOCK))
        longest = int(max(start_c[cells.stop] - start_c[cells.start] for cells in parts))

        def tiled(row_b: np.ndarray) -> np.ndarray:
            return np.tile(row_b.astype(np.float32), (longest, 1))

        batch = _Batch(
            limits=limits,
            both=queries.parts(0, 1),
            first=queries.parts(0),
            scale_mb=tiled(queries.scale_b),
            hit_mb=tiled(limits.hit_b),
            near_mb=None if limits.everything else tiled(limits.fine_b - AROUND),
            lift=self._lift(limits),
            reference_mb=tiled(reference_b) if reference_b.any() else None,
            third_cb=np.exp(np.ascontiguousarray(cells.third_bc.T)),
            k=k,
            margin=2 * self._margin(float(queries.error_b.max())),
            row_b={
                name: np.ascontiguousarray(row_b, np.float32)
                for name, row_b in {
                    "scale_b": queries.scale_b,
                    "reference_b": reference_b,
                    "near_b": limits.fine_b - AROUND,
                    "fine_b": limits.fine_b,
                    "hit_b": limits.hit_b,
                }.items()
            }
            | {"first_bd": queries.first_bd.astype(np.int16)},
        )
        # the largest cosine of a taxon is that of a hit, unless next to nothing speaks for the taxon, or a prior speaks against it
        needs_largest = details and (alternatives or self.look.candidates.prior_m is not None)
        largest_bc = np.empty((b, n_cells), np.float32) if needs_largest else None
        mass_bs = np.empty((b, len(self.stretches)), np.float32)

        def block(cells: slice) -> tuple[np.ndarray, ...]:
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                return self._block(batch, cells, mass_bs, largest_bc, details)

        *hits, square_b, weighted_b = zip(*self._pool.map(block, parts), strict=True)
        weighted_b = np.sum(weighted_b, axis=0, dtype=np.float64) if details else np.full(b, np.nan)
        position_h, image_h, logit_h = map(np.concatenate, hits)
        return _Passed(
            mass_bs, weighted_b, np.sum(square_b, axis=0, dtype=np.float64), position_h, image_h, logit_h, largest_bc
        )

    def _block(
        self, batch: _Batch, cells: slice, mass_bs: np.ndarray, largest_bc: np.ndarray | None, details: bool
    ) -> tuple:
        """Position, image and logit of the hits of one block, Σ mass² of its rows with first codes only, and Σ mass (logit - reference)."""
        look, start_c = self.look, self.look.candidates.start_c
        first, last = int(start_c[cells.start]), int(start_c[cells.stop])
        n, b = last - first, batch.scale_mb.shape[1]
        dot_m2b, rest_mb, logit_mb, mass_mb, above_mb = self._scratch(n, b)
        batch.both.dot(self._rows(look.coarse.codes_nd, first, last), dot_m2b)
        if batch.near_mb is not None and fused() is not None:
            passed = self._fused_block(batch, cells, dot_m2b, mass_bs, largest_bc, details)
            if passed is not None:
                return passed
        _join(dot_m2b, look.scale_m[first:last], logit_mb)
        logit_mb *= batch.scale_mb[:n]
        if largest_bc is not None:
            largest_bc[:, cells] = np.maximum.reduceat(logit_mb, start_c[cells] - first, axis=0).T
        if look.candidates.prior_m is not None:
            logit_mb += look.candidates.prior_m[first:last, None]
        square_b, weighted_b, some = np.zeros(b), np.zeros(b), None
        if batch.near_mb is not None:
            near_h = np.flatnonzero(np.greater(logit_mb, batch.near_mb[:n], out=above_mb))
            some = self._rows_that_matter(batch, logit_mb, near_h)
        if some is None:
            fine_ub, scale_u, value_ub = logit_mb, look.scale_m[first:last], mass_mb
        else:
            self._exp(batch, logit_mb, mass_mb)
            mass_mb.reshape(-1)[near_h] *= np.float32(1 + look.noise / AROUND)
            mass_mb[some] = 0
            square_b = EVERY * np.einsum("mb,mb->b", mass_mb[::EVERY], mass_mb[::EVERY])
            if details:
                # the mean of e exp(e) is twice that of log exp(e), for a normal error e
                weighted_b = self._weighted(batch, logit_mb, mass_mb, -batch.lift)
            fine_ub, scale_u = logit_mb[some], look.scale_m[first + some]
            value_ub = np.empty_like(fine_ub)
        if u := len(fine_ub):
            look.count_fine(u)
            batch.first.dot(self._rows(look.coarse.rest_nd, first, last, some), rest_mb[:u])
            np.multiply(
                rest_mb[:u], scale_u[:, None] / np.float32(FINER), out=value_ub, dtype=np.float32, casting="unsafe"
            )
            value_ub *= batch.scale_mb[:u]
            fine_ub += value_ub
        hit_h = self._hits(batch, fine_ub, above_mb[:u])
        self._exp(batch, fine_ub, value_ub, batch.lift)
        value_ub.reshape(-1)[hit_h] = 0
        if details:
            weighted_b = weighted_b + self._weighted(batch, fine_ub, value_ub, batch.lift)
        if some is not None:
            mass_mb[some] = value_ub
        stretches = slice(int(self.stretches.first_c[cells.start]), int(self.stretches.first_c[cells.stop]))
        sum_sb = sums(mass_mb, self.stretches.bounds_s[stretches] - first)
        np.multiply(sum_sb.T, batch.third_cb[self.stretches.cell_s[stretches]].T, out=mass_bs[:, stretches])
        row_h, image_h = np.divmod(hit_h, b)
        position_h = first + (row_h if some is None else some[row_h])
        return position_h, image_h, fine_ub.reshape(-1)[hit_h], square_b, weighted_b

    def _fused_block(
        self,
        batch: _Batch,
        cells: slice,
        dot_m2b: np.ndarray,
        mass_bs: np.ndarray,
        largest_bc: np.ndarray | None,
        details: bool,
    ) -> tuple | None:
        """The same in one compiled pass, second codes read for the images that they matter to alone; None where these are too many."""
        look, start_c, first_c = self.look, self.look.candidates.start_c, self.stretches.first_c
        leaves, prior_m = look.candidates.leaves, look.candidates.prior_m
        first, last = int(start_c[cells.start]), int(start_c[cells.stop])
        stretches, b = slice(int(first_c[cells.start]), int(first_c[cells.stop])), dot_m2b.shape[1] // 2
        end_s = np.append(self.stretches.bounds_s[stretches][1:], last) - first
        sum_sb, square_b, weighted_b = np.empty((len(end_s), b), np.float32), np.zeros(b), np.zeros(b)
        largest_sb = np.empty((0 if largest_bc is None else len(end_s), b), np.float32)
        most = int(MANY_FINE * (last - first) * b) + 1
        row_h, image_h, logit_h = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float32)
        n_hits, n_rows = fused().pass_over(
            dot_m2b,
            look.coarse.rest_nd,
            np.arange(first, last, dtype=np.int32) if leaves is None else leaves[first:last].astype(np.int32),
            look.scale_m[first:last],
            np.empty(0, np.float32) if prior_m is None else prior_m[first:last],
            **batch.row_b,
            end_s=end_s,
            finer=np.float32(FINER),
            lift=np.float32(batch.lift),
            raised=np.float32(1 + look.noise / AROUND),
            details=details,
            sum_sb=sum_sb,
            largest_sb=largest_sb,
            square_b=square_b,
            weighted_b=weighted_b,
            row_h=row_h,
            image_h=image_h,
            logit_h=logit_h,
        )
        look.count_fine(n_rows)
        if n_hits < 0:
            return None
        if largest_bc is not None:
            largest_bc[:, cells] = np.maximum.reduceat(largest_sb, first_c[cells] - stretches.start, axis=0).T
        np.multiply(sum_sb.T, batch.third_cb[self.stretches.cell_s[stretches]].T, out=mass_bs[:, stretches])
        # copies, so that the room of a block is not held until all are done
        return first + row_h[:n_hits], image_h[:n_hits].copy(), logit_h[:n_hits].copy(), square_b, weighted_b

    @staticmethod
    def _rows_that_matter(batch: _Batch, logit_mb: np.ndarray, near_h: np.ndarray) -> np.ndarray | None:
        """The rows of a block whose second codes must be read for any image, given all values near that; None: of all rows."""
        n, b = logit_mb.shape
        matters_h = logit_mb.reshape(-1)[near_h] > batch.near_mb.reshape(-1)[near_h] + np.float32(AROUND)
        some = np.flatnonzero(np.bincount(near_h[matters_h] // b, minlength=n))
        return None if len(some) > MANY_ROWS * n else some

    def _hits(self, batch: _Batch, logit_ub: np.ndarray, above_ub: np.ndarray) -> np.ndarray:
        """Where, among the values of a block, leaves are kept one by one. Of very many the k best of this block are enough, and what is
        no better need not be kept of any later block."""
        u, b = logit_ub.shape
        hit_h = np.flatnonzero(np.greater(logit_ub, batch.hit_mb[:u], out=above_ub))
        if len(hit_h) > MANY_HITS * u * b and u > batch.k:
            kth_b = np.partition(logit_ub, u - batch.k, axis=0)[u - batch.k] - np.float32(batch.margin)
            np.maximum(batch.hit_mb, np.minimum(kth_b, batch.limits.most_hit_b.astype(np.float32)), out=batch.hit_mb)
            hit_h = np.flatnonzero(np.greater(logit_ub, batch.hit_mb[:u], out=above_ub))
        return hit_h

    def _exp(self, batch: _Batch, logit_mb: np.ndarray, out_mb: np.ndarray, lift: float = 0.0) -> None:
        """Masses exp(logit - reference + lift)."""
        if batch.reference_mb is not None:
            logit_mb = np.subtract(logit_mb, batch.reference_mb[: len(logit_mb)], out=out_mb)
        if lift:
            logit_mb = np.add(logit_mb, np.float32(lift), out=out_mb)
        if batch.reference_mb is not None or self.look.candidates.prior_m is not None:
            logit_mb = np.maximum(logit_mb, np.float32(LEAST_LOG_MASS), out=out_mb)
        np.exp(logit_mb, out=out_mb)

    @staticmethod
    def _weighted(batch: _Batch, logit_mb: np.ndarray, mass_mb: np.ndarray, lift: float) -> np.ndarray:
        """Σ mass (logit - reference + lift) of each image [b]."""
        # a mass of nothing may have a logit of minus infinity
        relative_mb = np.maximum(logit_mb, np.float32(-1e4))
        if batch.reference_mb is not None:
            relative_mb -= batch.reference_mb[: len(logit_mb)]
        return np.einsum("mb,mb->b", mass_mb, relative_mb) + lift * mass_mb.sum(axis=0, dtype=np.float64)

    def _rows(self, array_nd: np.ndarray, first: int, last: int, some: np.ndarray | None = None) -> np.ndarray:
        """The rows of the candidates from `first` to `last`, or of some of these."""
        leaves = self.look.candidates.leaves
        if leaves is None:
            return array_nd[first:last] if some is None else np.take(array_nd[first:last], some, axis=0)
        return take_rows(array_nd, leaves[first:last] if some is None else leaves[first:last][some])

    def _scratch(self, n: int, b: int) -> tuple[np.ndarray, ...]:
        """This thread's scratch space for so many leaves and images: products (twice as wide, and once), logits, masses, and flags."""
        if getattr(self._local, "size", 0) < n * b:
            self._local.size = n * b
            self._local.buffers = [_aligned(n * b * width) for width in (8, 4, 4, 4, 1)]
        dot, rest, logit, mass, above = self._local.buffers
        return (
            dot.view(np.int32)[: 2 * n * b].reshape(n, 2 * b),
            rest.view(np.int32)[: n * b].reshape(n, b),
            logit.view(np.float32)[: n * b].reshape(n, b),
            mass.view(np.float32)[: n * b].reshape(n, b),
            above.view(bool)[: n * b].reshape(n, b),
        )


@cache
def fused():
    """The compiled pass, where the extra `speed` is installed and has a place for its code."""
    try:
        import numba

        if numba.config.DISABLE_JIT:
            return None
        from linnaea.search import batch_kernel as fused
    except (ImportError, RuntimeError):
        return None
    return fused


def _join(dot_m2b: np.ndarray, scale_m: np.ndarray, out_mb: np.ndarray) -> None:
    """Float32 [m, b] from the products of rows with both parts of images, without the scales of the images."""
    b = out_mb.shape[1]
    np.multiply(dot_m2b[:, b:], np.float32(1 / FINER), out=out_mb, dtype=np.float32, casting="unsafe")
    np.add(out_mb, dot_m2b[:, :b], out=out_mb, dtype=np.float32, casting="unsafe")
    out_mb *= scale_m[:, None]


def _aligned(n_bytes: int) -> np.ndarray:
    """Bytes that begin with a line of the cache: products are written half as fast across them."""
    raw = np.empty(n_bytes + LINE, np.uint8)
    begin = -raw.ctypes.data % LINE
    return raw[begin : begin + n_bytes]
