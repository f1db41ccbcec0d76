"""Taxa as the sentences that a text encoder reads."""

from __future__ import annotations

from collections.abc import Sequence

from linnaea.records import RANKS, Taxon

TEXT_TYPES = ("scientific", "common", "taxonomic", "scientific_common", "taxonomic_common")


def epithet(species: str) -> str:
    """The part of a species name after the genus: "Felis catus" -> "catus"; a single word stays as it is."""
    genus, _, rest = species.partition(" ")
    return rest or genus


def taxonomic_name(lineage: Sequence[str]) -> str:
    """The names of a lineage in the order of `RANKS`, joined by spaces, with the species as its epithet.

    ("Animalia", …, "Setophaga", "Setophaga magnolia") -> "Animalia … Setophaga magnolia". Without a genus, the
    species keeps its full name, because the epithet alone has no meaning.
    """
    species = lineage[-1]
    if species and lineage[-2]:
        species = epithet(species)
    return " ".join(name for name in (*lineage[:-1], species) if name)


def taxon_text(taxon_or_lineage: Taxon | Sequence[str], text_type: str = "taxonomic", common_name: str = "") -> str:
    """The text of a taxon in one of `TEXT_TYPES`.

    A missing common name falls back to the form without it ("common" to the scientific name). `common_name` overrides
    the taxon's own. Raises ValueError for an unknown text type.
    """
    if text_type not in TEXT_TYPES:
        raise ValueError(f"unknown text type {text_type!r}; choose one of {', '.join(TEXT_TYPES)}")
    if isinstance(taxon_or_lineage, Taxon):
        lineage = taxon_or_lineage.lineage
        common_name = common_name or taxon_or_lineage.common_name
    else:
        lineage = tuple(taxon_or_lineage)
    if len(lineage) != len(RANKS):
        raise ValueError(f"a lineage has {len(RANKS)} entries ({', '.join(RANKS)}), not {len(lineage)}: {lineage}")
    scientific = next((name for name in reversed(lineage) if name), "")
    if text_type == "common":
        return common_name or scientific
    base = taxonomic_name(lineage) if text_type.startswith("taxonomic") else scientific
    return f"{base} with common name {common_name}" if text_type.endswith("_common") and common_name else base
