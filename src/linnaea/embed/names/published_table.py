"""Name vectors that others have published: pybioclip's `txt_emb_*.npy`, float32 [d, c], and the `.json` of names beside it.

The matrix is turned once into a table in leaf order, in the cache: a taxon's numbers then lie together, so that a clade is one
slice, and a run maps the file in milliseconds. They stay float32 as they were published: rounding to float16 moves
probabilities by up to 1e-3 at the temperature of these models. Leaves that the matrix lacks, or has a column of zeros or of no
numbers for, are embedded by the model once they are candidates, with the common names that were published beside it.

Shape suffixes: c columns, n leaves, d vector dimensions.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from linnaea.embed.names.name_table import FullTable, Report, embed_in_chunks, map_vectors, table_manifest
from linnaea.model.core.contract import Model
from linnaea.records import RANKS
from linnaea.store import VECTORS, atomic_path, default_cache_dir, hash_bytes, read_manifest, write_artifact

FORMAT = 2
SPECIES_STEM = "txt_emb_species"
STEMS = "txt_emb_*.npy"
HUB_FOLDER = "embeddings"
MISSING = "missing.npy"
# Columns that are in memory at a time: 50 MB of a matrix of 768 dimensions.
BLOCK = 16384
SHOWN = 3
# Names without a vector that a manifest lists.
MOST_TOLD = 1000

Say = Callable[[str], None]


class PublishedTable(FullTable):
    """A table whose vectors were published. `missing` int64 are the leaves that have none yet: no candidates, rows of zeros."""

    kind = "published"

    def __init__(self, directory: Path, manifest: dict):
        super().__init__(directory / VECTORS, manifest)
        self.missing = np.load(directory / MISSING)

    @property
    def facts(self) -> dict:
        """For the manifest of a run: which file, and which of its names have no vector there."""
        return {key: self.manifest[key] for key in ("published", "n_without_vector", "without_vector")}


def published_files(path: Path) -> tuple[Path, Path]:
    """The matrix and the names that `path` means: either of the two files, or the folder (of a model) that holds them.

    Raises FileNotFoundError that names the file that is not there.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = _in_folder(path)
    elif path.suffix not in (".npy", ".json"):
        raise FileNotFoundError(
            f"{path} is neither a folder of name vectors nor a .npy file with the .json of its names beside it"
        )
    matrix_path, names_path = path.with_suffix(".npy"), path.with_suffix(".json")
    for needed in (matrix_path, names_path):
        if not needed.is_file():
            raise FileNotFoundError(
                f"there is no {needed}; name vectors are a .npy file with the .json of the same name beside it"
            )
    return matrix_path, names_path


def _in_folder(folder: Path) -> Path:
    """The matrix in a folder, or in its folder for the hub: the one of species, else the only one of the newer names."""
    for place in (folder, folder / HUB_FOLDER):
        if (place / f"{SPECIES_STEM}.npy").exists():
            return place / f"{SPECIES_STEM}.npy"
        found = sorted(place.glob(STEMS))
        if len(found) > 1:
            raise FileNotFoundError(
                f"{place} holds {', '.join(file.name for file in found)}; give the one that is meant"
            )
        if found:
            return found[0]
    return folder / f"{SPECIES_STEM}.npy"


def published_beside(model: Model) -> Path | None:
    """The matrix in the folder that the model was loaded from, None where there is none."""
    directory = getattr(model, "directory", None)
    path = None if directory is None else Path(directory) / HUB_FOLDER / f"{SPECIES_STEM}.npy"
    return path if path is not None and path.is_file() and path.with_suffix(".json").is_file() else None


def open_matrix(matrix_path: Path, n_names: int, model: Model) -> np.ndarray:
    """The matrix [d, c], memory-mapped. Raises ValueError where it does not fit the model or the names."""
    try:
        matrix_dc = np.load(matrix_path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{matrix_path} is no whole .npy file ({error}); get it again") from None
    if matrix_dc.ndim != 2 or matrix_dc.dtype.kind != "f":
        raise ValueError(
            f"{matrix_path} holds {matrix_dc.dtype} of shape {matrix_dc.shape}; a matrix [dimensions, names] is read"
        )
    if matrix_dc.shape[0] != model.card.dim:
        raise ValueError(
            f"{matrix_path} has vectors of {matrix_dc.shape[0]} dimensions, those of model {model.card.name} have "
            f"{model.card.dim}; give the vectors that belong to the model"
        )
    if matrix_dc.shape[1] != n_names:
        raise ValueError(
            f"{matrix_path} has {matrix_dc.shape[1]:,} columns and the .json beside it {n_names:,} names; get both again"
        )
    return matrix_dc


def zero_columns(matrix_dc: np.ndarray) -> np.ndarray:
    """Sorted int64, the columns without a vector, all zero: names that the table's maker listed and never embedded."""
    zero = np.flatnonzero(matrix_dc[0] == 0)
    for row in matrix_dc[1:]:
        if not len(zero):
            break
        zero = zero[row[zero] == 0]
    return zero


def _leaf_names(tree):
    """A polars frame with the columns of RANKS, one row a leaf, "" where a rank is missing."""
    import polars as pl

    names = pl.Series([*tree.names, ""], dtype=pl.String)
    columns = {}
    for rank in RANKS:
        nodes = tree.nodes_at(rank)
        # taxa of one rank are disjoint intervals: the last that began before a leaf holds it, or none does
        last = np.searchsorted(tree.start_k[nodes], np.arange(tree.n_leaves), side="right") - 1
        node_n = nodes[np.maximum(last, 0)] if len(nodes) else np.zeros(tree.n_leaves, np.int64)
        inside = (last >= 0) & (np.arange(tree.n_leaves) < tree.end_k[node_n])
        columns[rank] = names.gather(np.where(inside, node_n, len(names) - 1))
    return pl.DataFrame(columns)


def match_columns(tree, names, zero: np.ndarray) -> np.ndarray:
    """int64 [n], the column that is each leaf, -1 where there is none.

    `names` is a polars frame of the columns' lineages, the species as full binomials; columns in `zero` do not count. A leaf is
    the first column with its lineage; else the one column that no leaf is by that rule and that has its higher lineage and epithet
    (its genus has changed, its binomial not yet), or else its species' name in its kingdom.
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
        if keys != ranks:  # homonyms among the leaves are none the wiser
            waiting = waiting.filter(pl.struct(ranks).n_unique().over(keys) == 1)
        pairs = waiting.join(single.select(*keys, "column"), on=keys)
        column_n[pairs["leaf"].to_numpy()] = pairs["column"].to_numpy()
    return column_n


def _write_rows(path: Path, matrix_dc: np.ndarray, column_n: np.ndarray) -> np.ndarray:
    """Writes the columns as rows in leaf order, float32 [n, d]; zeros where there is none, or one that is not all numbers. Returns
    sorted int64, the columns of the latter kind.

    One pass over the columns, a block at a time. The maps are opened anew for each: what one has touched counts as memory.
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


def _names_of(tree, leaves: np.ndarray) -> str:
    """A few of the leaves by name, and how many more there are."""
    shown = ", ".join(tree.name(int(tree.leaf_node_n[leaf])) for leaf in leaves[:SHOWN])
    return shown + (f" and {len(leaves) - SHOWN:,} more" if len(leaves) > SHOWN else "")


def _name_of_row(lineage: tuple[str, ...]) -> str:
    return next((name for name in reversed(lineage) if name), "(no name)")


def convert_published(path: Path, model: Model, vocabulary, *, cache_dir: Path | None = None, say: Say = print) -> Path:
    """The folder of the published vectors in the order of the vocabulary's leaves, made if it is not in the cache.

    `say` hears which columns are zero or no numbers, by name. Raises FileNotFoundError or ValueError for files that do not fit.
    """
    from linnaea.taxonomy.sources import read_text_embeddings

    matrix_path, names_path = published_files(path)
    stamps = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in (matrix_path, names_path)]
    # common names that were installed aside change nothing here: one copy serves whoever reads the file
    parts = (model.card.hash, vocabulary.hash, model.card.text_type, *model.card.templates)
    key = hash_bytes("published", str(FORMAT), *parts, *stamps)
    directory = (cache_dir or default_cache_dir()) / "names" / key
    if (manifest := read_manifest(directory)) is not None:
        _say_without(manifest, say)
        return directory
    names = read_text_embeddings(names_path).rows
    matrix_dc = open_matrix(matrix_path, names.height, model)
    zero = zero_columns(matrix_dc)
    column_n = match_columns(vocabulary.tree, names, zero)
    manifest = table_manifest(model, vocabulary) | {"published": matrix_path.name, "zero_columns": zero.tolist()}
    with write_artifact(directory, manifest, owned=True) as folder:
        damaged = _write_rows(folder / VECTORS, matrix_dc, column_n)
        np.save(folder / MISSING, np.flatnonzero((column_n < 0) | np.isin(column_n, damaged)))
        without = np.union1d(zero, damaged)
        told = [_name_of_row(row) for row in names[without[:MOST_TOLD].tolist()].select(RANKS).rows()]
        # the manifest is written when the block ends
        manifest |= {"damaged_columns": damaged.tolist(), "n_without_vector": len(without), "without_vector": told}
    _say_without(manifest, say)
    return directory


def _say_without(manifest: dict, say: Say) -> None:
    """Names the columns of a published matrix that hold no vector."""
    if n := manifest["n_without_vector"]:
        kinds = {"zeros": manifest["zero_columns"], "what is no number": manifest["damaged_columns"]}
        told, more = ", ".join(manifest["without_vector"][:SHOWN]), f" and {n - SHOWN:,} more" if n > SHOWN else ""
        columns = " and ".join(f"columns of {kind}" for kind, found in kinds.items() if found)
        say(f"{manifest['published']} has {columns}, names without a vector: {told}{more}")


def load_published(
    path: Path,
    model: Model,
    vocabulary,
    *,
    leaves: np.ndarray | None = None,
    cache_dir: Path | None = None,
    say: Say = print,
    report: Report | None = None,
) -> PublishedTable:
    """The published vectors of a vocabulary's names. Candidates (`leaves`, None: all) without one are embedded by the model.

    What the model embeds is kept, and a run that is killed at it goes on. `say` hears how many and which.
    """
    directory = convert_published(path, model, vocabulary, cache_dir=cache_dir, say=say)
    wanted = missing_leaves(directory, leaves)
    if len(wanted):
        n = vocabulary.tree.n_leaves if leaves is None else len(leaves)
        source = read_manifest(directory)["published"]
        say(
            f"{source} lacks {len(wanted):,} of {n:,} names ({_names_of(vocabulary.tree, wanted)}); the model embeds them now"
        )
        _fill(directory, wanted, model, vocabulary, report)
    return PublishedTable(directory, read_manifest(directory))


def missing_leaves(directory: Path, leaves: np.ndarray | None = None) -> np.ndarray:
    """Sorted int64, those of `leaves` (None: all) that have no vector yet."""
    missing = np.load(directory / MISSING)
    return missing if leaves is None else np.intersect1d(missing, leaves)


def _fill(directory: Path, wanted: np.ndarray, model: Model, vocabulary, report: Report | None) -> None:
    """Embeds leaves into the table. They count as missing until the last is safe, so a kill at any moment does no harm."""
    part_dir = directory.with_name(f"{directory.name}.{hash_bytes(wanted.tobytes())}.part")
    rows_nd = map_vectors(directory / VECTORS, "r+")
    written = vocabulary.without_extra_names()
    for start, vectors_nd in embed_in_chunks(model, written, wanted, part_dir, report, np.float32):
        rows_nd[wanted[start : start + len(vectors_nd)]] = vectors_nd
    rows_nd.flush()
    del rows_nd
    with atomic_path(directory / MISSING) as temporary, temporary.open("wb") as handle:
        np.save(handle, np.setdiff1d(np.load(directory / MISSING), wanted))
    shutil.rmtree(part_dir, ignore_errors=True)
