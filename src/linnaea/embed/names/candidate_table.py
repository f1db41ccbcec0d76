"""Exact vectors of few candidates, where the table of all names is not there: a clade or a list costs what it holds.

Shape suffixes: b images, m candidates, d vector dimensions.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from linnaea.embed.names.name_table import Report, embed_in_chunks, table_dir, table_manifest
from linnaea.model.core.contract import Model
from linnaea.store import VECTORS, hash_bytes, read_manifest, write_artifact

# So many names take seconds, or a minute or two of a large tower; the genera alone of the default vocabulary are eight times as many.
FEW = 16384


class ChosenTable:
    """The vectors of some leaves and of no other, rounded to float16 as a full table's are."""

    kind = "full"

    def __init__(self, leaves: np.ndarray, vectors_md: np.ndarray, manifest: dict):
        self.leaves, self.manifest = leaves, manifest
        self._vectors_md = vectors_md.astype(np.float32)

    @property
    def n_leaves(self) -> int:
        return len(self.leaves)

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, m] with all candidates, or with those given (sorted, all of them candidates)."""
        vectors_md = self._vectors_md
        if leaves is not None and len(leaves) != len(self.leaves):
            vectors_md = vectors_md[np.searchsorted(self.leaves, leaves)]
        return image_vectors_bd.astype(np.float32, copy=False) @ vectors_md.T


def load_chosen(
    model: Model, vocabulary, leaves: np.ndarray, *, cache_dir: Path | None = None, report: Report | None = None
) -> ChosenTable:
    """The vectors of `leaves` (sorted), embedded unless they are in the cache; a run that is killed at it goes on."""
    whole = table_dir(model, vocabulary, cache_dir)
    key = hash_bytes("chosen", whole.name, np.asarray(leaves, np.int64).tobytes())
    directory = whole.with_name(key)
    if read_manifest(directory) is None:
        part_dir = directory.with_name(f"{key}.part")
        chunks = [chunk_md for _, chunk_md in embed_in_chunks(model, vocabulary, leaves, part_dir, report)]
        manifest = table_manifest(model, vocabulary) | {"chosen": len(leaves)}
        with write_artifact(directory, manifest, owned=True) as folder:
            np.save(folder / VECTORS, np.concatenate(chunks))
        shutil.rmtree(part_dir, ignore_errors=True)
    return ChosenTable(leaves, np.load(directory / VECTORS), read_manifest(directory))
