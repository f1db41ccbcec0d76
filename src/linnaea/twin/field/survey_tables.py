"""Records of simulated sensors as standard tables: Camtrap DP, Darwin Core with the Humboldt extension, Movebank.

Camera traps become a Camera Trap Data Package with the columns that `linnaea identify` writes, so that one reader reads
both. Counts along strips become sampling events with their occurrences; the terms of the extension
(https://eco.tdwg.org/list/) give effort and area, without which a count means nothing. Collars become Movebank's
event table. Only reported names are written, never true ones.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnaea.census.confusion import UNIDENTIFIED
from linnaea.census.georeference import Georeference
from linnaea.census.sensor_designs import CameraTrapDesign, CollarDesign, StripCountDesign
from linnaea.census.survey_file import Survey
from linnaea.standards.camtrap_deployments import DEPLOYMENTS
from linnaea.standards.camtrap_dp import MEDIA, SCHEMAS, describe_resources
from linnaea.standards.camtrap_observations import OBSERVATIONS
from linnaea.standards.darwin_core import make_stable_id
from linnaea.standards.tables import write_table
from linnaea.store import atomic_path, write_json
from linnaea.twin.engine.world import World
from linnaea.twin.field.sensors import get_records

EVENT_GAP_S = 120.0
"""pictures of one camera closer together than this are one event"""
EVENTS = (
    "eventID",
    "parentEventID",
    "eventType",
    "eventDate",
    "samplingProtocol",
    "decimalLatitude",
    "decimalLongitude",
    "geodeticDatum",
    "footprintWKT",
    "footprintSRS",
    "sampleSizeValue",
    "sampleSizeUnit",
    "locationID",
    # Of the Humboldt extension.
    "siteCount",
    "totalAreaSampledValue",
    "totalAreaSampledUnit",
    "isAbundanceReported",
    "isAbsenceReported",
    "isSamplingEffortReported",
    "samplingEffortProtocol",
    "samplingEffortValue",
    "samplingEffortUnit",
    "inventoryTypes",
    "protocolNames",
    "protocolDescriptions",
    "targetTaxonomicScope",
    "isTaxonomicScopeFullyReported",
)
OCCURRENCES = (
    "occurrenceID",
    "eventID",
    "basisOfRecord",
    "occurrenceStatus",
    "scientificName",
    "vernacularName",
    "individualCount",
    "organismQuantity",
    "organismQuantityType",
    "eventDate",
    "decimalLatitude",
    "decimalLongitude",
    "geodeticDatum",
    "identificationVerificationStatus",
    "occurrenceRemarks",
)
MOVEBANK = (
    "event-id",
    "visible",
    "timestamp",
    "location-long",
    "location-lat",
    "sensor-type",
    "individual-taxon-canonical-name",
    "tag-local-identifier",
    "individual-local-identifier",
    "study-name",
)
PROTOCOLS = {"strip": "strip transect count", "line": "line transect count", "aerial": "aerial strip count"}


@dataclass(frozen=True, kw_only=True)
class DatasetMetadata:
    """What the tables contain besides the records."""

    title: str = "A simulated world"
    "title of the data set"
    scientific: Mapping[str, str] = field(default_factory=dict)
    "short name of a species -> its scientific name; other names are written unchanged"
    georeference: Georeference = field(default_factory=Georeference)
    "where the map lies"

    def find_scientific_name(self, reported: str) -> str:
        """Return the scientific name of a reported name; "" if the animal was not identified."""
        return "" if reported == UNIDENTIFIED else self.scientific.get(reported, reported)


def write_survey(world: World, survey: Survey, out_dir: Path, metadata: DatasetMetadata) -> dict[str, int]:
    """Write the records so far into `out_dir`; return the number of records of each sensor.

    `camtrap/<name>` is a package for each set of cameras, `events.csv` and `occurrences.csv` hold all counts, and
    `movebank.csv` holds all collars.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    for sensor in survey.cameras:
        write_camtrap(world, sensor, out_dir / "camtrap" / sensor.name, metadata)
    if survey.counts:
        write_darwin_core(world, survey.counts, out_dir, metadata)
    if survey.collars:
        write_movebank(world, survey.collars, out_dir / "movebank.csv", metadata)
    return {sensor.name: len(get_records(world, sensor.name)) for sensor in survey.sensors}


def _write(path: Path, columns: Sequence[str], rows: Iterable[dict]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_camtrap(world: World, sensor: CameraTrapDesign, out_dir: Path, metadata: DatasetMetadata) -> None:
    """Write a Camera Trap Data Package (1.0.2): deployments, media, observations of events and of media."""
    out_dir.mkdir(parents=True, exist_ok=True)
    geo, end_h = metadata.georeference, min(sensor.end_h, world.now_h)
    ids = [make_stable_id("deployment", metadata.title, sensor.name, str(site)) for site in range(len(sensor.places_m))]
    places = [[float(one) for one in geo.to_degrees(x, y)] for x, y in sensor.places_m]
    deployments = [
        {
            "deploymentID": ids[site],
            "locationID": f"{sensor.name}-{site + 1}",
            "locationName": f"{sensor.name} {site + 1}",
            "latitude": f"{latitude:.6f}",
            "longitude": f"{longitude:.6f}",
            "deploymentStart": geo.format_time(sensor.start_h),
            "deploymentEnd": geo.format_time(end_h),
            "cameraDelay": round(sensor.rest_s),
            "cameraHeading": round((90 - math.degrees(sensor.get_heading_rad(site))) % 360) % 360,
            "detectionDistance": f"{sensor.view.range_m:g}",
            "timestampIssues": "false",
            "deploymentTags": f"fieldOfView:{sensor.view.angle_deg:g}",
            "deploymentComments": "simulated",
        }
        for site, (latitude, longitude) in enumerate(places)
    ]
    media, observations, taxa = _make_media_and_observations(world, sensor, ids, metadata)
    _write(out_dir / "deployments.csv", DEPLOYMENTS, deployments)
    _write(out_dir / "media.csv", MEDIA, media)
    _write(out_dir / "observations.csv", OBSERVATIONS, observations)
    write_json(out_dir / "datapackage.json", _make_descriptor(sensor, places, taxa, end_h, metadata))


def _make_media_and_observations(
    world: World, sensor: CameraTrapDesign, ids: list[str], metadata: DatasetMetadata
) -> tuple[list, list, list]:
    """Return the rows of media, the rows of observations, and the names that occur."""
    names, geo = sensor.confusion.list_names(world.species), metadata.georeference
    rows = get_records(world, sensor.name)
    rows = rows[np.lexsort((rows["time_h"], rows["site"]))]
    media: dict[str, dict] = {}
    observations, taxa, groups = [], {}, {}
    event, last = "", (-1, -math.inf)
    for row in rows:
        site, hour = int(row["site"]), float(row["time_h"])
        if site != last[0] or (hour - last[1]) * 3600 > EVENT_GAP_S:
            event = make_stable_id("event", ids[site], repr(hour))
        last = (site, hour)
        picture = make_stable_id("media", ids[site], repr(hour))
        time = geo.format_time(hour)
        media.setdefault(
            picture,
            {
                "mediaID": picture,
                "deploymentID": ids[site],
                "captureMethod": "activityDetection",
                "timestamp": time,
                "filePath": f"simulated/{picture}.jpg",
                "filePublic": "false",
                "fileMediatype": "image/jpeg",
            },
        )
        reported = names[row["reported"]]
        group = groups.setdefault((event, reported), {"site": site, "first": hour, "last": hour, "animals": set()})
        group["last"] = hour
        group["animals"].add(int(row["animal"]))
        observations.append(
            _make_observation(ids[site], event, time, time, reported, 1, metadata)
            | {
                "observationID": make_stable_id("observation", picture, str(row["animal"])),
                "mediaID": picture,
                "observationLevel": "media",
                "individualPositionRadius": f"{row['distance_m']:.2f}",
                "individualPositionAngle": f"{math.degrees(row['angle_rad']):.1f}",
            }
        )
        if name := metadata.find_scientific_name(reported):
            taxa.setdefault(name, reported)
    for (event, reported), group in groups.items():
        start, end = geo.format_time(group["first"]), geo.format_time(group["last"])
        row = _make_observation(ids[group["site"]], event, start, end, reported, len(group["animals"]), metadata)
        observations.append(
            row | {"observationID": make_stable_id("observation", event, reported), "observationLevel": "event"}
        )
    return list(media.values()), observations, list(taxa.items())


def _make_observation(
    deployment: str, event: str, start: str, end: str, reported: str, count: int, metadata: DatasetMetadata
) -> dict:
    return {
        "deploymentID": deployment,
        "eventID": event,
        "eventStart": start,
        "eventEnd": end,
        "observationType": "unknown" if reported == UNIDENTIFIED else "animal",
        "scientificName": metadata.find_scientific_name(reported),
        "count": count,
        "classificationMethod": "machine",
        "classifiedBy": "simulated classifier",
    }


def _make_descriptor(
    sensor: CameraTrapDesign, places: list, taxa: list, end_h: float, metadata: DatasetMetadata
) -> dict:
    geo = metadata.georeference
    return {
        "profile": f"{SCHEMAS}/camtrap-dp-profile.json",
        "name": "linnaea-simulated-observations",
        "id": make_stable_id("package", metadata.title, sensor.name, geo.format_time(end_h)),
        "created": geo.format_time(end_h),
        "contributors": [{"title": "Linnaea", "role": "contributor"}],
        "resources": describe_resources(),
        "project": {
            "title": f"{metadata.title}: simulated camera traps",
            "samplingDesign": "systematicRandom",
            "captureMethod": ["activityDetection"],
            "individualAnimals": False,
            "observationLevel": ["media", "event"],
        },
        "spatial": {"type": "MultiPoint", "coordinates": [[longitude, latitude] for latitude, longitude in places]},
        "temporal": {"start": geo.format_time(sensor.start_h)[:10], "end": geo.format_time(end_h)[:10]},
        "taxonomic": [{"scientificName": name, "vernacularNames": {"eng": reported}} for name, reported in taxa],
    }


def write_darwin_core(
    world: World, sensors: Sequence[StripCountDesign], out_dir: Path, metadata: DatasetMetadata
) -> None:
    """Write `events.csv` (one event for each line and count, with the effort) and `occurrences.csv` (counts by name).

    A name that an event does not list was looked for and not reported (isAbsenceReported is true).
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    events, occurrences = [], []
    for sensor in sensors:
        names, rows = sensor.confusion.list_names(world.species), get_records(world, sensor.name)
        scope = "|".join(metadata.find_scientific_name(name) for name in world.species)
        for hour in sensor.list_hours(world.now_h):
            for site in range(len(sensor.lines_m)):
                event = _make_event(sensor, site, float(hour), metadata) | {"targetTaxonomicScope": scope}
                events.append(event)
                here = rows[(rows["site"] == site) & (rows["time_h"] == hour)]
                number = np.bincount(here["reported"], minlength=len(names))
                occurrences += [
                    _make_occurrence(event, names[r], int(number[r]), metadata) for r in np.flatnonzero(number)
                ]
    write_table(out_dir / "events.csv", EVENTS, ({key: e.get(key, "") for key in EVENTS} for e in events))
    write_table(
        out_dir / "occurrences.csv", OCCURRENCES, ({key: o.get(key, "") for key in OCCURRENCES} for o in occurrences)
    )


def _make_event(sensor: StripCountDesign, site: int, hour: float, metadata: DatasetMetadata) -> dict:
    geo = metadata.georeference
    x0, y0, x1, y1 = sensor.lines_m[site]
    (south, west), (north, east), (latitude, longitude) = (
        map(float, geo.to_degrees(x, y)) for x, y in ((x0, y0), (x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2))
    )
    length = sensor.compute_length_km(site)
    area = 2 * length * sensor.half_width_m / 1000
    return {
        "eventID": make_stable_id("event", metadata.title, sensor.name, str(site), repr(hour)),
        "parentEventID": make_stable_id("survey", metadata.title, sensor.name),
        "eventType": "Survey",
        "eventDate": geo.format_time(hour),
        "samplingProtocol": PROTOCOLS[sensor.kind],
        "decimalLatitude": f"{latitude:.6f}",
        "decimalLongitude": f"{longitude:.6f}",
        "geodeticDatum": "EPSG:4326",
        "footprintWKT": f"LINESTRING ({west:.6f} {south:.6f}, {east:.6f} {north:.6f})",
        "footprintSRS": "EPSG:4326",
        "sampleSizeValue": f"{area:g}",
        "sampleSizeUnit": "km2",
        "locationID": f"{sensor.name}-{site + 1}",
        "siteCount": 1,
        "totalAreaSampledValue": f"{area:.6g}",
        "totalAreaSampledUnit": "km2",
        "isAbundanceReported": "true",
        "isAbsenceReported": "true",
        "isSamplingEffortReported": "true",
        "samplingEffortProtocol": PROTOCOLS[sensor.kind],
        "samplingEffortValue": f"{length:.6g}",
        "samplingEffortUnit": "km",
        "inventoryTypes": "restricted search",
        "protocolNames": PROTOCOLS[sensor.kind],
        "protocolDescriptions": f"{sensor.name}: animals within {sensor.half_width_m:g} m on both sides of the line",
        "isTaxonomicScopeFullyReported": "true",
    }


def _make_occurrence(event: dict, reported: str, count: int, metadata: DatasetMetadata) -> dict:
    return {
        "occurrenceID": f"urn:uuid:{make_stable_id('occurrence', event['eventID'], reported)}",
        "basisOfRecord": "HumanObservation",
        "occurrenceStatus": "present",
        "scientificName": metadata.find_scientific_name(reported) or "Animalia",
        "vernacularName": "" if reported == UNIDENTIFIED else reported,
        "individualCount": count,
        "organismQuantity": count,
        "organismQuantityType": "individuals",
        "identificationVerificationStatus": "unverified",
        "occurrenceRemarks": UNIDENTIFIED if reported == UNIDENTIFIED else "",
    } | {key: event[key] for key in ("eventID", "eventDate", "decimalLatitude", "decimalLongitude", "geodeticDatum")}


def write_movebank(world: World, sensors: Sequence[CollarDesign], path: Path, metadata: DatasetMetadata) -> None:
    """Write Movebank's event table: one row for each fix; a failed fix has no place and is not visible."""
    rows, geo = [], metadata.georeference
    for sensor in sensors:
        for fix in get_records(world, sensor.name):
            latitude, longitude = (float(one) for one in geo.to_degrees(fix["x"], fix["y"]))
            fine = math.isfinite(latitude)
            rows.append(
                {
                    "event-id": len(rows) + 1,
                    "visible": str(fine).lower(),
                    "timestamp": geo.format_time(fix["time_h"]).replace("T", " ")[:-1] + ".000",
                    "location-long": f"{longitude:.7f}" if fine else "",
                    "location-lat": f"{latitude:.7f}" if fine else "",
                    "sensor-type": "gps",
                    "individual-taxon-canonical-name": metadata.find_scientific_name(sensor.species),
                    "tag-local-identifier": f"{sensor.name}-{fix['collar'] + 1}",
                    "individual-local-identifier": str(fix["animal"]),
                    "study-name": metadata.title,
                }
            )
    write_table(path, MOVEBANK, rows)
