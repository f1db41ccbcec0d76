"""Vectors of taxa that stand for all organisms, where only a few candidates have vectors.

They are the species that the model was trained on, all orders, and the families beside the candidates. On held-out
photographs they tell insiders of a list from outsiders as well as all 1,098,974 species do (benchmarks/restriction.py),
and take one or two seconds to embed instead of minutes.

Shape suffixes: c taxa, d vector dimensions, m candidate leaves, n leaves of the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.embed.names.genus_first_table import find_trained_leaves
from linnaea.embed.names.name_table import table_dir, table_manifest
from linnaea.embed.names.text_embedding import embed_leaves, embed_nodes, uses_common_names
from linnaea.model.core.contract import Model
from linnaea.records import RANK_INDEX
from linnaea.store import VECTORS, hash_bytes, read_manifest, write_artifact
from linnaea.taxonomy.tree import Tree


@dataclass(frozen=True, kw_only=True)
class ContrastTable:
    """Taxa that stand for all organisms: `node_c` int64 and unit vectors float32 [c, d].

    `is_general_c` marks those that do not depend on the candidates: trained species and orders. `is_outside_c` marks
    those without any candidate at or below them.
    """

    node_c: np.ndarray
    vectors_cd: np.ndarray
    is_general_c: np.ndarray
    is_outside_c: np.ndarray


def load_contrast_table(model: Model, vocabulary, leaves: np.ndarray, cache_dir: Path | None = None) -> ContrastTable:
    """The contrast to the sorted candidate `leaves`; its vectors are embedded unless they are in the cache."""
    tree = vocabulary.tree
    trained_n = find_trained_leaves(model, tree)
    species_c = np.unique(tree.leaf_node_n[trained_n]).astype(np.int64)
    order_c = tree.nodes_at("order").astype(np.int64)
    family_c = _find_families_beside(tree, leaves)
    node_c = np.concatenate([species_c, order_c, family_c])
    general_c = np.arange(len(node_c)) < len(species_c) + len(order_c)
    vectors_cd = np.concatenate(
        [
            _load_vectors(model, vocabulary, "species and orders", node_c[general_c], cache_dir),
            _load_vectors(model, vocabulary, "families", family_c, cache_dir),
        ]
    )
    is_outside_c = count_candidates(tree, node_c, leaves) == 0
    return ContrastTable(node_c=node_c, vectors_cd=vectors_cd, is_general_c=general_c, is_outside_c=is_outside_c)


def count_candidates(tree: Tree, node_c: np.ndarray, leaves: np.ndarray) -> np.ndarray:
    """The number of candidate leaves at or below each node."""
    return np.searchsorted(leaves, tree.end_k[node_c]) - np.searchsorted(leaves, tree.start_k[node_c])


def _find_families_beside(tree: Tree, leaves: np.ndarray) -> np.ndarray:
    """The families without candidates in the orders that have candidates, int64."""
    orders = tree.nodes_at("order")
    orders = orders[count_candidates(tree, orders, leaves) > 0]
    families = [tree.descendants(int(order), "family") for order in orders]
    family_c = np.concatenate(families).astype(np.int64) if families else np.empty(0, np.int64)
    return family_c[count_candidates(tree, family_c, leaves) == 0]


def _load_vectors(model: Model, vocabulary, what: str, node_c: np.ndarray, cache_dir: Path | None) -> np.ndarray:
    """Unit vectors float32 [c, d] of nodes, rounded to float16, from the cache or made and kept there."""
    full_dir = table_dir(model, vocabulary, cache_dir)
    artifact_dir = full_dir.with_name(hash_bytes("contrast", full_dir.name, node_c.tobytes()))
    if not len(node_c):
        return np.empty((0, model.card.dim), np.float32)
    if read_manifest(artifact_dir) is None:
        vectors_cd = _embed_taxa(model, vocabulary, node_c).astype(np.float16)
        with write_artifact(
            artifact_dir, table_manifest(model, vocabulary) | {"contrast": what}, owned=True
        ) as out_dir:
            np.save(out_dir / VECTORS, vectors_cd)
    return np.load(artifact_dir / VECTORS).astype(np.float32)


def _embed_taxa(model: Model, vocabulary, node_c: np.ndarray) -> np.ndarray:
    """Unit vectors float32 [c, d] of nodes of any rank."""
    tree = vocabulary.tree
    common_name = vocabulary.common_name if uses_common_names(model) else None
    out_cd = np.empty((len(node_c), model.card.dim), np.float32)
    is_species_c = tree.rank_k[node_c] == RANK_INDEX["species"]
    has_parent_c = tree.parent_k[node_c] >= 0
    if is_species_c.any():
        # A taxon of several leaves has the text of any of them.
        out_cd[is_species_c] = embed_leaves(model, tree, tree.start_k[node_c[is_species_c]], common_name)
    for part_c in (~is_species_c & has_parent_c, ~is_species_c & ~has_parent_c):
        if part_c.any():
            out_cd[part_c] = embed_nodes(model, tree, node_c[part_c], common_name)
    return out_cd
