"""Labels, the texts that are true of them, and the batches for training.

A label is the name of a class in a source: a taxon of some rank with common names, or a thing that is no organism. Two
sources may label the same taxon. The images of a label are photographs (features in several views), or features drawn
from a class row of a classifier.

Shape suffixes: b images, u texts, v views, w feature width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaea.taxonomy.name_text import taxon_text
from linnaea.train.bundled.class_features import ClassRows

NO_ORGANISM = "no organism"


@dataclass(frozen=True, kw_only=True)
class ClassLabel:
    """A class of one source. `node` is its taxon in the tree, or -1 for no organism; `names` are its common names."""

    source: str
    node: int
    names: tuple[str, ...]

    @property
    def cache_key(self) -> str:
        """The label as text for the hash of a cached result. It must not change, or cached trunks are trained again."""
        return f"Label(source={self.source!r}, node={self.node!r}, names={self.names!r})"


@dataclass(frozen=True, kw_only=True)
class LabelText:
    """A text and what it names: a taxon (`name` is empty), or the label `name` of `source`."""

    text: str
    node: int
    name: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class FeatureBatch:
    """Features of images, and labels with one text each: those of the images, then those of added prototypes."""

    features_bw: np.ndarray
    labels: list[ClassLabel]
    texts: list[LabelText]


def refusal_text(name: str) -> str:
    """Return the text of a thing that is no organism."""
    return f"{NO_ORGANISM} {name}"


class TextSource:
    """Draws texts for labels, and decides which texts are true of them."""

    TYPES = ("taxonomic", "scientific", "common", "taxonomic_common", "scientific_common")
    SHARES = (0.35, 0.15, 0.25, 0.15, 0.10)
    ANCESTOR_SHARE = 0.2

    def __init__(self, tree):
        self.tree = tree

    def draw(self, label: ClassLabel, rng: np.random.Generator) -> LabelText:
        """Draw a text of one of the five types of BioCLIP 2, or sometimes the name of a taxon above the label."""
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

    def match(self, labels: list[ClassLabel], texts: list[LabelText]) -> np.ndarray:
        """Return bool [b, u]: whether each text is true of the images of each label.

        The name of a taxon is true of everything below it. The name of a label is true of labels with that name (a
        Persian cat is not a tabby), and of labels of other sources strictly below its taxon (a honey bee is a bee).
        """
        node_b = np.array([label.node for label in labels])
        node_u = np.array([text.node for text in texts])
        inside = self.contains(node_u[None, :], node_b[:, None])
        named_u = np.array([bool(text.name) for text in texts])
        sources, names = {}, {}
        source_b = np.array([sources.setdefault(label.source, len(sources)) for label in labels])
        source_u = np.array([sources.setdefault(text.source, len(sources)) for text in texts])
        name_u = np.array([names.setdefault(text.name, len(names)) for text in texts])
        same_name = np.zeros((len(labels), len(texts)), bool)
        for row, label in enumerate(labels):
            own = [names[name.casefold()] for name in label.names if name.casefold() in names]
            same_name[row] = np.isin(name_u, own)
        same_node = node_u[None, :] == node_b[:, None]
        above = inside & ~same_node & (source_u[None, :] != source_b[:, None])
        return np.where(named_u[None, :], (same_node & same_name) | above, inside)

    def contains(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """Return whether node `inner` is node `outer` or below it; False if either is -1."""
        tree = self.tree
        real = (outer >= 0) & (inner >= 0)
        spans = (tree.start_k[outer] <= tree.start_k[inner]) & (tree.end_k[inner] <= tree.end_k[outer])
        return real & spans & (tree.rank_k[outer] <= tree.rank_k[inner])


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """Features [n, v, w] of n photographs in v views, each with a label."""

    features_nvw: np.ndarray
    labels: list[ClassLabel]


@dataclass(frozen=True, kw_only=True)
class LabelledClassRows:
    """The class rows of a classifier, each with a label, or None for an omitted class."""

    rows: ClassRows
    labels: list[ClassLabel | None]


class FeatureSampler:
    """Draws batches with fixed numbers of images per source; photographs by 1 / sqrt(size of their class)."""

    def __init__(
        self,
        text_source: TextSource,
        photographs: list[tuple[Photographs, int]],
        row_classes: list[tuple[LabelledClassRows, int]],
    ):
        """Take sources, each with its number of images per batch."""
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
        """Draw features float32 [b, w] and their labels, a pure function of the state of the generator."""
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
        """Draw a batch with a text for each image, and then for each of the labels `more`."""
        features_bw, labels = self.draw_images(rng)
        labels = [*labels, *more]
        return FeatureBatch(
            features_bw=features_bw, labels=labels, texts=[self._texts.draw(label, rng) for label in labels]
        )
