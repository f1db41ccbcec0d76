"""Records of what lives where and when: Darwin Core occurrences, as tables, archives or GBIF's downloads.

They are read as a stream and counted with weights for distance and season, for a prior over species.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linnaea.records import RANKS
from linnaea.standards.table_reading import Table, cast_decimals, read_table
from linnaea.standards.table_reading.column_names import list_columns

logger = logging.getLogger(__name__)

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
# In dates as ISO 8601, with slashes, and as 31.12.2024.
MONTH = r"^\s*(?:\d{4}[-/]|\d{1,2}\.)(\d{1,2})\b"


class RecordedName(NamedTuple):
    """The name of an organism in a record, and the names of the HIGHER_RANKS above it ("" if the record lacks them)."""

    name: str
    above: tuple[str, ...] = ("",) * len(HIGHER_RANKS)


def count_occurrences(path: Path, *, near: tuple[float, float] | None, month: int | None) -> dict[RecordedName, float]:
    """Weighted counts of the names in Darwin Core occurrences: any table, archive or download that `read_table` reads.

    Columns: decimalLatitude and decimalLongitude (for `near`), month or eventDate (for `month`), and NAME_COLUMNS, of
    which the first that a row fills counts; the columns of higher ranks distinguish homonyms. Columns may have any
    spelling. Records of absence (occurrenceStatus) do not count; how many others do not count is logged. Raise
    FileNotFoundError if there is no file, ValueError for a table without these columns.
    """
    table = read_table(path, row_types=("Occurrence",), what="file")
    return _count(table, near, month)


def _count(table: Table, near: tuple[float, float] | None, month: int | None) -> dict[RecordedName, float]:
    import polars as pl

    found = {column: own for column in COLUMNS if (own := table.find(column)) is not None}
    names = [column for column in NAME_COLUMNS if column in found]
    if not names:
        raise ValueError(
            f"{table.name} has no column of names; it needs one of {', '.join(NAME_COLUMNS)} (it has "
            f"{list_columns(table.columns)})"
        )
    weight = _weigh(table, found, near, month)
    given = [_strip_blanks(name) for name in names]
    if {"genus", "specificEpithet"} <= set(found):
        at = names.index("genus")
        given.insert(at, _strip_blanks("genus") + pl.lit(" ") + _strip_blanks("specificEpithet"))
    above = {rank: (_strip_blanks(rank).fill_null("") if rank in found else pl.lit("")) for rank in HIGHER_RANKS}
    selected = {"name": pl.coalesce(given), "weight": weight.fill_nan(None), **above}

    def count(frame):
        records = frame.select(pl.col(own).alias(column) for column, own in found.items())
        if "occurrenceStatus" in found:
            absent = pl.col("occurrenceStatus").str.strip_chars().str.to_lowercase() == "absent"
            records = records.filter(~absent.fill_null(False))
        counted = records.select(**selected).group_by("name", *HIGHER_RANKS)
        counted = counted.agg(pl.col("weight").sum(), n=pl.len(), n_placed=pl.col("weight").count())
        return counted.sort("name", *HIGHER_RANKS)

    counts = table.collect(count)
    _log_lost(table, counts)
    kept = counts.filter(pl.col("name").is_not_null() & (pl.col("weight") > NEGLIGIBLE)).drop("n", "n_placed")
    return {RecordedName(name, tuple(above)): weight for name, *above, weight in kept.iter_rows()}


def _weigh(table: Table, found: dict[str, str], near: tuple[float, float] | None, month: int | None):
    """The weight of a record. Raise ValueError if the table lacks a column for it."""
    import polars as pl

    weight = pl.lit(1.0)
    if near is not None:
        for column in ("decimalLatitude", "decimalLongitude"):
            if column not in found:
                raise ValueError(
                    f"{table.name} has no column {column}; --near needs it (it has {list_columns(table.columns)})"
                )
        weight = weight * _weigh_distance(near)
    if month is not None:
        if not {"month", "eventDate"} & set(found):
            raise ValueError(f"{table.name} has neither month nor eventDate; leave --month out or add one of them")
        weight = weight * _weigh_season(month, list(found))
    return weight


def _log_lost(table: Table, counts) -> None:
    """Log a warning about records that do not count, because they have no name or no place."""
    import polars as pl

    total = counts["n"].sum()
    nameless = counts.filter(pl.col("name").is_null())["n"].sum()
    unplaced = counts.filter(pl.col("name").is_not_null()).select((pl.col("n") - pl.col("n_placed")).sum()).item()
    if nameless:
        logger.warning(f"{table.name}: {nameless:,} of {total:,} records have no name and do not count")
    if unplaced:
        logger.warning(
            f"{table.name}: {unplaced:,} of {total:,} records have no place in decimal degrees and do not count"
        )


def _strip_blanks(column: str):
    """The column without spaces around its text; null if nothing is left."""
    import polars as pl

    text = pl.col(column).str.strip_chars()
    return pl.when(text != "").then(text)


def _weigh_distance(near: tuple[float, float]):
    """exp(-d²/2h²) with the haversine distance d; null for a row without coordinates."""
    import polars as pl

    degrees = {column: cast_decimals(pl.col(column)) for column in ("decimalLatitude", "decimalLongitude")}
    lat, lon = (
        pl.when(degrees[column].abs() <= limit).then(degrees[column]).radians()
        for column, limit in (("decimalLatitude", 90), ("decimalLongitude", 180))
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
        sources.append(pl.col("eventDate").str.extract(MONTH, 1).cast(pl.Float64, strict=False))
    angle = (pl.coalesce(sources) - month) * (2 * math.pi / 12)
    return (SEASON_KAPPA * (angle.cos() - 1)).exp().fill_null(SEASON_MEAN)
