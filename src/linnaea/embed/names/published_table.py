"""Published name vectors: pybioclip's `txt_emb_*.npy`, float32 [d, c], with the `.json` of its names.

The matrix is converted once, in the cache, into a table in leaf order: the vectors of a clade are then one slice, and a
run maps the file in milliseconds. The numbers stay float32 as published: rounding to float16 changes probabilities by
up to 1e-3 at the temperature of these models. Leaves without a usable column (missing, all zeros, not finite) are
embedded by the model when they are candidates, with the common names of the published file.

Shape suffixes: c columns, n leaves, d vector dimensions.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np

from linnaea.embed.names.chunked_embedding import embed_in_chunks
from linnaea.embed.names.name_table import FullTable, map_vectors, table_manifest
from linnaea.model.core.contract import Model
from linnaea.records import RANKS
from linnaea.store import VECTORS, atomic_path, default_cache_dir, hash_bytes, read_manifest, write_artifact

logger = logging.getLogger(__name__)

FORMAT = 2
SPECIES_STEM = "txt_emb_species"
STEMS = "txt_emb_*.npy"
HUB_FOLDER = "embeddings"
MISSING = "missing.npy"
# Columns in memory at once: 50 MB of a matrix of 768 dimensions.
BLOCK = 16384
# Names that a message lists.
SHOWN = 3
# Names without a vector that a manifest lists.
MAX_LISTED = 1000


class PublishedTable(FullTable):
    """A table of published vectors. `missing` int64: leaves without a vector yet (rows of zeros, never candidates)."""

    kind = "published"

    def __init__(self, published_dir: Path, manifest: dict):
        super().__init__(published_dir / VECTORS, manifest)
        self.missing = np.load(published_dir / MISSING)

    @property
    def facts(self) -> dict:
        """Facts for the manifest of a run: the file, and its names that have no vector."""
        return {key: self.manifest[key] for key in ("published", "n_without_vector", "without_vector")}


def published_files(path: Path) -> tuple[Path, Path]:
    """The paths of the matrix and of its names. `path` is one of the two files, or a folder (of a model) with both.

    Raise FileNotFoundError that names the missing file.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = _find_matrix(path)
    elif path.suffix not in (".npy", ".json"):
        raise FileNotFoundError(
            f"{path} is neither a folder of name vectors nor a .npy file with the .json file of its names"
        )
    matrix_path, names_path = path.with_suffix(".npy"), path.with_suffix(".json")
    for needed in (matrix_path, names_path):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed} does not exist; name vectors are a .npy file and a .json file of the same name"
            )
    return matrix_path, names_path


def _find_matrix(folder_dir: Path) -> Path:
    """The matrix in a folder or in its hub folder: `txt_emb_species.npy`, else the only `txt_emb_*.npy`."""
    for candidate_dir in (folder_dir, folder_dir / HUB_FOLDER):
        if (candidate_dir / f"{SPECIES_STEM}.npy").exists():
            return candidate_dir / f"{SPECIES_STEM}.npy"
        found = sorted(candidate_dir.glob(STEMS))
        if len(found) > 1:
            raise FileNotFoundError(
                f"{candidate_dir} contains {', '.join(file.name for file in found)}; give one of these files"
            )
        if found:
            return found[0]
    return folder_dir / f"{SPECIES_STEM}.npy"


def published_beside(model: Model) -> Path | None:
    """The matrix in the folder that the model was loaded from, or None."""
    directory = getattr(model, "checkpoint_dir", None)
    path = None if directory is None else Path(directory) / HUB_FOLDER / f"{SPECIES_STEM}.npy"
    return path if path is not None and path.is_file() and path.with_suffix(".json").is_file() else None


def open_matrix(matrix_path: Path, n_names: int, model: Model) -> np.ndarray:
    """The matrix [d, c], memory-mapped. Raise ValueError if it does not fit the model or the names."""
    try:
        matrix_dc = np.load(matrix_path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{matrix_path} is not a complete .npy file ({error}); download it again") from None
    if matrix_dc.ndim != 2 or matrix_dc.dtype.kind != "f":
        raise ValueError(
            f"{matrix_path} contains {matrix_dc.dtype} of shape {matrix_dc.shape}; it must be a float matrix "
            "[dimensions, names]"
        )
    if matrix_dc.shape[0] != model.card.dim:
        raise ValueError(
            f"{matrix_path} has vectors of {matrix_dc.shape[0]} dimensions, but the model {model.card.name} has "
            f"{model.card.dim}; give the vectors that belong to the model"
        )
    if matrix_dc.shape[1] != n_names:
        raise ValueError(
            f"{matrix_path} has {matrix_dc.shape[1]:,} columns, but its .json file has {n_names:,} names; "
            "download both again"
        )
    return matrix_dc


def zero_columns(matrix_dc: np.ndarray) -> np.ndarray:
    """Sorted int64 columns that are all zeros: names that the publisher listed but never embedded."""
    zero = np.flatnonzero(matrix_dc[0] == 0)
    for row in matrix_dc[1:]:
        if not len(zero):
            break
        zero = zero[row[zero] == 0]
    return zero


def _leaf_names(tree):
    """A polars frame with the columns of RANKS, one row per leaf, "" for a missing rank."""
    import polars as pl

    names = pl.Series([*tree.names, ""], dtype=pl.String)
    columns = {}
    for rank in RANKS:
        nodes = tree.nodes_at(rank)
        # Taxa of one rank are disjoint intervals: the last that starts before a leaf contains it, or no taxon does.
        last = np.searchsorted(tree.start_k[nodes], np.arange(tree.n_leaves), side="right") - 1
        node_n = nodes[np.maximum(last, 0)] if len(nodes) else np.zeros(tree.n_leaves, np.int64)
        inside = (last >= 0) & (np.arange(tree.n_leaves) < tree.end_k[node_n])
        columns[rank] = names.gather(np.where(inside, node_n, len(names) - 1))
    return pl.DataFrame(columns)


def match_columns(tree, names, zero: np.ndarray) -> np.ndarray:
    """int64 [n], the column of each leaf, -1 if it has none.

    `names` is a polars frame of the columns' lineages, species as full binomials; columns in `zero` are ignored. A leaf
    gets the first column with its lineage. Among the columns that remain, a unique one with the same higher lineage and
    epithet is next (the genus was revised, the binomial was not), then a unique one with the same species name and
    kingdom.
    """
    import polars as pl

    ranks, epithet = list(RANKS), pl.col("species").str.replace(r"^\S+ ", "").alias("epithet")
    columns = names.select(pl.col(ranks).str.strip_chars()).with_row_index("column").with_columns(epithet)
    columns = columns.filter(~pl.col("column").is_in(zero.tolist())).unique(ranks, keep="first", maintain_order=True)
    leaves = _leaf_names(tree).with_row_index("leaf").with_columns(epithet)
    column_n = np.full(tree.n_leaves, -1, np.int64)
    for keys in (ranks, [*ranks[:-1], "epithet"], ["kingdom", "species"]):
        free = ~pl.col("column").is_in(np.unique(column_n))
        named = (pl.col("species") != "") | (keys == ranks)
        single = columns.filter(free, named).filter(pl.len().over(keys) == 1)
        waiting = leaves.filter(pl.Series(column_n < 0), named)
        if keys != ranks:  # homonyms among the leaves stay unmatched
            waiting = waiting.filter(pl.struct(ranks).n_unique().over(keys) == 1)
        pairs = waiting.join(single.select(*keys, "column"), on=keys)
        column_n[pairs["leaf"].to_numpy()] = pairs["column"].to_numpy()
    return column_n


def _write_rows(path: Path, matrix_dc: np.ndarray, column_n: np.ndarray) -> np.ndarray:
    """Write the columns as rows in leaf order, float32 [n, d], zeros for missing and damaged columns.

    Return the sorted int64 columns with numbers that are not finite (damaged). One pass over the columns, block by
    block. The maps are opened again for each block, because pages of a map count as memory of the process.
    """
    shape = (len(column_n), matrix_dc.shape[0])
    np.lib.format.open_memmap(path, "w+", np.float32, shape)
    leaves = np.argsort(column_n, kind="stable")
    leaves = leaves[np.searchsorted(column_n[leaves], 0) :]
    sorted_columns = column_n[leaves]
    source = matrix_dc.filename
    damaged = [np.zeros(0, np.int64)]
    for start in range(0, matrix_dc.shape[1], BLOCK):
        first, last = np.searchsorted(sorted_columns, (start, start + BLOCK))
        if first < last:
            block_cd = np.ascontiguousarray(np.load(source, mmap_mode="r")[:, start : start + BLOCK].T, np.float32)
            bad_c = ~np.isfinite(block_cd).all(axis=1)
            block_cd[bad_c] = 0
            damaged.append(start + np.flatnonzero(bad_c))
            rows_nd = np.load(path, mmap_mode="r+")
            rows_nd[leaves[first:last]] = block_cd[sorted_columns[first:last] - start]
            rows_nd.flush()
            del rows_nd
    return np.concatenate(damaged)


def _format_leaves(tree, leaves: np.ndarray) -> str:
    """The names of the first leaves and the number of the others."""
    shown = ", ".join(tree.name(int(tree.leaf_node_n[leaf])) for leaf in leaves[:SHOWN])
    return shown + (f" and {len(leaves) - SHOWN:,} more" if len(leaves) > SHOWN else "")


def _lowest_name(lineage: tuple[str, ...]) -> str:
    return next((name for name in reversed(lineage) if name), "(no name)")


def convert_published(path: Path, model: Model, vocabulary, *, cache_dir: Path | None = None) -> Path:
    """The folder of the published vectors in the order of the vocabulary's leaves, made unless it is in the cache.

    Raise FileNotFoundError or ValueError for files that do not fit.
    """
    from linnaea.taxonomy.sources import read_text_embeddings

    matrix_path, names_path = published_files(path)
    stamps = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in (matrix_path, names_path)]
    # Common names that were installed separately do not change the vectors: one copy serves every installation.
    parts = (model.card.hash, vocabulary.hash, model.card.text_type, *model.card.templates)
    key = hash_bytes("published", str(FORMAT), *parts, *stamps)
    directory = (cache_dir or default_cache_dir()) / "names" / key
    if (manifest := read_manifest(directory)) is not None:
        _report_missing(manifest)
        return directory
    names = read_text_embeddings(names_path).rows
    matrix_dc = open_matrix(matrix_path, names.height, model)
    zero = zero_columns(matrix_dc)
    column_n = match_columns(vocabulary.tree, names, zero)
    manifest = table_manifest(model, vocabulary) | {"published": matrix_path.name, "zero_columns": zero.tolist()}
    with write_artifact(directory, manifest, owned=True) as temporary_dir:
        damaged = _write_rows(temporary_dir / VECTORS, matrix_dc, column_n)
        np.save(temporary_dir / MISSING, np.flatnonzero((column_n < 0) | np.isin(column_n, damaged)))
        without = np.union1d(zero, damaged)
        listed = [_lowest_name(row) for row in names[without[:MAX_LISTED].tolist()].select(RANKS).rows()]
        # The manifest is written at the end of this block.
        manifest |= {"damaged_columns": damaged.tolist(), "n_without_vector": len(without), "without_vector": listed}
    _report_missing(manifest)
    return directory


def _report_missing(manifest: dict) -> None:
    """Log the columns of a published matrix that contain no vector."""
    if n := manifest["n_without_vector"]:
        kinds = {"zeros": manifest["zero_columns"], "numbers that are not finite": manifest["damaged_columns"]}
        shown, more = ", ".join(manifest["without_vector"][:SHOWN]), f" and {n - SHOWN:,} more" if n > SHOWN else ""
        columns = " and ".join(f"columns of {kind}" for kind, found in kinds.items() if found)
        logger.info(f"{manifest['published']} has {columns}; names without a vector: {shown}{more}")


def load_published(
    path: Path,
    model: Model,
    vocabulary,
    *,
    leaves: np.ndarray | None = None,
    cache_dir: Path | None = None,
) -> PublishedTable:
    """The published vectors of a vocabulary's names.

    The model embeds candidates (`leaves`, None: all) without a vector; these are saved in the table, and a stopped run
    resumes.
    """
    directory = convert_published(path, model, vocabulary, cache_dir=cache_dir)
    wanted = missing_leaves(directory, leaves)
    if len(wanted):
        n = vocabulary.tree.n_leaves if leaves is None else len(leaves)
        source = read_manifest(directory)["published"]
        logger.info(
            f"{source} lacks {len(wanted):,} of {n:,} names ({_format_leaves(vocabulary.tree, wanted)}); "
            "the model embeds them now"
        )
        _embed_missing(directory, wanted, model, vocabulary)
    return PublishedTable(directory, read_manifest(directory))


def missing_leaves(published_dir: Path, leaves: np.ndarray | None = None) -> np.ndarray:
    """Sorted int64 `leaves` (None: all leaves) that have no vector yet."""
    missing = np.load(published_dir / MISSING)
    return missing if leaves is None else np.intersect1d(missing, leaves)


def _embed_missing(published_dir: Path, wanted: np.ndarray, model: Model, vocabulary) -> None:
    """Embed leaves into the table. They count as missing until all are saved, so a stop at any moment does no harm."""
    part_dir = published_dir.with_name(f"{published_dir.name}.{hash_bytes(wanted.tobytes())}.part")
    rows_nd = map_vectors(published_dir / VECTORS, "r+")
    written = vocabulary.without_extra_names()
    for start, vectors_nd in embed_in_chunks(model, written, wanted, part_dir, np.float32):
        rows_nd[wanted[start : start + len(vectors_nd)]] = vectors_nd
    rows_nd.flush()
    del rows_nd
    with atomic_path(published_dir / MISSING) as temporary_path, temporary_path.open("wb") as handle:
        np.save(handle, np.setdiff1d(np.load(published_dir / MISSING), wanted))
    shutil.rmtree(part_dir, ignore_errors=True)
