"""The name table of a whole vocabulary: made once, kept in the cache, loaded for scoring.

Shape suffixes: b images, n leaves, d vector dimensions.
"""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path

import numpy as np

from linnaea.embed.names.chunked_embedding import CHUNK_WEIGHTS, count_text_weights, embed_in_chunks
from linnaea.embed.names.genus_first_table import GenusFirstTable
from linnaea.embed.names.text_embedding import uses_common_names
from linnaea.model.core.contract import Model
from linnaea.records import RANKS
from linnaea.search.cosine_blocks import multiply_blocks
from linnaea.search.faiss_index import FaissIndex, load_faiss_index
from linnaea.store import (
    ROWS,
    VECTORS,
    check_replaceable,
    default_cache_dir,
    hash_bytes,
    read_manifest,
    write_artifact,
)
from linnaea.taxonomy.tree import Tree

FORMAT = 1
MODES = ("full", "staged", "auto")


def map_vectors(path: Path, mode: str = "r") -> np.ndarray:
    """A memory map of the matrix of a finished table. Raise ValueError that names the file if it is damaged."""
    try:
        return np.load(path, mmap_mode=mode)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is not a complete .npy file ({error}); remove the folder {path.parent} and run again"
        ) from None


class FullTable:
    """Every leaf's vector, rounded to float16 (or float32 as published)."""

    kind = "full"

    def __init__(self, path: Path, manifest: dict):
        self.manifest = manifest
        self._path = path
        self._cosine_bn: np.ndarray | None = None

    @property
    def n_leaves(self) -> int:
        """Number of rows."""
        return len(self.vectors_nd)

    @cached_property
    def vectors_nd(self) -> np.ndarray:
        """Unit rows [n, d] in leaf order, float16 or float32: a read-only memory map of the file."""
        return map_vectors(self._path)

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, n] with all leaves, or with the sorted `leaves`, valid until the next call.

        The memory is reused: with a million leaves, new memory for every batch takes 1.6 ms per image.
        """
        self._cosine_bn = multiply_blocks(self.vectors_nd, image_vectors_bd, leaves, self._cosine_bn)
        return self._cosine_bn

    def open_index(self) -> FaissIndex:
        """The approximate index of the rows, built once and kept in the cache."""
        return load_faiss_index(self.vectors_nd, self._path)


def table_dir(model: Model, vocabulary, cache_dir: Path | None = None) -> Path:
    """The folder for the full table of this model and vocabulary."""
    parts = [str(FORMAT), model.card.hash, vocabulary.hash, model.card.text_type, *model.card.templates]
    if uses_common_names(model):
        parts.append(vocabulary.common_names_hash)
    return (cache_dir or default_cache_dir()) / "names" / hash_bytes(*parts)


def table_manifest(model: Model, vocabulary) -> dict:
    """The manifest of a table of names: how it was made."""
    return {
        "kind": "vectors",
        "of": "names",
        "unit": True,
        "model": model.card.name,
        "model_hash": model.card.hash,
        "vocabulary": vocabulary.hash,
        "text_type": model.card.text_type,
        "templates": list(model.card.templates),
        "logit_scale": model.card.logit_scale,
        "n": vocabulary.tree.n_leaves,
        "d": model.card.dim,
    }


def make_table(model: Model, vocabulary, cache_dir: Path | None = None, *, out_dir: Path | None = None) -> Path:
    """Embed every leaf into a vectors artifact unless it exists; return its folder.

    The folder is `out_dir`, or one in the cache. A stopped run resumes. Raise ValueError if `out_dir` holds something
    else.
    """
    directory = table_dir(model, vocabulary, cache_dir) if out_dir is None else Path(out_dir)
    manifest = table_manifest(model, vocabulary)
    if (found := read_manifest(directory)) is not None and (out_dir is None or found == manifest):
        return directory
    if out_dir is not None:
        check_replaceable(directory, manifest["kind"])
    # The folder is named after the content, so that chunks of another model are never used.
    part_dir = directory.with_name(f"{directory.name}.{table_dir(model, vocabulary).name}.part")
    leaves = np.arange(vocabulary.tree.n_leaves)
    for _ in embed_in_chunks(model, vocabulary, leaves, part_dir):
        pass
    with write_artifact(directory, manifest, owned=out_dir is None) as temporary_dir:
        shape = (len(leaves), model.card.dim)
        vectors_nd = np.lib.format.open_memmap(temporary_dir / VECTORS, "w+", np.float16, shape)
        for start, chunk_nd in embed_in_chunks(model, vocabulary, leaves, part_dir):
            vectors_nd[start : start + len(chunk_nd)] = chunk_nd
        vectors_nd.flush()
        del vectors_nd
        _write_rows(temporary_dir / ROWS, vocabulary.tree)
    shutil.rmtree(part_dir, ignore_errors=True)
    return directory


def _write_rows(path: Path, tree: Tree) -> None:
    """Write the rank and name of each leaf."""
    import polars as pl

    nodes = tree.leaf_node_n
    rows = {"rank": [RANKS[rank] for rank in tree.rank_k[nodes]], "name": [tree.name(int(node)) for node in nodes]}
    pl.DataFrame(rows).write_parquet(path)


def load_name_table(
    model: Model, vocabulary, *, mode: str = "full", cache_dir: Path | None = None
) -> FullTable | GenusFirstTable:
    """The vectors of a vocabulary's names.

    Mode `full` makes the exact table if it does not exist; `staged` returns a `GenusFirstTable`; `auto` returns the
    full table if it is in the cache or takes minutes to make, else a `GenusFirstTable`.
    """
    if mode not in MODES:
        raise ValueError(f"unknown table mode {mode!r}; choose full, staged or auto")
    directory = table_dir(model, vocabulary, cache_dir)
    is_slow = count_text_weights(model) > CHUNK_WEIGHTS
    if mode == "staged" or (mode == "auto" and is_slow and read_manifest(directory) is None):
        common_name = vocabulary.common_name if uses_common_names(model) else None
        return GenusFirstTable(model, vocabulary.tree, common_name=common_name)
    make_table(model, vocabulary, cache_dir)
    return FullTable(directory / VECTORS, {**read_manifest(directory), "kind": "full"})
