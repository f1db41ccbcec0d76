"""Names of the user's own: typed, listed in a file, or learnt from folders of examples.

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
from linnaea.standards.tables import read_rows
from linnaea.store import MANIFEST, load_vectors
from linnaea.taxonomy.name_text import taxon_text
from linnaea.taxonomy.sources import read_names
from linnaea.taxonomy.vocabulary import Vocabulary

LABEL_COLUMNS = ("label", "name", "scientificName", "species")
SUFFIXES = (".txt", ".csv", ".tsv")


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name as the user writes it, and the taxon that it is where one is known."""

    name: str
    rank: str = ""
    common_name: str = ""
    lineage: tuple[str, ...] = ("",) * len(RANKS)


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """Labels with their vectors, unit rows float32 [l, d].

    Image vectors first lose `centre_d` and become unit again (zero for labels that are texts). `least_similarity` is
    the cosine under which an image is unlike every label.
    """

    labels: tuple[Label, ...]
    vectors_ld: np.ndarray
    logit_scale: float
    centre_d: np.ndarray
    least_similarity: float = -1.0
    learnt_with: str = ""
    "the runtime that gave the examples' vectors; empty for labels that are texts"

    def similarities(self, image_vectors_bd: np.ndarray) -> np.ndarray:
        """Cosines float32 [b, l]."""
        return centred(image_vectors_bd, self.centre_d) @ self.vectors_ld.T


def centred(vectors_bd: np.ndarray, centre_d: np.ndarray) -> np.ndarray:
    """Unit rows float32 of `vectors_bd` less the centre."""
    moved = vectors_bd.astype(np.float32) - centre_d.astype(np.float32)
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)


def parse_labels(labels: str) -> list[Label]:
    """The labels in `a,b,c` or in a file: one a line, or a table with a column `label` and, if it likes, the ranks.

    Raises FileNotFoundError for what looks like a file and is none, ValueError for fewer than two labels or a
    repetition.
    """
    path = Path(labels)
    # os.path, for which a list of names that is too long for the name of a file is simply no file
    is_file = os.path.isfile(labels)
    if path.suffix.lower() in (".csv", ".tsv") and is_file:
        found = [_label_of_row(row, path) for row in read_rows(path)]
        found = [label for label in found if label.name]
    elif is_file:
        found = [Label(name=name) for name in dict.fromkeys(read_names(path))]
    elif path.suffix.lower() in SUFFIXES or ("/" in labels and "," not in labels):
        raise FileNotFoundError(f"{labels} is no file; give names as a,b,c or a file with one name a line")
    else:
        found = [Label(name=name.strip()) for name in labels.split(",") if name.strip()]
    names = [label.name for label in found]
    if repeated := sorted({name for name in names if names.count(name) > 1}) if len(names) < 10_000 else []:
        raise ValueError(f"label {repeated[0]!r} is given twice; write each once")
    if len(found) < 2:
        raise ValueError(f"{labels!r} gives {len(found)} label; there must be two or more to choose from")
    return found


def _label_of_row(row: dict[str, str], path: Path) -> Label:
    column = next((name for name in LABEL_COLUMNS if name in row), None)
    if column is None:
        raise ValueError(f"{path} has no column label (it has {', '.join(row)}); name the column of labels so")
    lineage = tuple(row.get(rank, "").strip() for rank in RANKS)
    rank = next((rank for rank, name in reversed(list(zip(RANKS, lineage, strict=True))) if name), "")
    common = row.get("common_name", row.get("vernacularName", "")).strip()
    return Label(name=row[column].strip(), rank=rank, common_name=common, lineage=lineage)


def clean_folder_name(folder: str) -> str:
    """A class folder's name as a name: "001.Black_footed_Albatross" -> "Black footed Albatross"."""
    return " ".join(re.sub(r"^\d+[.\-_ ]+", "", folder).replace("_", " ").split()) or folder


def resolve_labels(labels: Sequence[Label], load_vocabulary: Callable[[], Vocabulary]) -> list[Label]:
    """The labels with rank, lineage and common name filled in where the name means one taxon and none is given."""
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


def load_labels(labels: str, model: Model, load_vocabulary: Callable[[], Vocabulary]) -> LabelSet:
    """The labels that `--labels` means: names, a file of names, or the folder that `linnaea learn` made.

    Raises ValueError for a folder learnt with another model, or from photographs prepared in another way.
    """
    path = Path(labels)
    if os.path.isdir(labels):
        if not (path / MANIFEST).exists():
            raise FileNotFoundError(f"{path} was not made by `linnaea learn` (no {MANIFEST}); run that on it first")
        return _load_learnt(path, model)
    found = resolve_labels(parse_labels(labels), load_vocabulary)
    return LabelSet(
        labels=tuple(found),
        vectors_ld=label_vectors(model, found),
        logit_scale=model.card.logit_scale,
        centre_d=np.zeros(model.card.dim, np.float32),
    )


def label_vectors(model: Model, labels: Sequence[Label]) -> np.ndarray:
    """Unit vectors float32 [l, d]: of the label as written and, where it is one species, of its taxonomic name, averaged.

    `linnaea evaluate zeroshot` measures labels written so. A model whose card has templates for labels gets them as written,
    in those templates alone.
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
    # The weights' hash does not know how photographs become pixels, on which the examples' vectors depend, too.
    if _preprocess_of(manifest) != model.card.preprocess:
        raise ValueError(
            f"{path} was learnt from photographs prepared otherwise than {model.card.name!r} does; learn it again"
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


def _preprocess_of(manifest: dict) -> Preprocess | None:
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in manifest["preprocess"].items()}
    try:
        return Preprocess(**given)
    except (TypeError, ValueError):  # of a version that prepared them in ways not known here
        return None
