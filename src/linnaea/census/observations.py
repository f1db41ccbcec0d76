"""Observations of real and of simulated animals, read into one table: when, where, with what effort, who, how many.

Read are Camera Trap Data Packages (of cameras, of `linnaea identify --as camtrap-dp`, of a simulated survey), tables of
`linnaea identify`, Darwin Core events with their occurrences, Movebank event tables, and folders of these. An effort is
a *visit*: a camera for its time, a line walked or flown once. A *sighting* belongs to a visit; a visit without
sightings says as much as one with many. Rows that cannot be used are kept with the reason.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from linnaea.census.confusion import UNIDENTIFIED
from linnaea.census.georeference import parse_time
from linnaea.standards.darwin_core import make_stable_id
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from linnaea.store import get_manifest_path

INDEPENDENT_S = 1800.0
"""pictures of one name at one camera less than so long apart are one event; it counts the most in one picture"""
COUNT_KINDS = ("aerial", "line", "strip")
"""words of a sampling protocol that say the kind of a count; the first that is there"""
UNITS = {"km2": 1.0, "square kilometres": 1.0, "km²": 1.0, "ha": 0.01, "hectare": 0.01, "m2": 1e-6, "m²": 1e-6}
LENGTHS = {"km": 1.0, "kilometre": 1.0, "kilometres": 1.0, "m": 0.001, "metre": 0.001, "metres": 0.001}
COLUMNS = ("kind", "visit", "site", "start", "end", "latitude", "longitude", "effort", "unit", "name", "count")


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One effort: a camera for its time, a line or strip once."""

    id: str
    "unique"
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
    "degrees north; nan where the data do not say"
    longitude: float = math.nan
    "degrees east"
    length_km: float = math.nan
    "of a line"
    range_m: float = math.nan
    "of a camera, where the data say it"
    angle_deg: float = math.nan
    "opening of a camera's view, where the data say it"
    looked_for: tuple[str, ...] = ()
    "taxa that it would have reported; none: the data do not say, and all are taken to be"

    @property
    def unit(self) -> str:
        """Of the effort."""
        return "camera-days" if self.kind == "camera" else "km2"


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """Animals reported in one event of a visit."""

    visit: str
    "of which visit"
    time: datetime
    "when"
    name: str
    "as it was reported: a scientific or common name, or unidentified"
    count: int
    "animals"


@dataclass(frozen=True, kw_only=True)
class CollarFix:
    """A position of a collared animal."""

    animal: str
    "which one"
    name: str
    "its species"
    time: datetime
    "when"
    latitude: float
    "degrees north"
    longitude: float
    "degrees east"


@dataclass(kw_only=True)
class Observations:
    """All that could be read, and what could not."""

    visits: dict[str, Visit] = field(default_factory=dict)
    "efforts by id"
    sightings: list[Sighting] = field(default_factory=list)
    "what was seen in them"
    fixes: list[CollarFix] = field(default_factory=list)
    "positions of collars"
    rejected: list[tuple[str, str]] = field(default_factory=list)
    "rows that cannot be used: where, and why"
    n_without_animal: int = 0
    "pictures of nothing, people and vehicles"

    def add(self, other: Observations) -> None:
        """Takes all of `other`."""
        self.visits |= other.visits
        self.sightings += other.sightings
        self.fixes += other.fixes
        self.rejected += other.rejected
        self.n_without_animal += other.n_without_animal

    def set_target_taxa(self, taxa: tuple[str, ...]) -> None:
        """Says it of the visits of which nothing is known: they would have reported these taxa, and no others."""
        for key, visit in self.visits.items():
            if not visit.looked_for:
                self.visits[key] = replace(visit, looked_for=taxa)

    def to_rows(self) -> list[dict]:
        """One row (`COLUMNS`) a sighting, and one with an empty name and count 0 a visit in which nothing was seen."""
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


def read_observations(path: Path | str, camera_days: float = 0.0) -> Observations:
    """What a file or folder holds. `camera_days` is the effort of a camera whose data do not say it; 0: reject it.

    FileNotFoundError and ValueError for a path that is none of the forms; single bad rows go to `rejected`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no observations; give a Camtrap DP folder, or a table of identify, Darwin Core or Movebank"
        )
    if path.is_dir():
        return _read_folder(path, camera_days)
    rows = read_rows(path)
    columns = set(rows[0]) if rows else set()
    if {"timestamp", "location-long", "location-lat"} <= columns:
        return read_movebank(rows, path.name)
    if {"file", "status", "name"} <= columns:
        found = read_identified(rows, path, camera_days)
        found.set_target_taxa(_read_target_taxa(path, found))
        return found
    if {"occurrenceID", "scientificName"} <= columns:
        events = path.with_name("events.csv")
        return read_darwin_core(read_rows(events) if events.is_file() else [], rows, path.name)
    if not rows:
        return Observations(rejected=[(path.name, "the table has no rows")])
    raise ValueError(
        f"{path}: columns {', '.join(sorted(columns)[:6])} … are none that are known; give a table of linnaea "
        "identify, Darwin Core occurrences or Movebank, or a Camtrap DP folder"
    )


def _read_folder(folder: Path, camera_days: float) -> Observations:
    if (folder / "deployments.csv").is_file():
        tables = [folder / f"{name}.csv" for name in ("deployments", "observations")]
        if not tables[1].is_file():
            raise FileNotFoundError(f"{folder}: no observations.csv beside deployments.csv; give the whole package")
        package = read_camtrap(*[read_rows(table) for table in tables], folder.name, camera_days)
        package.set_target_taxa(_read_target_taxa(folder, package))
        return package
    found, known = Observations(), False
    if (folder / "occurrences.csv").is_file():
        found.add(read_observations(folder / "occurrences.csv"))
        known = True
    if (folder / "movebank.csv").is_file():
        found.add(read_observations(folder / "movebank.csv"))
        known = True
    for package in sorted(folder.rglob("deployments.csv")):
        found.add(_read_folder(package.parent, camera_days))
        known = True
    if not known:
        raise ValueError(
            f"{folder}: neither deployments.csv, occurrences.csv nor movebank.csv is there; give their folder, or for "
            "photographs the table that linnaea identify makes of them"
        )
    return found


def _read_target_taxa(path: Path, found: Observations) -> tuple[str, ...]:
    """The taxa among which `linnaea identify` chose, as its manifest beside a table or package says; none: among all."""
    manifest = get_manifest_path(path)
    if not manifest.is_file():
        return ()
    try:
        options = json.loads(manifest.read_text(encoding="utf-8"))["options"]
        labels, within = str(options["labels"]), tuple(options["within"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{manifest}: not what linnaea identify writes ({error}); put the right one there, or none"
        ) from None
    if labels and "," not in labels:
        # Labels of a file, of which the manifest keeps the hash: those that were given at least once.
        return tuple(sorted({one.name for one in found.sightings} - {UNIDENTIFIED}))
    return tuple(name.strip() for name in labels.split(",")) if labels else within


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV, TSV, JSON-lines or Parquet table as texts, missing cells as ""."""
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
        raise ValueError(f"{path}: no table: {' '.join(str(error).split())[:120]}; save it as CSV in UTF-8") from None
    return [
        {key: "" if value is None else str(value) for key, value in row.items()} for row in frame.iter_rows(named=True)
    ]


def parse_number(text: str) -> float:
    """The number of a cell, nan of an empty one. ValueError for what is none."""
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no finite number")
    return value


def parse_coordinates(latitude: str, longitude: str) -> tuple[float, float]:
    """The degrees of two cells, nan where both are empty."""
    place = parse_number(latitude), parse_number(longitude)
    if not (math.isnan(place[0]) and math.isnan(place[1])) and not (abs(place[0]) <= 90 and abs(place[1]) <= 180):
        raise ValueError(f"({latitude}, {longitude}) is no place on earth")
    return place


def parse_count(text: str) -> int:
    """The animals of a cell; one where it is empty."""
    value = parse_number(text)
    if math.isnan(value):
        return 1
    if value < 0 or value != int(value):
        raise ValueError(f"count {text!r} is no number of animals")
    return int(value)


def _read_each(rows: list[dict], where: str, found: Observations, read: Callable[[dict], None]) -> None:
    """Reads row by row; a row that raises becomes a reason."""
    for number, row in enumerate(rows, 2):
        try:
            read(row)
        except ValueError as error:
            found.rejected.append((f"{where}, row {number}", str(error)))
        except KeyError as error:
            found.rejected.append((f"{where}, row {number}", f"column {error} is missing"))


def read_camtrap(
    deployments: list[dict], observations: list[dict], where: str, camera_days: float = 0.0
) -> Observations:
    """A Camera Trap Data Package; rows about events are taken where there are some, else those of media, grouped."""
    found = Observations()

    def deployment(row: dict) -> None:
        start, end = parse_time(row.get("deploymentStart", "")), parse_time(row.get("deploymentEnd", ""))
        days = (end - start).total_seconds() / 86400 or camera_days
        if days <= 0:
            raise ValueError(
                f"deployment {row['deploymentID']!r} lasts {days:g} days; correct its times or give --camera-days"
            )
        latitude, longitude = parse_coordinates(row.get("latitude", ""), row.get("longitude", ""))
        angle = next(
            (tag[12:] for tag in row.get("deploymentTags", "").split("|") if tag.startswith("fieldOfView:")), ""
        )
        found.visits[row["deploymentID"]] = Visit(
            id=row["deploymentID"],
            kind="camera",
            site=row.get("locationID", "") or row.get("locationName", ""),
            start=start,
            end=end,
            effort=days,
            latitude=latitude,
            longitude=longitude,
            angle_deg=parse_number(angle),
            range_m=parse_number(row.get("detectionDistance", "")),
        )

    _read_each(deployments, f"{where}/deployments.csv", found, deployment)
    has_events = any(row.get("observationLevel") == "event" for row in observations)
    pictures: list[tuple[str, Sighting]] = []

    def observation(row: dict) -> None:
        if has_events and row.get("observationLevel") != "event":
            return
        kind = row.get("observationType", "animal")
        name = row.get("scientificName", "") or UNIDENTIFIED
        if kind not in ("animal", "unknown") or name == "Homo sapiens":
            found.n_without_animal += 1
            return
        if row.get("deploymentID", "") not in found.visits:
            raise ValueError(f"deployment {row.get('deploymentID', '')!r} is not among those that could be read")
        sighting = Sighting(
            visit=row["deploymentID"],
            time=parse_time(row.get("eventStart", "")),
            name=name,
            count=parse_count(row.get("count", "")),
        )
        if has_events:
            found.sightings.append(sighting)
        else:
            pictures.append((row.get("mediaID", ""), sighting))

    _read_each(observations, f"{where}/observations.csv", found, observation)
    found.sightings += group_pictures(pictures)
    return found


def group_pictures(pictures: list[tuple[str, Sighting]]) -> list[Sighting]:
    """Independent events of (picture, sighting): the most animals of the name in one picture of a sequence."""
    per_picture: Counter[tuple[str, str, datetime, str]] = Counter()
    for picture, one in pictures:
        per_picture[one.visit, one.name, one.time, picture] += one.count
    events: list[Sighting] = []
    last: tuple[str, str, datetime] | None = None
    most = 0
    for (visit, name, time, _picture), count in sorted(per_picture.items()):
        if last and last[:2] == (visit, name) and (time - last[2]).total_seconds() < INDEPENDENT_S:
            most = max(most, count)
            events[-1] = Sighting(visit=visit, name=name, time=events[-1].time, count=most)
        else:
            most = count
            events.append(Sighting(visit=visit, name=name, time=time, count=count))
        last = (visit, name, time)
    return events


def read_identified(
    rows: list[dict],
    path: Path,
    camera_days: float = 0.0,
    read_facts: Callable[[str], PhotoMetadata] = read_photo_metadata,
) -> Observations:
    """A table of `linnaea identify`: a folder of photographs is a camera, times and places are the photographs' own."""
    found = Observations()
    pictures: list[tuple[str, Sighting]] = []
    stays: dict[str, list[tuple[datetime, PhotoMetadata]]] = {}

    def picture(row: dict) -> None:
        if row.get("position", "1") not in ("", "1"):
            return
        if row["status"] == "unreadable":
            raise ValueError(f"{row['file']}: {row.get('reason', '') or 'unreadable'}")
        file = (
            row["file"] if os.path.isabs(row["file"]) or os.path.exists(row["file"]) else str(path.parent / row["file"])
        )
        facts = read_facts(file)
        if not facts.event_date:
            what = "records no capture time" if os.path.exists(file) else "is not there, and the table has no times"
            raise ValueError(f"{row['file']} {what}; use the package of --as camtrap-dp")
        time, site = parse_time(facts.event_date), os.path.dirname(row["file"]) or "."
        visit = make_stable_id("deployment", site)
        stays.setdefault(site, []).append((time, facts))
        if row["status"] != "identified" and row.get("reason", "").startswith(("no organism likely", "the detector")):
            found.n_without_animal += 1
            return
        name = row["name"] if row["status"] == "identified" else UNIDENTIFIED
        pictures.append((row["file"], Sighting(visit=visit, time=time, name=name, count=1)))

    _read_each(rows, path.name, found, picture)
    for site, seen in stays.items():
        start, end = min(time for time, _ in seen), max(time for time, _ in seen)
        days = (end - start).total_seconds() / 86400 or camera_days
        visit = make_stable_id("deployment", site)
        if days <= 0:
            found.rejected.append(
                (f"{path.name}, folder {site}", "all photographs are of one moment; give --camera-days")
            )
            pictures = [one for one in pictures if one[1].visit != visit]
            continue
        placed = next(
            (facts for _, facts in seen if facts.latitude is not None and facts.longitude is not None), PhotoMetadata()
        )
        nowhere = placed.latitude is None
        found.visits[visit] = Visit(
            id=visit,
            kind="camera",
            site=site,
            start=start,
            end=end,
            effort=days,
            latitude=math.nan if nowhere else placed.latitude,
            longitude=math.nan if nowhere else placed.longitude,
        )
    found.sightings = group_pictures(pictures)
    return found


def read_darwin_core(events: list[dict], occurrences: list[dict], where: str) -> Observations:
    """Sampling events with effort (of the Humboldt extension, or sampleSizeValue) and their occurrences."""
    found = Observations()

    def event(row: dict) -> None:
        area, length = _measure_area(row), _measure_length(row)
        if math.isnan(area):
            raise ValueError(
                f"event {row.get('eventID', '')!r} gives no area sampled; fill in totalAreaSampledValue and its unit"
            )
        start, _, end = row.get("eventDate", "").partition("/")
        protocol = row.get("samplingProtocol", "").casefold()
        latitude, longitude = parse_coordinates(row.get("decimalLatitude", ""), row.get("decimalLongitude", ""))
        found.visits[row["eventID"]] = Visit(
            id=row["eventID"],
            kind=next((kind for kind in COUNT_KINDS if kind in protocol.split()), "strip"),
            site=row.get("locationID", ""),
            start=parse_time(start),
            end=parse_time(end or start),
            effort=area,
            latitude=latitude,
            longitude=longitude,
            length_km=length,
            looked_for=tuple(filter(None, map(str.strip, row.get("targetTaxonomicScope", "").split("|")))),
        )

    _read_each(events, "events.csv", found, event)

    def occurrence(row: dict) -> None:
        if row.get("eventID", "") not in found.visits:
            raise ValueError(
                "it belongs to no event with sampling effort, and without one a count says nothing about numbers"
            )
        if row.get("occurrenceStatus", "present") == "absent":
            return
        name = UNIDENTIFIED if row.get("occurrenceRemarks") == UNIDENTIFIED else row["scientificName"]
        visit = found.visits[row["eventID"]]
        found.sightings.append(
            Sighting(
                visit=visit.id,
                time=visit.start,
                name=name or UNIDENTIFIED,
                count=parse_count(row.get("individualCount", "")),
            )
        )

    _read_each(occurrences, where, found, occurrence)
    return found


def _measure(row: Mapping[str, str], value: str, unit: str, units: Mapping[str, float]) -> float:
    name = row.get(unit, "").strip().casefold()
    return parse_number(row.get(value, "")) * units[name] if name in units else math.nan


def _measure_area(row: Mapping[str, str]) -> float:
    """Square kilometres sampled, nan where the event does not say."""
    area = _measure(row, "totalAreaSampledValue", "totalAreaSampledUnit", UNITS)
    area = _measure(row, "sampleSizeValue", "sampleSizeUnit", UNITS) if math.isnan(area) else area
    if area <= 0:
        raise ValueError(f"event {row.get('eventID', '')!r} covers {area:g} km2; write an area above 0")
    return area


def _measure_length(row: Mapping[str, str]) -> float:
    return _measure(row, "samplingEffortValue", "samplingEffortUnit", LENGTHS)


def read_movebank(rows: list[dict], where: str) -> Observations:
    """Positions of collars; failed fixes are left out, as `visible` says."""
    found = Observations()

    def fix(row: dict) -> None:
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

    _read_each(rows, where, found, fix)
    return found
