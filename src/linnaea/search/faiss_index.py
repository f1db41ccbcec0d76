"""An approximate index of unit vectors on faiss (extra `search`), kept in the cache.

An inverted file: k-means divides the vectors into lists, and a query reads only the lists whose centroids are nearest
(Sivic and Zisserman 2003). Vectors are float16 in the lists. The file is mapped, so that only lists that are read take
memory.

Shape suffixes: b queries, n vectors, d vector dimensions, k nearest vectors.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from linnaea.search.cosine_blocks import read_rows, release_pages
from linnaea.store import default_cache_dir, hash_bytes, read_manifest, write_artifact

logger = logging.getLogger(__name__)

FORMAT = 1
INDEX_FILE = "index.faiss"
# Vectors per list on average, unless that gives more than MAX_LISTS lists.
LIST_SIZE = 256
MAX_LISTS = 2048
# Lists that a query reads at least, and vectors that it reads at least for each one that it returns.
MIN_PROBES = 64
READ_PER_NEIGHBOUR = 8
# Vectors per list that k-means is trained on.
TRAINING_PER_LIST = 64
TRAINING_ITERATIONS = 8
# Vectors that are added at once: 200 MB of 768 dimensions.
BLOCK = 65536
SEED = 0


class FaissIndex:
    """Finds most of the nearest vectors. `index` is a faiss index whose ids are row numbers."""

    def __init__(self, index):
        self._index = index

    @classmethod
    def build(cls, vectors_nd: np.ndarray) -> FaissIndex:
        """The index of unit vectors (float16 or float32)."""
        import faiss

        n, d = vectors_nd.shape
        n_lists = max(1, min(MAX_LISTS, n // LIST_SIZE))
        quantizer = faiss.IndexFlatIP(d)
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, d, n_lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        index.cp.spherical, index.cp.niter, index.cp.seed = True, TRAINING_ITERATIONS, SEED
        index.cp.min_points_per_centroid = 1  # no warning for a small table
        n_training = min(n, n_lists * TRAINING_PER_LIST)
        training = np.sort(np.random.default_rng(SEED).choice(n, n_training, replace=False))
        index.train(read_rows(vectors_nd, training))
        for start in range(0, n, BLOCK):
            index.add(vectors_nd[start : start + BLOCK].astype(np.float32))
            release_pages(vectors_nd)
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> FaissIndex:
        """The index in a file, mapped."""
        import faiss

        return cls(faiss.read_index(os.fspath(path), faiss.IO_FLAG_MMAP))

    def save(self, path: Path) -> None:
        """Write the index to a file."""
        import faiss

        faiss.write_index(self._index, os.fspath(path))

    def search(self, queries_bd: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.search`."""
        import faiss

        list_size = max(1, self._index.ntotal // self._index.nlist)
        n_probes = min(self._index.nlist, max(MIN_PROBES, READ_PER_NEIGHBOUR * k // list_size))
        parameters = faiss.SearchParametersIVF(nprobe=n_probes)
        scores_bk, ids_bk = self._index.search(np.ascontiguousarray(queries_bd, np.float32), k, params=parameters)
        scores_bk[ids_bk < 0] = -np.inf
        return ids_bk, scores_bk


def load_faiss_index(vectors_nd: np.ndarray, path: Path, *, cache_dir: Path | None = None) -> FaissIndex:
    """The index of the vectors in the file `path`, from the cache, where it is built once.

    The key contains the size and time of the file, because a table can gain vectors that it lacked.
    """
    stat = path.stat()
    key = hash_bytes(f"{FORMAT} {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {LIST_SIZE} {MAX_LISTS} {SEED}")
    index_dir = (cache_dir or default_cache_dir()) / "faiss" / key
    if read_manifest(index_dir) is None:
        logger.info(f"Building the search index of {len(vectors_nd):,} vectors, once …")
        manifest = {"kind": "faiss", "n": vectors_nd.shape[0], "d": vectors_nd.shape[1]}
        with write_artifact(index_dir, manifest, owned=True) as temporary_dir:
            FaissIndex.build(vectors_nd).save(temporary_dir / INDEX_FILE)
    return FaissIndex.load(index_dir / INDEX_FILE)
