"""Names to vectors: the table of a whole vocabulary, and a first answer that does not wait for it.

A lineage's text begins with its parent's, so a causal tower needs each shared prefix once: a species costs its epithet's tokens
alone. Models on `linnaea.model.runtimes.token_trie` see to that themselves, for texts of any kind; for those that take keys and values
instead, `_Trie` does it for the plain taxonomic text. `FullTable` holds every leaf's exact vector. `StagedTable` is exact where
evidence can lie (the species that the model's training named, and the species of the genera nearest to each image) and lets
every other species stand on its genus's vector.

Shape suffixes: b images, n leaves, d vector dimensions, g genera (parents of leaves).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from linnaea.model.core.contract import Model
from linnaea.records import RANK_INDEX, RANKS
from linnaea.search.quantized_table import CoarseTable, load_coarse
from linnaea.store import (
    ROWS,
    VECTORS,
    atomic_path,
    check_replaceable,
    default_cache_dir,
    hash_bytes,
    read_manifest,
    write_artifact,
)
from linnaea.taxonomy.name_text import epithet, taxon_text
from linnaea.taxonomy.tree import Tree

FORMAT = 1
# Leaves that are embedded together, and kept together: the most that a killed run loses. Of a large tower, or with many
# templates, they are fewer, so that a chunk takes seconds: CHUNK_WEIGHTS is how many weights a token may meet in a whole one.
CHUNK_LEAVES = 8192
LEAST_CHUNK_LEAVES = 256
CHUNK_WEIGHTS = 10_000_000
BLOCK = 32768
IN_MEMORY_BYTES = 1 << 30
MOST_STAGED_BYTES = 1 << 28
# What fits into memory as float32 is read sooner than a first look would tell which rows to leave: measured on the bundled
# model, 12.7 against 18.1 ms an image (its logits are close together, so that most of the table would be read twice).
LEAST_COARSE_BYTES = IN_MEMORY_BYTES
Report = Callable[[int, int], None]
CommonName = Callable[[int], str]


def embed_texts(model: Model, texts: list[str], templates: tuple[str, ...] = ()) -> np.ndarray:
    """Unit vectors float32 [n, d] of names, each averaged over the templates given, or over the model's."""
    templates = templates or model.card.templates
    if templates == ("{}",):
        return check_finite(model.encode_texts(texts), model, "names")
    total_nd = sum(model.encode_texts([template.format(text) for text in texts]) for template in templates)
    check_finite(total_nd, model, "names")
    return total_nd / np.linalg.norm(total_nd, axis=1, keepdims=True)


def check_finite(vectors_nd: np.ndarray, model: Model, what: str) -> np.ndarray:
    """The vectors, if they are all numbers. ValueError that names the model where its weights are damaged."""
    if not np.isfinite(vectors_nd).all():
        raise ValueError(
            f"the model {model.card.name} gives no numbers for {what}: its weights are damaged; get it again"
        )
    return vectors_nd


def map_vectors(path: Path, mode: str = "r") -> np.ndarray:
    """A map of the matrix of a finished table. ValueError that names the file where it is damaged since."""
    try:
        return np.load(path, mmap_mode=mode)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is no whole .npy file ({error}); remove the folder {path.parent} and run again"
        ) from None


def _tail(tree: Tree, node: int) -> str:
    """What a node's text adds to its parent's."""
    name, parent = tree.name(node), int(tree.parent_k[node])
    is_species_of_genus = tree.rank_k[node] == RANK_INDEX["species"] and (
        parent >= 0 and tree.rank_k[parent] == RANK_INDEX["genus"]
    )
    return epithet(name) if is_species_of_genus else name


class _Trie:
    """Vectors of nodes by way of their parents' keys and values."""

    def __init__(self, model, tree: Tree):
        self._model, self._tree = model, tree

    def _ids(self, texts: list[str], room: np.ndarray, *, end: bool) -> list[list[int]]:
        """Token ids that fit the context after prefixes of `context - room` tokens."""
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        ids = self._model.tokenizer.ids(list(distinct), start=False, end=False)
        close = self._model.tokenizer.ids([""], start=False)[0] if end else []
        return [
            ids[distinct[text]][: max(0, space - end)] + close for text, space in zip(texts, room.tolist(), strict=True)
        ]

    def prefixes(self, nodes: np.ndarray):
        """The prefix (kingdom … name) of each node; the parents' is computed once each."""
        tree, model = self._tree, self._model
        context = model.text_config.context
        parents, row = np.unique(tree.parent_k[nodes], return_inverse=True)
        whole = [taxon_text(tree.lineage(int(node)), "taxonomic") if node >= 0 else "" for node in parents]
        above = model.extend_prefix([ids[: context - 1] for ids in model.tokenizer.ids(whole, end=False)])
        room = context - 1 - above.length_m[row]
        return model.extend_prefix(self._ids([_tail(tree, int(n)) for n in nodes], room, end=False), above, row)

    def vectors(self, nodes: np.ndarray, prefix, prefix_row: np.ndarray, batch: int = 1024) -> np.ndarray:
        """Unit vectors of nodes, each after its parent's prefix; `prefix_row` -1 is not allowed."""
        room = self._model.text_config.context - prefix.length_m[prefix_row]
        ids = self._ids([_tail(self._tree, int(node)) for node in nodes], room, end=True)
        out = np.empty((len(nodes), self._model.card.dim), np.float32)
        # like lengths together: little padding
        order = np.argsort([len(row) for row in ids], kind="stable")
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            out[rows] = self._model.encode_tokens([ids[row] for row in rows], prefix, prefix_row[rows])
        return out

    def of_leaves(self, leaves: np.ndarray) -> np.ndarray:
        """Unit vectors [n, d] of leaves."""
        nodes = self._tree.leaf_node_n[leaves]
        parents, row = np.unique(self._tree.parent_k[nodes], return_inverse=True)
        out = np.empty((len(nodes), self._model.card.dim), np.float32)
        rooted = parents[row] >= 0
        if not rooted.all():
            out[~rooted] = self._model.encode_texts([self._tree.name(int(node)) for node in nodes[~rooted]])
        if rooted.any():
            has_root = int(parents[0] < 0)
            out[rooted] = self.vectors(nodes[rooted], self.prefixes(parents[has_root:]), row[rooted] - has_root)
        return out


def _has_trie(model: Model) -> bool:
    return hasattr(model, "extend_prefix") and model.card.text_type == "taxonomic" and model.card.templates == ("{}",)


def _embed_whole(model: Model, tree: Tree, nodes: np.ndarray, common_name: CommonName | None) -> np.ndarray:
    """Unit vectors [n, d] of nodes from their whole texts."""
    name_of = common_name if common_name is not None and _reads_common_names(model) else lambda node: ""
    texts = [taxon_text(tree.lineage(node), model.card.text_type, name_of(node)) for node in nodes.tolist()]
    return embed_texts(model, texts)


def _reads_common_names(model: Model) -> bool:
    return "common" in model.card.text_type


def embed_leaves(model: Model, tree: Tree, leaves: np.ndarray, common_name: CommonName | None = None) -> np.ndarray:
    """Unit vectors float32 [n, d] of leaves, as the model's card writes them.

    `common_name(node)` gives the names for text types that hold them; without it they are written without.
    """
    if _has_trie(model):
        return check_finite(_Trie(model, tree).of_leaves(leaves), model, "names")
    return _embed_whole(model, tree, tree.leaf_node_n[leaves], common_name)


class FullTable:
    """Every leaf's vector. `similarities` are exact cosines (of vectors rounded to float16)."""

    kind = "full"

    def __init__(self, path: Path, manifest: dict):
        self.manifest = manifest
        self._path = path
        self._coarse: CoarseTable | None = None
        self._pool = ThreadPoolExecutor(2)
        # The last scattered choice of leaves and its vectors: a run asks for the same one batch after batch.
        self._chosen: tuple[np.ndarray, np.ndarray] | None = None
        self._out_bn: np.ndarray | None = None

    @property
    def n_leaves(self) -> int:
        return len(self.vectors_nd)

    @cached_property
    def _vectors_nd(self) -> np.ndarray:
        """The rows that `similarities` multiplies: scoring with the coarse copy never asks for a small table in float32."""
        shape = self.vectors_nd.shape
        return _to_float32(self._path, shape) if shape[0] * shape[1] * 4 <= IN_MEMORY_BYTES else self.vectors_nd

    def coarse(self, tree: Tree, report: Report | None = None) -> CoarseTable | None:
        """The 8-bit copy for scoring, made once and kept in the cache; None for a table too small to need one."""
        if self._coarse is None and 4 * self.vectors_nd.size > LEAST_COARSE_BYTES:
            self._coarse = load_coarse(self.vectors_nd, tree, self._path, report=report)
        return self._coarse

    @cached_property
    def vectors_nd(self) -> np.ndarray:
        """Unit rows [n, d] in leaf order as they are kept, float16 or float32: a read-only map of `vectors.npy`."""
        return map_vectors(self._path)

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, n] with all leaves, or with those given (sorted), good until the next call: with a million leaves,
        fresh memory for every batch costs a sixth of the time."""
        if leaves is None:
            return self._cosines(image_vectors_bd, self._vectors_nd)
        first, last = int(leaves[0]), int(leaves[-1]) + 1
        if 2 * len(leaves) > last - first:
            # A clade is one slice. A copy of the vectors would be as large as the table; the cosines are far smaller.
            cosine_bn = self._cosines(image_vectors_bd, self._vectors_nd[first:last])
            return cosine_bn if cosine_bn.shape[1] == len(leaves) else cosine_bn[:, leaves - first]
        if self._chosen is None or self._chosen[0] is not leaves:
            self._chosen = (leaves, self._vectors_nd[leaves])
        return self._cosines(image_vectors_bd, self._chosen[1])

    def _cosines(self, image_vectors_bd: np.ndarray, vectors_nd: np.ndarray) -> np.ndarray:
        shape = (len(image_vectors_bd), len(vectors_nd))
        if self._out_bn is None or self._out_bn.shape != shape:
            self._out_bn = np.empty(shape, np.float32)
        out_bn = self._out_bn
        image_bd = np.ascontiguousarray(image_vectors_bd, np.float32)

        def block(start: int) -> None:
            part = slice(start, start + BLOCK)
            np.matmul(image_bd, vectors_nd[part].astype(np.float32, copy=False).T, out=out_bn[:, part])

        if vectors_nd.dtype == np.float32:
            np.matmul(image_bd, vectors_nd.T, out=out_bn)
        else:
            list(self._pool.map(block, range(0, len(vectors_nd), BLOCK)))
        return out_bn


def _to_float32(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The matrix in float32, read a block at a time: a map of the whole file would count as memory beside its copy."""
    out = np.empty(shape, np.float32)
    for start in range(0, shape[0], BLOCK):
        out[start : start + BLOCK] = np.load(path, mmap_mode="r")[start : start + BLOCK]
    return out


class StagedTable:
    """A table that answers after embedding genera instead of species.

    The cosine of a leaf is exact if the model's training named it or if its genus is among the `n_genera` nearest to the
    image; any other leaf has its genus's cosine. Once embedded, a genus's species stay until MOST_STAGED_BYTES are full.
    """

    kind = "staged"

    def __init__(
        self,
        model: Model,
        tree: Tree,
        *,
        n_genera: int = 24,
        report: Report | None = None,
        common_name: CommonName | None = None,
    ):
        self._model, self._tree, self._n_genera, self._common_name = model, tree, n_genera, common_name
        parent_n = tree.parent_k[tree.leaf_node_n]
        # a leaf without a parent stands for itself
        stand_in_n = np.where(parent_n >= 0, parent_n, tree.leaf_node_n)
        self._genera, self._genus_n = np.unique(stand_in_n, return_inverse=True)
        self._vectors_gd = self._embed_nodes(self._genera, report)
        self._exact: dict[int, np.ndarray] = {}
        self._exact_bytes = 0
        self._leaves_of = np.split(np.argsort(self._genus_n, kind="stable"), np.cumsum(np.bincount(self._genus_n))[:-1])
        self._familiar = self._find_familiar()
        self._familiar_vectors = self._embed_leaves(self._familiar) if len(self._familiar) else None
        self.manifest = {"model_hash": model.card.hash, "kind": self.kind, "n_genera": n_genera}

    @property
    def n_leaves(self) -> int:
        return self._tree.n_leaves

    def _embed_nodes(self, nodes: np.ndarray, report: Report | None) -> np.ndarray:
        model, tree = self._model, self._tree
        out = np.empty((len(nodes), model.card.dim), np.float32)
        if report:
            report(0, len(nodes))
        for start in range(0, len(nodes), CHUNK_LEAVES):
            part = nodes[start : start + CHUNK_LEAVES]
            parents, row = np.unique(tree.parent_k[part], return_inverse=True)
            if _has_trie(model) and parents[0] >= 0:
                trie = _Trie(model, tree)
                out[start : start + len(part)] = trie.vectors(part, trie.prefixes(parents), row)
            else:
                out[start : start + len(part)] = _embed_whole(model, tree, part, self._common_name)
            if report:
                report(min(start + CHUNK_LEAVES, len(nodes)), len(nodes))
        return out

    def _embed_leaves(self, leaves: np.ndarray) -> np.ndarray:
        return embed_leaves(self._model, self._tree, leaves, self._common_name)

    def _find_familiar(self) -> np.ndarray:
        """Leaves of the species that training named, as far as this vocabulary has them."""
        wanted = set(getattr(self._model, "familiar", ()))
        tree, by_name = self._tree, {}
        for lineage in wanted:
            by_name.setdefault(lineage[-2], []).append(lineage)
        found = []
        for genus in tree.nodes_at("genus").tolist():
            if tree.name(genus) in by_name:
                for node in tree.descendants(genus, "species").tolist():
                    if tree.lineage(node) in wanted:
                        found += range(int(tree.start_k[node]), int(tree.end_k[node]))
        return np.array(sorted(found), np.int64)

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, n] with all leaves, or with those given (sorted)."""
        genus_bg = image_vectors_bd.astype(np.float32, copy=False) @ self._vectors_gd.T
        allowed, n_inside = genus_bg, genus_bg.shape[1]
        if leaves is not None:
            allowed = np.full_like(genus_bg, -np.inf)
            inside = np.unique(self._genus_n[leaves])
            allowed[:, inside] = genus_bg[:, inside]
            n_inside = len(inside)
        n_near = min(self._n_genera, n_inside)
        near_bk = np.argpartition(-allowed, n_near - 1, axis=1)[:, :n_near]
        out_bn = np.take(genus_bg, self._genus_n, axis=1)
        for image, near_k in enumerate(near_bk):
            # an image's answer must not depend on its company: only its own genera are exact for it
            for genus in near_k.tolist():
                out_bn[image, self._leaves_of[genus]] = self._species_of(genus) @ image_vectors_bd[image]
        if self._familiar_vectors is not None:
            out_bn[:, self._familiar] = image_vectors_bd @ self._familiar_vectors.T
        return out_bn if leaves is None else out_bn[:, leaves]

    def _species_of(self, genus: int) -> np.ndarray:
        """Vectors of a genus's leaves, embedded by themselves, so that their last bits do not depend on what ran before."""
        vectors = self._exact.pop(genus, None)
        if vectors is None:
            vectors = self._embed_leaves(self._leaves_of[genus])
            self._exact_bytes += vectors.nbytes
        self._exact[genus] = vectors  # the last place in a dict's order: the first is the one longest not asked for
        while self._exact_bytes > MOST_STAGED_BYTES and len(self._exact) > 1:
            self._exact_bytes -= self._exact.pop(next(iter(self._exact))).nbytes
        return vectors


def table_dir(model: Model, vocabulary, cache_dir: Path | None = None) -> Path:
    """Where the full table of this model and vocabulary is kept."""
    parts = [str(FORMAT), model.card.hash, vocabulary.hash, model.card.text_type, *model.card.templates]
    if _reads_common_names(model):
        parts.append(vocabulary.common_names_hash)
    return (cache_dir or default_cache_dir()) / "names" / hash_bytes(*parts)


def table_manifest(model: Model, vocabulary) -> dict:
    """What a table of names says of how it was made."""
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


def _chunk_leaves(model: Model) -> int:
    """Leaves of a chunk of the full table. It depends on the model alone, so that a run that goes on cuts as before."""
    config = getattr(model, "text_config", None)
    n_weights = 12 * config.n_layers * config.width**2 if config else 0
    size = CHUNK_LEAVES // len(model.card.templates)
    return max(LEAST_CHUNK_LEAVES, size * CHUNK_WEIGHTS // max(CHUNK_WEIGHTS, n_weights))


def embed_in_chunks(
    model: Model,
    vocabulary,
    leaves: np.ndarray,
    part_dir: Path,
    report: Report | None = None,
    dtype: type = np.float16,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (first position, vectors of the given dtype) of chunks of `leaves`, each kept as a file in `part_dir` as it comes.

    A run that was killed finds its chunks there and goes on; the caller removes the folder when all are safe elsewhere. Two
    runs at once write equal files, so neither harms the other. `report(done, total)` first hears what was there already.
    """
    size = _chunk_leaves(model)
    common_name = vocabulary.common_name if _reads_common_names(model) else None
    starts = range(0, len(leaves), size)
    path_of = {start: part_dir / f"{start:09}-{min(start + size, len(leaves)):09}.npy" for start in starts}
    done = sum(min(size, len(leaves) - start) for start in starts if path_of[start].exists())
    if report:
        report(done, len(leaves))
    for start in starts:
        part = leaves[start : start + size]
        if not path_of[start].exists():
            vectors_nd = embed_leaves(model, vocabulary.tree, part, common_name).astype(dtype)
            with atomic_path(path_of[start]) as temporary, temporary.open("wb") as handle:
                np.save(handle, vectors_nd)
            done += len(part)
            if report:
                report(done, len(leaves))
        yield start, np.load(path_of[start])


def make_table(
    model: Model,
    vocabulary,
    cache_dir: Path | None = None,
    report: Report | None = None,
    *,
    out: Path | None = None,
) -> Path:
    """Embeds every leaf into a vectors artifact and returns its folder; at once if it is there already.

    The folder is `out`, or one in the cache. A run that was killed goes on where it was. Raises ValueError where `out` holds
    something else.
    """
    import polars as pl

    directory = table_dir(model, vocabulary, cache_dir) if out is None else Path(out)
    manifest = table_manifest(model, vocabulary)
    if (found := read_manifest(directory)) is not None and (out is None or found == manifest):
        return directory
    if out is not None:
        check_replaceable(directory, manifest["kind"])
    tree: Tree = vocabulary.tree
    # named for the content, so that chunks of another model never enter
    part_dir = directory.with_name(f"{directory.name}.{table_dir(model, vocabulary).name}.part")
    leaves = np.arange(tree.n_leaves)
    for _ in embed_in_chunks(model, vocabulary, leaves, part_dir, report):
        pass
    with write_artifact(directory, manifest, owned=out is None) as folder:
        vectors_nd = np.lib.format.open_memmap(folder / VECTORS, "w+", np.float16, (tree.n_leaves, model.card.dim))
        for start, chunk_nd in embed_in_chunks(model, vocabulary, leaves, part_dir):
            vectors_nd[start : start + len(chunk_nd)] = chunk_nd
        vectors_nd.flush()
        del vectors_nd
        nodes = tree.leaf_node_n
        rows = {"rank": [RANKS[rank] for rank in tree.rank_k[nodes]], "name": [tree.name(int(node)) for node in nodes]}
        pl.DataFrame(rows).write_parquet(folder / ROWS)
    shutil.rmtree(part_dir, ignore_errors=True)
    return directory


def load_name_table(
    model: Model, vocabulary, *, mode: str = "full", cache_dir: Path | None = None, report: Report | None = None
) -> FullTable | StagedTable:
    """The vectors of a vocabulary's names.

    `full` makes the exact table if need be (`report(done, total)` tells how far); `staged` never does; `auto` takes the full one if
    it is in the cache, else the staged one.
    """
    if mode not in ("full", "staged", "auto"):
        raise ValueError(f"unknown table mode {mode!r}; choose full, staged or auto")
    directory = table_dir(model, vocabulary, cache_dir)
    manifest = read_manifest(directory)
    if mode == "staged" or (mode == "auto" and manifest is None):
        common_name = vocabulary.common_name if _reads_common_names(model) else None
        return StagedTable(model, vocabulary.tree, report=report, common_name=common_name)
    make_table(model, vocabulary, cache_dir, report)
    return FullTable(directory / VECTORS, {**read_manifest(directory), "kind": "full"})
