"""Tables of `linnaea identify`: each station is a camera. Tables of earlier versions have no times; they are read from
the photographs.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from linnaea.census.confusion import UNIDENTIFIED
from linnaea.census.georeference import parse_time
from linnaea.census.observations import Observations, Sighting, Visit
from linnaea.census.readers.cells import parse_count, read_each_row
from linnaea.census.readers.events import group_pictures
from linnaea.standards.darwin_core import make_stable_id
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from linnaea.standards.stations import find_station
from linnaea.standards.table_reading import parse_decimal
from linnaea.store import get_manifest_path


def read_identified(
    rows: list[dict],
    path: Path,
    camera_days: float = 0.0,
    read_metadata: Callable[[str], PhotoMetadata] = read_photo_metadata,
) -> Observations:
    """Read the rows of a table of `linnaea identify`.

    `path` is the table, to which the photographs' paths may be relative. `camera_days` is the effort of a folder whose
    photographs were all taken at one moment; 0 rejects it. The events of the table are used as they are, each name
    once; the photographs of tables of earlier versions, which have no events, are grouped into independent ones.
    """
    found = Observations()
    pictures: list[tuple[str, Sighting]] = []
    events: dict[tuple[str, str], Sighting] = {}
    stays: dict[str, list[tuple[datetime, PhotoMetadata]]] = {}

    def read_picture(row: dict) -> None:
        if row.get("position", "1") not in ("", "1"):
            return
        if row["status"] == "unreadable":
            raise ValueError(f"{row['file']}: {row.get('reason', '') or 'unreadable'}")
        time, metadata = _read_capture(row, path, read_metadata)
        site = row.get("station", "") or find_station(row["file"])
        stays.setdefault(site, []).append((time, metadata))
        if row["status"] != "identified" and _shows_no_animal(row):
            found.n_without_animal += 1
            return
        visit = make_stable_id("deployment", site)
        if event := row.get("event", ""):
            name = row.get("event_name", "") or UNIDENTIFIED
            before = events.get((event, name))
            first = time if before is None else min(before.time, time)
            count = parse_count(row.get("event_count", ""))
            events[event, name] = Sighting(visit=visit, time=first, name=name, count=count)
            return
        name = row["name"] if row["status"] == "identified" else UNIDENTIFIED
        pictures.append((row["file"], Sighting(visit=visit, time=time, name=name, count=1)))

    read_each_row(rows, path.name, found, read_picture)
    for site, seen in stays.items():
        visit = _make_visit(site, seen, camera_days)
        if visit.effort > 0:
            found.visits[visit.id] = visit
            continue
        reason = "all photographs were taken at one moment; give --camera-days"
        found.rejected.append((f"{path.name}, folder {site}", reason))
        pictures = [one for one in pictures if one[1].visit != visit.id]
        events = {key: one for key, one in events.items() if one.visit != visit.id}
    found.sightings = [*events.values(), *group_pictures(pictures)]
    return found


def _shows_no_animal(row: dict) -> bool:
    """Whether a row without a name says that there is nothing to count; tables of earlier versions have no outcome."""
    if "outcome" in row:
        return row["outcome"] in ("no_organism", "no_detection", "human", "vehicle")
    return row.get("reason", "").startswith(("no organism likely", "the detector"))


def _read_capture(
    row: dict, table_path: Path, read_metadata: Callable[[str], PhotoMetadata]
) -> tuple[datetime, PhotoMetadata]:
    """Return the capture time and the place of a photograph: those of the table, else those of its file.

    Raise ValueError if it has no capture time.
    """
    name = row["file"]
    if "captured_at" in row:
        if not row["captured_at"]:
            raise ValueError(f"{name} has no capture time")
        latitude, longitude = (parse_decimal(row.get(column, "")) for column in ("latitude", "longitude"))
        is_placed = not (math.isnan(latitude) or math.isnan(longitude))
        place = {"latitude": latitude, "longitude": longitude} if is_placed else {}
        return parse_time(row["captured_at"]), PhotoMetadata(event_date=row["captured_at"], **place)
    file = name if os.path.isabs(name) or os.path.exists(name) else str(table_path.parent / name)
    metadata = read_metadata(file)
    if not metadata.event_date:
        what = "records no capture time" if os.path.exists(file) else "is not there, and the table has no times"
        raise ValueError(f"{name} {what}; use the package of --as camtrap-dp")
    return parse_time(metadata.event_date), metadata


def _make_visit(site: str, seen: list[tuple[datetime, PhotoMetadata]], camera_days: float) -> Visit:
    """Return the visit of a folder of photographs: from the first to the last one, at the first known place."""
    start, end = min(time for time, _ in seen), max(time for time, _ in seen)
    placed = next((one for _, one in seen if one.latitude is not None and one.longitude is not None), PhotoMetadata())
    nowhere = placed.latitude is None
    return Visit(
        id=make_stable_id("deployment", site),
        kind="camera",
        site=site,
        start=start,
        end=end,
        effort=(end - start).total_seconds() / 86400 or camera_days,
        latitude=math.nan if nowhere else placed.latitude,
        longitude=math.nan if nowhere else placed.longitude,
    )


def read_target_taxa(path: Path, found: Observations) -> tuple[str, ...]:
    """Return the taxa among which `linnaea identify` chose, from the manifest beside its table or package.

    Empty: all taxa, or unknown. Raise ValueError if the manifest is damaged.
    """
    manifest_path = get_manifest_path(path)
    if not manifest_path.is_file():
        return ()
    try:
        options = json.loads(manifest_path.read_text(encoding="utf-8"))["options"]
        labels, within = str(options["labels"]), tuple(options["within"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{manifest_path}: not a manifest of linnaea identify ({error}); replace it by the right one, or remove it"
        ) from None
    if labels and "," not in labels:
        # The labels came from a file, and the manifest keeps only its hash: take those that were given at least once.
        return tuple(sorted({one.name for one in found.sightings} - {UNIDENTIFIED}))
    return tuple(name.strip() for name in labels.split(",")) if labels else within
