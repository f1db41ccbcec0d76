"""A recipe's trunk: trained further on its photographs, once for all recipes that train it alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from linnaea.store import hash_bytes, read_manifest, write_artifact
from linnaea.taxonomy.vocabulary_factory import load_vocabulary
from linnaea.train.bundled.batches import TextSource
from linnaea.train.bundled.recipe import (
    BundledRecipe,
    LabelBook,
    class_row_labels,
    species_to_hold_out,
    training_photographs,
)
from linnaea.train.bundled.tflite_teacher import teacher_features
from linnaea.train.bundled.trunk_finetuning import CropLoader, Finetuning, PhotoPack, TeacherLogits, run_finetuning

SEED = 0


def make_photo_pack(
    recipe: BundledRecipe, book: LabelBook, held_out: set[int]
) -> tuple[PhotoPack, list[dict[str, str]]]:
    """The photographs without those of the held-out species, and their manifest rows."""
    turned = {photo_set.name for photo_set in recipe.photo_sets if photo_set.any_side_up}
    both = [training_photographs(recipe, book, refused=refused) for refused in (True, False)]
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


def teacher_logits(
    recipe: BundledRecipe, book: LabelBook, rows, held_out: set[int], work: Path, report
) -> list[TeacherLogits]:
    """What the teachers answer to the photographs, without the held-out species among the answers."""
    found = []
    for teacher in recipe.teachers:
        # the same files as for its class rows, so that its features are computed once
        chosen = [i for i, row in enumerate(rows) if row["set"] in teacher.taught_on]
        if not teacher.answers_on or not chosen:
            continue
        features_nt, weight_ct = teacher_features(
            teacher.path, recipe.images, [rows[i]["file"] for i in chosen], work, report
        )
        usable = [label is not None for label in class_row_labels(book, teacher.table, held_out)]
        logits_nk = (features_nt @ weight_ct[usable].T).astype(np.float32)
        answered = np.array([rows[i]["set"] in teacher.answers_on for i in chosen])
        found.append(TeacherLogits(rows_n=np.array(chosen)[answered], logits_nk=logits_nk[answered]))
    return found


def finetune_trunk(
    recipe: BundledRecipe, weights: Mapping[str, np.ndarray], work: Path, report: Callable[[str], None] = print
) -> dict[str, np.ndarray]:
    """The weights under the published names after the rounds of `recipe.finetune`; kept in `work`, an interrupted run goes on."""
    vocabulary = load_vocabulary()
    book = LabelBook(vocabulary, recipe.labels)
    held_out = set(species_to_hold_out(recipe, book, vocabulary.tree, recipe.held_out_of_trunk))
    pack, rows = make_photo_pack(recipe, book, held_out)
    taught = [(teacher.path.name, teacher.answers_on) for teacher in recipe.teachers]
    original = weights
    for number, config in enumerate(recipe.finetune):
        seed = SEED + number
        says = json.dumps([asdict(config), taught, [label.cache_key for label in pack.labels], seed])
        key = hash_bytes(says, *(row["file"] for row in rows), *(weights[name].tobytes() for name in sorted(weights)))
        directory = work / f"trunk-{key}"
        if read_manifest(directory) is None:
            report(
                f"trunk, round {number + 1} of {len(recipe.finetune)}: {len(rows):,} photographs, "
                f"{len(set(pack.labels))} labels, {len(held_out)} species held out"
            )
            kept = np.array([label is not None for label in class_row_labels(book, recipe.class_rows, held_out)])
            run = Finetuning(
                weights,
                pack,
                TextSource(vocabulary.tree),
                teacher_logits(recipe, book, rows, held_out, work, report),
                np.flatnonzero(kept),
                config,
                dim=recipe.text.dim,
                hidden=recipe.hidden,
                seed=seed,
                original=original,
            )
            crops = CropLoader(pack, config, recipe.preprocess.mean, recipe.preprocess.std, seed)
            made = run_finetuning(run, crops, work / f"trunk-{key}.pt", report=report)
            with write_artifact(directory, {"kind": "trunk", "key": key}, owned=True) as folder:
                np.savez(folder / "weights.npz", **made)
            (work / f"trunk-{key}.pt").unlink(missing_ok=True)
        weights = dict(np.load(directory / "weights.npz"))
    return dict(weights)
