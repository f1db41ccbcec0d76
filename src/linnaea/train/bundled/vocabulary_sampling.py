"""Samples of the whole vocabulary, for the vocabulary loss.

Shape suffixes: b labels of a batch, c candidates (leaves, then refusals).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaea.records import RANK_INDEX
from linnaea.train.bundled.batches import ClassLabel, refusal_text


@dataclass(frozen=True, kw_only=True)
class VocabularySample:
    """Leaves and refusals, the log of how many each stands for, and which are true of each label."""

    leaves: np.ndarray
    refusals: list[str]
    log_weight_c: np.ndarray
    true_bc: np.ndarray


class VocabularySampler:
    """Draws candidates for the vocabulary loss: the leaves of the batch, other labelled leaves, and unlabelled ones.

    Half of the unlabelled leaves come from the relatives (genus, family, order) of the taxa in the batch, the others
    from anywhere. Each has the weight 1 / expected count, so that the denominator of the softmax is unbiased.
    """

    EVERYWHERE = 0.4

    def __init__(
        self, tree, labels: list[ClassLabel], *, excluded: np.ndarray, n_known: int, n_unknown: int, n_refusals: int
    ):
        """Leaves in `excluded` (held-out species) are never drawn."""
        self._tree, self._excluded = tree, np.asarray(excluded, int)
        species = RANK_INDEX["species"]
        nodes = np.unique([label.node for label in labels if label.node >= 0 and tree.rank_k[label.node] == species])
        self.known = np.sort(tree.start_k[nodes.astype(int)]).astype(int)
        self.refusals = sorted({refusal_text(name) for label in labels if label.node < 0 for name in label.names[:1]})
        self._row_of_refusal = {text: row for row, text in enumerate(self.refusals)}
        self._sizes = (n_known, n_unknown, n_refusals)

    def _add_others(self, wanted: np.ndarray, n_all: int, n_more: int, rng) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions `wanted` with weight 1 and others of `n_all` with their weights (as logarithms)."""
        others = np.setdiff1d(np.arange(n_all), wanted, assume_unique=True)
        more = rng.choice(others, size=min(n_more, len(others)), replace=False)
        weight = np.log(max(1, len(others)) / max(1, len(more)))
        weights = np.concatenate([np.zeros(len(wanted)), np.full(len(more), weight)])
        return np.concatenate([wanted, more]).astype(int), weights

    def _find_spans(self, nodes: np.ndarray) -> np.ndarray:
        """Return the leaf ranges [spans, 2] of the nodes and of their genera, families and orders."""
        tree = self._tree
        spans = {(int(tree.start_k[node]), int(tree.end_k[node])) for node in nodes}
        for node in nodes:
            for above in tree.ancestors(int(node)):
                if tree.rank_k[above] >= RANK_INDEX["order"]:
                    spans.add((int(tree.start_k[above]), int(tree.end_k[above])))
        return np.array(sorted(span for span in spans if span[1] - span[0] > 1) or [(0, tree.n_leaves)])

    def _draw_unknown(self, nodes: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
        """Draw unlabelled leaves and return them with the logarithms of their weights."""
        tree, n = self._tree, self._sizes[1]
        spans = self._find_spans(nodes)
        chosen = spans[rng.integers(len(spans), size=n)]
        leaves = (chosen[:, 0] + rng.random(n) * (chosen[:, 1] - chosen[:, 0])).astype(int)
        everywhere = rng.random(n) < self.EVERYWHERE
        leaves[everywhere] = rng.integers(tree.n_leaves, size=everywhere.sum())
        inside = (leaves[:, None] >= spans[:, 0]) & (leaves[:, None] < spans[:, 1])
        density = self.EVERYWHERE / tree.n_leaves + (1 - self.EVERYWHERE) / len(spans) * (
            inside / (spans[:, 1] - spans[:, 0])
        ).sum(1)
        keep = ~np.isin(leaves, self.known) & ~np.isin(leaves, self._excluded)
        return leaves[keep], -np.log(n * density[keep])

    def draw(self, labels: list[ClassLabel], rng: np.random.Generator) -> VocabularySample:
        """Draw candidates for a batch with these labels."""
        tree = self._tree
        node_b = np.array([label.node for label in labels])
        nodes = np.unique(node_b[node_b >= 0])
        own = np.flatnonzero(np.isin(self.known, tree.start_k[nodes[tree.rank_k[nodes] == RANK_INDEX["species"]]]))
        known, known_weight = self._add_others(own, len(self.known), self._sizes[0], rng)
        unknown, unknown_weight = self._draw_unknown(nodes, rng)
        row_b = np.array([self._row_of_refusal[refusal_text(x.names[0])] if x.node < 0 else -1 for x in labels])
        shown = np.unique(row_b[row_b >= 0])
        refusals, refusal_weight = self._add_others(shown, len(self.refusals), self._sizes[2], rng)
        leaves = np.concatenate([self.known[known], unknown])
        start_b, end_b = tree.start_k[node_b], tree.end_k[node_b]
        in_taxon = (leaves >= start_b[:, None]) & (leaves < end_b[:, None]) & (node_b >= 0)[:, None]
        # Any refusal is right for what is no organism. The contrastive loss teaches which thing it is.
        is_refusal = np.broadcast_to((row_b >= 0)[:, None], (len(labels), len(refusals)))
        return VocabularySample(
            leaves=leaves,
            refusals=[self.refusals[row] for row in refusals],
            log_weight_c=np.concatenate([known_weight, unknown_weight, refusal_weight]).astype(np.float32),
            true_bc=np.concatenate([in_taxon, is_refusal], axis=1),
        )
