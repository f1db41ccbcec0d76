"""Rows and cells of observation tables: reading tables as text, parsing numbers, rejecting bad rows with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from linnaea.census.observations import Observations
from linnaea.standards.table_reading import parse_decimal, read_table
from linnaea.standards.table_reading.column_names import match_columns
from linnaea.standards.table_reading.table import rename_row

# The columns of all readers, which a table may have in other spellings.
COLUMNS = (
    *("file", "status", "outcome", "reason", "position", "name"),
    *("occurrenceID", "scientificName", "occurrenceStatus", "occurrenceRemarks", "individualCount"),
    *("eventID", "eventDate", "locationID", "decimalLatitude", "decimalLongitude", "samplingProtocol"),
    *("sampleSizeValue", "sampleSizeUnit", "totalAreaSampledValue", "totalAreaSampledUnit"),
    *("samplingEffortValue", "samplingEffortUnit", "targetTaxonomicScope"),
    *("deploymentID", "deploymentStart", "deploymentEnd", "deploymentTags", "detectionDistance", "locationName"),
    *("observationLevel", "observationType", "eventStart", "mediaID", "count", "latitude", "longitude"),
    *("timestamp", "location-lat", "location-long", "visible"),
    *("individual-local-identifier", "individual-taxon-canonical-name"),
)


def read_table_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of any table as text; a missing cell is "", and COLUMNS have their own spelling.

    Raise ValueError if the file is not a table.
    """
    if not path.stat().st_size:
        return []
    table = read_table(path)
    names = match_columns(table.columns, COLUMNS)
    return [rename_row(row, names).cells for row in table.rows()]


def parse_number(text: str) -> float:
    """Return the number in a cell, nan for an empty cell. Raise ValueError for other text."""
    if not text:
        return math.nan
    value = parse_decimal(text)
    if math.isnan(value) and text.strip().casefold() != "nan":
        raise ValueError(f"{text!r} must be a number")
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
