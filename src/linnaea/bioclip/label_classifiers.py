"""pybioclip's classifiers among the user's own labels, and among bins of labels.

Shape suffixes: b images, l labels, d vector dimensions.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from linnaea.bioclip.base_classifier import CLASSIFICATION, SCORE, BaseClassifier, Callback, Picture, list_pictures
from linnaea.bioclip.ranks import BATCH_SIZE
from linnaea.model.core.templates import IMAGENET_TEMPLATES
from linnaea.model.runtimes.runtime_check import LabelFunction
from linnaea.store import hash_bytes

# Labels whose 80 sentences are embedded together.
LABELS_AT_ONCE = 8


class CustomLabelsClassifier(BaseClassifier):
    """Chooses among the user's labels; the vector of a label is the mean over 80 sentences."""

    def __init__(self, cls_ary: Iterable[str], **options):
        self.classes = [label.strip() for label in cls_ary]
        if not self.classes:
            raise ValueError("no label given; give the names to choose from")
        if "" in self.classes:
            raise ValueError(
                f"label {self.classes.index('') + 1} of {len(self.classes)} is empty; name it or leave it out"
            )
        super().__init__(**options)
        self.txt_embeddings = _embed_labels(self.model, self.classes).T

    def predict(
        self,
        images: Picture | Sequence[Picture],
        k: int | None = None,
        batch_size: int | None = BATCH_SIZE,
        callback: Callback | None = None,
    ) -> list[dict]:
        """Dicts with file_name, classification and score (0..1), the k likeliest labels of each picture (None: all)."""
        pictures = list_pictures(images)
        found = list(self.predict_each(pictures, k, batch_size, callback))
        self.record_event(images=[named.picture for named in pictures], k=k, batch_size=batch_size)
        return found

    def predict_each(self, images, k=None, batch_size=BATCH_SIZE, callback=None) -> Iterator[dict]:
        """Yield the dicts of `predict`, a batch in memory at a time."""
        answer = partial(self._name_vectors, k=k or None)
        return self._predict_pictures(images, batch_size, callback, answer, {CLASSIFICATION: ""})

    def _name_vectors(self, vectors_bd: np.ndarray, k: int | None) -> Iterator[list[dict]]:
        logits_bl = np.float64(self.model.card.logit_scale) * (vectors_bd @ self.txt_embeddings)
        mass_bl = np.exp(logits_bl - logits_bl.max(axis=1, keepdims=True))
        for mass_l in mass_bl / mass_bl.sum(axis=1, keepdims=True):
            scores = self._group(mass_l.tolist())
            best = heapq.nlargest(k or len(scores), scores, key=lambda score: score[1])
            yield [{CLASSIFICATION: name, SCORE: mass} for name, mass in best]

    def _make_label_function(self) -> tuple[LabelFunction | None, str]:
        return lambda vectors_bd: (vectors_bd @ self.txt_embeddings).argmax(axis=1).tolist(), hash_bytes(*self.classes)

    def _group(self, masses: list[float]) -> list[tuple[Hashable, float]]:
        """Names with their scores, from the mass of each label."""
        return list(zip(self.classes, masses, strict=True))


class CustomLabelsBinningClassifier(CustomLabelsClassifier):
    """Chooses among bins of labels; the score of a bin is the sum of the scores of its labels."""

    def __init__(self, cls_to_bin: Mapping[str, Hashable], **options):
        if any(map(_is_missing, cls_to_bin.values())):
            raise ValueError("Empty, null, or nan are not allowed for bin values.")
        super().__init__(cls_ary=cls_to_bin, **options)
        self.cls_to_bin = dict(cls_to_bin)
        self._bins = list(cls_to_bin.values())

    def _group(self, masses: list[float]) -> list[tuple[Hashable, float]]:
        scores = dict.fromkeys(self._bins, 0.0)
        for bin_, mass in zip(self._bins, masses, strict=True):
            scores[bin_] += mass
        return list(scores.items())


def _is_missing(bin_: object) -> bool:
    """Whether a bin is empty, None, NaN or pandas' NA, all of which pybioclip refuses (and 0 with them)."""
    if bin_ is None or type(bin_).__name__ == "NAType":
        return True
    return not bin_ or (isinstance(bin_, float) and math.isnan(bin_))


def _embed_labels(model, labels: list[str]) -> np.ndarray:
    """Unit vectors float32 [l, d]: the mean of each label's unit vectors in all sentences, scaled to unit length."""
    found = []
    for start in range(0, len(labels), LABELS_AT_ONCE):
        part = labels[start : start + LABELS_AT_ONCE]
        vectors = model.encode_texts([template.format(label) for label in part for template in IMAGENET_TEMPLATES])
        found.append(vectors.reshape(len(part), len(IMAGENET_TEMPLATES), -1).mean(axis=1))
    mean_ld = np.concatenate(found)
    return mean_ld / np.linalg.norm(mean_ld, axis=1, keepdims=True)


def predict_classifications_from_list(
    img: Picture, cls_ary: Sequence[str], device: str = "cpu", **options
) -> list[dict]:
    """The labels of one picture with their scores, as `CustomLabelsClassifier.predict` returns them."""
    return CustomLabelsClassifier(cls_ary, device=device, **options).predict([img])
