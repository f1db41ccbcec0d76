"""Observations of real and of simulated animals: when, where, with what effort, which species, how many animals.

An effort is a *visit*: a camera for its time, a line walked or flown once. A *sighting* belongs to a visit; a visit
without sightings is as informative as one with many. Rows that cannot be used are kept with the reason. The modules in
`linnaea.census.readers` read all of this from files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime

COLUMNS = ("kind", "visit", "site", "start", "end", "latitude", "longitude", "effort", "unit", "name", "count")


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One effort: a camera for its time, or a line or strip once."""

    id: str
    "unique identifier"
    kind: str
    "camera, strip, line or aerial"
    site: str
    "the camera or the line"
    start: datetime
    "begin, with its offset from UTC"
    end: datetime
    "end"
    effort: float
    "camera-days, or square kilometres within the strip"
    latitude: float = math.nan
    "degrees north; nan if unknown"
    longitude: float = math.nan
    "degrees east; nan if unknown"
    length_km: float = math.nan
    "length of a line; nan if unknown"
    range_m: float = math.nan
    "detection distance of a camera; nan if unknown"
    angle_deg: float = math.nan
    "opening angle of a camera's view; nan if unknown"
    target_taxa: tuple[str, ...] = ()
    "taxa that the visit would have reported; empty: unknown, and all taxa are assumed"

    @property
    def unit(self) -> str:
        """Unit of the effort."""
        return "camera-days" if self.kind == "camera" else "km2"


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """Animals reported in one event of a visit."""

    visit: str
    "identifier of the visit"
    time: datetime
    "time of the event"
    name: str
    "name as it was reported: scientific, common or unidentified"
    count: int
    "number of animals"


@dataclass(frozen=True, kw_only=True)
class CollarFix:
    """A position of a collared animal."""

    animal: str
    "identifier of the animal"
    name: str
    "its species"
    time: datetime
    "time of the fix"
    latitude: float
    "degrees north"
    longitude: float
    "degrees east"


@dataclass(kw_only=True)
class Observations:
    """All observations that could be read, and the rows that could not."""

    visits: dict[str, Visit] = field(default_factory=dict)
    "efforts by identifier"
    sightings: list[Sighting] = field(default_factory=list)
    "what was seen in them"
    fixes: list[CollarFix] = field(default_factory=list)
    "positions of collars"
    rejected: list[tuple[str, str]] = field(default_factory=list)
    "rows that cannot be used: where, and why"
    n_without_animal: int = 0
    "pictures of nothing, of people and of vehicles"

    def add(self, other: Observations) -> None:
        """Add everything in `other`."""
        self.visits |= other.visits
        self.sightings += other.sightings
        self.fixes += other.fixes
        self.rejected += other.rejected
        self.n_without_animal += other.n_without_animal

    def set_target_taxa(self, taxa: tuple[str, ...]) -> None:
        """Set the target taxa of all visits whose target taxa are unknown."""
        for key, visit in self.visits.items():
            if not visit.target_taxa:
                self.visits[key] = replace(visit, target_taxa=taxa)

    def to_rows(self) -> list[dict]:
        """Return one row (`COLUMNS`) for each sighting, and one without name and with count 0 for each empty visit."""
        rows, seen = [], {sighting.visit for sighting in self.sightings}
        entries = [(self.visits[one.visit], one.name, one.count) for one in self.sightings]
        entries += [(visit, "", 0) for visit in self.visits.values() if visit.id not in seen]
        for visit, name, count in entries:
            rows.append(
                {
                    "kind": visit.kind,
                    "visit": visit.id,
                    "site": visit.site,
                    "start": visit.start.isoformat(),
                    "end": visit.end.isoformat(),
                    "latitude": visit.latitude,
                    "longitude": visit.longitude,
                    "effort": visit.effort,
                    "unit": visit.unit,
                    "name": name,
                    "count": count,
                }
            )
        return rows
