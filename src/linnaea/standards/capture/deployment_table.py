"""The user's table of deployments: which camera stood where, and when; and how wrong its clock was."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from pathlib import Path

from linnaea.standards.capture.capture import Deployment
from linnaea.standards.capture.clocks import format_time, is_plausible, parse_clock, parse_correction
from linnaea.standards.capture.places import is_null_island
from linnaea.standards.darwin_core import make_stable_id
from linnaea.standards.stations import split_station
from linnaea.standards.table_reading import Table, TableRow, parse_decimal, read_table

# The columns, each with other names for it; the first ones are those of Camtrap DP's deployments.csv.
COLUMNS = {
    "id": ("deploymentID",),
    "location": ("locationName", "station", "site", "folder"),
    "location_id": ("locationID",),
    "latitude": ("latitude", "decimalLatitude"),
    "longitude": ("longitude", "decimalLongitude"),
    "start": ("deploymentStart", "start"),
    "end": ("deploymentEnd", "end"),
    "camera": ("cameraID", "camera"),
    "camera_model": ("cameraModel",),
    "offset": ("offset", "clockOffset"),
}
# Tables with days only give the day on which a camera was replaced to both deployments.
CHANGE = timedelta(days=1)
KEYS = ("location", "location_id", "id")
DAY = re.compile(r"(\d{4})[-/.:](\d{1,2})[-/.:](\d{1,2})")


@dataclass(frozen=True, kw_only=True)
class DeploymentEntry:
    """A row of the table: the deployment, the folders that it is known by, its dates, and what its clock lacked."""

    deployment: Deployment
    line: int
    keys: tuple[tuple[str, ...], ...]
    camera_key: tuple[str, ...]
    start: datetime | None
    end: datetime | None
    offset: timedelta

    def score(self, station: tuple[str, ...]) -> tuple[int, int] | None:
        """How well the folders of a station match: matched folders, and how deep they lie; None without a match."""
        found = [(len(key), at) for key in self.keys if (at := _find_within(key, station)) >= 0]
        if not found:
            return None
        n_matched, at = max(found)
        return n_matched + bool(self.camera_key and _find_within(self.camera_key, station) >= 0), at

    def contains(self, when: datetime) -> bool:
        """Whether a time lies between start and end; without zones, clocks on the wall are compared."""
        return (self.start is None or _is_before(self.start, when)) and (self.end is None or _is_before(when, self.end))

    def is_parallel(self, other: DeploymentEntry) -> bool:
        """Whether both stood at the same time, for longer than the day on which one may have replaced the other."""
        pairs = ((self.start, other.end), (other.start, self.end))
        return all(start is None or end is None or _is_before(start + CHANGE, end) for start, end in pairs)


def _find_within(key: tuple[str, ...], station: tuple[str, ...]) -> int:
    """The last position at which the folders of `key` stand in those of `station`, -1 if nowhere."""
    starts = range(len(station) - len(key), -1, -1) if key else ()
    return next((at for at in starts if station[at : at + len(key)] == key), -1)


def _is_before(first: datetime, second: datetime) -> bool:
    if first.tzinfo is None or second.tzinfo is None:
        first, second = first.replace(tzinfo=None), second.replace(tzinfo=None)
    return first <= second


class DeploymentTable:
    """The rows of a table of deployments, and which photograph belongs to which."""

    def __init__(self, name: str, entries: tuple[DeploymentEntry, ...]):
        self.name, self.entries = name, entries
        self._of_station: dict[str, list[DeploymentEntry]] = {}

    def match(self, station: str, when: datetime | None) -> tuple[DeploymentEntry | None, str]:
        """The deployment of a photograph of a station at a time (of its own clock), or None and the reason."""
        candidates = self._of_station.get(station)
        if candidates is None:
            candidates = self._of_station[station] = self._find_candidates(station)
        if not candidates:
            return None, "no deployment of this station"
        fitting = candidates if when is None else [one for one in candidates if one.contains(_add(when, one.offset))]
        if len(fitting) == 1:
            return fitting[0], ""
        if not fitting:
            return None, "taken outside the dates of its deployments"
        lines = ", ".join(str(one.line) for one in fitting[:3])
        return None, f"{'no capture time, and ' if when is None else ''}more than one deployment fits: lines {lines}"

    def _find_candidates(self, station: str) -> list[DeploymentEntry]:
        parts = split_station(station)
        scored = [(score, entry) for entry in self.entries if (score := entry.score(parts)) is not None]
        best = max((score for score, _entry in scored), default=None)
        return [entry for score, entry in scored if score == best]


def _add(when: datetime, offset: timedelta) -> datetime:
    try:
        return when + offset
    except OverflowError:
        return when


def correct_clock(when: datetime, offset: timedelta, now: datetime | None = None) -> datetime | None:
    """The right time for a time of a camera's clock, None if it is implausible."""
    corrected = _add(when, offset)
    return corrected if is_plausible(corrected, now) else None


def read_deployments(path: Path, zone: tzinfo | None = None) -> DeploymentTable:
    """Read a table of deployments in any format; `zone` is that of times without one.

    Raise ValueError for a table without the name of stations, and, with the line, for a place, a time or an offset that
    cannot be used, for an end before the start, and for two deployments with one id.
    """
    table = read_table(path, what="table of deployments")
    columns = {name: table.find(*spellings) for name, spellings in COLUMNS.items()}
    if not any(columns[key] for key in KEYS):
        raise ValueError(
            f"{table.name} has no column that names stations; add one of station, locationName, locationID or "
            f"deploymentID (it has {', '.join(table.columns[:8])})"
        )
    entries, ids = [], {}
    for row in table.rows():
        cells = {name: row.cells.get(own, "").strip() if own else "" for name, own in columns.items()}
        entry = _make_entry(table, row, cells, zone)
        if (before := ids.setdefault(entry.deployment.id, row.line)) != row.line:
            raise ValueError(
                f"{table.place(row.line)}: the same deployment as in line {before} ({entry.deployment.station}); "
                "give each deployment its own deploymentID, camera or start"
            )
        entries.append(entry)
    if not entries:
        raise ValueError(f"{table.name} has no rows; give one for each deployment")
    return DeploymentTable(str(path), _name_parallel(entries))


def _name_parallel(entries: list[DeploymentEntry]) -> tuple[DeploymentEntry, ...]:
    """The entries; cameras that stood at one station at the same time become stations of their own, with their name.

    The photographs of an event are those of one camera.
    """
    by_station: dict[str, list[DeploymentEntry]] = defaultdict(list)
    for entry in entries:
        by_station[entry.deployment.station].append(entry)
    named = []
    for entry in entries:
        deployment = entry.deployment
        if any(other is not entry and entry.is_parallel(other) for other in by_station[deployment.station]):
            camera = f"{deployment.station} ({deployment.camera or deployment.id})"
            entry = dataclasses.replace(entry, deployment=dataclasses.replace(deployment, station=camera))
        named.append(entry)
    return tuple(named)


def _make_entry(table: Table, row: TableRow, cells: dict[str, str], zone: tzinfo | None) -> DeploymentEntry:
    place = table.place(row.line)
    names = [cells[key] for key in KEYS if cells[key]]
    if not names:
        raise ValueError(f"{place}: no station; fill in station, locationName or deploymentID")
    latitude, longitude = _parse_place(cells, place)
    start = _parse_time(cells["start"], time.min, zone, f"{place}: start")
    end = _parse_time(cells["end"], time(23, 59, 59), zone, f"{place}: end")
    if start is not None and end is not None and not _is_before(start, end):
        raise ValueError(f"{place}: the end {cells['end']} is before the start {cells['start']}; exchange them")
    try:
        offset = parse_correction(cells["offset"]) if cells["offset"] else timedelta(0)
    except ValueError:
        raise ValueError(
            f"{place}: offset {cells['offset']!r} is not a time to add; give for example +1h, -3:00, 2d or seconds"
        ) from None
    station = names[0]
    given = (station, cells["camera"], cells["start"])
    return DeploymentEntry(
        deployment=Deployment(
            id=cells["id"] or make_stable_id("deployment", *given),
            station=station,
            latitude=latitude,
            longitude=longitude,
            start=format_time(start) if start else "",
            end=format_time(end) if end else "",
            camera=cells["camera"],
            camera_model=cells["camera_model"],
            has_corrected_clock=bool(offset),
        ),
        line=row.line,
        keys=tuple(split_station(name) for name in names),
        camera_key=split_station(cells["camera"]),
        start=start,
        end=end,
        offset=offset,
    )


def _parse_place(cells: dict[str, str], place: str) -> tuple[float | None, float | None]:
    texts = cells["latitude"], cells["longitude"]
    if not any(texts):
        return None, None
    for name, text, limit in zip(("latitude", "longitude"), texts, (90, 180), strict=True):
        value = parse_decimal(text)
        if math.isnan(value) or abs(value) > limit:
            raise ValueError(f"{place}: {name} {text!r} is not a place; give degrees from {-limit} to {limit}")
    latitude, longitude = map(parse_decimal, texts)
    if is_null_island(latitude, longitude):
        raise ValueError(f"{place}: {texts[0]}, {texts[1]} is in the open sea; give the place or leave both empty")
    return latitude, longitude


def _parse_time(text: str, at_day: time, zone: tzinfo | None, where: str) -> datetime | None:
    """The time in a cell; a day without time is taken `at_day`."""
    try:
        day = DAY.fullmatch(text)
        when = datetime.combine(datetime(*map(int, day.groups())), at_day) if day else parse_clock(text)
    except ValueError:
        raise ValueError(f"{where} {text!r} is not a time; write 2024-05-31 or 2024-05-31 14:30:00") from None
    return when.replace(tzinfo=zone) if when is not None and when.tzinfo is None else when
