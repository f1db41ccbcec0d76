"""What the vocabulary knows of a name: lineage, common name, number of species below, homonyms or suggestions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from linnaea.records import RANKS, Taxon


@dataclass(frozen=True, kw_only=True)
class TaxonConfig:
    """A name to look up."""

    name: str = field(metadata={"positional": True, "metavar": "NAME"})
    "scientific or common; `family:Felidae` and `Plantae>Oenanthe` tell homonyms apart"
    vocabulary: str = field(default="inat", metadata={"metavar": "SOURCE"})
    "inat, or a CSV, TSV, Parquet, Darwin Core (file, folder, zip) or txt_emb JSON file"
    json: bool = False
    "print one JSON object instead of text"
    common_names: Mapping[str, str] = field(default_factory=dict, metadata={"cli": False})
    "common name -> rank:scientific name, preferred over the vocabulary's own"


def main(config: TaxonConfig) -> int:
    """Prints what is known of a name. Exit code 0, or 1 where only suggestions can be given."""
    from linnaea.taxonomy.vocabulary import load_vocabulary

    vocabulary = load_vocabulary(config.vocabulary, config.common_names)
    resolution = vocabulary.resolve(config.name)
    if config.json:
        answer = {
            "query": resolution.query,
            "matched_by": resolution.matched_by,
            "reason": resolution.reason,
            "taxa": [summary(vocabulary.tree, taxon) for taxon in resolution.taxa],
            "suggestions": [summary(vocabulary.tree, taxon) for taxon in resolution.suggestions],
        }
        print(json.dumps(answer, ensure_ascii=False, indent=1))
    else:
        print("\n".join(as_text(vocabulary.tree, resolution)))
    return 0 if resolution.taxa else 1


def count_species(tree, node: int) -> int:
    """The number of species at or below a node."""
    return len(tree.descendants(node, "species"))


def summary(tree, taxon: Taxon) -> dict:
    """A taxon as plain values: rank, name, common name, lineage by rank, number of species."""
    lineage = {rank: name for rank, name in zip(RANKS, taxon.lineage, strict=True) if name}
    return {
        "rank": taxon.rank,
        "name": taxon.name,
        "common_name": taxon.common_name,
        "n_species": count_species(tree, taxon.node),
        "lineage": lineage,
    }


def as_text(tree, resolution) -> list[str]:
    """The lines that people read."""
    from linnaea.taxonomy.resolver import describe, distinguishing_paths

    lines = []
    if len(resolution.taxa) > 1:
        lines.append(f"{resolution.query!r} names {len(resolution.taxa)} taxa")
        lines += [f"  {path}" for path in distinguishing_paths(resolution.taxa)]
    for taxon in resolution.taxa:
        lines += ["", describe(taxon)] if lines else [describe(taxon)]
        if resolution.matched_by != "scientific":
            lines.append(f"  found by its {resolution.matched_by}{' name' * (resolution.matched_by == 'common')}")
        lines += [f"  {rank:<8} {name}" for rank, name in zip(RANKS, taxon.lineage, strict=True) if name]
        if taxon.rank != "species":
            lines.append(f"  {count_species(tree, taxon.node):,} species")
    if not resolution.taxa:
        lines.append(f"unknown taxon {resolution.query!r}: {resolution.reason}")
        lines += [f"  nearest: {describe(taxon)}" for taxon in resolution.suggestions]
    return lines
