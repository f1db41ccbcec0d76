"""A first look at a table: every cell by its centroid, then the leaves of the likeliest cells one by one.

Within a cell the logits of an image are taken as normal about the centroid's, with the variance that the cell's rows have in
a direction picked at random. That is a model, not a fact: an image may lie along a difference between two leaves of one cell.
Where the answer rests on it (`Cells.log_mass`), its upper form (`Cells.upper_log_mass`, twice the variance) is reported.

Shape suffixes: b images, c cells with candidates, m candidate leaves, h leaves looked at, d vector dimensions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linnaea.search.quantized_table import (
    FINER,
    PARTS,
    CoarseTable,
    ExactVectors,
    FineVectors,
    PackedCodes,
    Queries,
    forget,
    take_rows,
)
from linnaea.search.rank_intervals import largest_first

# By how much the variance within a cell may exceed the usual in the direction of an image.
CAUTION = 2.0
# Leaves of a taxon that are all read for its largest cosine; of larger ones so many cells.
READ_WHOLE = 64
MOST_PROMISING = 4
# So few rows are copied sooner than each stretch of them is multiplied by itself.
FEW_ROWS = 2048
# Rows of the exact table, up to two pages each, that stay mapped, and how many rows of second codes are read until these are let go of:
# a sweep reads nearly all of their pages, so that doing so more often keeps no peak lower, and the next sweep waits for them.
MOST_EXACT_HELD = 16384
MOST_FINE_HELD = 1 << 23


@dataclass(frozen=True)
class Candidates:
    """The candidate leaves (None: all), their cells, and what is added to their logits.

    `start_c` [c + 1] are positions among the candidates, `cell_c` the table's cell of each.
    """

    leaves: np.ndarray | None
    prior_m: np.ndarray | None
    start_c: np.ndarray
    cell_c: np.ndarray
    log_weight_c: np.ndarray

    @classmethod
    def of(cls, coarse: CoarseTable, leaves: np.ndarray | None, prior_m: np.ndarray | None) -> Candidates:
        start_c = coarse.start_c.astype(np.int64) if leaves is None else np.searchsorted(leaves, coarse.start_c)
        size_c = np.diff(start_c)
        cell_c = np.flatnonzero(size_c)
        start_c = np.append(start_c[cell_c], start_c[-1])
        if prior_m is None:
            log_weight_c = np.log(np.diff(start_c))
        else:
            largest_c = np.maximum.reduceat(prior_m, start_c[:-1]).astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                relative_m = np.nan_to_num(np.exp(prior_m - np.repeat(largest_c, np.diff(start_c))))
                log_weight_c = np.log(np.add.reduceat(relative_m, start_c[:-1])) + largest_c
        return cls(leaves, prior_m, start_c, cell_c, log_weight_c.astype(np.float32))

    def __len__(self) -> int:
        return int(self.start_c[-1])

    def rows(self, position: np.ndarray) -> np.ndarray:
        """The table's rows of candidates."""
        return position if self.leaves is None else self.leaves[position]

    def prior(self, position) -> np.ndarray | float:
        """What is added to the logits of candidates."""
        return 0.0 if self.prior_m is None else self.prior_m[position]


@dataclass(frozen=True)
class Cells:
    """Logits of one batch at the centroids [b, c], without priors, and the parts of them that the images' 8-bit codes miss, and that
    two such codes miss."""

    logit_bc: np.ndarray
    missed_bc: np.ndarray
    third_bc: np.ndarray
    variance_c: np.ndarray
    log_weight_c: np.ndarray

    def log_mass(self, image: int, caution: float = 1.0) -> np.ndarray:
        """The log of the summed exp(logit) of each cell's leaves, as the normal model has it, with that many times the variance."""
        return self.logit_bc[image] + (self.log_weight_c + (caution / 2) * self.variance_c)

    def take(self, images: np.ndarray) -> Cells:
        """The same of some of the images."""
        if len(images) == len(self.logit_bc):
            return self
        taken = (bc[images] for bc in (self.logit_bc, self.missed_bc, self.third_bc))
        return Cells(*taken, self.variance_c, self.log_weight_c)

    def upper_log_mass(self, image: int) -> np.ndarray:
        """The same with CAUTION times the usual variance."""
        return self.log_mass(image, CAUTION)


class Look:
    """What can be seen of a batch of images with the table's cells."""

    def __init__(self, coarse: CoarseTable, candidates: Candidates, logit_scale: float, pool: ThreadPoolExecutor):
        self.coarse, self.candidates, self.pool = coarse, candidates, pool
        self.scale = float(logit_scale)
        self._n_exact = self._n_fine = 0
        every = len(candidates.cell_c) == len(coarse.variance_c)
        self._centroid_cd = coarse.centroid_cd if every else coarse.centroid_cd[candidates.cell_c]
        self._centroid_scale_c = np.float32(self.scale) * coarse.centroid_scale_c[candidates.cell_c]
        self.variance_c = np.float32(self.scale**2) * coarse.variance_c[candidates.cell_c]
        # of a logit: the codes leave of each component anything within half a step alike
        self.noise = float(np.mean(np.square(self.scale * coarse.scale_n.astype(np.float64)))) / 12
        self.fine_deviation = self.noise**0.5 / FINER

    @cached_property
    def scale_m(self) -> np.ndarray:
        """What the products of each candidate's codes are multiplied by to be logits, images aside."""
        leaves, scale_n = self.candidates.leaves, self.coarse.scale_n
        return np.float32(self.scale) * (scale_n if leaves is None else scale_n[leaves])

    def cells(self, queries: Queries) -> Cells:
        """Every cell by its centroid."""
        b = len(queries)
        scale_pb, parts = queries.scale_pb.reshape(-1), queries.parts(*range(PARTS))
        logit_bc, missed_bc, third_bc = np.empty((3, b, len(self._centroid_cd)), np.float32)

        def part(rows: slice) -> None:
            dots_cp = parts.dot(self._centroid_cd[rows]).astype(np.float32)
            dots_cp *= scale_pb
            dots_cp *= self._centroid_scale_c[rows, None]
            first_cb, second_cb, third_cb = (dots_cp[:, i * b : (i + 1) * b] for i in range(PARTS))
            third_bc[:, rows] = third_cb.T
            second_cb += third_cb
            missed_bc[:, rows] = second_cb.T
            logit_bc[:, rows] = (first_cb + second_cb).T

        half = -(-len(self._centroid_cd) // 2)
        list(self.pool.map(part, (slice(0, half), slice(half, None))) if half > 1024 else map(part, [slice(None)]))
        return Cells(logit_bc, missed_bc, third_bc, self.variance_c, self.candidates.log_weight_c)

    def leaves_of(self, chosen_c: np.ndarray) -> np.ndarray:
        """Positions of the candidates in some cells, sorted."""
        chosen_c = np.sort(chosen_c)
        start = self.candidates.start_c[chosen_c]
        size = self.candidates.start_c[chosen_c + 1] - start
        return np.repeat(start - np.cumsum(size) + size, size) + np.arange(size.sum())

    def coarse_logits(
        self, codes: PackedCodes, scale: np.ndarray, chosen_c: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions [h] and logits float32 [h] of one image with the leaves of some cells."""
        coarse, candidates = self.coarse, self.candidates
        position = self.leaves_of(chosen_c)
        rows = candidates.rows(position)
        dots = np.empty(len(rows), np.float32)
        # neighbouring cells are one stretch of the table
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        if len(breaks) > 4 * len(chosen_c) or len(rows) < FEW_ROWS:
            dots[:] = codes.dot(np.take(coarse.codes_nd, rows, axis=0))[:, 0]
        else:
            for first, last in zip([0, *breaks.tolist()], [*breaks.tolist(), len(rows)], strict=True):
                row = int(rows[first])
                dots[first:last] = codes.dot(coarse.codes_nd[row : row + last - first])[:, 0]
        logits = dots * coarse.scale_n[rows] * np.float32(self.scale * float(scale))
        return position, logits + candidates.prior(position) if candidates.prior_m is not None else logits

    def exact_cosines(self, image: ExactVectors, position: np.ndarray) -> np.ndarray:
        """Cosines float32 [h] of one image with candidates, from the exact vectors."""
        if not len(position):
            return np.zeros(0, np.float32)
        self._n_exact += len(position)
        return image.dot(take_rows(self.coarse.rows_nd, self.candidates.rows(position)))[:, 0]

    def fine_cosines(self, image: FineVectors, position: np.ndarray) -> np.ndarray:
        """Cosines float32 [h] of one image with candidates, as both codes of the rows have them."""
        if not len(position):
            return np.zeros(0, np.float32)
        self.count_fine(len(position))
        coarse, rows = self.coarse, self.candidates.rows(position)
        return image.dot(*(take_rows(array, rows) for array in (coarse.codes_nd, coarse.rest_nd, coarse.scale_n)))[:, 0]

    def count_fine(self, n: int) -> None:
        """So many rows of second codes were read, and stay mapped."""
        self._n_fine += n

    def forget(self) -> None:
        """Lets go of the rows that were read, once there are many; not of the first codes, which every image passes over."""
        if self._n_exact > MOST_EXACT_HELD:
            forget(self.coarse.rows_nd)
            self._n_exact = 0
        if self._n_fine > MOST_FINE_HELD:
            forget(self.coarse.rest_nd)
            self._n_fine = 0

    def largest_cosine(self, image: FineVectors, logit_c: np.ndarray, start: int, end: int) -> float:
        """The largest cosine of one image with the candidates from `start` to `end`: of a large taxon, in those of its cells that
        promise most by their centroids' logits."""
        if end - start <= READ_WHOLE:
            return float(self.fine_cosines(image, np.arange(start, end)).max())
        first, last = np.searchsorted(self.candidates.start_c, (start, end))
        cell_c = np.arange(max(first - 1, 0) if self.candidates.start_c[first] > start else first, last)
        promise_c = logit_c[cell_c] + 3 * np.sqrt(self.variance_c[cell_c])
        largest = -np.inf
        for cell in cell_c[largest_first(promise_c, MOST_PROMISING)].tolist():
            begin, stop = (
                max(start, int(self.candidates.start_c[cell])),
                min(end, int(self.candidates.start_c[cell + 1])),
            )
            largest = max(largest, float(self.fine_cosines(image, np.arange(begin, stop)).max()))
        return largest

    def error_bound(self, queries: Queries) -> np.ndarray:
        """The most that a coarse logit of each image can be off [b]: the length of what was rounded away, on both sides."""
        return self.scale * (queries.error_b * (1 + self.coarse.row_error) + self.coarse.row_error)

    @property
    def fine_error_bound(self) -> float:
        """The same of a logit as both codes have it; what they leave of the image is nothing to what they leave of a row."""
        return 1.1 * self.scale * self.coarse.fine_error


def normal_cdf(z: np.ndarray) -> np.ndarray:
    """The chance of a normal variable below z, within .0002 (Page 1977)."""
    z = np.clip(z, -6, 6)
    return 1 / (1 + np.exp(z * (-1.5976 - 0.070566 * z * z)))
