"""The command `linnaea taxon`: lineage, common name, number of species, homonyms and suggestions for a name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from linnaea.records import RANKS, Taxon
from linnaea.taxonomy.resolver import Resolution, describe_taxon, distinguishing_paths
from linnaea.taxonomy.tree import Tree


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
    """Print what the vocabulary knows about a name. Exit code 0, or 1 if there are only suggestions."""
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    vocabulary = load_vocabulary(config.vocabulary, config.common_names)
    resolution = vocabulary.resolve(config.name)
    if config.json:
        answer = {
            "query": resolution.query,
            "matched_by": resolution.matched_by,
            "reason": resolution.reason,
            "taxa": [summarise_taxon(vocabulary.tree, taxon) for taxon in resolution.taxa],
            "suggestions": [summarise_taxon(vocabulary.tree, taxon) for taxon in resolution.suggestions],
        }
        print(json.dumps(answer, ensure_ascii=False, indent=1))
    else:
        print("\n".join(format_resolution(vocabulary.tree, resolution)))
    return 0 if resolution.taxa else 1


def count_species(tree: Tree, node: int) -> int:
    """The number of species at or below a node."""
    return len(tree.descendants(node, "species"))


def summarise_taxon(tree: Tree, taxon: Taxon) -> dict:
    """A taxon as plain values: rank, name, common name, lineage by rank, number of species."""
    lineage = {rank: name for rank, name in zip(RANKS, taxon.lineage, strict=True) if name}
    return {
        "rank": taxon.rank,
        "name": taxon.name,
        "common_name": taxon.common_name,
        "n_species": count_species(tree, taxon.node),
        "lineage": lineage,
    }


def format_resolution(tree: Tree, resolution: Resolution) -> list[str]:
    """A resolution as lines of text."""
    lines = []
    if len(resolution.taxa) > 1 and resolution.matched_by == "everyday":
        lines.append(f"{resolution.query!r} is a group of {len(resolution.taxa)} taxa; --within takes all of them")
    elif len(resolution.taxa) > 1:
        lines.append(f"{resolution.query!r} names {len(resolution.taxa)} taxa")
        lines += [f"  {path}" for path in distinguishing_paths(resolution.taxa)]
    for taxon in resolution.taxa:
        lines += ["", describe_taxon(taxon)] if lines else [describe_taxon(taxon)]
        if resolution.matched_by == "alternatives":
            lines.append("  one of its alternatives")
        elif resolution.matched_by != "scientific":
            is_name = resolution.matched_by in ("common", "everyday")
            lines.append(f"  found by its {resolution.matched_by}{' name' * is_name}")
        lines += [f"  {rank:<8} {name}" for rank, name in zip(RANKS, taxon.lineage, strict=True) if name]
        if taxon.rank != "species":
            lines.append(f"  {count_species(tree, taxon.node):,} species")
    if not resolution.taxa:
        lines.append(f"unknown taxon {resolution.query!r}: {resolution.reason}")
        lines += [f"  nearest: {describe_taxon(taxon)}" for taxon in resolution.suggestions]
    return lines
