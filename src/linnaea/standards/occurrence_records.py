"""Records of what lives where and when: Darwin Core occurrences, as tables or as GBIF's downloads.

They are read as a stream and counted with weights for distance and season, for a prior over species.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linnaea.records import RANKS
from linnaea.taxonomy.sources import table_errors

RADIUS_KM = 200.0
SEASON_KAPPA = 1.0
EARTH_RADIUS_KM = 6371.0
# The mean of exp(κ (cos x - 1)) over the year.
SEASON_MEAN = float(np.mean(np.exp(SEASON_KAPPA * (np.cos(2 * np.pi * np.arange(12) / 12) - 1))))
NEGLIGIBLE = 1e-6
NAME_COLUMNS = ("species", "scientificName", "acceptedScientificName", "verbatimScientificName", "genus", "family")
# The ranks by which homonyms are told apart; a genus is part of the name.
HIGHER_RANKS = RANKS[:5]
COLUMNS = (
    *NAME_COLUMNS,
    *HIGHER_RANKS,
    "specificEpithet",
    "occurrenceStatus",
    "decimalLatitude",
    "decimalLongitude",
    "month",
    "eventDate",
)
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")
# Names of the files in a Darwin Core archive that hold the records.
RECORD_STEMS = ("occurrence", "occurrences", "observations")
# Names of the files that hold something else about them.
OTHER_STEMS = ("verbatim", "multimedia", "media", "citations", "rights", "images", "identification", "event", "taxon")


class RecordedName(NamedTuple):
    """The name of an organism in a record, and the names of the HIGHER_RANKS above it ("" if the record lacks them)."""

    name: str
    above: tuple[str, ...] = ("",) * len(HIGHER_RANKS)


def count_occurrences(path: Path, *, near: tuple[float, float] | None, month: int | None) -> dict[RecordedName, float]:
    """Weighted counts of the names in Darwin Core occurrences: CSV, TSV, Parquet, or GBIF's zip with one of them.

    Columns: decimalLatitude and decimalLongitude (for `near`), month or eventDate (for `month`), and NAME_COLUMNS, of
    which the first that a row fills counts; the columns of higher ranks distinguish homonyms. Column names may be in
    upper or lower case. Records of absence (occurrenceStatus) do not count. Raise FileNotFoundError if there is no
    file, ValueError for a table without these columns.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"file {path} does not exist; give Darwin Core occurrences (CSV, TSV, Parquet, or GBIF's zip)"
        )
    with table_errors(path), _open_tables(path) as tables:
        return _count(path, _scan(tables), near, month)


def _count(path: Path, frame, near: tuple[float, float] | None, month: int | None) -> dict[RecordedName, float]:
    import polars as pl

    columns = frame.collect_schema().names()
    if "occurrenceStatus" in columns:
        absent = pl.col("occurrenceStatus").str.strip_chars().str.to_lowercase() == "absent"
        frame = frame.filter(~absent.fill_null(False))
    names = [column for column in NAME_COLUMNS if column in columns]
    if not names:
        raise ValueError(f"{path} has no column of names; it needs one of {', '.join(NAME_COLUMNS)}")
    weight = pl.lit(1.0)
    if near is not None:
        for column in ("decimalLatitude", "decimalLongitude"):
            if column not in columns:
                raise ValueError(f"{path} has no column {column}; --near needs it (has: {', '.join(columns[:8])} …)")
        weight = weight * _weigh_distance(near)
    if month is not None:
        if not {"month", "eventDate"} & set(columns):
            raise ValueError(f"{path} has neither month nor eventDate; leave --month out or add one of them")
        weight = weight * _weigh_season(month, columns)
    given = [_strip_blanks(name) for name in names]
    if {"genus", "specificEpithet"} <= set(columns):
        at = names.index("genus")
        given.insert(at, _strip_blanks("genus") + pl.lit(" ") + _strip_blanks("specificEpithet"))
    above = {rank: (_strip_blanks(rank).fill_null("") if rank in columns else pl.lit("")) for rank in HIGHER_RANKS}
    counts = (
        frame.select(name=pl.coalesce(given), weight=weight, **above)
        .filter(pl.col("weight").is_finite() & pl.col("name").is_not_null())
        .group_by("name", *HIGHER_RANKS)
        .agg(pl.col("weight").sum())
        .filter(pl.col("weight") > NEGLIGIBLE)
        .sort("name", *HIGHER_RANKS)
        .collect(engine="streaming")
    )
    return {RecordedName(name, tuple(above)): weight for name, *above, weight in counts.iter_rows()}


def _strip_blanks(column: str):
    """The column without spaces around its text; null if nothing is left."""
    import polars as pl

    text = pl.col(column).str.strip_chars()
    return pl.when(text != "").then(text)


@contextmanager
def _open_tables(path: Path) -> Iterator[list[Path]]:
    """The tables of a file: the file itself, or the tables of records in a zip archive, unpacked for the block."""
    if path.suffix.lower() != ".zip":
        yield [path]
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            tables = _unpack(path, Path(folder))
        except (zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: encrypted, or a rare compression
            raise ValueError(f"{path} is not a readable zip archive: {error}") from None
        yield tables


def _unpack(path: Path, unpacked_dir: Path) -> list[Path]:
    with zipfile.ZipFile(path) as archive:
        members = _find_record_members(archive)
        if not members:
            held = ", ".join(name for name in archive.namelist()[:5]) or "nothing"
            raise ValueError(f"{path} holds no table of occurrences (it holds {held}); give a download of GBIF")
        tables = []
        for number, member in enumerate(members):
            suffix = ".parquet" if ".parquet" in member.filename.lower() else ".txt"
            tables.append(unpacked_dir / f"{number}{suffix}")
            with archive.open(member) as packed, tables[-1].open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
        return tables


def _find_record_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The parts of a Parquet download, occurrence.txt of an archive, or the one table of a simple download."""
    members = [member for member in archive.infolist() if not member.is_dir() and member.file_size]
    parquet = [member for member in members if ".parquet" in member.filename.lower()]
    tables = [member for member in members if Path(member.filename).suffix.lower() in TABLE_SUFFIXES]
    named = [member for member in tables if Path(member.filename).stem.lower() in RECORD_STEMS]
    others = [member for member in tables if Path(member.filename).stem.lower() not in OTHER_STEMS]
    return parquet or named[:1] or sorted(others, key=lambda member: -member.file_size)[:1]


def _scan(paths: Sequence[Path]):
    """A lazy frame with the COLUMNS that the tables have, as text."""
    import polars as pl

    path = paths[0]
    if path.suffix.lower() == ".parquet":
        frame = pl.scan_parquet(list(paths))
        names = frame.collect_schema().names()
    else:
        with open(path, encoding="utf-8-sig", errors="replace") as handle:
            header = handle.readline()
        tabs = "\t" in header
        # GBIF's downloads are tab-separated without quoting, whatever their suffix.
        frame = pl.scan_csv(
            path,
            separator="\t" if tabs else ",",
            quote_char=None if tabs else '"',
            infer_schema_length=0,
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
        )
        names = frame.collect_schema().names()
    # GBIF's Parquet files have the terms in lower case, other tables have them with a prefix, "dwc:month".
    known = {column.lower(): column for column in COLUMNS}
    found = {
        known[bare]: name for name in reversed(names) if (bare := name.rpartition(":")[2].strip().lower()) in known
    }
    if not found:
        return frame.head(0)
    return frame.select(pl.col(name).cast(pl.String, strict=False).alias(column) for column, name in found.items())


def _weigh_distance(near: tuple[float, float]):
    """exp(-d²/2h²) with the haversine distance d; null for a row without coordinates."""
    import polars as pl

    lat, lon = (
        pl.col(column).cast(pl.Float64, strict=False).radians() for column in ("decimalLatitude", "decimalLongitude")
    )
    lat0, lon0 = map(math.radians, near)
    half = ((lat - lat0) / 2).sin().pow(2) + lat.cos() * math.cos(lat0) * ((lon - lon0) / 2).sin().pow(2)
    distance_km = 2 * EARTH_RADIUS_KM * half.clip(0, 1).sqrt().arcsin()
    return (-(distance_km.pow(2)) / (2 * RADIUS_KM**2)).exp()


def _weigh_season(month: int, columns: list[str]):
    """exp(κ (cos(2π (m - month) / 12) - 1)) with the record's month m; the mean over the year without month."""
    import polars as pl

    sources = []
    if "month" in columns:
        sources.append(pl.col("month").cast(pl.Float64, strict=False))
    if "eventDate" in columns:
        sources.append(pl.col("eventDate").str.extract(r"^\d{4}-(\d{2})", 1).cast(pl.Float64, strict=False))
    angle = (pl.coalesce(sources) - month) * (2 * math.pi / 12)
    return (SEASON_KAPPA * (angle.cos() - 1)).exp().fill_null(SEASON_MEAN)
