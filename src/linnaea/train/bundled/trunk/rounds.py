"""The fine-tuned trunk of a recipe, trained once for all recipes that train it in the same way."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from linnaea.store import hash_bytes, read_manifest, write_artifact
from linnaea.taxonomy.vocabulary_factory import load_vocabulary
from linnaea.train.bundled.batches import TextSource
from linnaea.train.bundled.config import BundledConfig
from linnaea.train.bundled.labels import LabelBook, find_held_out, label_class_rows, list_training_photographs
from linnaea.train.bundled.tflite_teacher import load_teacher_features
from linnaea.train.bundled.trunk.crops import CropLoader, PhotoPack
from linnaea.train.bundled.trunk.finetuning import Finetuning, run_finetuning
from linnaea.train.bundled.trunk.targets import FinetuneTask, TeacherLogits

logger = logging.getLogger(__name__)

SEED = 0


def make_photo_pack(
    recipe: BundledConfig, book: LabelBook, held_out: set[int]
) -> tuple[PhotoPack, list[dict[str, str]]]:
    """Return the photographs without those of the held-out species, and their manifest rows."""
    turned = {photo_set.name for photo_set in recipe.photo_sets if photo_set.any_side_up}
    both = [list_training_photographs(recipe, book, refused=refused) for refused in (True, False)]
    pairs = [pair for rows, labels in both for pair in zip(rows, labels, strict=True) if pair[1].node not in held_out]
    is_turned = np.array([row["set"] in turned for row, _ in pairs])
    pack = PhotoPack(
        files=[recipe.images / row["file"] for row, _ in pairs],
        labels=[label for _, label in pairs],
        turned_n=is_turned,
        usual_n=~is_turned,
        sets=[row["set"] for row, _ in pairs],
    )
    return pack, [row for row, _ in pairs]


def compute_teacher_logits(
    recipe: BundledConfig, book: LabelBook, rows: list[dict[str, str]], held_out: set[int], work_dir: Path
) -> list[TeacherLogits]:
    """Compute the answers of the teachers to the photographs, without the held-out species."""
    found = []
    for teacher in recipe.teachers:
        # the same files as for its class rows, so that its features are computed once
        chosen = [i for i, row in enumerate(rows) if row["set"] in teacher.taught_on]
        if not teacher.answers_on or not chosen:
            continue
        files = [rows[i]["file"] for i in chosen]
        features_nt, weight_ct = load_teacher_features(teacher.path, recipe.images, files, work_dir)
        usable = [label is not None for label in label_class_rows(book, teacher.table, held_out)]
        logits_nk = (features_nt @ weight_ct[usable].T).astype(np.float32)
        answered = np.array([rows[i]["set"] in teacher.answers_on for i in chosen])
        found.append(TeacherLogits(rows_n=np.array(chosen)[answered], logits_nk=logits_nk[answered]))
    return found


def finetune_trunk(recipe: BundledConfig, weights: Mapping[str, np.ndarray], work_dir: Path) -> dict[str, np.ndarray]:
    """Return the weights, under the published names, after the rounds of `recipe.finetune`.

    Each finished round is kept in `work_dir`, and an interrupted round continues.
    """
    vocabulary = load_vocabulary()
    book = LabelBook(vocabulary, recipe.labels)
    held_out = set(find_held_out(recipe, book, vocabulary.tree, recipe.held_out_of_trunk))
    pack, rows = make_photo_pack(recipe, book, held_out)
    taught = [(teacher.path.name, teacher.answers_on) for teacher in recipe.teachers]
    original = weights
    for number, config in enumerate(recipe.finetune):
        seed = SEED + number
        says = json.dumps([asdict(config), taught, [label.cache_key for label in pack.labels], seed])
        key = hash_bytes(says, *(row["file"] for row in rows), *(weights[name].tobytes() for name in sorted(weights)))
        directory, saved_path = work_dir / f"trunk-{key}", work_dir / f"trunk-{key}.pt"
        if read_manifest(directory) is None:
            logger.info(
                "trunk, round %d of %d: %s photographs, %s labels, %s species held out",
                number + 1,
                len(recipe.finetune),
                f"{len(rows):,}",
                f"{len(set(pack.labels)):,}",
                f"{len(held_out):,}",
            )
            kept = np.array([label is not None for label in label_class_rows(book, recipe.class_rows, held_out)])
            task = FinetuneTask(
                pack=pack,
                source=TextSource(vocabulary.tree),
                kept_classes=np.flatnonzero(kept),
                teachers=compute_teacher_logits(recipe, book, rows, held_out, work_dir),
                original=original,
            )
            run = Finetuning(weights, task, config, dim=recipe.text.dim, hidden=recipe.hidden, seed=seed)
            crops = CropLoader(pack, config, recipe.preprocess.mean, recipe.preprocess.std, seed)
            made = run_finetuning(run, crops, saved_path)
            with write_artifact(directory, {"kind": "trunk", "key": key}, owned=True) as folder:
                np.savez(folder / "weights.npz", **made)
            saved_path.unlink(missing_ok=True)
        weights = dict(np.load(directory / "weights.npz"))
    return dict(weights)
