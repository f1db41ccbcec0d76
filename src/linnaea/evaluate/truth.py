"""Labelled photographs and what is known of each: its taxon as far as the label goes, or that there is no organism.

Shape suffixes: n photographs, r ranks.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.records import RANKS
from linnaea.taxonomy.vocabulary import Vocabulary

NO_ORGANISM = ("no organism", "no_organism", "none", "background")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A photograph and its label. `lineage` is "" at ranks that the label does not reach; `organism` False means there is none."""

    file: str
    label: str
    common_name: str
    lineage: tuple[str, ...]
    organism: bool

    @property
    def depth(self) -> int:
        """Index of the deepest rank that is known, -1 for none."""
        return max((r for r, name in enumerate(self.lineage) if name), default=-1)


def read_examples(manifest: Path, where: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a manifest, filtered by `column=value` conditions. Raises ValueError naming a missing column or a value without rows."""
    with Path(manifest).open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or []
        for column in ("file", "label"):
            if column not in columns:
                raise ValueError(f"{manifest} has no column {column!r}; it has {', '.join(columns)}")
        rows = list(reader)
    for condition in where:
        column, equals, value = condition.partition("=")
        if not equals or column not in columns:
            raise ValueError(f"--where {condition!r}: write column=value with one of the columns {', '.join(columns)}")
        rows = [row for row in rows if row[column] == value]
        if not rows:
            raise ValueError(f"--where {condition!r} leaves no row of {manifest}")
    if not rows:
        raise ValueError(f"{manifest} has no rows")
    return rows


def to_examples(rows: list[dict[str, str]], vocabulary: Vocabulary) -> tuple[list[Example], list[str]]:
    """Examples with lineages from the rank columns, else from the label; and the labels whose taxon was not found."""
    resolved: dict[str, tuple[str, ...]] = {}
    unresolved: list[str] = []
    examples = []
    for row in rows:
        label = row["label"]
        organism = row.get("rank", "") != "none" and label.casefold() not in NO_ORGANISM
        lineage = tuple(row.get(rank) or "" for rank in RANKS)
        if organism and not any(lineage):
            if label not in resolved:
                name = row.get("scientific") or " ".join(label.replace("_", " ").split())
                taxa = vocabulary.resolve(name).taxa
                resolved[label] = taxa[0].lineage if len(taxa) == 1 else ("",) * len(RANKS)
                if len(taxa) != 1:
                    unresolved.append(label)
            lineage = resolved[label]
        examples.append(
            Example(file=row["file"], label=label, common_name=row.get("common") or "", lineage=lineage, organism=organism)
        )
    return examples, unresolved


def truth_nodes(examples: list[Example], vocabulary: Vocabulary) -> np.ndarray:
    """int64 [n, r], the vocabulary's node of each example at each rank; -1 where unknown or absent from the vocabulary."""
    tree = vocabulary.tree
    found: dict[tuple[str, ...], np.ndarray] = {}
    out = np.full((len(examples), len(RANKS)), -1, np.int64)
    for row, example in enumerate(examples):
        if example.lineage not in found:
            nodes = np.full(len(RANKS), -1, np.int64)
            for r, name in enumerate(example.lineage):
                if name:
                    taxa = vocabulary.resolve(f"{RANKS[r]}:{name}").taxa
                    same = [t for t in taxa if t.rank == RANKS[r] and t.lineage[: r + 1] == example.lineage[: r + 1]]
                    same = same or [t for t in taxa if t.rank == RANKS[r] and t.kingdom == example.lineage[0]]
                    nodes[r] = same[0].node if same else -1
            deepest = nodes[nodes >= 0][-1] if (nodes >= 0).any() else -1
            # ranks that the manifest leaves out but the vocabulary knows
            for r in range(len(RANKS)):
                if nodes[r] < 0 and deepest >= 0 and r <= example.depth:
                    nodes[r] = tree.ancestor_at(int(deepest), RANKS[r])
            found[example.lineage] = nodes
        out[row] = found[example.lineage]
    return out


def fold_of(key: str) -> int:
    """0 or 1, from the SHA-256 of a name: the same half on every machine."""
    return hashlib.sha256(key.encode()).digest()[0] & 1
