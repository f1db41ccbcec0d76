"""What sensors recorded, as tables of the field: Camtrap DP, Darwin Core with the Humboldt extension, Movebank.

Camera traps become a Camera Trap Data Package with the columns that `linnaea identify` writes, so that one reader reads
both. Counts along strips become sampling events with their occurrences; the extension's terms
(https://eco.tdwg.org/list/) say effort and area, without which a count means nothing. Collars become Movebank's
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
from linnaea.standards.camtrap_dp import DEPLOYMENTS, MEDIA, OBSERVATIONS, SCHEMAS, resources
from linnaea.standards.darwin_core import make_stable_id
from linnaea.standards.tables import write_table
from linnaea.store import write_json
from linnaea.twin.engine.world import World
from linnaea.twin.field.sensors import CameraTraps, Collars, StripCounts, get_records
from linnaea.twin.field.survey_file import Survey

EVENT_GAP_S = 120.0
"""pictures of one camera less than so long apart are one event"""
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
    """What the tables say besides the records."""

    title: str = "A simulated world"
    "of the data set"
    scientific: Mapping[str, str] = field(default_factory=dict)
    "species to its scientific name; what is missing is written as it is"
    georeference: Georeference = field(default_factory=Georeference)
    "where the map lies"

    def name(self, reported: str) -> str:
        """The scientific name of a reported one; "" of what was not identified."""
        return "" if reported == UNIDENTIFIED else self.scientific.get(reported, reported)


def write_survey(world: World, survey: Survey, folder: Path, published: DatasetMetadata) -> dict[str, int]:
    """Writes what the sensors recorded so far below `folder`; records of each sensor.

    `camtrap/<name>` holds a package for each set of cameras, `events.csv` and `occurrences.csv` all counts,
    `movebank.csv` all collars.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for sensor in survey.cameras:
        write_camtrap(world, sensor, folder / "camtrap" / sensor.name, published)
    if survey.counts:
        write_darwin_core(world, survey.counts, folder, published)
    if survey.collars:
        write_movebank(world, survey.collars, folder / "movebank.csv", published)
    return {sensor.name: len(get_records(world, sensor.name)) for sensor in survey.sensors}


def _write(path: Path, columns: Sequence[str], rows: Iterable[dict]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_camtrap(world: World, sensor: CameraTraps, folder: Path, published: DatasetMetadata) -> None:
    """A Camera Trap Data Package (1.0.2): deployments, pictures, observations of events and of media."""
    folder.mkdir(parents=True, exist_ok=True)
    geo, end_h = published.georeference, min(sensor.end_h, world.now_h)
    ids = [
        make_stable_id("deployment", published.title, sensor.name, str(site)) for site in range(len(sensor.places_m))
    ]
    places = [[float(one) for one in geo.degrees(x, y)] for x, y in sensor.places_m]
    deployments = [
        {
            "deploymentID": ids[site],
            "locationID": f"{sensor.name}-{site + 1}",
            "locationName": f"{sensor.name} {site + 1}",
            "latitude": f"{latitude:.6f}",
            "longitude": f"{longitude:.6f}",
            "deploymentStart": geo.time(sensor.start_h),
            "deploymentEnd": geo.time(end_h),
            "cameraDelay": round(sensor.rest_s),
            "cameraHeading": round((90 - math.degrees(sensor.heading(site))) % 360) % 360,
            "detectionDistance": f"{sensor.view.range_m:g}",
            "timestampIssues": "false",
            "deploymentTags": f"fieldOfView:{sensor.view.angle_deg:g}",
            "deploymentComments": "simulated",
        }
        for site, (latitude, longitude) in enumerate(places)
    ]
    media, observations, taxa = _make_media_and_observations(world, sensor, ids, published)
    _write(folder / "deployments.csv", DEPLOYMENTS, deployments)
    _write(folder / "media.csv", MEDIA, media)
    _write(folder / "observations.csv", OBSERVATIONS, observations)
    write_json(folder / "datapackage.json", _make_descriptor(sensor, places, taxa, end_h, published))


def _make_media_and_observations(
    world: World, sensor: CameraTraps, ids: list[str], published: DatasetMetadata
) -> tuple[list, list, list]:
    """Rows of pictures, rows of observations, and the names found."""
    names, geo = sensor.confusion.list_names(world.species), published.georeference
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
        time = geo.time(hour)
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
            _make_observation(ids[site], event, time, time, reported, 1, published)
            | {
                "observationID": make_stable_id("observation", picture, str(row["animal"])),
                "mediaID": picture,
                "observationLevel": "media",
                "individualPositionRadius": f"{row['distance_m']:.2f}",
                "individualPositionAngle": f"{math.degrees(row['angle_rad']):.1f}",
            }
        )
        if name := published.name(reported):
            taxa.setdefault(name, reported)
    for (event, reported), group in groups.items():
        start, end = geo.time(group["first"]), geo.time(group["last"])
        row = _make_observation(ids[group["site"]], event, start, end, reported, len(group["animals"]), published)
        observations.append(
            row | {"observationID": make_stable_id("observation", event, reported), "observationLevel": "event"}
        )
    return list(media.values()), observations, list(taxa.items())


def _make_observation(
    deployment: str, event: str, start: str, end: str, reported: str, count: int, published: DatasetMetadata
) -> dict:
    return {
        "deploymentID": deployment,
        "eventID": event,
        "eventStart": start,
        "eventEnd": end,
        "observationType": "unknown" if reported == UNIDENTIFIED else "animal",
        "scientificName": published.name(reported),
        "count": count,
        "classificationMethod": "machine",
        "classifiedBy": "simulated classifier",
    }


def _make_descriptor(sensor: CameraTraps, places: list, taxa: list, end_h: float, published: DatasetMetadata) -> dict:
    geo = published.georeference
    return {
        "profile": f"{SCHEMAS}/camtrap-dp-profile.json",
        "name": "linnaea-simulated-observations",
        "id": make_stable_id("package", published.title, sensor.name, geo.time(end_h)),
        "created": geo.time(end_h),
        "contributors": [{"title": "Linnaea", "role": "contributor"}],
        "resources": resources(),
        "project": {
            "title": f"{published.title}: simulated camera traps",
            "samplingDesign": "systematicRandom",
            "captureMethod": ["activityDetection"],
            "individualAnimals": False,
            "observationLevel": ["media", "event"],
        },
        "spatial": {"type": "MultiPoint", "coordinates": [[longitude, latitude] for latitude, longitude in places]},
        "temporal": {"start": geo.time(sensor.start_h)[:10], "end": geo.time(end_h)[:10]},
        "taxonomic": [{"scientificName": name, "vernacularNames": {"eng": reported}} for name, reported in taxa],
    }


def write_darwin_core(world: World, sensors: Sequence[StripCounts], folder: Path, published: DatasetMetadata) -> None:
    """`events.csv`: an event a line and count, with the effort; `occurrences.csv`: what was seen in it, by name.

    A name that an event does not list was looked for and not reported (isAbsenceReported is true).
    """
    folder.mkdir(parents=True, exist_ok=True)
    events, occurrences = [], []
    for sensor in sensors:
        names, rows = sensor.confusion.list_names(world.species), get_records(world, sensor.name)
        scope = "|".join(published.name(name) for name in world.species)
        for hour in sensor.hours(world.now_h):
            for site in range(len(sensor.lines_m)):
                event = _make_event(sensor, site, float(hour), published) | {"targetTaxonomicScope": scope}
                events.append(event)
                here = rows[(rows["site"] == site) & (rows["time_h"] == hour)]
                number = np.bincount(here["reported"], minlength=len(names))
                occurrences += [
                    _make_occurrence(event, names[r], int(number[r]), published) for r in np.flatnonzero(number)
                ]
    write_table(folder / "events.csv", EVENTS, ({key: e.get(key, "") for key in EVENTS} for e in events))
    write_table(
        folder / "occurrences.csv", OCCURRENCES, ({key: o.get(key, "") for key in OCCURRENCES} for o in occurrences)
    )


def _make_event(sensor: StripCounts, site: int, hour: float, published: DatasetMetadata) -> dict:
    geo = published.georeference
    x0, y0, x1, y1 = sensor.lines_m[site]
    (south, west), (north, east), (latitude, longitude) = (
        map(float, geo.degrees(x, y)) for x, y in ((x0, y0), (x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2))
    )
    length = sensor.length_km(site)
    area = 2 * length * sensor.half_width_m / 1000
    return {
        "eventID": make_stable_id("event", published.title, sensor.name, str(site), repr(hour)),
        "parentEventID": make_stable_id("survey", published.title, sensor.name),
        "eventType": "Survey",
        "eventDate": geo.time(hour),
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


def _make_occurrence(event: dict, reported: str, count: int, published: DatasetMetadata) -> dict:
    return {
        "occurrenceID": f"urn:uuid:{make_stable_id('occurrence', event['eventID'], reported)}",
        "basisOfRecord": "HumanObservation",
        "occurrenceStatus": "present",
        "scientificName": published.name(reported) or "Animalia",
        "vernacularName": "" if reported == UNIDENTIFIED else reported,
        "individualCount": count,
        "organismQuantity": count,
        "organismQuantityType": "individuals",
        "identificationVerificationStatus": "unverified",
        "occurrenceRemarks": UNIDENTIFIED if reported == UNIDENTIFIED else "",
    } | {key: event[key] for key in ("eventID", "eventDate", "decimalLatitude", "decimalLongitude", "geodeticDatum")}


def write_movebank(world: World, sensors: Sequence[Collars], path: Path, published: DatasetMetadata) -> None:
    """Movebank's event table: a row a fix; a failed one has no place and is not visible."""
    rows, geo = [], published.georeference
    for sensor in sensors:
        for fix in get_records(world, sensor.name):
            latitude, longitude = (float(one) for one in geo.degrees(fix["x"], fix["y"]))
            fine = math.isfinite(latitude)
            rows.append(
                {
                    "event-id": len(rows) + 1,
                    "visible": str(fine).lower(),
                    "timestamp": geo.time(fix["time_h"]).replace("T", " ")[:-1] + ".000",
                    "location-long": f"{longitude:.7f}" if fine else "",
                    "location-lat": f"{latitude:.7f}" if fine else "",
                    "sensor-type": "gps",
                    "individual-taxon-canonical-name": published.name(sensor.species),
                    "tag-local-identifier": f"{sensor.name}-{fix['collar'] + 1}",
                    "individual-local-identifier": str(fix["animal"]),
                    "study-name": published.title,
                }
            )
    write_table(path, MOVEBANK, rows)
