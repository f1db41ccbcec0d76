"""Rows and cells of observation tables: reading tables as text, parsing numbers, rejecting bad rows with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from linnaea.census.observations import Observations


def read_table_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV, TSV, JSON-lines or Parquet table as text; a missing cell is "".

    Raise ValueError if the file is not such a table.
    """
    import polars as pl

    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            frame = pl.read_parquet(path)
        elif suffix == ".jsonl":
            frame = pl.read_ndjson(path, infer_schema_length=None)
        else:
            separator = "\t" if suffix in (".tsv", ".txt") else ","
            frame = pl.read_csv(path, separator=separator, infer_schema=False, truncate_ragged_lines=True)
    except pl.exceptions.NoDataError:
        return []
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path}: cannot be read as a table: {reason}; save it as CSV in UTF-8") from None
    return [
        {key: "" if value is None else str(value) for key, value in row.items()} for row in frame.iter_rows(named=True)
    ]


def parse_number(text: str) -> float:
    """Return the number in a cell, nan for an empty cell. Raise ValueError for other text."""
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} must be a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} must be a finite number")
    return value


def parse_coordinates(latitude: str, longitude: str) -> tuple[float, float]:
    """Return the degrees in two cells, nan if both are empty. Raise ValueError for other text."""
    place = parse_number(latitude), parse_number(longitude)
    if not (math.isnan(place[0]) and math.isnan(place[1])) and not (abs(place[0]) <= 90 and abs(place[1]) <= 180):
        raise ValueError(f"({latitude}, {longitude}) must be degrees north (-90 to 90) and east (-180 to 180)")
    return place


def parse_count(text: str) -> int:
    """Return the number of animals in a cell, 1 for an empty cell. Raise ValueError for other text."""
    value = parse_number(text)
    if math.isnan(value):
        return 1
    if value < 0 or value != int(value):
        raise ValueError(f"count {text!r} must be a whole number from 0 up")
    return int(value)


def read_each_row(rows: list[dict], where: str, found: Observations, read: Callable[[dict], None]) -> None:
    """Call `read` for each row; a row for which it raises goes to `found.rejected` with the reason."""
    for number, row in enumerate(rows, 2):
        try:
            read(row)
        except ValueError as error:
            found.rejected.append((f"{where}, row {number}", str(error)))
        except KeyError as error:
            found.rejected.append((f"{where}, row {number}", f"column {error} is missing"))
