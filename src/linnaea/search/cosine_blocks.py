"""Cosines of images with the rows of a large table: blocked matrix products in float32.

868,000 names of 768 dimensions are 1.3 GB as float16. They are mapped from disk, and one block of rows at a time is
decoded to float32 and multiplied with all images of a batch. A block is small enough to stay in the cache of its core,
so that memory is read once for each batch. A batch of 32 images costs 43 GFLOP, and the product takes most of the time.

Shape suffixes: b images, n rows of the table, m chosen rows (n, or fewer), d vector dimensions.
"""

from __future__ import annotations

import functools
import mmap
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

# Bytes of a block as float32. Measured: larger blocks leave the cache, smaller ones spend their time in calls.
BLOCK_BYTES = 6 << 20
MAX_THREADS = 8
# Blocks after which a thread releases the pages of a mapped file: pages that were read count as memory of the process.
BLOCKS_BETWEEN_RELEASES = 16

# Scattered rows after which pages are released: each maps 64 kB of a file.
SCATTERED_BLOCK = 1024

# A float16 is a float32 whose exponent is too small by 112 once its bits are in the right place.
EXPONENT_SHIFT = np.float32(2.0**112)
FLOAT16_BITS = np.int32(-0x80000000 | 0x0FFFE000)
MANTISSA_SHIFT = 13

_blas_lock = threading.RLock()


def count_threads() -> int:
    """Threads for work on one batch."""
    return min(MAX_THREADS, os.cpu_count() or 1)


def decode_float16(rows_md: np.ndarray, out_md: np.ndarray) -> np.ndarray:
    """Write finite float16 rows into `out_md` (float32) and return it: exact, and eight times as fast as `astype`."""
    bits_md = out_md.view(np.int32)
    np.copyto(bits_md, rows_md.view(np.int16))  # the sign is extended
    np.left_shift(bits_md, MANTISSA_SHIFT, out=bits_md)
    np.bitwise_and(bits_md, FLOAT16_BITS, out=bits_md)
    return np.multiply(out_md, EXPONENT_SHIFT, out=out_md)


def multiply_blocks(
    vectors_nd: np.ndarray,
    images_bd: np.ndarray,
    chosen: np.ndarray | None = None,
    out_bm: np.ndarray | None = None,
) -> np.ndarray:
    """Cosines float32 [b, m] of unit vectors with the rows of a table (float16 or float32), or with `chosen` rows.

    `chosen` is sorted. The table may be a memory map: its pages are released, so that it takes no memory. The result is
    written into `out_bm` if it has the right shape.
    """
    m, d = len(vectors_nd) if chosen is None else len(chosen), vectors_nd.shape[1]
    if out_bm is None or out_bm.shape != (len(images_bd), m):
        out_bm = np.empty((len(images_bd), m), np.float32)
    image_db = np.ascontiguousarray(images_bd, np.float32).T
    block = max(1, BLOCK_BYTES // (4 * d))
    n_threads = count_threads()

    def multiply_every(first: int) -> None:
        """Every n-th block, from the `first`."""
        buffer = np.empty((block, d), np.float32)
        for number, start in enumerate(range(first * block, m, n_threads * block)):
            part = slice(start, min(start + block, m))
            rows_md = vectors_nd[part] if chosen is None else _take_rows(vectors_nd, chosen[part])
            if rows_md.dtype == np.float16:
                rows_md = decode_float16(rows_md, buffer[: len(rows_md)])
            # BLAS is faster with the long side first: 91 against 57 GFLOP/s per core for 32 images.
            out_bm[:, part] = (rows_md.astype(np.float32, copy=False) @ image_db).T
            if number % BLOCKS_BETWEEN_RELEASES == BLOCKS_BETWEEN_RELEASES - 1:
                release_pages(vectors_nd)

    with one_blas_thread(), ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(multiply_every, range(n_threads)))
    release_pages(vectors_nd)
    return out_bm


def _take_rows(vectors_nd: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Rows: a view of neighbours, else a copy."""
    first, last = int(chosen[0]), int(chosen[-1]) + 1
    return vectors_nd[first:last] if last - first == len(chosen) else np.take(vectors_nd, chosen, axis=0)


def read_rows(vectors_nd: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The `chosen` rows float32 [m, d] of a mapped table.

    The page of a scattered row brings its neighbours into memory, so pages are released on the way.
    """
    rows_md = np.empty((len(chosen), vectors_nd.shape[1]), np.float32)
    for start in range(0, len(chosen), SCATTERED_BLOCK):
        part = slice(start, start + SCATTERED_BLOCK)
        rows_md[part] = vectors_nd[chosen[part]]
        release_pages(vectors_nd)
    return rows_md


def release_pages(mapped_nd: np.ndarray) -> None:
    """Release the pages of a mapped file, which count as memory of the process. Other arrays stay as they are."""
    mapping = getattr(mapped_nd, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


@functools.cache
def _blas_controller():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Compute products on the thread that calls them.

    BLAS threads below a pool of threads take a third more time, and waking them for a short product takes longer than
    the product. The setting is global, so one thread at a time may change it.
    """
    with _blas_lock, _blas_controller().limit(limits=1, user_api="blas"):
        yield
