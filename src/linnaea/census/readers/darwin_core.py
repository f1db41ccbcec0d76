"""Darwin Core sampling events with an effort (Humboldt extension or sampleSizeValue), and their occurrences."""

from __future__ import annotations

import math
from collections.abc import Mapping

from linnaea.census.confusion import UNIDENTIFIED
from linnaea.census.georeference import parse_time
from linnaea.census.observations import Observations, Sighting, Visit
from linnaea.census.readers.cells import parse_coordinates, parse_count, parse_number, read_each_row

PROTOCOL_KINDS = ("aerial", "line", "strip")
"""words of a sampling protocol that say the kind of a count; the first that occurs is used"""
AREA_UNITS = {"km2": 1.0, "square kilometres": 1.0, "km²": 1.0, "ha": 0.01, "hectare": 0.01, "m2": 1e-6, "m²": 1e-6}
LENGTH_UNITS = {"km": 1.0, "kilometre": 1.0, "kilometres": 1.0, "m": 0.001, "metre": 0.001, "metres": 0.001}


def read_darwin_core(events: list[dict], occurrences: list[dict], where: str) -> Observations:
    """Read the rows of an event table and of its occurrence table; `where` names the latter in reasons."""
    found = Observations()

    def read_event(row: dict) -> None:
        found.visits[row["eventID"]] = _make_visit(row)

    read_each_row(events, "events.csv", found, read_event)

    def read_occurrence(row: dict) -> None:
        if row.get("eventID", "") not in found.visits:
            raise ValueError(
                "it belongs to no event with sampling effort, and without effort a count says nothing about numbers"
            )
        if row.get("occurrenceStatus", "present") == "absent":
            return
        name = UNIDENTIFIED if row.get("occurrenceRemarks") == UNIDENTIFIED else row["scientificName"]
        visit = found.visits[row["eventID"]]
        count = parse_count(row.get("individualCount", ""))
        found.sightings.append(Sighting(visit=visit.id, time=visit.start, name=name or UNIDENTIFIED, count=count))

    read_each_row(occurrences, where, found, read_occurrence)
    return found


def _make_visit(row: dict) -> Visit:
    """Return the visit of an event. Raise ValueError if the event has no area, and KeyError if it has no identifier."""
    area, length = _measure_area(row), _measure(row, "samplingEffortValue", "samplingEffortUnit", LENGTH_UNITS)
    if math.isnan(area):
        raise ValueError(
            f"event {row.get('eventID', '')!r} gives no area sampled; fill in totalAreaSampledValue and its unit"
        )
    start, _, end = row.get("eventDate", "").partition("/")
    protocol = row.get("samplingProtocol", "").casefold()
    latitude, longitude = parse_coordinates(row.get("decimalLatitude", ""), row.get("decimalLongitude", ""))
    return Visit(
        id=row["eventID"],
        kind=next((kind for kind in PROTOCOL_KINDS if kind in protocol.split()), "strip"),
        site=row.get("locationID", ""),
        start=parse_time(start),
        end=parse_time(end or start),
        effort=area,
        latitude=latitude,
        longitude=longitude,
        length_km=length,
        target_taxa=tuple(filter(None, map(str.strip, row.get("targetTaxonomicScope", "").split("|")))),
    )


def _measure(row: Mapping[str, str], value: str, unit: str, units: Mapping[str, float]) -> float:
    """Return a quantity in the base unit of `units`, nan if the unit is unknown."""
    name = row.get(unit, "").strip().casefold()
    return parse_number(row.get(value, "")) * units[name] if name in units else math.nan


def _measure_area(row: Mapping[str, str]) -> float:
    """Return the square kilometres sampled, nan if unknown."""
    area = _measure(row, "totalAreaSampledValue", "totalAreaSampledUnit", AREA_UNITS)
    area = _measure(row, "sampleSizeValue", "sampleSizeUnit", AREA_UNITS) if math.isnan(area) else area
    if area <= 0:
        raise ValueError(f"event {row.get('eventID', '')!r} covers {area:g} km2; write an area above 0")
    return area
