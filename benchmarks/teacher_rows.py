"""Can a teacher's class rows replace photographs? Species without training photographs are named from rows alone.

    python benchmarks/teacher_rows.py

The bird classifier's features are mapped to the trunk's on the training photographs of about half of CUB's species.
Then validation photographs of 40 other species are named by the nearest class mean (linear discriminant, shared
covariance). The means of those 40 come from the teacher's rows alone. Photographs are named among the 40 (chance 0.025)
and among all species that the teacher covers.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from linnaea.store import default_cache_dir
from linnaea.taxonomy.vocabulary_factory import load_vocabulary
from linnaea.train.bundled.class_features import measure_scatter
from linnaea.train.bundled.labels import LabelBook, label_photographs, read_label_table
from linnaea.train.bundled.tflite_teacher import TfliteTeacher, map_class_means
from linnaea.train.bundled.trunk.features import extract_features
from linnaea.train.bundled.trunk.published import load_trunk_weights, open_trunk
from linnaea.train.runtime.recipe_files import find_recipe

ROOT = Path(__file__).resolve().parent.parent
N_HELD_OUT, SHRINKAGE = 40, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, default=ROOT.parent / "shared" / "data" / "images")
    options = parser.parse_args()
    recipe = replace(find_recipe("bundled", ROOT / "recipes"), images=options.images)
    book = LabelBook(load_vocabulary(), recipe.labels)
    rows = [row for row in read_label_table(options.images / "manifest.csv") if row["set"] == "cub100"]
    photo_set = next(found for found in recipe.photo_sets if found.name == "cub100")
    node = np.array([label.node for label in label_photographs(book, rows, photo_set)])
    is_val = np.array([row["split"] == "val" for row in rows])
    trunk, trunk_hash = open_trunk(load_trunk_weights(), recipe.preprocess)
    features = extract_features(
        default_cache_dir() / "training",
        options.images,
        [row["file"] for row in rows],
        trunk,
        trunk_hash=trunk_hash,
        preprocess=recipe.preprocess,
        n_views=1,
        any_side_up=[False] * len(rows),
    )[:, 0].astype(np.float32)
    teacher = next(found for found in recipe.teachers if found.table == "inat_birds.csv")
    classes: dict[int, list[int]] = {}
    for index, row in enumerate(book.rows(teacher.table)):
        if row["label"] != "background":
            classes.setdefault(book.label("inat", row).node, []).append(index)
    covered = np.array(sorted(set(node.tolist()) & set(classes)))
    held_out = np.random.default_rng(0).permutation(covered)[:N_HELD_OUT]
    fit = ~is_val & ~np.isin(node, held_out)
    net = TfliteTeacher(teacher.path)
    teacher_nt = net.features([options.images / rows[i]["file"] for i in np.flatnonzero(fit)])
    scatter = measure_scatter(features[fit], node[fit]).astype(np.float32)
    covariance = np.cov(scatter.T)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(
        len(covariance)
    )
    precision = np.linalg.inv(covariance)

    def accuracy(photographs: np.ndarray, candidates: np.ndarray, means: np.ndarray) -> float:
        score = features[photographs] @ precision @ means.T - 0.5 * ((means @ precision) * means).sum(1)
        return float((candidates[score.argmax(1)] == node[photographs]).mean())

    unseen = np.flatnonzero(is_val & np.isin(node, held_out))
    seen = np.flatnonzero(is_val & np.isin(node, covered) & ~np.isin(node, held_out))
    centre = features[fit].mean(0)
    print(
        f"{len(covered)} species covered, {len(unseen)} photographs of the {N_HELD_OUT} held out, "
        f"{len(seen)} of the others"
    )
    print("| ridge | gain | held out, among 40 | held out, among all | others, among all |")
    print("| --- | --- | --- | --- | --- |")
    for ridge in (0.1, 0.3, 1.0, 3.0):
        mapped = map_class_means(net.weight_ct, teacher_nt, features[fit], ridge=ridge)
        for gain in (1.0, 1.5, 2.0):
            own = {k: centre + gain * (mapped[classes[k]].mean(0) - centre) for k in held_out.tolist()}
            real = {k: features[fit & (node == k)].mean(0) for k in covered.tolist() if k not in own}
            means = np.stack([(own | real)[k] for k in covered.tolist()])
            alone = accuracy(unseen, held_out, np.stack([own[k] for k in held_out.tolist()]))
            print(
                f"| {ridge} | {gain} | {alone:.3f} | {accuracy(unseen, covered, means):.3f} "
                f"| {accuracy(seen, covered, means):.3f} |"
            )


if __name__ == "__main__":
    main()
