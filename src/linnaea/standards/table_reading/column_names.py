"""Column names as people and programs write them: case, blanks, prefixes, the addresses of terms."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

# Other spellings of Darwin Core terms: iNaturalist's export, GBIF's species lists, field tables, Camtrap DP.
SYNONYMS = {
    "scientificName": ("taxon_name", "latin_name", "scientific", "species_name"),
    "species": ("taxon_species_name", "binomial"),
    "decimalLatitude": ("latitude", "lat", "y_lat", "location-lat"),
    "decimalLongitude": ("longitude", "long", "lon", "lng", "x_lon", "location-long"),
    "eventDate": ("observed_on", "date", "eventStart", "observation_date", "timestamp"),
    "occurrenceStatus": ("occurrence_status",),
    "vernacularName": ("common_name", "common", "vernacular", "english_name"),
    "taxonRank": ("rank",),
    **{rank: (f"taxon_{rank}_name",) for rank in ("kingdom", "phylum", "class", "order", "family", "genus")},
}


def make_key(name: str) -> str:
    """Return what equal column names have in common.

    `scientific_name`, `Scientific Name`, `dwc:scientificName` and `http://rs.tdwg.org/dwc/terms/scientificName` are
    equal.
    """
    name = name.strip().strip("\"'\ufeff").strip()
    if "://" in name:
        name = re.split(r"[/#]", name.rstrip("/#"))[-1]
    bare = name.rpartition(":")[2] or name
    return re.sub(r"[\s_.\-]+", "", bare).casefold()


def find_column(columns: Iterable[str], *wanted: str) -> str | None:
    """Return the first of the wanted columns that a table has, as the table writes it; None if it has none of them.

    A name is looked up in every spelling of itself before its SYNONYMS are.
    """
    by_key: dict[str, str] = {}
    for column in columns:
        by_key.setdefault(make_key(column), column)
    for name in wanted:
        for spelling in (name, *SYNONYMS.get(name, ())):
            if (found := by_key.get(make_key(spelling))) is not None:
                return found
    return None


def match_columns(columns: Sequence[str], wanted: Collection[str]) -> dict[str, str]:
    """Return the wanted columns of a table in its order: as the table writes them -> as they are wanted.

    A column in another spelling counts if none has the name itself.
    """
    by_key = {make_key(name): name for name in sorted(wanted, reverse=True)}
    names = {own: own for own in columns if own in wanted}
    for own in columns:
        name = by_key.get(make_key(own))
        if name is not None and own not in names and name not in names.values():
            names[own] = name
    return {own: names[own] for own in columns if own in names}


def list_columns(columns: Sequence[str], shown: int = 8) -> str:
    """Return the columns of a table for an error line, a long list cut short."""
    return ", ".join(columns[:shown]) + (" …" if len(columns) > shown else "")


def clean_header(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the names in a heading row, each once: "column 3" where a cell is empty, "species 2" for a repetition."""
    names: list[str] = []
    taken: set[str] = set()
    for number, cell in enumerate(cells, 1):
        name = " ".join(cell.replace("\ufeff", "").split()).strip('"').strip() or f"column {number}"
        repetition = 2
        unique = name
        while unique in taken:
            unique, repetition = f"{name} {repetition}", repetition + 1
        taken.add(unique)
        names.append(unique)
    return tuple(names)
