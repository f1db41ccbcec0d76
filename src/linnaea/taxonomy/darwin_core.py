"""Darwin Core taxon tables, such as the GBIF backbone and the Catalogue of Life: a file, a folder or a zip archive.

Shape suffixes: t taxon rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.records import RANK_INDEX, RANKS
from linnaea.standards.table_reading import Table, read_table
from linnaea.standards.table_reading.archive_table import ID_COLUMN, STEMS
from linnaea.standards.table_reading.packed_files import find_kind
from linnaea.taxonomy.sources import TaxonomySource, read_lineage_table

COLUMNS = (
    "taxonID",
    "parentNameUsageID",
    "acceptedNameUsageID",
    "scientificName",
    "scientificNameAuthorship",
    "canonicalName",
    "genericName",
    "specificEpithet",
    "infraspecificEpithet",
    "taxonRank",
    "taxonomicStatus",
    *RANKS[:-1],
)
ENGLISH = ("", "en", "eng", "english")
NOT_ACCEPTED = "synonym|misapplied|unaccepted|invalid|not accepted"
MAX_DEPTH = 100


def is_taxon_table(path: Path) -> bool:
    """Whether a file is a text table with a column taxonID and a name."""
    if not path.is_file() or not path.stat().st_size or find_kind(path) != "text":
        return False
    try:
        return has_taxa(read_table(path))
    except ValueError:
        return False


def has_taxa(table: Table) -> bool:
    """Whether a table has the number and the name of a taxon in each row."""
    return table.find("taxonID", ID_COLUMN) is not None and table.find("scientificName", "canonicalName") is not None


def sibling_tables(path: Path) -> list[Path]:
    """The table of vernacular names beside a taxon table: a list of one path, or of none."""
    if not is_taxon_table(path):
        return []
    return [other for other in sorted(path.parent.iterdir()) if other.stem.lower() in STEMS["VernacularName"]][:1]


def read_darwin_core(path: Path) -> TaxonomySource:
    """The accepted species of a Darwin Core taxon table, their synonyms and English names.

    `path` is a table, or an archive or folder with one. Ranks come from the rank columns or, if these are empty, from
    the chain of parents. Without any species, the accepted taxa of the other ranks are the leaves. An archive of
    occurrences gives their lineages. Raises ValueError if there is no such table.
    """
    table = read_table(path, row_types=("Taxon", "Occurrence"), what="vocabulary")
    if not has_taxa(table):
        return read_lineage_table(table)
    if path.is_file() and find_kind(path) == "text":
        return read_tables(table, next(map(read_table, sibling_tables(path)), None))
    try:
        vernacular = read_table(path, row_types=("VernacularName",))
    except ValueError:
        vernacular = None
    is_vernacular = vernacular is not None and vernacular.find("vernacularName") is not None
    return read_tables(table, vernacular if is_vernacular else None)


def select_terms(table: Table, wanted: tuple[str, ...]):
    """The wanted columns of a table as a polars frame of strings, "" for a missing value or column."""
    import polars as pl

    def select(frame):
        found = {term: table.find(term) for term in wanted}
        return frame.select(
            (pl.col(own).fill_null("").str.strip_chars() if own is not None else pl.lit("")).alias(term)
            for term, own in found.items()
        )

    return table.collect(select)


def rows_with(ids, wanted) -> np.ndarray:
    """The first row with each of the wanted ids, int64; -1 if there is none."""
    import polars as pl

    table = pl.DataFrame({"id": ids}).with_row_index("row").unique("id", keep="first").filter(pl.col("id") != "")
    joined = pl.DataFrame({"id": wanted}).join(table, on="id", how="left", maintain_order="left")
    return joined["row"].cast(pl.Int64).fill_null(-1).to_numpy()


def canonical_names(taxa):
    """A polars series of bare names: the canonical column, else the parts, else the name without its authorship."""
    import polars as pl

    parts = pl.concat_str(
        pl.col("genericName"), pl.col("specificEpithet"), pl.col("infraspecificEpithet"), separator=" "
    ).str.strip_chars()
    full, author = pl.col("scientificName"), pl.col("scientificNameAuthorship")
    below_genus = (pl.col("genericName") != "") & (pl.col("specificEpithet") != "")
    return taxa.select(
        pl.when(pl.col("canonicalName") != "")
        .then(pl.col("canonicalName"))
        .when(below_genus)
        .then(parts)
        .when((author != "") & full.str.ends_with(author))
        .then(full.str.head(full.str.len_chars() - author.str.len_chars().cast(pl.Int64)).str.strip_chars())
        .otherwise(full.map_batches(parse_names, return_dtype=pl.String))
    ).to_series()


def parse_names(names):
    """The canonical forms of a polars series of names. Single words and unparsable names stay as they are."""
    import nameparser
    import polars as pl

    texts = names.to_list()
    several = [i for i, text in enumerate(texts) if " " in text]
    for i, parsed in zip(several, nameparser.parse_all([texts[i] for i in several]), strict=True):
        if parsed is not None and not isinstance(parsed, nameparser.Informal):
            texts[i] = parsed.canonical_name_minimal() or texts[i]
    return pl.Series(texts, dtype=pl.String)


def ranked_ancestors(rank_t: np.ndarray, parent_t: np.ndarray) -> np.ndarray:
    """The row of the taxon at each rank at or above each row, int64 [7, t]; -1 if the chain of parents has none."""
    found = np.full((len(RANKS), len(rank_t)), -1, np.int64)
    current_t = np.arange(len(rank_t))
    for _ in range(MAX_DEPTH):
        alive = np.flatnonzero(current_t >= 0)
        if not len(alive):
            break
        at = current_t[alive]
        ranked = rank_t[at] >= 0
        rows, ranks, at = alive[ranked], rank_t[at[ranked]], at[ranked]
        empty = found[ranks, rows] < 0
        found[ranks[empty], rows[empty]] = at[empty]
        current_t[alive] = parent_t[current_t[alive]]
    return found


@dataclass(frozen=True, kw_only=True)
class TaxonTable:
    """A taxon table with its look-ups, by row."""

    taxa: object
    "a polars frame with `COLUMNS`"
    names: object
    "a polars series of bare names"
    rank_t: np.ndarray
    "index in `RANKS`, -1 for other ranks"
    accepted_t: np.ndarray
    "row of the accepted taxon of a synonym, else -1 or the row itself"
    is_synonym_t: np.ndarray
    is_accepted_t: np.ndarray
    parent_t: np.ndarray
    "row of the parent, -1 if there is none"

    @property
    def is_leaf_t(self) -> np.ndarray:
        """Whether a row is an accepted species; without any species, an accepted taxon of any rank."""
        is_species_t = self.is_accepted_t & (self.rank_t == RANK_INDEX["species"])
        return is_species_t if is_species_t.any() else self.is_accepted_t & (self.rank_t >= 0)

    def read_lineages(self):
        """A polars frame of the rank columns, filled in from the chains of parents."""
        import polars as pl

        above = ranked_ancestors(np.where(self.is_accepted_t, self.rank_t, -1), self.parent_t)
        empty = pl.Series([""]).extend_constant("", self.taxa.height - 1)
        lineages = {}
        for index, rank in enumerate(RANKS):
            by_chain = pl.Series(self.names.gather(np.maximum(above[index], 0)), dtype=pl.String)
            by_chain = by_chain.zip_with(pl.Series(above[index] >= 0), empty)
            column = self.taxa[rank] if rank != "species" else by_chain
            lineages[rank] = column.zip_with(column != "", by_chain)
        return pl.DataFrame(lineages)


# Names of leaves with their rows, and names of taxa above them with rank and path.
Named = tuple[list[tuple[str, int]], list[tuple[str, str, str]]]


def read_taxon_table(table: Table) -> TaxonTable:
    """A taxon table with its ranks, synonyms and parents."""
    import polars as pl

    taxa = select_terms(table, (*COLUMNS, ID_COLUMN)).with_columns(pl.col("taxonRank").str.to_lowercase())
    taxa = taxa.with_columns(pl.when(pl.col("taxonID") != "").then("taxonID").otherwise(ID_COLUMN).alias("taxonID"))
    taxa = taxa.with_columns(pl.col("taxonRank").replace({"division": "phylum"}))
    own_t = np.arange(taxa.height)
    accepted_t = rows_with(taxa["taxonID"], taxa["acceptedNameUsageID"])
    parent_t = rows_with(taxa["taxonID"], taxa["parentNameUsageID"])
    not_accepted_t = taxa["taxonomicStatus"].str.to_lowercase().str.contains(NOT_ACCEPTED).to_numpy()
    is_synonym_t = (accepted_t >= 0) & (accepted_t != own_t)
    return TaxonTable(
        taxa=taxa,
        names=canonical_names(taxa),
        rank_t=taxa["taxonRank"].replace_strict(RANK_INDEX, default=-1, return_dtype=pl.Int8).to_numpy(),
        accepted_t=accepted_t,
        is_synonym_t=is_synonym_t,
        is_accepted_t=~is_synonym_t & ~not_accepted_t,
        parent_t=np.where(parent_t == own_t, -1, parent_t),
    )


def read_tables(taxa: Table, vernacular: Table | None) -> TaxonomySource:
    """The source of a taxon table and of its table of vernacular names, if there is one."""
    table = read_taxon_table(taxa)
    rows = table.read_lineages()
    synonym = np.flatnonzero(table.is_synonym_t)
    synonyms = _assign_names(table, rows, table.names.gather(synonym).to_list(), table.accepted_t[synonym])
    common: Named = ([], [])
    if vernacular is not None:
        labels, at = _read_vernacular(vernacular, table)
        common = _assign_names(table, rows, labels, at)
    return TaxonomySource(
        kind="darwin core",
        rows=rows.filter(table.is_leaf_t),
        synonyms=synonyms[0],
        higher_synonyms=synonyms[1],
        common=common[0],
        higher_common=common[1],
    )


def _read_vernacular(source: Table, table: TaxonTable) -> tuple[list[str], np.ndarray]:
    """English names and the rows of their taxa."""
    import polars as pl

    vernacular = select_terms(source, ("taxonID", ID_COLUMN, "vernacularName", "language"))
    vernacular = vernacular.filter(pl.col("language").str.to_lowercase().is_in(ENGLISH))
    # The extension of an archive has the number of the core's row, a table beside another has the taxon's.
    key = ID_COLUMN if source.find(ID_COLUMN) and (table.taxa[ID_COLUMN] != "").any() else "taxonID"
    at = rows_with(table.taxa[key], vernacular[key])
    return vernacular["vernacularName"].filter(at >= 0).to_list(), at[at >= 0]


def _assign_names(table: TaxonTable, rows, labels: list[str], at: np.ndarray) -> Named:
    """Names of the taxon rows `at`, split into those of leaves and those of taxa above, which get their kingdom."""
    is_leaf_t = table.is_leaf_t
    position_t = np.where(is_leaf_t, np.cumsum(is_leaf_t) - 1, -1)
    leaves, higher = [], []
    kingdoms, names = rows["kingdom"].gather(at).to_list(), table.names.gather(at).to_list()
    for label, row, kingdom, name in zip(labels, at.tolist(), kingdoms, names, strict=True):
        if position_t[row] >= 0:
            leaves.append((label, int(position_t[row])))
        elif table.rank_t[row] >= 0 and table.is_accepted_t[row]:
            path = f"{kingdom}>{name}" if kingdom and kingdom != name else name
            higher.append((label, RANKS[table.rank_t[row]], path))
    return leaves, higher
