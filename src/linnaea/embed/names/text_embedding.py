"""Unit vectors of texts and of the leaves of a taxonomic tree.

The text of a lineage begins with the text of its parent, so a causal text encoder needs each shared prefix only once:
a species then costs the tokens of its epithet. Models built on `linnaea.model.runtimes.token_trie` share prefixes
themselves, for texts of any kind. For models that accept keys and values instead, `_PrefixSharing` does it for the
plain taxonomic text.

Shape suffixes: m nodes, n leaves or texts, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linnaea.model.core.contract import Model
from linnaea.records import RANK_INDEX
from linnaea.taxonomy.name_text import epithet, taxon_text
from linnaea.taxonomy.tree import Tree

# Texts that the text encoder sees at once.
ENCODER_BATCH = 1024
CommonName = Callable[[int], str]


def embed_texts(model: Model, texts: list[str], templates: tuple[str, ...] = ()) -> np.ndarray:
    """Unit vectors float32 [n, d] of texts, each averaged over `templates` (default: those of the model's card)."""
    templates = templates or model.card.templates
    if templates == ("{}",):
        return check_finite(model.encode_texts(texts), model, "names")
    total_nd = sum(model.encode_texts([template.format(text) for text in texts]) for template in templates)
    check_finite(total_nd, model, "names")
    return total_nd / np.linalg.norm(total_nd, axis=1, keepdims=True)


def check_finite(vectors_nd: np.ndarray, model: Model, what: str) -> np.ndarray:
    """The same vectors. Raise ValueError that names the model if any number is not finite (damaged weights)."""
    if not np.isfinite(vectors_nd).all():
        raise ValueError(
            f"the model {model.card.name} returns numbers that are not finite for {what}: its weights are damaged; "
            "download or copy the model again"
        )
    return vectors_nd


def uses_common_names(model: Model) -> bool:
    """Whether the model's texts contain common names."""
    return "common" in model.card.text_type


def embed_leaves(model: Model, tree: Tree, leaves: np.ndarray, common_name: CommonName | None = None) -> np.ndarray:
    """Unit vectors float32 [n, d] of leaves, with texts as the model's card defines them.

    `common_name(node)` supplies common names for text types that contain them; without it they are left out.
    """
    if _shares_prefixes(model):
        return check_finite(_PrefixSharing(model, tree).embed_leaves(leaves), model, "names")
    return _embed_full_texts(model, tree, tree.leaf_node_n[leaves], common_name)


def embed_nodes(model: Model, tree: Tree, nodes: np.ndarray, common_name: CommonName | None = None) -> np.ndarray:
    """Unit vectors float32 [m, d] of nodes of any rank, all of which have a parent or none of which has one."""
    parents, row = np.unique(tree.parent_k[nodes], return_inverse=True)
    if _shares_prefixes(model) and parents[0] >= 0:
        sharing = _PrefixSharing(model, tree)
        return sharing.embed_nodes(nodes, sharing.encode_prefixes(parents), row)
    return _embed_full_texts(model, tree, nodes, common_name)


def _shares_prefixes(model: Model) -> bool:
    is_causal = getattr(getattr(model, "text_config", None), "causal", True)
    return (
        is_causal
        and hasattr(model, "extend_prefix")
        and model.card.text_type == "taxonomic"
        and model.card.templates == ("{}",)
    )


def _embed_full_texts(model: Model, tree: Tree, nodes: np.ndarray, common_name: CommonName | None) -> np.ndarray:
    """Unit vectors [m, d] of nodes from their complete texts."""
    name_of = common_name if common_name is not None and uses_common_names(model) else lambda node: ""
    texts = [taxon_text(tree.lineage(node), model.card.text_type, name_of(node)) for node in nodes.tolist()]
    return embed_texts(model, texts)


def _text_after_parent(tree: Tree, node: int) -> str:
    """What the text of a node adds to the text of its parent."""
    name, parent = tree.name(node), int(tree.parent_k[node])
    is_species_of_genus = tree.rank_k[node] == RANK_INDEX["species"] and (
        parent >= 0 and tree.rank_k[parent] == RANK_INDEX["genus"]
    )
    return epithet(name) if is_species_of_genus else name


class _PrefixSharing:
    """Vectors of nodes from the attention keys and values of their parents' texts."""

    def __init__(self, model, tree: Tree):
        self._model, self._tree = model, tree

    def _encode_ids(self, texts: list[str], room_n: np.ndarray, *, end: bool) -> list[list[int]]:
        """Token ids of each text, cut to its room in the context; with `end`, the end token is appended."""
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        ids = self._model.tokenizer.ids(list(distinct), start=False, end=False)
        close = self._model.tokenizer.ids([""], start=False)[0] if end else []
        return [
            ids[distinct[text]][: max(0, room - end)] + close for text, room in zip(texts, room_n.tolist(), strict=True)
        ]

    def encode_prefixes(self, nodes: np.ndarray):
        """The prefix (kingdom … name) of each node; each parent's prefix is computed once."""
        tree, model = self._tree, self._model
        context = model.text_config.context
        parents, row = np.unique(tree.parent_k[nodes], return_inverse=True)
        texts = [taxon_text(tree.lineage(int(node)), "taxonomic") if node >= 0 else "" for node in parents]
        above = model.extend_prefix([ids[: context - 1] for ids in model.tokenizer.ids(texts, end=False)])
        room = context - 1 - above.length_m[row]
        own_texts = [_text_after_parent(tree, int(node)) for node in nodes]
        return model.extend_prefix(self._encode_ids(own_texts, room, end=False), above, row)

    def embed_nodes(self, nodes: np.ndarray, prefix, prefix_row: np.ndarray) -> np.ndarray:
        """Unit vectors [m, d] of nodes, each after the prefix of its parent, row `prefix_row` of `prefix`."""
        room = self._model.text_config.context - prefix.length_m[prefix_row]
        ids = self._encode_ids([_text_after_parent(self._tree, int(node)) for node in nodes], room, end=True)
        out_md = np.empty((len(nodes), self._model.card.dim), np.float32)
        # Texts of similar length go together: less padding.
        order = np.argsort([len(row) for row in ids], kind="stable")
        for start in range(0, len(order), ENCODER_BATCH):
            rows = order[start : start + ENCODER_BATCH]
            out_md[rows] = self._model.encode_tokens([ids[row] for row in rows], prefix, prefix_row[rows])
        return out_md

    def embed_leaves(self, leaves: np.ndarray) -> np.ndarray:
        """Unit vectors [n, d] of leaves."""
        nodes = self._tree.leaf_node_n[leaves]
        parents, row = np.unique(self._tree.parent_k[nodes], return_inverse=True)
        out_nd = np.empty((len(nodes), self._model.card.dim), np.float32)
        has_parent = parents[row] >= 0
        if not has_parent.all():
            out_nd[~has_parent] = self._model.encode_texts([self._tree.name(int(node)) for node in nodes[~has_parent]])
        if has_parent.any():
            n_roots = int(parents[0] < 0)
            prefix = self.encode_prefixes(parents[n_roots:])
            out_nd[has_parent] = self.embed_nodes(nodes[has_parent], prefix, row[has_parent] - n_roots)
        return out_nd
