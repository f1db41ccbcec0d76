"""A name table that answers soon: genera are embedded first, species only where they can matter.

Shape suffixes: b images, n leaves, d vector dimensions, g genera (parents of leaves), k the nearest genera.
"""

from __future__ import annotations

import logging

import numpy as np

from linnaea.embed.names.chunked_embedding import CHUNK_LEAVES
from linnaea.embed.names.text_embedding import CommonName, embed_leaves, embed_nodes
from linnaea.model.core.contract import Model
from linnaea.taxonomy.tree import Tree
from linnaea.terminal import Progress

logger = logging.getLogger(__name__)

# Memory for vectors of species that were embedded for an image.
CACHE_BYTES = 1 << 28
# Genera nearest to an image whose species are embedded.
N_GENERA = 24


def group_leaves(tree: Tree) -> tuple[np.ndarray, np.ndarray]:
    """The genera (parents of leaves) as sorted nodes [g], and the index of each leaf's genus among them [n].

    A leaf without a parent is its own genus.
    """
    parent_n = tree.parent_k[tree.leaf_node_n]
    return np.unique(np.where(parent_n >= 0, parent_n, tree.leaf_node_n), return_inverse=True)


def find_trained_leaves(model: Model, tree: Tree) -> np.ndarray:
    """Sorted leaves of the species that the model was trained on and that this tree has."""
    wanted, by_genus = set(getattr(model, "familiar", ())), {}
    for lineage in wanted:
        by_genus.setdefault(lineage[-2], []).append(lineage)
    found = []
    for genus in tree.nodes_at("genus").tolist():
        if tree.name(genus) in by_genus:
            for node in tree.descendants(genus, "species").tolist():
                if tree.lineage(node) in wanted:
                    found += range(int(tree.start_k[node]), int(tree.end_k[node]))
    return np.array(sorted(found), np.int64)


class GenusFirstTable:
    """A name table that embeds genera at the start, and species of the genera nearest to an image when they are needed.

    The cosine of a leaf is exact if the model was trained on it or if its genus is among the `n_genera` nearest to the
    image; every other leaf has the cosine of its genus. Vectors of species stay in memory up to CACHE_BYTES.
    """

    # The name of this kind in options and manifests.
    kind = "staged"

    def __init__(self, model: Model, tree: Tree, *, n_genera: int = N_GENERA, common_name: CommonName | None = None):
        self._model, self._tree, self._n_genera, self._common_name = model, tree, n_genera, common_name
        self._genera, self._genus_n = group_leaves(tree)
        self._vectors_gd = self._embed_genera()
        self._species_cache: dict[int, np.ndarray] = {}
        self._cached_bytes = 0
        self._leaves_of = np.split(np.argsort(self._genus_n, kind="stable"), np.cumsum(np.bincount(self._genus_n))[:-1])
        self._trained = find_trained_leaves(model, tree)
        self._trained_vectors = self._embed_leaves(self._trained) if len(self._trained) else None
        self.manifest = {"model_hash": model.card.hash, "kind": self.kind, "n_genera": n_genera}

    @property
    def n_leaves(self) -> int:
        """Leaves of the tree."""
        return self._tree.n_leaves

    def _embed_genera(self) -> np.ndarray:
        """Unit vectors float32 [g, d]."""
        n = len(self._genera)
        out_gd = np.empty((n, self._model.card.dim), np.float32)
        progress = Progress(n, "names", quiet=not logger.isEnabledFor(logging.INFO))
        for start in range(0, n, CHUNK_LEAVES):
            part = self._genera[start : start + CHUNK_LEAVES]
            out_gd[start : start + len(part)] = embed_nodes(self._model, self._tree, part, self._common_name)
            progress.advance(len(part))
        progress.close()
        return out_gd

    def _embed_leaves(self, leaves: np.ndarray) -> np.ndarray:
        return embed_leaves(self._model, self._tree, leaves, self._common_name)

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, n] with all leaves, or with the sorted `leaves`."""
        genus_bg = image_vectors_bd.astype(np.float32, copy=False) @ self._vectors_gd.T
        allowed_bg, n_allowed = genus_bg, genus_bg.shape[1]
        if leaves is not None:
            allowed_bg = np.full_like(genus_bg, -np.inf)
            allowed = np.unique(self._genus_n[leaves])
            allowed_bg[:, allowed] = genus_bg[:, allowed]
            n_allowed = len(allowed)
        n_near = min(self._n_genera, n_allowed)
        near_bk = np.argpartition(-allowed_bg, n_near - 1, axis=1)[:, :n_near]
        out_bn = np.take(genus_bg, self._genus_n, axis=1)
        for image, near_k in enumerate(near_bk):
            # The answer for an image must not depend on the other images: only its own genera are exact for it.
            for genus in near_k.tolist():
                out_bn[image, self._leaves_of[genus]] = self._species_vectors(genus) @ image_vectors_bd[image]
        if self._trained_vectors is not None:
            out_bn[:, self._trained] = image_vectors_bd @ self._trained_vectors.T
        return out_bn if leaves is None else out_bn[:, leaves]

    def _species_vectors(self, genus: int) -> np.ndarray:
        """Vectors of the leaves of a genus, embedded alone, so that rounding does not depend on earlier calls."""
        vectors = self._species_cache.pop(genus, None)
        if vectors is None:
            vectors = self._embed_leaves(self._leaves_of[genus])
            self._cached_bytes += vectors.nbytes
        # A dict keeps insertion order: the first genus is the one that was not needed for the longest time.
        self._species_cache[genus] = vectors
        while self._cached_bytes > CACHE_BYTES and len(self._species_cache) > 1:
            self._cached_bytes -= self._species_cache.pop(next(iter(self._species_cache))).nbytes
        return vectors
