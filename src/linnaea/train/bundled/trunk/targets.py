"""What the trunk is fine-tuned to answer: the labels of photographs, the original trunk's answers, the teachers'.

Shape suffixes: n photographs, l labels, k classes of a classifier, d features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from linnaea.train.bundled.batches import ClassLabel, TextSource
from linnaea.train.bundled.encoders.prototypes import mask_relatives
from linnaea.train.bundled.trunk.crops import PhotoPack


@dataclass(frozen=True, kw_only=True)
class TeacherLogits:
    """A teacher's logits [n, k] for some photographs of the pack, and the rows of these photographs."""

    rows_n: np.ndarray
    logits_nk: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FinetuneTask:
    """What one round of fine-tuning learns.

    `kept_classes` are the rows of the trunk's own classifier whose answers are to stay as with the `original` weights
    (without those, as with the weights at the start).
    """

    pack: PhotoPack
    source: TextSource
    kept_classes: np.ndarray
    teachers: Sequence[TeacherLogits] = ()
    original: Mapping[str, np.ndarray] | None = None


class Targets:
    """The targets of a task as tensors.

    `label_n` is the number of each photograph's label. `ignored_ll` and `elsewhere_ll` mask, for each label, its
    relatives in other sources and all labels of other sources. `usual_n` marks ordinary photographs. `teachers` are
    pairs: the row of each photograph in the teacher's logits (-1 for none), and the logits [n, k]. `rows_kd` and
    `bias_k` are the kept classes of the trunk's own classifier.
    """

    def __init__(self, task: FinetuneTask, weights: Mapping[str, np.ndarray]):
        pack = task.pack
        numbers: dict[ClassLabel, int] = {}
        self.label_n = torch.tensor([numbers.setdefault(label, len(numbers)) for label in pack.labels])
        labels = list(numbers)
        self.n_labels = len(labels)
        self.ignored_ll = torch.from_numpy(mask_relatives(labels, task.source))
        names = {name: number for number, name in enumerate({label.source: None for label in labels})}
        source_l = torch.tensor([names[label.source] for label in labels])
        self.elsewhere_ll = source_l[:, None] != source_l[None, :]
        self.usual_n = torch.from_numpy(pack.usual_n)
        self.teachers: list[tuple[torch.Tensor, torch.Tensor]] = []
        for teacher in task.teachers:
            place_n = torch.full((len(pack.labels),), -1)
            place_n[torch.from_numpy(teacher.rows_n)] = torch.arange(len(teacher.rows_n))
            self.teachers.append((place_n, torch.from_numpy(teacher.logits_nk)))
        self.rows_kd = torch.from_numpy(weights["_fc.weight"][task.kept_classes])
        self.bias_k = torch.from_numpy(weights["_fc.bias"][task.kept_classes])
