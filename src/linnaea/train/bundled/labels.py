"""Labels of photographs and of class rows, from label tables and the vocabulary.

Label tables are CSV files with `label,common,rank,taxon` (`rank` is "none" for no organism); see recipes/labels.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.train.bundled.batches import ClassLabel
from linnaea.train.bundled.config import BundledConfig, HeldOut, PhotoSet


def read_label_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file as dicts."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def make_readable(label: str) -> str:
    """Return a class label as words: "copepod_calanoid" -> "copepod calanoid"."""
    return " ".join(label.replace("_", " ").split())


class LabelBook:
    """Label tables resolved to nodes of a vocabulary's tree."""

    def __init__(self, vocabulary: Vocabulary, tables_dir: Path):
        self._vocabulary, self._tables_dir = vocabulary, tables_dir
        self._tables: dict[str, list[dict[str, str]]] = {}

    def rows(self, table: str) -> list[dict[str, str]]:
        """Return the rows of a label table."""
        if table not in self._tables:
            self._tables[table] = read_label_table(self._tables_dir / table)
        return self._tables[table]

    def _find_node(self, row: dict[str, str]) -> int:
        if row["rank"] == "none":
            return -1
        found = self._vocabulary.resolve(f"{row['rank']}:{row['taxon']}").taxa
        found = [taxon for taxon in found if taxon.rank == row["rank"] and taxon.kingdom == row["kingdom"]]
        same_family = [taxon for taxon in found if taxon.lineage[4] == row["family"]]
        found = same_family if len(found) > 1 else found
        if len(found) != 1:
            raise ValueError(
                f"label {row['label']!r}: {row['rank']} {row['taxon']!r} must be one taxon of the vocabulary, "
                f"but {len(found)} match"
            )
        return found[0].node

    def label(self, source: str, row: dict[str, str]) -> ClassLabel:
        """Return the label of a row of a table."""
        names = dict.fromkeys(name for name in (row["common"], _choose_own_name(row["label"], row["taxon"])) if name)
        return ClassLabel(source=source, node=self._find_node(row), names=tuple(names))


def _choose_own_name(label: str, taxon: str) -> str:
    """Return the words of a label if they are a further name, not a list of synonyms or the scientific name."""
    words = make_readable(label)
    return "" if "," in words or "(" in words or words == taxon or words == "background" else words


def label_photographs(book: LabelBook, rows: list[dict[str, str]], photo_set: PhotoSet) -> list[ClassLabel]:
    """Return the label of each manifest row of a set."""
    table = {row["wnid" if photo_set.key == "wnid" else "label"]: row for row in book.rows(photo_set.table)}
    keys = [Path(row["file"]).name.split("_")[0] if photo_set.key == "wnid" else row[photo_set.key] for row in rows]
    missing = sorted(set(keys) - set(table))
    if missing:
        raise ValueError(f"{photo_set.table} lacks {len(missing)} labels of {photo_set.name}, first {missing[0]!r}")
    labels = {key: book.label(photo_set.name, table[key]) for key in set(keys)}
    return [labels[key] for key in keys]


def label_class_rows(book: LabelBook, table: str, held_out: set[int]) -> list[ClassLabel | None]:
    """Return a label for each class row of a classifier; None for held-out species and for the background."""
    labels = [
        None if row["label"] == "background" else book.label(table.removesuffix(".csv"), row)
        for row in book.rows(table)
    ]
    return [None if label is None or label.node in held_out else label for label in labels]


def list_training_photographs(
    recipe: BundledConfig, book: LabelBook, *, refused: bool
) -> tuple[list[dict[str, str]], list[ClassLabel]]:
    """Return the manifest rows of the training split and their labels: of no organism (`refused`), or all others."""
    manifest = recipe.images / "manifest.csv"
    if not manifest.exists():
        raise FileNotFoundError(f"{manifest} is missing; name the folder of photographs with --images")
    sets = {photo_set.name: photo_set for photo_set in recipe.photo_sets if (photo_set.key == "wnid") == refused}
    rows = [row for row in read_label_table(manifest) if row["split"] == "train" and row["set"] in sets]
    labels: list[ClassLabel] = [None] * len(rows)
    for name, photo_set in sets.items():
        own = [i for i, row in enumerate(rows) if row["set"] == name]
        for i, label in zip(own, label_photographs(book, [rows[i] for i in own], photo_set), strict=True):
            labels[i] = label
    return rows, labels


def find_held_out(recipe: BundledConfig, book: LabelBook, tree, held_out: tuple[HeldOut, ...]) -> list[int]:
    """Return the nodes of the species that the rules in `held_out` keep out."""
    labels_of_set: dict[str, list[ClassLabel]] = {}
    for refused in (True, False):
        for row, label in zip(*list_training_photographs(recipe, book, refused=refused), strict=True):
            labels_of_set.setdefault(row["set"], []).append(label)
    return choose_held_out(tree, labels_of_set, held_out)


def choose_held_out(tree, labels_of_set: dict[str, list[ClassLabel]], held_out: tuple[HeldOut, ...]) -> list[int]:
    """Return the nodes of the species to keep out: the first ones by the SHA-256 of their names."""
    nodes: list[int] = []
    for rule in held_out:
        species = {
            label.node for label in labels_of_set[rule.set] if label.node >= 0 and tree.rank(label.node) == "species"
        }
        in_order = sorted(species, key=lambda node: hashlib.sha256(tree.name(node).encode()).hexdigest())
        if len(in_order) < rule.count:
            raise ValueError(f"set {rule.set!r} has {len(in_order)} species; {rule.count} cannot be held out")
        nodes += in_order[: rule.count]
    return sorted(set(nodes))
