"""Exact vectors of a few candidates where the full table is missing: a clade or a list costs only its own names.

Shape suffixes: b images, m candidates, d vector dimensions.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from linnaea.embed.names.chunked_embedding import embed_in_chunks
from linnaea.embed.names.name_table import table_dir, table_manifest
from linnaea.model.core.contract import Model
from linnaea.store import VECTORS, hash_bytes, read_manifest, write_artifact

# Embedding this many names takes seconds, or a minute or two with a large text encoder. The genera of the default
# vocabulary alone are eight times as many.
MAX_CANDIDATES = 16384


class CandidateNameTable:
    """The vectors of some leaves only, rounded to float16 like those of a full table."""

    kind = "full"

    def __init__(self, leaves: np.ndarray, vectors_md: np.ndarray, manifest: dict):
        self.leaves, self.manifest = leaves, manifest
        self._vectors_md = vectors_md.astype(np.float32)

    @property
    def n_leaves(self) -> int:
        """Number of candidates."""
        return len(self.leaves)

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, m] with all candidates, or with the sorted `leaves`, which must be candidates."""
        vectors_md = self._vectors_md
        if leaves is not None and len(leaves) != len(self.leaves):
            vectors_md = vectors_md[np.searchsorted(self.leaves, leaves)]
        return image_vectors_bd.astype(np.float32, copy=False) @ vectors_md.T


def load_candidate_table(
    model: Model, vocabulary, leaves: np.ndarray, *, cache_dir: Path | None = None
) -> CandidateNameTable:
    """The vectors of the sorted `leaves`, embedded unless they are in the cache. A stopped run resumes."""
    full_dir = table_dir(model, vocabulary, cache_dir)
    key = hash_bytes("chosen", full_dir.name, np.asarray(leaves, np.int64).tobytes())
    candidate_dir = full_dir.with_name(key)
    if read_manifest(candidate_dir) is None:
        part_dir = candidate_dir.with_name(f"{key}.part")
        chunks = [chunk_md for _, chunk_md in embed_in_chunks(model, vocabulary, leaves, part_dir)]
        manifest = table_manifest(model, vocabulary) | {"chosen": len(leaves)}
        with write_artifact(candidate_dir, manifest, owned=True) as temporary_dir:
            np.save(temporary_dir / VECTORS, np.concatenate(chunks))
        shutil.rmtree(part_dir, ignore_errors=True)
    return CandidateNameTable(leaves, np.load(candidate_dir / VECTORS), read_manifest(candidate_dir))
