"""The user's own names: typed, listed in a file, or learnt from folders of examples.

Shape suffixes: l labels, b images, d vector dimensions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linnaea.embed.names.text_embedding import embed_texts
from linnaea.model.core.contract import Model, Preprocess
from linnaea.records import RANKS
from linnaea.standards.name_lists import read_name_list
from linnaea.standards.table_reading import Table, TableRow, read_table
from linnaea.standards.table_reading.column_names import list_columns
from linnaea.store import MANIFEST, load_vectors
from linnaea.taxonomy.name_text import taxon_text
from linnaea.taxonomy.vocabulary import Vocabulary

LABEL_COLUMNS = ("label", "name", "scientificName", "species")
SUFFIXES = (".txt", ".csv", ".tsv")
# In longer lists a repetition is not looked for, which would take quadratic time.
MOST_CHECKED = 10_000


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name as the user writes it, and its taxon if that is known."""

    name: str
    rank: str = ""
    common_name: str = ""
    lineage: tuple[str, ...] = ("",) * len(RANKS)


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """Labels with their vectors, unit rows float32 [l, d].

    `centre_d` is subtracted from image vectors, which are then scaled to unit length (it is zero for labels that are
    texts). An image whose largest cosine is below `least_similarity` is unlike every label.
    """

    labels: tuple[Label, ...]
    vectors_ld: np.ndarray
    logit_scale: float
    centre_d: np.ndarray
    least_similarity: float = -1.0
    learnt_with: str = ""
    "the runtime that made the examples' vectors; empty for labels that are texts"

    def compute_similarities(self, image_vectors_bd: np.ndarray) -> np.ndarray:
        """Cosines float32 [b, l]."""
        return centre_vectors(image_vectors_bd, self.centre_d) @ self.vectors_ld.T


def centre_vectors(vectors_bd: np.ndarray, centre_d: np.ndarray) -> np.ndarray:
    """Unit rows float32 [b, d] of `vectors_bd` minus the centre."""
    moved = vectors_bd.astype(np.float32) - centre_d.astype(np.float32)
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)


def parse_labels(labels: str) -> list[Label]:
    """The labels in `a,b,c` or in a file: one on each line, or a table with a column `label` and perhaps the ranks.

    Raise FileNotFoundError for the name of a file that does not exist, ValueError for fewer than two labels or a
    repetition.
    """
    found = _read_labels(labels)
    names = [label.name for label in found]
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(names) < MOST_CHECKED else []
    if repeated:
        place = f"{labels}: " if os.path.isfile(labels) else ""
        raise ValueError(f"{place}label {repeated[0]!r} is given twice; write each once")
    if len(found) < 2:
        raise ValueError(f"{labels!r} gives {len(found)} label; there must be two or more to choose from")
    return found


def _read_labels(labels: str) -> list[Label]:
    path = Path(labels)
    # os.path returns False for a list of names that is too long for a path, where Path raises.
    is_file = os.path.isfile(labels)
    if is_file:
        return _read_file(path)
    if path.suffix.lower() in SUFFIXES or ("/" in labels and "," not in labels):
        raise FileNotFoundError(
            f"file {labels} does not exist; give names as a,b,c or a file with one name on each line"
        )
    return [Label(name=name.strip()) for name in labels.split(",") if name.strip()]


def _read_file(path: Path) -> list[Label]:
    """The labels in a table with a column of labels, or on the lines of a list."""
    table = read_table(path) if path.stat().st_size else None
    if table is None or not table.find(*LABEL_COLUMNS):
        if table is not None and len(table.columns) > 1 and path.suffix.lower() in (".csv", ".tsv"):
            raise ValueError(
                f"{path} has no column label (it has {list_columns(table.columns)}); give the column of labels "
                "this name"
            )
        return [Label(name=listed.name) for listed in read_name_list(path)]
    return [label for label in (_parse_row(row, table) for row in table.rows()) if label.name]


def _parse_row(row: TableRow, table: Table) -> Label:
    def get(*columns: str) -> str:
        column = table.find(*columns)
        return row.cells[column] if column else ""

    lineage = tuple(get(rank) for rank in RANKS)
    rank = next((rank for rank, name in reversed(list(zip(RANKS, lineage, strict=True))) if name), "")
    return Label(name=get(*LABEL_COLUMNS), rank=rank, common_name=get("vernacularName"), lineage=lineage)


def clean_folder_name(folder_name: str) -> str:
    """The name of a class folder as a label: "001.Black_footed_Albatross" -> "Black footed Albatross"."""
    return " ".join(re.sub(r"^\d+[.\-_ ]+", "", folder_name).replace("_", " ").split()) or folder_name


def resolve_labels(labels: Sequence[Label], load_vocabulary: Callable[[], Vocabulary]) -> list[Label]:
    """The labels with rank, lineage and common name filled in if the name means exactly one taxon and none is given."""
    if all(any(label.lineage) for label in labels):
        return list(labels)
    vocabulary = load_vocabulary()
    filled = []
    for label in labels:
        taxa = [] if any(label.lineage) else vocabulary.resolve(clean_folder_name(label.name), suggest=False).taxa
        if len(taxa) == 1:
            taxon = taxa[0]
            common = label.common_name or taxon.common_name or vocabulary.common_name(taxon.node)
            label = replace(label, rank=taxon.rank, common_name=common, lineage=taxon.lineage)
        filled.append(label)
    return filled


def find_label_leaves(labels: Sequence[Label], vocabulary: Vocabulary) -> tuple[np.ndarray, list[str]]:
    """Sorted int32 leaves at or below the taxa of the labels, and the labels that are not a taxon of the vocabulary."""
    nodes, no_taxa = [], []
    for label in labels:
        taxa = []
        if label.rank in RANKS:
            name = label.lineage[RANKS.index(label.rank)]
            taxa = vocabulary.resolve(name, rank=label.rank, suggest=False).taxa
        same = [taxon.node for taxon in taxa if taxon.rank == label.rank and label.lineage[0] in ("", taxon.kingdom)]
        nodes += same
        no_taxa += [] if same else [label.name]
    return vocabulary.tree.leaves_within(nodes), no_taxa


def load_labels(labels: str, model: Model, load_vocabulary: Callable[[], Vocabulary]) -> LabelSet:
    """The labels for `--labels`: names, a file of names, or the folder that `linnaea learn` wrote.

    Raise ValueError for a folder that was learnt with another model, or from photographs with other preprocessing.
    """
    path = Path(labels)
    if os.path.isdir(labels):
        if not (path / MANIFEST).exists():
            raise FileNotFoundError(f"{path} was not made by `linnaea learn` (no {MANIFEST}); run that on it first")
        return _load_learnt(path, model)
    found = resolve_labels(parse_labels(labels), load_vocabulary)
    return LabelSet(
        labels=tuple(found),
        vectors_ld=embed_labels(model, found),
        logit_scale=model.card.logit_scale,
        centre_d=np.zeros(model.card.dim, np.float32),
    )


def embed_labels(model: Model, labels: Sequence[Label]) -> np.ndarray:
    """Unit vectors float32 [l, d]: the mean of the label as written and, for one species, of its taxonomic name.

    `linnaea evaluate zeroshot` measures labels in this form. A model whose card has templates for labels gets each
    label as written, in these templates alone.
    """
    if model.card.label_templates:
        return embed_texts(model, [label.name for label in labels], model.card.label_templates)
    as_written_ld = embed_texts(model, [label.name for label in labels])
    taxonomic = [taxon_text(label.lineage, "taxonomic") if label.rank == "species" else label.name for label in labels]
    total_ld = as_written_ld + embed_texts(model, taxonomic)
    return total_ld / np.linalg.norm(total_ld, axis=1, keepdims=True)


def _load_learnt(path: Path, model: Model) -> LabelSet:
    vectors = load_vectors(path)
    manifest = vectors.manifest
    if manifest.get("role") != "labels":
        raise ValueError(f"{path} holds vectors of another kind, not labels; make labels with `linnaea learn`")
    if manifest["model_hash"] != model.card.hash:
        raise ValueError(f"{path} was learnt with model {manifest['model']!r}, not {model.card.name!r}; learn it again")
    # The hash of the weights does not cover preprocessing, on which the examples' vectors depend too.
    if _read_preprocess(manifest) != model.card.preprocess:
        raise ValueError(
            f"{path} was learnt from photographs with other preprocessing than that of {model.card.name!r}; learn it "
            "again"
        )
    labels = tuple(
        Label(
            name=row["label"],
            rank=row["rank"],
            common_name=row["common_name"],
            lineage=tuple(row[rank_name] for rank_name in RANKS),
        )
        for row in vectors.rows.to_dicts()
    )
    return LabelSet(
        labels=labels,
        vectors_ld=np.asarray(vectors.vectors_nd, np.float32),
        logit_scale=manifest["logit_scale"],
        centre_d=np.array(manifest["centre"], np.float32),
        least_similarity=manifest["least_similarity"],
        learnt_with=manifest.get("runtime", ""),
    )


def _read_preprocess(manifest: dict) -> Preprocess | None:
    """The preprocessing in a manifest; None if another version wrote it with settings that are unknown here."""
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in manifest["preprocess"].items()}
    try:
        return Preprocess(**given)
    except (TypeError, ValueError):
        return None
