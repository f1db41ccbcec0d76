"""An 8-bit copy of a name table and its cells: what scoring looks at before it reads the exact vectors.

Reading bounds the search for one image: 868,000 names of 768 dimensions are 2.7 GB in float32 and .67 GB here. Each row is
rounded with a scale of its own, so that a logit is off by the rounding of 768 components, which are as good as independent of
each other and of the image. What the codes leave is kept as codes of their own, of steps 254 times smaller, for the rows that
matter. Cells are some dozens of neighbouring leaves in the tree's order, whole genera where they fit, with their centroid: a map
of the whole table in a fiftieth of its bytes.

Made once from a table and kept in the cache; loading maps the files. Products of 8-bit rows are whole numbers, so an image's
do not depend on the batch that it is in.

Shape suffixes: b images, n leaves, m some of them, c cells, d vector dimensions.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from linnaea.records import RANKS
from linnaea.store import default_cache_dir, hash_bytes, read_manifest, write_artifact
from linnaea.taxonomy.tree import Tree

FORMAT = 3
ARRAYS = (
    "codes_nd",
    "rest_nd",
    "scale_n",
    "start_c",
    "centroid_cd",
    "centroid_scale_c",
    "variance_c",
    "piece_start_p",
    "piece_pd",
    "piece_scale_p",
)
# Leaves of a cell at most.
CELL_LEAVES = 64
# Rows that are multiplied at a time, and cells that are made at a time: they stay in a core's own cache.
BLOCK = 8192
CELLS_AT_ONCE = 8
# Blocks of exact rows that stay in memory: 200 MB of 768 dimensions.
BLOCKS_HELD = 16
MAX_THREADS = 8
LARGEST = 127
# Codes of what the first codes leave, at most half a step, reach to LARGEST, too.
FINER = 2 * LARGEST
# Codes an image is kept in, one after the other: together as good as float32.
PARTS = 3
# float32 holds whole numbers up to 2^24: sums of so many products of two 8-bit numbers.
MOST_IN_FLOAT32 = (1 << 24) // LARGEST**2
# float16 keeps 11 bits; what it leaves of a component is kept in a second one, this much larger.
LOW_PART = 2048.0
Report = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class CoarseTable:
    """`vectors_nd`, the exact unit rows (a map; `rows_nd` is another, for reading rows here and there), and their coarse copy.

    Row i is nearly `codes_nd[i] * scale_n[i]` (int8, float32), with an error of at most `row_error` in length, and still more
    nearly that plus `rest_nd[i] * scale_n[i] / FINER` (int8), within `fine_error`. Cell i holds
    the leaves from `start_c[i]` to `start_c[i + 1]` (int32 [c + 1]); its centroid is nearly `centroid_cd[i] *
    centroid_scale_c[i]`, and `variance_c` is the mean square of its rows' distances from it, over d. Pieces are the parts of cells
    that belong to one genus; `piece_start_p`, `piece_pd` and `piece_scale_p` are theirs.
    """

    vectors_nd: np.ndarray
    rows_nd: np.ndarray
    codes_nd: np.ndarray
    rest_nd: np.ndarray
    scale_n: np.ndarray
    start_c: np.ndarray
    centroid_cd: np.ndarray
    centroid_scale_c: np.ndarray
    variance_c: np.ndarray
    piece_start_p: np.ndarray
    piece_pd: np.ndarray
    piece_scale_p: np.ndarray
    row_error: float

    @property
    def n_leaves(self) -> int:
        return len(self.codes_nd)

    @cached_property
    def fine_error(self) -> float:
        """The most that a row is off, in length, as both its codes have it."""
        return float(self.scale_n.max(initial=0)) / (2 * FINER) * self.codes_nd.shape[1] ** 0.5


class Queries:
    """Image vectors float32 [b, d], rounded as the table's rows are: 8-bit codes with the scale `scale_b`, and what these leave
    (`error_b` in length) as two more parts, each in steps FINER than the one before."""

    def __init__(self, vectors_bd: np.ndarray):
        self.vectors_bd = np.ascontiguousarray(vectors_bd, np.float32)
        codes_bd, self.scale_b = round_rows(self.vectors_bd)
        self.scale_pb = self.scale_b / np.float32(FINER) ** np.arange(PARTS, dtype=np.float32)[:, None]
        codes, rest_bd = [codes_bd], self.vectors_bd - codes_bd * self.scale_b[:, None]
        self.error_b = np.linalg.norm(rest_bd, axis=1)
        for scale_b in self.scale_pb[1:]:
            codes.append(np.rint(rest_bd / scale_b[:, None]).clip(-LARGEST, LARGEST).astype(np.int8))
            rest_bd = rest_bd - codes[-1] * scale_b[:, None]
        self._codes_pbd = np.stack(codes)

    @cached_property
    def codes(self) -> PackedCodes:
        """The codes of all images."""
        return PackedCodes(self._codes_pbd[0])

    @property
    def first_bd(self) -> np.ndarray:
        """The codes of all images, int8 [b, d]."""
        return self._codes_pbd[0]

    def parts(self, *which: int) -> PackedCodes:
        """Some parts of all images, part by part; always packed."""
        return PackedCodes(self._codes_pbd[list(which)].reshape(-1, self._codes_pbd.shape[2]), packed=True)

    def __len__(self) -> int:
        return len(self.vectors_bd)

    def one(self, image: int) -> PackedCodes:
        """The codes of one image."""
        return PackedCodes(self._codes_pbd[0, image : image + 1])

    def missed(self, image: int, codes_md: np.ndarray) -> np.ndarray:
        """Products float32 [m] of 8-bit rows with what the codes leave of an image."""
        return PackedCodes(self._codes_pbd[1:, image]).dot(codes_md).astype(np.float32) @ self.scale_pb[1:, image]

    def fine(self, images: slice) -> FineVectors:
        """Some images for products with both codes of rows."""
        return FineVectors(self._codes_pbd[:, images], self.scale_pb[:, images])

    def exact(self, image: int) -> ExactVectors:
        """One image, not rounded."""
        return ExactVectors(self.vectors_bd[image : image + 1])

    def take(self, images: np.ndarray) -> Queries:
        """Some of the images."""
        return self if len(images) == len(self) else Queries(self.vectors_bd[images])


class PackedCodes:
    """8-bit vectors [b, d], laid out for products with many rows."""

    def __init__(self, codes_bd: np.ndarray, *, packed: bool = False):
        import numkong

        self.b, d = codes_bd.shape
        self._codes_bd = np.ascontiguousarray(codes_bd)
        self._packed = numkong.dots_pack(self._codes_bd) if packed or self.b > 1 else None
        self._out_type = "float32" if d <= MOST_IN_FLOAT32 else "float64"

    def dot(self, rows_md: np.ndarray, out_mb: np.ndarray | None = None) -> np.ndarray:
        """Whole numbers [m, b], int32 or float: the products with 8-bit rows, each contiguous; `out_mb` int32 if packed."""
        import numkong

        if out_mb is not None:
            return np.asarray(numkong.dots_packed(rows_md, self._packed, out=numkong.from_dlpack(out_mb)))
        if self._packed is not None:
            return np.asarray(numkong.dots_packed(rows_md, self._packed))
        # the packed product of a single vector reaches three quarters of this one's speed
        return np.asarray(numkong.cdist(self._codes_bd, rows_md, metric="dot", out_dtype=self._out_type)).reshape(-1, 1)


class FineVectors:
    """Image vectors for products with both codes of rows: codes int8 [p, b, d] and scales [p, b] of each part."""

    def __init__(self, codes_pbd: np.ndarray, scale_pb: np.ndarray):
        d = codes_pbd.shape[2]
        self._codes = PackedCodes(codes_pbd.reshape(-1, d))
        # the rest of a row is so small that the last part of an image is nothing to it
        self._rest = PackedCodes(codes_pbd[:-1].reshape(-1, d))
        self._scale_pb = scale_pb.astype(np.float32)

    def dot(self, codes_md: np.ndarray, rest_md: np.ndarray, scale_m: np.ndarray) -> np.ndarray:
        """Cosines float32 [m, b] with rows, but for what their codes leave."""
        value_mb = self._sum(self._rest.dot(rest_md), self._scale_pb[:-1] / np.float32(FINER))
        value_mb += self._sum(self._codes.dot(codes_md), self._scale_pb)
        value_mb *= scale_m[:, None]
        return value_mb

    @staticmethod
    def _sum(dots_mp: np.ndarray, scale_pb: np.ndarray) -> np.ndarray:
        """The parts of each image, added up from the smallest."""
        b = scale_pb.shape[1]
        value_mb = np.zeros((len(dots_mp), b), np.float32)
        for part in reversed(range(len(scale_pb))):
            of_part = dots_mp[:, part * b : (part + 1) * b].astype(np.float32)
            of_part *= scale_pb[part]
            value_mb += of_part
        return value_mb


class ExactVectors:
    """Image vectors [b, d] for products with rows as they are kept, each image in two float16 parts."""

    def __init__(self, vectors_bd: np.ndarray):
        import numkong

        self._vectors_bd = np.ascontiguousarray(vectors_bd, np.float32)
        high_bd = self._vectors_bd.astype(np.float16)
        low_bd = ((self._vectors_bd - high_bd) * np.float32(LOW_PART)).astype(np.float16)
        self._packed = numkong.dots_pack(
            np.ascontiguousarray(np.stack([high_bd, low_bd], 1).reshape(-1, high_bd.shape[1]))
        )

    def dot(self, rows_md: np.ndarray) -> np.ndarray:
        """Cosines float32 [m, b], as good as a float32 product."""
        import numkong

        if rows_md.dtype != np.float16:
            return rows_md.astype(np.float32, copy=False) @ self._vectors_bd.T
        parts_mb2 = np.asarray(numkong.dots_packed(rows_md, self._packed)).reshape(len(rows_md), -1, 2)
        return parts_mb2[:, :, 0] + parts_mb2[:, :, 1] / np.float32(LOW_PART)


def exact_cosines(
    vectors_nd: np.ndarray, image_vectors_bd: np.ndarray, leaves: np.ndarray | None, pool: ThreadPoolExecutor
) -> np.ndarray:
    """Cosines float32 [b, m] of images with all rows of a table, or with a sorted subset of them."""
    images = ExactVectors(image_vectors_bd)
    m = len(vectors_nd) if leaves is None else len(leaves)
    out_bm = np.empty((len(image_vectors_bd), m), np.float32)

    def block(start: int) -> None:
        part = slice(start, min(start + BLOCK, m))
        rows_md = vectors_nd[part] if leaves is None else take_rows(vectors_nd, leaves[part])
        out_bm[:, part] = images.dot(rows_md).T
        if start // BLOCK % BLOCKS_HELD == BLOCKS_HELD - 1:
            forget(vectors_nd)

    list(pool.map(block, range(0, m, BLOCK)))
    forget(vectors_nd)
    return out_bm


def forget(mapped_nd: np.ndarray) -> None:
    """Lets go of the pages of a mapped file: what a map has touched counts as memory of the process. Other arrays stay."""
    mapping = getattr(mapped_nd, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def map_rows(path: Path) -> np.ndarray:
    """A `.npy` file mapped for reading rows here and there: a page at a time, without its neighbours."""
    mapped_nd = np.load(path, mmap_mode="r")
    if hasattr(mmap, "MADV_RANDOM"):
        mapped_nd._mmap.madvise(mmap.MADV_RANDOM)
    return mapped_nd


def take_rows(array_nd: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows, sorted: a view where they are neighbours, else a copy."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    return array_nd[first:last] if last - first == len(rows) else np.take(array_nd, rows, axis=0)


def round_rows(vectors_nd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes int8 [n, d], -127 to 127, and the float32 scale [n] of each row (1 for a row of zeros)."""
    scale_n = np.abs(vectors_nd).max(axis=1, initial=0.0) / np.float32(LARGEST)
    scale_n = np.where(scale_n > 0, scale_n, 1).astype(np.float32)
    return np.rint(vectors_nd / scale_n[:, None]).astype(np.int8), scale_n


def cell_starts(tree: Tree, most: int = CELL_LEAVES) -> np.ndarray:
    """int32 [c + 1], where cells begin, and the number of leaves: genera and parts of large ones, joined with their
    neighbours of the same family, then order …, as long as they stay within `most` leaves."""
    genus = tree.start_k[tree.nodes_at("genus")]
    start = np.unique(np.concatenate([[0], genus, tree.end_k[tree.nodes_at("genus")]]))
    start = start[start < tree.n_leaves].astype(np.int64)
    size = np.diff(start, append=tree.n_leaves)
    n_parts = -(-size // most)
    first = np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    part = np.arange(n_parts.sum()) - first
    start = np.repeat(start, n_parts) + part * np.repeat(size, n_parts) // np.repeat(n_parts, n_parts)
    for rank in (*RANKS[RANKS.index("family") :: -1], ""):
        group = (
            np.searchsorted(tree.start_k[tree.nodes_at(rank)], start, side="right")
            if rank
            else np.zeros(len(start), int)
        )
        start = _join(start, group, tree.n_leaves, most)
    return np.append(start, tree.n_leaves).astype(np.int32)


def _join(start: np.ndarray, group: np.ndarray, n_leaves: int, most: int) -> np.ndarray:
    """The starts that stay when neighbours of one group are joined, from the left, up to `most` leaves."""
    kept, joined, last = [], 0, None
    sizes = np.diff(start, append=n_leaves).tolist()
    for begin, size, of in zip(start.tolist(), sizes, group.tolist(), strict=True):
        if of == last and joined + size <= most:
            joined += size
        else:
            kept.append(begin)
            joined, last = size, of
    return np.array(kept, np.int64)


def build_coarse(
    vectors_nd: np.ndarray,
    tree: Tree,
    codes_nd: np.ndarray | None = None,
    rest_nd: np.ndarray | None = None,
    report: Report | None = None,
) -> CoarseTable:
    """The coarse copy of unit rows in the tree's order; `codes_nd` and `rest_nd` are where the codes are written, if given."""
    n, d = vectors_nd.shape
    start_c = cell_starts(tree)
    genera = tree.nodes_at("genus")
    piece_start_p = np.unique(np.concatenate([start_c, tree.start_k[genera], tree.end_k[genera]])).astype(np.int32)
    piece_c = np.searchsorted(piece_start_p, start_c)
    piece_pd, piece_scale_p = (
        np.empty((len(piece_start_p) - 1, d), np.int8),
        np.empty(len(piece_start_p) - 1, np.float32),
    )
    n_cells = len(start_c) - 1
    codes_nd = np.empty((n, d), np.int8) if codes_nd is None else codes_nd
    rest_nd = np.empty((n, d), np.int8) if rest_nd is None else rest_nd
    scale_n, variance_c = np.empty(n, np.float32), np.empty(n_cells, np.float32)
    centroid_cd, centroid_scale_c = np.empty((n_cells, d), np.int8), np.empty(n_cells, np.float32)

    def part(first: int) -> tuple[int, float]:
        cells = slice(first, min(first + CELLS_AT_ONCE, n_cells))
        begin, end = int(start_c[cells.start]), int(start_c[cells.stop])
        rows_nd = vectors_nd[begin:end].astype(np.float32)
        codes_nd[begin:end], scale_n[begin:end] = round_rows(rows_nd)
        size = np.diff(start_c[cells.start : cells.stop + 1]).astype(np.float32)
        local = start_c[cells] - begin
        mean_cd = np.add.reduceat(rows_nd, local, axis=0) / size[:, None]
        centroid_cd[cells], centroid_scale_c[cells] = round_rows(mean_cd)
        pieces = slice(int(piece_c[cells.start]), int(piece_c[cells.stop]))
        sum_pd = np.add.reduceat(rows_nd, piece_start_p[pieces] - begin, axis=0)
        sum_pd /= np.diff(piece_start_p[pieces.start : pieces.stop + 1])[:, None]
        piece_pd[pieces], piece_scale_p[pieces] = round_rows(sum_pd)
        square_n = np.einsum("nd,nd->n", rows_nd, rows_nd)
        square_c = np.add.reduceat(square_n, local) / size - np.einsum("cd,cd->c", mean_cd, mean_cd)
        variance_c[cells] = np.maximum(square_c, 0) / d
        rows_nd -= codes_nd[begin:end] * scale_n[begin:end, None]
        rest_nd[begin:end] = np.rint(rows_nd / (scale_n[begin:end, None] / FINER)).clip(-LARGEST, LARGEST)
        return end - begin, float(np.einsum("nd,nd->n", rows_nd, rows_nd).max())

    done, largest = 0, 0.0
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        for n_rows, square in pool.map(part, range(0, n_cells, CELLS_AT_ONCE)):
            done, largest = done + n_rows, max(largest, square)
            if report:
                report(done, n)
    return CoarseTable(
        vectors_nd=vectors_nd,
        rows_nd=vectors_nd,
        codes_nd=codes_nd,
        rest_nd=rest_nd,
        scale_n=scale_n,
        start_c=start_c,
        centroid_cd=centroid_cd,
        centroid_scale_c=centroid_scale_c,
        variance_c=variance_c,
        piece_start_p=piece_start_p,
        piece_pd=piece_pd,
        piece_scale_p=piece_scale_p,
        row_error=largest**0.5,
    )


def load_coarse(
    vectors_nd: np.ndarray, tree: Tree, path: Path, *, cache_dir: Path | None = None, report: Report | None = None
) -> CoarseTable:
    """The coarse copy of the table that `path` holds, mapped from the cache; made if it is not there.

    The place is named for the file's size and time, since vectors that a table lacked may be filled in, and for the tree's cells.
    """
    stat = path.stat()
    stamp = f"{FORMAT} {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {CELL_LEAVES}"
    key = hash_bytes(stamp, tree.rank_k.tobytes(), tree.start_k.tobytes(), tree.end_k.tobytes())
    directory = (cache_dir or default_cache_dir()) / "coarse" / key
    if read_manifest(directory) is None:
        _make(directory, vectors_nd, tree, report)
    arrays = {
        name: np.load(directory / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in ARRAYS if name != "rest_nd"
    }
    arrays["rest_nd"] = map_rows(directory / "rest_nd.npy")
    row_error = read_manifest(directory)["row_error"]
    return CoarseTable(vectors_nd=vectors_nd, rows_nd=map_rows(path), row_error=row_error, **arrays)


def _make(directory: Path, vectors_nd: np.ndarray, tree: Tree, report: Report | None) -> None:
    manifest = {"kind": "coarse", "n": vectors_nd.shape[0], "d": vectors_nd.shape[1]}
    with write_artifact(directory, manifest, owned=True) as folder:
        both = [
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.int8, vectors_nd.shape) for name in ARRAYS[:2]
        ]
        coarse = build_coarse(vectors_nd, tree, *both, report)
        for mapped_nd in both:
            mapped_nd.flush()
        for name in ARRAYS[2:]:
            np.save(folder / f"{name}.npy", getattr(coarse, name))
        manifest["row_error"] = coarse.row_error
