"""Zero-shot naming among the labels of the photographs themselves.

Shape suffixes: n photographs, l labels, d vector dimensions.
"""

from __future__ import annotations

import numpy as np

from linnaea.embed.names.text_embedding import embed_texts
from linnaea.evaluate.metrics import share_with_interval
from linnaea.evaluate.truth import SPECIES, Example
from linnaea.model.core.contract import Model
from linnaea.records import RANKS
from linnaea.taxonomy.name_text import taxon_text


def make_label_texts(examples: list[Example], text: str) -> dict[str, tuple[str, ...]]:
    """The texts of each distinct label; the vector of a label is the mean of theirs.

    `auto` takes the common name with the taxonomic name if the label is one species, else with the label's own words.
    """
    first: dict[str, Example] = {}
    for example in examples:
        first.setdefault(example.label, example)
    taxa = [example.lineage for example in first.values()]
    texts = {}
    for label, example in first.items():
        words = " ".join(label.replace("_", " ").split())
        one_species = example.depth == SPECIES and taxa.count(example.lineage) == 1
        common = example.common_name or words
        if text == "auto":
            texts[label] = (taxon_text(example.lineage, "taxonomic") if one_species else words, common)
        elif text == "common" or not any(example.lineage):
            texts[label] = (common,)
        else:
            texts[label] = (taxon_text(example.lineage, text),)
    return texts


def evaluate_labels(
    model: Model, examples: list[Example], vectors_nd: np.ndarray, text: str
) -> tuple[dict, list[dict]]:
    """Top-1, top-5 and rank-wise accuracy among the labels of the examples, and a row for each photograph."""
    texts = make_label_texts(examples, text)
    labels = list(texts)
    lineage_of = {example.label: example.lineage for example in examples}
    label_ld = sum(embed_texts(model, list(part)) for part in zip(*texts.values(), strict=True))
    label_ld /= np.linalg.norm(label_ld, axis=1, keepdims=True)
    order_nl = np.argsort(-(vectors_nd @ label_ld.T), axis=1, kind="stable")[:, :5]
    truth_n = np.array([labels.index(example.label) for example in examples])
    hit_nl = order_nl == truth_n[:, None]
    by_rank = {}
    for r, rank in enumerate(RANKS):
        known = [i for i, example in enumerate(examples) if example.lineage[r]]
        right = [lineage_of[labels[order_nl[i, 0]]][r] == examples[i].lineage[r] for i in known]
        by_rank[rank] = share_with_interval(np.array(right, bool))
    report = {
        "n_labels": len(labels),
        "top1": share_with_interval(hit_nl[:, 0]),
        "top5": share_with_interval(hit_nl.any(1)),
        "ranks": by_rank,
    }
    rows = [
        {"file": example.file, "label": example.label, "predicted": labels[best[0]]}
        for example, best in zip(examples, order_nl, strict=True)
    ]
    return report, rows
