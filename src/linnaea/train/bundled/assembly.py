"""Features, labels and samplers of a recipe: everything that the training stages need.

Shape suffixes: n photographs, v views, w trunk features, c classes, t teacher features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_factory import load_vocabulary
from linnaea.train.bundled.batches import ClassLabel, FeatureSampler, LabelledClassRows, Photographs, TextSource
from linnaea.train.bundled.class_features import ClassRows, estimate_class_means, measure_margin, measure_scatter
from linnaea.train.bundled.config import BundledConfig, TeacherConfig
from linnaea.train.bundled.labels import LabelBook, find_held_out, label_class_rows, list_training_photographs
from linnaea.train.bundled.trunk.published import open_trunk
from linnaea.train.bundled.vocabulary_sampling import VocabularySampler

# Added to the deviation of features, so that nearly constant ones are not amplified.
STD_FLOOR = 0.05


@dataclass(frozen=True, kw_only=True)
class LabelledFeatures:
    """Photographs of no organism (`refused`), or all others: manifest rows, labels and features [n, v, w]."""

    rows: list[dict[str, str]]
    labels: list[ClassLabel]
    features_nvw: np.ndarray
    refused: bool


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What the training stages need."""

    vocabulary: Vocabulary
    source: TextSource
    sampler: FeatureSampler
    candidates: VocabularySampler
    labels: list[ClassLabel]
    held_out: list[int]
    mean_w: np.ndarray
    std_w: np.ndarray


def assemble(recipe: BundledConfig, trunk_weights: dict, work_dir: Path, *, half: bool = False) -> Assembly:
    """Prepare the features, labels and samplers of a recipe; `half` as for `open_trunk`."""
    vocabulary = load_vocabulary()
    tree, book = vocabulary.tree, LabelBook(vocabulary, recipe.labels)
    trunk, trunk_hash = open_trunk(trunk_weights, recipe.preprocess, half=half)
    work_dir.mkdir(parents=True, exist_ok=True)
    sources = _load_features(recipe, book, trunk, trunk_hash, work_dir)
    held_out = find_held_out(recipe, book, tree, recipe.held_out)
    sources = [_drop_held_out(source, set(held_out)) for source in sources]
    rows = _make_class_rows(recipe, book, sources, trunk_weights["_fc.weight"], set(held_out), work_dir)
    photographs = [
        (
            Photographs(features_nvw=source.features_nvw, labels=source.labels),
            recipe.n_refused if source.refused else recipe.n_photographs,
        )
        for source in sources
    ]
    own = (label for source in sources for label in source.labels)
    of_rows = (label for pack, _ in rows for label in pack.labels if label is not None)
    labels = list(dict.fromkeys([*own, *of_rows]))
    text_source = TextSource(tree)
    candidates = VocabularySampler(
        tree,
        labels,
        excluded=tree.leaves_within(held_out),
        n_known=recipe.n_known,
        n_unknown=recipe.n_unknown,
        n_refusals=recipe.n_refusals,
    )
    last_view = np.concatenate([source.features_nvw[:, -1] for source in sources]).astype(np.float32)
    return Assembly(
        vocabulary=vocabulary,
        source=text_source,
        sampler=FeatureSampler(text_source, photographs, rows),
        candidates=candidates,
        labels=labels,
        held_out=held_out,
        mean_w=last_view.mean(0),
        std_w=last_view.std(0) + STD_FLOOR,
    )


def _load_features(recipe: BundledConfig, book: LabelBook, trunk, trunk_hash: str, work_dir: Path):
    """Return the labelled features of the photographs of no organism, and of all others."""
    from linnaea.train.bundled.trunk.features import extract_features

    turned = _list_turned_sets(recipe)
    sources = []
    for refused in (True, False):
        rows, labels = list_training_photographs(recipe, book, refused=refused)
        if rows:
            features = extract_features(
                work_dir,
                recipe.images,
                [row["file"] for row in rows],
                trunk,
                trunk_hash=trunk_hash,
                preprocess=recipe.preprocess,
                n_views=recipe.n_refused_views if refused else recipe.n_views,
                any_side_up=[row["set"] in turned for row in rows],
            )
            sources.append(LabelledFeatures(rows=rows, labels=labels, features_nvw=features, refused=refused))
    return sources


def _list_turned_sets(recipe: BundledConfig) -> set[str]:
    return {photo_set.name for photo_set in recipe.photo_sets if photo_set.any_side_up}


def _drop_held_out(source: LabelledFeatures, held_out: set[int]) -> LabelledFeatures:
    """Return the features without those of the held-out species."""
    keep = np.array([label.node not in held_out for label in source.labels])
    if keep.all():
        return source
    return LabelledFeatures(
        rows=[row for row, kept in zip(source.rows, keep, strict=True) if kept],
        labels=[label for label, kept in zip(source.labels, keep, strict=True) if kept],
        features_nvw=source.features_nvw[keep],
        refused=source.refused,
    )


def _make_class_rows(
    recipe: BundledConfig,
    book: LabelBook,
    sources: list[LabelledFeatures],
    weight_cw: np.ndarray,
    held_out: set[int],
    work_dir: Path,
) -> list[tuple[LabelledClassRows, int]]:
    """Return the class rows of the trunk's own classifier and of the teachers, each with its images per batch."""
    plain_nw = np.concatenate([source.features_nvw[:, 0] for source in sources]).astype(np.float32)
    numbers: dict[ClassLabel, int] = {}
    classes = np.array([numbers.setdefault(label, len(numbers)) for source in sources for label in source.labels])
    # Microscopy and views from above scatter differently from the photographs on which the rows were trained.
    turned = _list_turned_sets(recipe)
    usual = np.array([row["set"] not in turned for source in sources for row in source.rows])
    scatter_nw = measure_scatter(plain_nw[usual], classes[usual])
    margin = measure_margin(weight_cw, plain_nw[usual])
    means_cw = estimate_class_means(weight_cw, plain_nw[usual].mean(0), margin)
    own = LabelledClassRows(
        rows=ClassRows(means_cw, scatter_nw), labels=label_class_rows(book, recipe.class_rows, held_out)
    )
    rows = [(own, recipe.n_class_rows)]
    organisms = next(source for source in sources if not source.refused)
    for teacher in recipe.teachers:
        means_cw = _map_teacher_classes(teacher, organisms, recipe.images, work_dir)
        labels = label_class_rows(book, teacher.table, held_out)
        rows.append((LabelledClassRows(rows=ClassRows(means_cw, scatter_nw), labels=labels), teacher.n_images))
    return rows


def _map_teacher_classes(
    teacher: TeacherConfig, organisms: LabelledFeatures, images_dir: Path, work_dir: Path
) -> np.ndarray:
    """Return the mean trunk features [c, w] of a teacher's classes, from the photographs that both networks see."""
    from linnaea.train.bundled.tflite_teacher import load_teacher_features, map_class_means

    chosen = [i for i, row in enumerate(organisms.rows) if row["set"] in teacher.taught_on]
    files = [organisms.rows[i]["file"] for i in chosen]
    teacher_nt, weight_ct = load_teacher_features(teacher.path, images_dir, files, work_dir)
    trunk_nw = organisms.features_nvw[chosen, 0].astype(np.float32)
    means_cw = map_class_means(weight_ct, teacher_nt, trunk_nw)
    centre_w = trunk_nw.mean(0)
    return centre_w + teacher.gain * (means_cw - centre_w)
