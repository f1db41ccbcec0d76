"""Darwin Core taxon tables, such as the GBIF backbone and the Catalogue of Life: a file, a folder or a zip archive.

Shape suffixes: t taxon rows.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.records import RANK_INDEX, RANKS
from linnaea.taxonomy.sources import TaxonomySource, table_errors

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
SUFFIXES = (".tsv", ".txt", ".tab", ".csv")
TAXON_STEMS = ("taxon", "taxa", "taxons", "taxonconcept")
VERNACULAR_STEMS = ("vernacularname", "vernacularnames", "vernacular")
ENGLISH = ("", "en", "eng", "english")
NOT_ACCEPTED = "synonym|misapplied|unaccepted|invalid|not accepted"
MAX_DEPTH = 100


def read_header(path: Path) -> tuple[list[str], str]:
    """The column names of a text table without prefixes such as "dwc:", and its separator; ([], "") for other files."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return [], ""
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        line = lines.readline(100_000).rstrip("\r\n")
    separator = "\t" if "\t" in line else ","
    return [name.strip().strip('"').rpartition(":")[2] for name in line.split(separator)], separator


def is_taxon_table(path: Path) -> bool:
    """Whether a file is a text table with a column taxonID and a name."""
    names, _ = read_header(path)
    return "taxonID" in names and bool({"scientificName", "canonicalName"} & set(names))


def sibling_tables(path: Path) -> list[Path]:
    """The table of vernacular names beside a taxon table: a list of one path, or of none."""
    if path.suffix.lower() not in SUFFIXES or not is_taxon_table(path):
        return []
    return [other for other in sorted(path.parent.iterdir()) if other.stem.lower() in VERNACULAR_STEMS][:1]


@contextmanager
def open_archive(path: Path) -> Iterator[Path]:
    """A folder with the tables of `path`: the folder itself, or a temporary folder with the unpacked zip archive."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = Path(member.filename)
            if name.suffix.lower() in SUFFIXES and name.stem.lower() in (*TAXON_STEMS, *VERNACULAR_STEMS):
                with archive.open(member) as packed, (Path(temporary) / name.name).open("wb") as unpacked:
                    while block := packed.read(1 << 20):
                        unpacked.write(block)
        yield Path(temporary)


def read_darwin_core(path: Path) -> TaxonomySource:
    """The accepted species of a Darwin Core taxon table, their synonyms and English names.

    Ranks come from the rank columns or, if these are empty, from the chain of parents. Without any species, the
    accepted taxa of the other ranks are the leaves. Raises ValueError if there is no such table.
    """
    if path.is_file() and path.suffix.lower() != ".zip":
        return read_tables(path, next(iter(sibling_tables(path)), None))
    try:
        with open_archive(path) as folder:
            files = sorted(folder.iterdir())
            taxa = [file for file in files if is_taxon_table(file)]
            taxa.sort(key=lambda file: (file.stem.lower() not in TAXON_STEMS, -file.stat().st_size))
            if not taxa:
                raise ValueError(f"{path} has no Darwin Core taxon table (Taxon.tsv with taxonID and scientificName)")
            vernacular = next((file for file in files if file.stem.lower() in VERNACULAR_STEMS), None)
            return read_tables(taxa[0], vernacular)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} cannot be read as a zip archive: {error}") from None


def read_text_table(path: Path, wanted: tuple[str, ...]):
    """The wanted columns of a text table as strings, "" for a missing value or column.

    Tab-separated archives do not quote, so a quotation mark in an author's name must not start a quoted field.
    """
    import polars as pl

    names, separator = read_header(path)
    present = [name for name in dict.fromkeys(names) if name in wanted]
    with table_errors(path):
        frame = pl.read_csv(
            path,
            separator=separator,
            quote_char=None if separator == "\t" else '"',
            columns=[names.index(name) for name in present],
            has_header=False,
            skip_rows=1,
            infer_schema=False,
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
        )
    frame = frame.rename(dict(zip(frame.columns, sorted(present, key=names.index), strict=True)))
    return frame.select(
        (pl.col(name).fill_null("").str.strip_chars() if name in present else pl.lit("")).alias(name) for name in wanted
    )


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


def read_taxon_table(path: Path) -> TaxonTable:
    """A taxon table with its ranks, synonyms and parents."""
    import polars as pl

    taxa = read_text_table(path, COLUMNS).with_columns(pl.col("taxonRank").str.to_lowercase())
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


def read_tables(taxon_path: Path, vernacular_path: Path | None) -> TaxonomySource:
    """The source of a taxon table and of its table of vernacular names, if there is one."""
    table = read_taxon_table(taxon_path)
    rows = table.read_lineages()
    synonym = np.flatnonzero(table.is_synonym_t)
    synonyms = _assign_names(table, rows, table.names.gather(synonym).to_list(), table.accepted_t[synonym])
    common: Named = ([], [])
    if vernacular_path is not None:
        labels, at = _read_vernacular(vernacular_path, table)
        common = _assign_names(table, rows, labels, at)
    return TaxonomySource(
        kind="darwin core",
        rows=rows.filter(table.is_leaf_t),
        synonyms=synonyms[0],
        higher_synonyms=synonyms[1],
        common=common[0],
        higher_common=common[1],
    )


def _read_vernacular(path: Path, table: TaxonTable) -> tuple[list[str], np.ndarray]:
    """English names and the rows of their taxa."""
    import polars as pl

    vernacular = read_text_table(path, ("taxonID", "vernacularName", "language"))
    vernacular = vernacular.filter(pl.col("language").str.to_lowercase().is_in(ENGLISH))
    at = rows_with(table.taxa["taxonID"], vernacular["taxonID"])
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
