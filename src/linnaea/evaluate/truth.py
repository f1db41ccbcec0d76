"""Labelled photographs and their truth: the taxon as far as the label goes, or that there is no organism.

Shape suffixes: n photographs, r ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.records import RANK_INDEX, RANKS
from linnaea.standards.table_reading import read_table
from linnaea.standards.table_reading.column_names import match_columns
from linnaea.standards.table_reading.table import rename_row
from linnaea.taxonomy.vocabulary import Vocabulary

SPECIES = RANK_INDEX["species"]
# Column names, also those of tables for training, the preferred name first.
FILE_COLUMNS = ("file", "path", "image_path")
SCIENTIFIC_COLUMNS = ("scientific", "scientific_name")
COMMON_COLUMNS = ("common", "common_name")
NO_ORGANISM = ("no organism", "no_organism", "none", "background")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A photograph and its label.

    `lineage` is "" at ranks that the label does not reach; `organism` is False if the photograph shows none.
    """

    file: str
    label: str
    common_name: str
    lineage: tuple[str, ...]
    organism: bool

    @property
    def depth(self) -> int:
        """Index of the deepest rank that is known, -1 for none."""
        return max((r for r, name in enumerate(self.lineage) if name), default=-1)


def read_examples(manifest_path: Path, where: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a manifest, filtered by `column=value` conditions, each with `file`, `label` and `common`.

    A table for training works too: without a column `label`, the label is the species, else the scientific name, the
    deepest rank or the common name. Raise ValueError for a missing column or a value without rows.
    """
    table = read_table(Path(manifest_path), what="manifest")
    known = ("label", "rank", *RANKS, *FILE_COLUMNS, *SCIENTIFIC_COLUMNS, *COMMON_COLUMNS)
    names = match_columns(table.columns, known)
    rows = [rename_row(row, names).cells for row in table.rows()]
    if not rows:
        raise ValueError(f"{manifest_path} has no rows; write one for each photograph below the columns file,label")
    columns = list(rows[0])
    for column, others in (("file", FILE_COLUMNS), ("label", (*RANKS, *SCIENTIFIC_COLUMNS, *COMMON_COLUMNS))):
        if column not in columns and not set(others) & set(columns):
            raise ValueError(f"{manifest_path} has no column {column!r}; it has {', '.join(columns)}")
    for condition in where:
        column, equals, value = condition.partition("=")
        if not equals or column not in columns:
            raise ValueError(f"--where {condition!r}: write column=value with one of the columns {', '.join(columns)}")
        rows = [row for row in rows if row[column] == value]
        if not rows:
            raise ValueError(f"--where {condition!r} leaves no row of {manifest_path}")
    return [_add_label(row) for row in rows]


def _add_label(row: dict[str, str]) -> dict[str, str]:
    """The row with the columns `file`, `label`, `scientific` and `common`, and its species as a binomial."""

    def find_first(names: Sequence[str]) -> str:
        return next((row[name].strip() for name in names if row.get(name, "").strip()), "")

    known = (FILE_COLUMNS, SCIENTIFIC_COLUMNS, COMMON_COLUMNS)
    named = {names[0]: find_first(names) for names in known if names[0] not in row and set(names) & row.keys()} | row
    if "label" in row:
        return named
    species, genus = find_first(("species",)), find_first(("genus",))
    if species and genus and " " not in species:
        species = f"{genus} {species}"
    if "species" in row:
        named["species"] = species
    return named | {
        "label": species or find_first(SCIENTIFIC_COLUMNS) or find_first(RANKS[::-1]) or find_first(COMMON_COLUMNS)
    }


def to_examples(rows: list[dict[str, str]], vocabulary: Vocabulary) -> tuple[list[Example], list[str]]:
    """Examples with their lineages (see `find_lineage`), and the labels whose taxon was not found."""
    found: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = {}
    unresolved: dict[str, None] = {}
    examples = []
    for row in rows:
        label = row["label"]
        organism = row.get("rank", "") != "none" and label.casefold() not in NO_ORGANISM
        lineage = tuple(row.get(rank) or "" for rank in RANKS)
        if organism:
            key = (label, row.get("scientific") or "", *lineage)
            if key not in found:
                found[key] = find_lineage(row, vocabulary)
            lineage, known = found[key]
            if not known:
                unresolved[label] = None
        examples.append(
            Example(
                file=row["file"], label=label, common_name=row.get("common") or "", lineage=lineage, organism=organism
            )
        )
    return examples, list(unresolved)


def find_lineage(row: dict[str, str], vocabulary: Vocabulary) -> tuple[tuple[str, ...], bool]:
    """The lineage of a manifest's row, and whether any of it is known.

    Ranks come from their columns. The label (or the column `scientific`) gives the ranks below the manifest's last rank
    column, or all ranks if the row fills none; an empty cell above the deepest name comes from the vocabulary. If the
    columns of lower ranks exist and are empty, the label does not reach these ranks, and they stay empty.
    """
    given = tuple(row.get(rank) or "" for rank in RANKS)
    depth = max((r for r, name in enumerate(given) if name), default=-1)
    last_column = max((r for r, rank in enumerate(RANKS) if rank in row), default=-1)
    if depth >= 0 and (depth < last_column or depth == len(RANKS) - 1):
        return fill_ranks(given, vocabulary), True
    name = row.get("scientific") or " ".join(row["label"].replace("_", " ").split())
    taxa = vocabulary.resolve(name, suggest=False).taxa
    kin = [taxon for taxon in taxa if all(own in ("", taxon.lineage[r]) for r, own in enumerate(given))]
    return (kin[0].lineage, True) if len(kin) == 1 else (fill_ranks(given, vocabulary), depth >= 0)


def fill_ranks(lineage: tuple[str, ...], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The lineage with the gaps above its deepest name filled, if exactly one taxon agrees with the given names."""
    depth = max((r for r, name in enumerate(lineage) if name), default=-1)
    if all(lineage[: depth + 1]):
        return lineage
    taxa = vocabulary.resolve(lineage[depth], rank=RANKS[depth], suggest=False).taxa
    kin = [t for t in taxa if all(own in ("", t.lineage[r]) for r, own in enumerate(lineage[:depth]))]
    if len(kin) != 1:
        return lineage
    return tuple(own or (kin[0].lineage[r] if r < depth else "") for r, own in enumerate(lineage))


def find_truth_nodes(examples: list[Example], vocabulary: Vocabulary) -> np.ndarray:
    """The vocabulary's node of each example at each rank, int64 [n, r]; -1 if unknown or not in the vocabulary."""
    found: dict[tuple[str, ...], np.ndarray] = {}
    out = np.full((len(examples), len(RANKS)), -1, np.int64)
    for row, example in enumerate(examples):
        if example.lineage not in found:
            found[example.lineage] = _find_nodes(example, vocabulary)
        out[row] = found[example.lineage]
    return out


def _find_nodes(example: Example, vocabulary: Vocabulary) -> np.ndarray:
    """The vocabulary's node of an example at each rank, int64 [r]."""
    node_r = np.array([_find_node(example.lineage, r, vocabulary) for r in range(len(RANKS))], np.int64)
    deepest = node_r[node_r >= 0][-1] if (node_r >= 0).any() else -1
    # Ranks that the manifest lacks but the vocabulary has.
    for r in range(len(RANKS)):
        if node_r[r] < 0 and deepest >= 0 and r <= example.depth:
            node_r[r] = vocabulary.tree.ancestor_at(int(deepest), RANKS[r])
    return node_r


def _find_node(lineage: tuple[str, ...], r: int, vocabulary: Vocabulary) -> int:
    """The vocabulary's node of a lineage at rank r, -1 if unknown. The kingdom must agree, if possible all ranks."""
    if not lineage[r]:
        return -1
    taxa = [t for t in vocabulary.resolve(lineage[r], rank=RANKS[r], suggest=False).taxa if t.rank == RANKS[r]]
    same = [t for t in taxa if t.lineage[: r + 1] == lineage[: r + 1]]
    same = same or [t for t in taxa if t.kingdom == lineage[0]]
    return same[0].node if same else -1


def assign_fold(key: str) -> int:
    """The half of a name, 0 or 1, from its SHA-256: the same on every machine."""
    return hashlib.sha256(key.encode()).digest()[0] & 1
