"""Movebank event tables: the positions of collared animals."""

from __future__ import annotations

import math
from datetime import UTC

from linnaea.census.georeference import parse_time
from linnaea.census.observations import CollarFix, Observations
from linnaea.census.readers.cells import parse_coordinates, read_each_row


def read_movebank(rows: list[dict], where: str) -> Observations:
    """Read the rows of an event table. Failed fixes (`visible` is false) are left out."""
    found = Observations()

    def read_fix(row: dict) -> None:
        if row.get("visible", "true").casefold() == "false":
            return
        latitude, longitude = parse_coordinates(row["location-lat"], row["location-long"])
        if math.isnan(latitude):
            raise ValueError("the fix has no place; set visible to false where it failed")
        time = parse_time(row["timestamp"])
        found.fixes.append(
            CollarFix(
                animal=row.get("individual-local-identifier", ""),
                time=time.astimezone(UTC),
                name=row.get("individual-taxon-canonical-name", ""),
                latitude=latitude,
                longitude=longitude,
            )
        )

    read_each_row(rows, where, found, read_fix)
    return found
