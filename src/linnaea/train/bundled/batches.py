"""Labels, their texts and what is true of them; the batches that training draws.

A label is what a source calls a class: a taxon of some rank with a common name, or a thing that is no organism. Two sources may
label the same taxon. A label's images may be photographs (features in several views) or a classifier's class row.

Shape suffixes: b images, u texts, c candidate leaves, v views, w feature width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaea.records import RANK_INDEX
from linnaea.taxonomy.name_text import taxon_text
from linnaea.train.bundled.class_features import ClassRows

NO_ORGANISM = "no organism"


@dataclass(frozen=True, kw_only=True)
class ClassLabel:
    """A class of one source. `node` is its taxon in the tree, -1 for no organism; `names` are its readable names."""

    source: str
    node: int
    names: tuple[str, ...]

    @property
    def cache_key(self) -> str:
        """The label as text for the hash of a cached result. It must not change, or cached trunks are trained again."""
        return f"Label(source={self.source!r}, node={self.node!r}, names={self.names!r})"


@dataclass(frozen=True, kw_only=True)
class LabelText:
    """A text and what it names: a taxon (`name` empty), or a label of `source` called `name`."""

    text: str
    node: int
    name: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class FeatureBatch:
    """Features of images, and labels with a text each: the images' own, then those of the prototypes that join them."""

    features_bw: np.ndarray
    labels: list[ClassLabel]
    texts: list[LabelText]


def refusal_text(name: str) -> str:
    """How the model writes what is no organism."""
    return f"{NO_ORGANISM} {name}"


class TextSource:
    """Draws a text for a label and decides which texts are true of it."""

    TYPES = ("taxonomic", "scientific", "common", "taxonomic_common", "scientific_common")
    SHARES = (0.35, 0.15, 0.25, 0.15, 0.10)
    ANCESTOR_SHARE = 0.2

    def __init__(self, tree):
        self.tree = tree

    def draw(self, label: ClassLabel, rng: np.random.Generator) -> LabelText:
        """One of the five text types of BioCLIP 2, or now and then the name of a taxon above the label's."""
        name = label.names[rng.integers(len(label.names))] if label.names else ""
        kind = self.TYPES[rng.choice(len(self.TYPES), p=self.SHARES)]
        if label.node < 0:
            text = name if "common" in kind else refusal_text(name)
            return LabelText(text=text, node=-1, name=name.casefold(), source=label.source)
        node = label.node
        if rng.random() < self.ANCESTOR_SHARE:
            above = self.tree.ancestors(node)
            if len(above):
                node, kind = int(above[rng.integers(len(above))]), self.TYPES[rng.integers(2)]
        if "common" in kind and name:
            text = taxon_text(self.tree.lineage(node), kind, name)
            return LabelText(text=text, node=node, name=name.casefold(), source=label.source)
        return LabelText(text=taxon_text(self.tree.lineage(node), kind.removesuffix("_common"), ""), node=node)

    def true(self, labels: list[ClassLabel], texts: list[LabelText]) -> np.ndarray:
        """bool [b, u]: whether each text holds for each label's images.

        The name of a taxon holds for all below it. A label's own name holds for that name alone (a Persian cat is no tabby), and
        for labels of other sources strictly below its taxon (a honey bee is a bee).
        """
        node_b = np.array([label.node for label in labels])
        node_u = np.array([text.node for text in texts])
        inside = self.contains(node_u[None, :], node_b[:, None])
        named_u = np.array([bool(text.name) for text in texts])
        sources, names = {}, {}
        number = lambda table, key: table.setdefault(key, len(table))
        source_b = np.array([number(sources, label.source) for label in labels])
        source_u = np.array([number(sources, text.source) for text in texts])
        name_u = np.array([number(names, text.name) for text in texts])
        same_name = np.zeros((len(labels), len(texts)), bool)
        for row, label in enumerate(labels):
            own = [names[name.casefold()] for name in label.names if name.casefold() in names]
            same_name[row] = np.isin(name_u, own)
        same_node = node_u[None, :] == node_b[:, None]
        above = inside & ~same_node & (source_u[None, :] != source_b[:, None])
        return np.where(named_u[None, :], (same_node & same_name) | above, inside)

    def contains(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """Whether node `inner` is node `outer` or lies below it; False where either is -1."""
        tree = self.tree
        real = (outer >= 0) & (inner >= 0)
        spans = (tree.start_k[outer] <= tree.start_k[inner]) & (tree.end_k[inner] <= tree.end_k[outer])
        return real & spans & (tree.rank_k[outer] <= tree.rank_k[inner])


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """Features [n, v, w] in v views of n photographs, each with a label."""

    features_nvw: np.ndarray
    labels: list[ClassLabel]


@dataclass(frozen=True, kw_only=True)
class LabelledClassRows:
    """A classifier's class rows, each with a label; None where a class is left out."""

    rows: ClassRows
    labels: list[ClassLabel | None]


class FeatureSampler:
    """Draws batches: photographs by one over the root of their class's size, refusals and class rows at set shares."""

    def __init__(
        self,
        text_source: TextSource,
        photographs: list[tuple[Photographs, int]],
        row_classes: list[tuple[LabelledClassRows, int]],
    ):
        """Each source comes with its number of images a batch."""
        self._texts = text_source
        self._photographs, self._rows = [], []
        for pack, count in photographs:
            sizes: dict[ClassLabel, int] = {}
            for label in pack.labels:
                sizes[label] = sizes.get(label, 0) + 1
            weight = np.array([sizes[label] ** -0.5 for label in pack.labels])
            self._photographs.append((pack, count, np.cumsum(weight / weight.sum())))
        for pack, count in row_classes:
            self._rows.append((pack, count, np.flatnonzero([label is not None for label in pack.labels])))

    def draw_images(self, rng: np.random.Generator) -> tuple[np.ndarray, list[ClassLabel]]:
        """Features float32 [b, w] and labels; a pure function of the generator's state."""
        features, labels = [], []
        for pack, count, cumulative in self._photographs:
            index = np.minimum(np.searchsorted(cumulative, rng.random(count)), len(pack.labels) - 1)
            view = rng.integers(pack.features_nvw.shape[1], size=count)
            features.append(pack.features_nvw[index, view].astype(np.float32))
            labels += [pack.labels[i] for i in index]
        for pack, count, usable in self._rows:
            index = usable[rng.integers(len(usable), size=count)]
            features.append(pack.rows.draw(index, rng).astype(np.float32))
            labels += [pack.labels[i] for i in index]
        return np.concatenate(features), labels

    def draw(self, rng: np.random.Generator, more: list[ClassLabel] = ()) -> FeatureBatch:
        """The next batch, with a text for each image; `more` labels get a text too, after the images' own."""
        features_bw, labels = self.draw_images(rng)
        labels = [*labels, *more]
        return FeatureBatch(
            features_bw=features_bw, labels=labels, texts=[self._texts.draw(label, rng) for label in labels]
        )


@dataclass(frozen=True, kw_only=True)
class VocabularySample:
    """A sample of the whole vocabulary: leaves and refusals, and the log of how many each stands for."""

    leaves: np.ndarray
    refusals: list[str]
    log_weight_c: np.ndarray
    true_bc: np.ndarray


class VocabularySampler:
    """Draws candidates for the vocabulary loss: all leaves of the batch, some other labelled ones, and some of the million.

    Unlabelled leaves come half from the relatives (genus, family, order) of the batch's taxa and half from everywhere; each is
    weighted by one over its expected count, so that the softmax's denominator is unbiased.
    """

    EVERYWHERE = 0.4

    def __init__(
        self, tree, labels: list[ClassLabel], *, excluded: np.ndarray, n_known: int, n_unknown: int, n_refusals: int
    ):
        """`never` are leaves that may not be drawn (held-out species)."""
        self._tree, self._excluded = tree, np.asarray(excluded, int)
        species = RANK_INDEX["species"]
        nodes = np.unique([label.node for label in labels if label.node >= 0 and tree.rank_k[label.node] == species])
        self.known = np.sort(tree.start_k[nodes.astype(int)]).astype(int)
        self.refusals = sorted({refusal_text(name) for label in labels if label.node < 0 for name in label.names[:1]})
        self._row_of_refusal = {text: row for row, text in enumerate(self.refusals)}
        self._sizes = (n_known, n_unknown, n_refusals)

    def _some(self, wanted: np.ndarray, n_all: int, n_more: int, rng) -> tuple[np.ndarray, np.ndarray]:
        """`wanted` positions with weight 1, and others of `n_all` with the weight of what they stand for."""
        others = np.setdiff1d(np.arange(n_all), wanted, assume_unique=True)
        more = rng.choice(others, size=min(n_more, len(others)), replace=False)
        weights = np.concatenate(
            [np.zeros(len(wanted)), np.full(len(more), np.log(max(1, len(others)) / max(1, len(more))))]
        )
        return np.concatenate([wanted, more]).astype(int), weights

    def _unknown(self, nodes: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
        tree, n = self._tree, self._sizes[1]
        spans = {(int(tree.start_k[node]), int(tree.end_k[node])) for node in nodes}
        for node in nodes:
            for above in tree.ancestors(int(node)):
                if tree.rank_k[above] >= RANK_INDEX["order"]:
                    spans.add((int(tree.start_k[above]), int(tree.end_k[above])))
        spans = np.array(sorted(span for span in spans if span[1] - span[0] > 1) or [(0, tree.n_leaves)])
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
        """Candidates for a batch with these labels."""
        tree = self._tree
        node_b = np.array([label.node for label in labels])
        nodes = np.unique(node_b[node_b >= 0])
        own = np.flatnonzero(np.isin(self.known, tree.start_k[nodes[tree.rank_k[nodes] == RANK_INDEX["species"]]]))
        known, known_weight = self._some(own, len(self.known), self._sizes[0], rng)
        unknown, unknown_weight = self._unknown(nodes, rng)
        row_b = np.array([self._row_of_refusal[refusal_text(x.names[0])] if x.node < 0 else -1 for x in labels])
        refusals, refusal_weight = self._some(np.unique(row_b[row_b >= 0]), len(self.refusals), self._sizes[2], rng)
        leaves = np.concatenate([self.known[known], unknown])
        start_b, end_b = tree.start_k[node_b], tree.end_k[node_b]
        in_taxon = (leaves >= start_b[:, None]) & (leaves < end_b[:, None]) & (node_b >= 0)[:, None]
        # any refusal is right for what is no organism: which thing it shows is the contrastive loss's business
        is_refusal = np.broadcast_to((row_b >= 0)[:, None], (len(labels), len(refusals)))
        return VocabularySample(
            leaves=leaves,
            refusals=[self.refusals[row] for row in refusals],
            log_weight_c=np.concatenate([known_weight, unknown_weight, refusal_weight]).astype(np.float32),
            true_bc=np.concatenate([in_taxon, is_refusal], axis=1),
        )
