"""What a recipe may say, and from it to labels, features and samplers.

Label tables are CSV files with `label,common,rank,taxon` (`rank` "none" for no organism); see recipes/labels.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from linnaea.model.core.contract import Preprocess
from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.train.bundled.batches import ClassLabel
from linnaea.train.bundled.loop import LoopConfig
from linnaea.train.bundled.projector_tuning import ProjectorTuningConfig
from linnaea.train.bundled.prototypes import PrototypeConfig
from linnaea.train.bundled.trunk_finetuning import FinetuneConfig
from linnaea.train.runtime.overrides import read_plain


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """One set of a pack of photographs and where its labels are explained."""

    name: str
    "value of the manifest's `set` column"
    table: str
    "label table, by its file name in the label directory"
    key: str = "label"
    "manifest column that names the class: `label`, `scientific`, or `wnid` (the file name's first part)"
    any_side_up: bool = False
    "whether a photograph turned by a quarter is still such a photograph (plankton, views from above)"


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A classifier whose classes become classes of the trunk."""

    path: Path
    "a quantised TFLite file"
    table: str
    "label table, a row a class in output order"
    taught_on: tuple[str, ...]
    "sets whose photographs tie its features to the trunk's"
    n_images: int = 48
    "images a batch drawn from its class rows"
    gain: float = 1.5
    "its classes' distance from their mean is multiplied by this, as a ridge regression shrinks it"
    answers_on: tuple[str, ...] = ()
    "sets on whose photographs the trunk learns to answer as it does"

    def __post_init__(self):
        read_plain(self)


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Species kept out of every training signal: the first `count` of a set's species in the order of a hash of their names."""

    set: str
    count: int


@dataclass(frozen=True, kw_only=True)
class BundledRecipe:
    """Everything that makes a model, data included."""

    name: str
    "name of the model"
    images: Path
    "folder of the photographs, with `manifest.csv`"
    labels: Path
    "folder of the label tables"
    photo_sets: tuple[PhotoSet, ...]
    "sets to train on"
    held_out: tuple[HeldOut, ...] = ()
    "species to keep out, for an ablation"
    finetune: tuple[FinetuneConfig, ...] = ()
    "rounds of the trunk's further training, each from the averaged weights of the one before; none leaves it as published"
    held_out_of_trunk: tuple[HeldOut, ...] = ()
    "species to keep out of that, so that one trunk serves a model and its ablation"
    class_rows: str = "imagenet.csv"
    "label table of the trunk's own classifier, whose rows become classes"
    n_photographs: int = 320
    "organisms a batch from photographs"
    n_refused: int = 48
    "images a batch from photographs of no organism"
    n_class_rows: int = 64
    "images a batch from the trunk's class rows"
    teachers: tuple[TeacherConfig, ...] = ()
    "classifiers of species of which there are no photographs"
    n_views: int = 5
    "views of each photograph, the plain one included"
    n_refused_views: int = 24
    "views of each photograph of no organism"
    hidden: int = 512
    "hidden units of the projector's correction"
    dropout: float = 0.2
    "of the projector's inputs"
    n_known: int = 128
    "labelled species in the vocabulary loss beside the batch's own"
    n_unknown: int = 256
    "unlabelled species in the vocabulary loss"
    n_refusals: int = 48
    "refusal texts in the vocabulary loss beside the batch's own"
    text: TextConfig = field(default_factory=TextConfig)
    "shape of the text tower"
    prototypes: PrototypeConfig = field(default_factory=PrototypeConfig)
    "the projector's first training"
    loop: LoopConfig = field(default_factory=LoopConfig)
    "the training of both towers, on the trunk as published"
    settle: ProjectorTuningConfig = field(default_factory=ProjectorTuningConfig)
    "the projector's training on a trunk that was trained further, towards the texts learnt before"
    preprocess: Preprocess = field(
        default_factory=lambda: Preprocess(size=224, resize="squash", mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    )
    "what the trunk sees in training"
    resize: str = "shortest"
    "how the exported model resizes; trained on squashed photographs, it names uncropped proportions better"
    interpolation: str = "bilinear"
    "and with what filter; bilinear, as the crops of the trunk's further training"

    def __post_init__(self):
        read_plain(self)


def read_label_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file as dicts."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def readable(label: str) -> str:
    """A class label as words: "copepod_calanoid" -> "copepod calanoid"."""
    return " ".join(label.replace("_", " ").split())


class LabelBook:
    """Label tables resolved to nodes of a vocabulary's tree."""

    def __init__(self, vocabulary: Vocabulary, directory: Path):
        self._vocabulary, self._directory = vocabulary, directory
        self._tables: dict[str, list[dict[str, str]]] = {}

    def rows(self, table: str) -> list[dict[str, str]]:
        if table not in self._tables:
            self._tables[table] = read_label_table(self._directory / table)
        return self._tables[table]

    def _node(self, row: dict[str, str]) -> int:
        if row["rank"] == "none":
            return -1
        found = self._vocabulary.resolve(f"{row['rank']}:{row['taxon']}").taxa
        found = [taxon for taxon in found if taxon.rank == row["rank"] and taxon.kingdom == row["kingdom"]]
        same_family = [taxon for taxon in found if taxon.lineage[4] == row["family"]]
        found = same_family if len(found) > 1 else found
        if len(found) != 1:
            raise ValueError(
                f"label {row['label']!r}: {row['rank']} {row['taxon']!r} is {len(found)} taxa in the vocabulary"
            )
        return found[0].node

    def label(self, source: str, row: dict[str, str]) -> ClassLabel:
        """The label of a table's row."""
        names = dict.fromkeys(name for name in (row["common"], _short(row["label"], row["taxon"])) if name)
        return ClassLabel(source=source, node=self._node(row), names=tuple(names))


def _short(label: str, taxon: str) -> str:
    """A label's own words where they are a name of their own, not a list of synonyms or the scientific name again."""
    words = readable(label)
    return "" if "," in words or "(" in words or words == taxon or words == "background" else words


def photograph_labels(book: LabelBook, rows: list[dict[str, str]], photo_set: PhotoSet) -> list[ClassLabel]:
    """The label of each manifest row of a set."""
    table = {row["wnid" if photo_set.key == "wnid" else "label"]: row for row in book.rows(photo_set.table)}
    keys = [Path(row["file"]).name.split("_")[0] if photo_set.key == "wnid" else row[photo_set.key] for row in rows]
    missing = sorted(set(keys) - set(table))
    if missing:
        raise ValueError(f"{photo_set.table} lacks {len(missing)} labels of {photo_set.name}, first {missing[0]!r}")
    labels = {key: book.label(photo_set.name, table[key]) for key in set(keys)}
    return [labels[key] for key in keys]


def class_row_labels(book: LabelBook, table: str, held_out: set[int]) -> list[ClassLabel | None]:
    """A label for each row of a classifier; None for held-out species and for classes that name nothing."""
    labels = [
        None if row["label"] == "background" else book.label(table.removesuffix(".csv"), row)
        for row in book.rows(table)
    ]
    return [None if label is None or label.node in held_out else label for label in labels]


def training_photographs(
    recipe: BundledRecipe, book: LabelBook, *, refused: bool
) -> tuple[list[dict[str, str]], list[ClassLabel]]:
    """Manifest rows of the training split, and their labels; of no organism (`refused`) or all others."""
    manifest = recipe.images / "manifest.csv"
    if not manifest.exists():
        raise FileNotFoundError(f"{manifest} is missing; name the folder of photographs with --images")
    sets = {photo_set.name: photo_set for photo_set in recipe.photo_sets if (photo_set.key == "wnid") == refused}
    rows = [row for row in read_label_table(manifest) if row["split"] == "train" and row["set"] in sets]
    labels: list[ClassLabel] = [None] * len(rows)
    for name, photo_set in sets.items():
        own = [i for i, row in enumerate(rows) if row["set"] == name]
        for i, label in zip(own, photograph_labels(book, [rows[i] for i in own], photo_set), strict=True):
            labels[i] = label
    return rows, labels


def species_to_hold_out(recipe: BundledRecipe, book: LabelBook, tree, held_out: tuple[HeldOut, ...]) -> list[int]:
    """Nodes of the species that `held_out` names, of the recipe's photographs."""
    labels_of_set: dict[str, list[ClassLabel]] = {}
    for refused in (True, False):
        for row, label in zip(*training_photographs(recipe, book, refused=refused), strict=True):
            labels_of_set.setdefault(row["set"], []).append(label)
    return held_out_species(tree, labels_of_set, held_out)


def held_out_species(tree, labels_of_set: dict[str, list[ClassLabel]], held_out: tuple[HeldOut, ...]) -> list[int]:
    """Nodes of the species to keep out, in the order of the SHA-256 of their names."""
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
