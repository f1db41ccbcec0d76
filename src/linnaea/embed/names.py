"""Names to vectors: the table of a whole vocabulary, and a first answer that does not wait for it.

A lineage's text begins with its parent's, so a causal tower needs each shared prefix once: a species costs its epithet's tokens
alone. `FullTable` holds every leaf's exact vector. `StagedTable` is exact where evidence can lie (the species that the model's
training named, and the species of the genera nearest to each image) and lets every other species stand on its genus's vector.

Shape suffixes: b images, n leaves, d vector dimensions, g genera (parents of leaves).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from linnaea.model.contract import Model
from linnaea.records import RANK_INDEX, RANKS
from linnaea.store import ROWS, VECTORS, default_cache_dir, hash_bytes, read_manifest, write_artifact
from linnaea.taxonomy.text import epithet, taxon_text
from linnaea.taxonomy.tree import Tree

FORMAT = 1
CHUNK_LEAVES = 8192
BLOCK = 32768
IN_MEMORY_BYTES = 1 << 30
MOST_STAGED_BYTES = 1 << 28
Report = Callable[[int, int], None]


def embed_texts(model: Model, texts: list[str]) -> np.ndarray:
    """Unit vectors float32 [n, d] of names, each averaged over the model's templates."""
    templates = model.card.templates
    if templates == ("{}",):
        return model.encode_texts(texts)
    total_nd = sum(model.encode_texts([template.format(text) for text in texts]) for template in templates)
    return total_nd / np.linalg.norm(total_nd, axis=1, keepdims=True)


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
        ids = self._model.tokenizer.ids(list(distinct), end=False)
        close = self._model.tokenizer.ids([""])[0] if end else []
        return [ids[distinct[text]][: max(0, space - end)] + close for text, space in zip(texts, room.tolist(), strict=True)]

    def prefixes(self, nodes: np.ndarray):
        """The prefix (kingdom … name) of each node; the parents' is computed once each."""
        tree, model = self._tree, self._model
        context = model.text_config.context
        parents, row = np.unique(tree.parent_k[nodes], return_inverse=True)
        whole = [taxon_text(tree.lineage(int(node)), "taxonomic") if node >= 0 else "" for node in parents]
        above = model.extend_prefix(self._ids(whole, np.full(len(whole), context - 1), end=False))
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


def embed_leaves(model: Model, tree: Tree, leaves: np.ndarray) -> np.ndarray:
    """Unit vectors float32 [n, d] of leaves, through shared prefixes where the model offers them."""
    if _has_trie(model):
        return _Trie(model, tree).of_leaves(leaves)
    texts = [taxon_text(tree.lineage(int(node)), model.card.text_type) for node in tree.leaf_node_n[leaves]]
    return embed_texts(model, texts)


class FullTable:
    """Every leaf's vector. `similarities` are exact cosines (of vectors rounded to float16)."""

    kind = "full"

    def __init__(self, path: Path, manifest: dict):
        self.manifest = manifest
        stored_nd = np.load(path, mmap_mode="r")
        small = stored_nd.size * 4 <= IN_MEMORY_BYTES
        self._vectors_nd = _to_float32(path, stored_nd.shape) if small else stored_nd
        self._pool = ThreadPoolExecutor(2)
        # The last scattered choice of leaves and its vectors: a run asks for the same one batch after batch.
        self._chosen: tuple[np.ndarray, np.ndarray] | None = None
        self._out_bn: np.ndarray | None = None

    @property
    def n_leaves(self) -> int:
        return len(self._vectors_nd)

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

    def __init__(self, model: Model, tree: Tree, *, n_genera: int = 24, report: Report | None = None):
        self._model, self._tree, self._n_genera = model, tree, n_genera
        parent_n = tree.parent_k[tree.leaf_node_n]
        # a leaf without a parent stands for itself
        stand_in_n = np.where(parent_n >= 0, parent_n, tree.leaf_node_n)
        self._genera, self._genus_n = np.unique(stand_in_n, return_inverse=True)
        self._vectors_gd = self._embed_nodes(self._genera, report)
        self._exact: dict[int, np.ndarray] = {}
        self._exact_bytes = 0
        self._leaves_of = np.split(np.argsort(self._genus_n, kind="stable"), np.cumsum(np.bincount(self._genus_n))[:-1])
        self._familiar = self._find_familiar()
        self._familiar_vectors = embed_leaves(model, tree, self._familiar) if len(self._familiar) else None
        self.manifest = {"model_hash": model.card.hash, "kind": self.kind, "n_genera": n_genera}

    @property
    def n_leaves(self) -> int:
        return self._tree.n_leaves

    def _embed_nodes(self, nodes: np.ndarray, report: Report | None) -> np.ndarray:
        model, tree = self._model, self._tree
        out = np.empty((len(nodes), model.card.dim), np.float32)
        for start in range(0, len(nodes), CHUNK_LEAVES):
            part = nodes[start : start + CHUNK_LEAVES]
            parents, row = np.unique(tree.parent_k[part], return_inverse=True)
            if _has_trie(model) and parents[0] >= 0:
                trie = _Trie(model, tree)
                out[start : start + len(part)] = trie.vectors(part, trie.prefixes(parents), row)
            else:
                texts = [taxon_text(tree.lineage(int(node)), model.card.text_type) for node in part]
                out[start : start + len(part)] = embed_texts(model, texts)
            if report:
                report(min(start + CHUNK_LEAVES, len(nodes)), len(nodes))
        return out

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
            vectors = embed_leaves(self._model, self._tree, self._leaves_of[genus])
            self._exact_bytes += vectors.nbytes
        self._exact[genus] = vectors  # the last place in a dict's order: the first is the one longest not asked for
        while self._exact_bytes > MOST_STAGED_BYTES and len(self._exact) > 1:
            self._exact_bytes -= self._exact.pop(next(iter(self._exact))).nbytes
        return vectors


def table_dir(model: Model, vocabulary, cache_dir: Path | None = None) -> Path:
    """Where the full table of this model and vocabulary is kept."""
    key = hash_bytes(str(FORMAT), model.card.hash, vocabulary.hash, model.card.text_type, *model.card.templates)
    return (cache_dir or default_cache_dir()) / "names" / key


def _chunks(n_leaves: int) -> Iterator[np.ndarray]:
    for start in range(0, n_leaves, CHUNK_LEAVES):
        yield np.arange(start, min(start + CHUNK_LEAVES, n_leaves))


def make_table(model: Model, vocabulary, cache_dir: Path | None = None, report: Report | None = None) -> Path:
    """Embeds every leaf into a vectors artifact and returns its folder; at once if it is there already."""
    import polars as pl

    directory = table_dir(model, vocabulary, cache_dir)
    if read_manifest(directory) is not None:
        return directory
    tree: Tree = vocabulary.tree
    manifest = {
        "kind": "vectors",
        "of": "names",
        "unit": True,
        "model": model.card.name,
        "model_hash": model.card.hash,
        "vocabulary": vocabulary.hash,
        "text_type": model.card.text_type,
        "templates": list(model.card.templates),
        "logit_scale": model.card.logit_scale,
        "n": tree.n_leaves,
        "d": model.card.dim,
    }
    with write_artifact(directory, manifest, owned=True) as folder:
        shape = (tree.n_leaves, model.card.dim)
        out = np.lib.format.open_memmap(folder / VECTORS, "w+", np.float16, shape)
        for leaves in _chunks(tree.n_leaves):
            out[leaves[0] : leaves[-1] + 1] = embed_leaves(model, tree, leaves)
            if report:
                report(int(leaves[-1]) + 1, tree.n_leaves)
        out.flush()
        del out
        nodes = tree.leaf_node_n
        rows = {"rank": [RANKS[rank] for rank in tree.rank_k[nodes]], "name": [tree.name(int(node)) for node in nodes]}
        pl.DataFrame(rows).write_parquet(folder / ROWS)
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
        return StagedTable(model, vocabulary.tree, report=report)
    make_table(model, vocabulary, cache_dir, report)
    return FullTable(directory / VECTORS, {**read_manifest(directory), "kind": "full"})
